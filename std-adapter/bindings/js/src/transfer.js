/**
 * Reads and writes whole files with multiple requests in flight.
 *
 * Requests are pipelined only if the file's qid has a version and the server reports the file's
 * length. For stream files, command files and parameter files, each request waits for the reply to
 * the previous one.
 * @module
 */

import { ServerError } from './errors.js';
import * as messages from './messages.js';
import { QidType } from './wire.js';

/** @typedef {import('./fid.js').Fid} Fid */

/** The maximum number of requests that a single transfer keeps in flight. */
const CONCURRENCY = 8;
/** The default maximum length, in bytes, of a file that is read as a whole. */
export const MAX_FILE = 1 << 30;

/**
 * Sends one read request. Returns at most `count` bytes. The result is empty at the end of the
 * file.
 * @param {Fid} file
 * @param {number | bigint} offset
 * @param {number} count
 * @param {AbortSignal} [signal]
 * @param {boolean} [stream] `true` if the reply may take a long time, as for a watch.
 * @returns {Promise<Buffer>}
 */
export async function readOnce(file, offset, count, signal, stream) {
  const most = Math.min(count, file.unit);
  const request = messages.read(file.number, offset, most);
  const data = await file.connection.call(request, { signal, stream });
  if (data.length > most) {
    throw ServerError.of('EPROTO', `the server sent ${data.length} bytes instead of ${most}`);
  }
  return data;
}

/**
 * Reads `count` bytes, or fewer if the file ends first.
 * @param {Fid} file
 * @param {number} offset
 * @param {number} count
 * @param {AbortSignal} [signal]
 */
async function readFully(file, offset, count, signal) {
  let data = await readOnce(file, offset, count, signal);
  while (data.length > 0 && data.length < count) {
    const more = await readOnce(file, offset + data.length, count - data.length, signal);
    if (more.length === 0) break;
    data = Buffer.concat([data, more]);
  }
  return data;
}

/**
 * Returns the file's length, or 0 if the length reported by the server is not reliable.
 * @param {Fid} file
 * @param {AbortSignal} [signal]
 */
async function reliableLength(file, signal) {
  try {
    const { qid, size } = await file.stat(signal);
    return qid.version === 0 ? 0 : size;
  } catch (error) {
    if (error instanceof ServerError) return 0;
    throw error;
  }
}

/**
 * Reads from `offset` until a read returns no data. An empty read marks the end of the file, or the
 * end of a piece of data from a stream file. The chunks may share memory with each other.
 * @param {Fid} file
 * @param {number} offset
 * @param {AbortSignal} [signal]
 * @returns {AsyncGenerator<Buffer, void>}
 */
export async function* readChunks(file, offset, signal) {
  const first = await readOnce(file, offset, file.unit, signal);
  if (first.length === 0) return;
  yield first;
  let next = offset + first.length;
  if (first.length === file.unit) {
    for await (const data of readAhead(file, next, await reliableLength(file, signal), signal)) {
      next += data.length;
      yield data;
    }
  }
  for (;;) {
    const data = await readOnce(file, next, file.unit, signal);
    if (data.length === 0) return;
    next += data.length;
    yield data;
  }
}

/**
 * Reads the bytes from position `offset` up to position `length`. Stops early if a read returns
 * fewer bytes than requested, because this means that the file is shorter than `length`.
 * @param {Fid} file
 * @param {number} offset
 * @param {number} length
 * @param {AbortSignal | undefined} signal
 * @returns {AsyncGenerator<Buffer, void>}
 */
async function* readAhead(file, offset, length, signal) {
  const stop = new AbortController();
  const either = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  /** @type {{ count: number, data: Promise<Buffer> }[]} */
  const reads = [];
  let next = offset;
  try {
    while (next < length || reads.length > 0) {
      while (next < length && reads.length < CONCURRENCY) {
        const count = Math.min(file.unit, length - next);
        const data = readFully(file, next, count, either);
        // Without this handler, Node reports an unhandled rejection if the read fails before it is
        // awaited.
        data.catch(() => {});
        reads.push({ count, data });
        next += count;
      }
      const oldest = reads[0];
      const data = await oldest.data;
      reads.shift();
      if (data.length > 0) yield data;
      if (data.length < oldest.count) return;
    }
  } finally {
    stop.abort();
  }
}

/**
 * Reads to the end of the file. Fails with `EFBIG` if there are more than `limit` bytes.
 * @param {Fid} file
 * @param {number} offset
 * @param {number} limit
 * @param {AbortSignal} [signal]
 * @returns {Promise<Buffer>}
 */
export async function readToEnd(file, offset, limit, signal) {
  const chunks = [];
  let length = 0;
  for await (const data of readChunks(file, offset, signal)) {
    length += data.length;
    if (length > limit) throw ServerError.of('EFBIG', `the file has more than ${limit} bytes`);
    chunks.push(data);
  }
  return Buffer.concat(chunks);
}

/**
 * Writes all of `data`. Sends no request if `data` is empty.
 * @param {Fid} file
 * @param {number} offset
 * @param {Uint8Array} data
 * @param {AbortSignal} [signal]
 */
export async function writeAll(file, offset, data, signal) {
  const end = offset + data.length;
  let next = offset;
  /** @param {AbortSignal | undefined} stop */
  const writeNext = (stop) => {
    const piece = data.subarray(next - offset, next - offset + file.unit);
    const at = next;
    next += piece.length;
    return writePiece(file, at, piece, stop);
  };
  if (next < end) await writeNext(signal);
  if (next < end && (await acceptsPipelining(file, next, signal))) {
    const stop = new AbortController();
    const either = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
    const worker = async () => {
      while (next < end) await writeNext(either);
    };
    try {
      await Promise.all(Array.from({ length: CONCURRENCY }, worker));
    } finally {
      stop.abort();
    }
  }
  while (next < end) await writeNext(signal);
}

/**
 * Returns `true` if, according to its reported length, the file contains all bytes before `end`.
 * @param {Fid} file
 * @param {number} end
 * @param {AbortSignal | undefined} signal
 */
async function acceptsPipelining(file, end, signal) {
  if (file.qid.type & QidType.APPEND) return false;
  return (await reliableLength(file, signal)) >= end;
}

/**
 * Writes a piece of data that fits into one request. After a short write, sends the remaining
 * bytes.
 * @param {Fid} file
 * @param {number} offset
 * @param {Uint8Array} piece
 * @param {AbortSignal | undefined} signal
 */
async function writePiece(file, offset, piece, signal) {
  for (let done = 0; done < piece.length;) {
    done += await writeOnce(file, offset + done, piece.subarray(done), signal);
  }
}

/**
 * Writes as many bytes as fit into one request. Returns the number of bytes that the server has
 * written.
 * @param {Fid} file
 * @param {number} offset
 * @param {Uint8Array} data
 * @param {AbortSignal} [signal]
 */
export async function writeOnce(file, offset, data, signal) {
  const piece = data.subarray(0, file.unit);
  const request = messages.write(file.number, offset, piece);
  const count = await file.connection.call(request, { signal });
  if (count === 0 && piece.length > 0) throw ServerError.of('EIO', 'the server wrote no bytes');
  if (count > piece.length) {
    const text = `the server reports ${count} bytes written, but received ${piece.length}`;
    throw ServerError.of('EPROTO', text);
  }
  return count;
}
