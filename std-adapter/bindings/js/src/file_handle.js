/**
 * Open files with the interface of `FileHandle` in `node:fs/promises`.
 * @module
 */

import { createInterface } from 'node:readline';
import { Readable, Writable } from 'node:stream';

import { ServerError } from './errors.js';
import { MAX_FILE, readOnce, readToEnd, writeAll, writeOnce } from './transfer.js';

/** @typedef {import('./fid.js').Fid} Fid */
/** @typedef {import('./stats.js').Stats} Stats */

/**
 * Content to write: text, bytes, or a sequence of these.
 * @typedef {string | NodeJS.ArrayBufferView | Iterable<string | NodeJS.ArrayBufferView>
 *   | AsyncIterable<string | NodeJS.ArrayBufferView>} Content
 */

/**
 * The arguments of a read.
 * @typedef {object} ReadOptions
 * @property {number | null} [offset]
 * @property {number | null} [length]
 * @property {number | bigint | null} [position]
 */

/** @typedef {{ encoding?: null, signal?: AbortSignal, limit?: number }} ReadBufferOptions */
/** @typedef {{ encoding: BufferEncoding, signal?: AbortSignal, limit?: number }} ReadTextOptions */

/**
 * @typedef {object} WriteFileOptions
 * @property {BufferEncoding} [encoding] The encoding of strings, UTF-8 by default.
 * @property {AbortSignal} [signal]
 */

/** The length in bytes of the buffer that `read` allocates if the caller passes none. */
const DEFAULT_BUFFER = 16384;

/**
 * Returns `false` if the current position must be used. As in `node:fs`, a negative number means
 * the current position.
 * @template {number | bigint} P
 * @param {P | null | undefined} position
 * @returns {position is P}
 */
const isPosition = (position) => position !== null && position !== undefined && position >= 0;

/**
 * Returns the bytes of a string or a buffer.
 * @param {string | NodeJS.ArrayBufferView} part
 * @param {BufferEncoding} [encoding]
 * @returns {Uint8Array}
 */
export function partToBytes(part, encoding) {
  if (typeof part === 'string') return Buffer.from(part, encoding);
  return new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
}

/**
 * Writes the content, starting at `offset`. Returns the offset after the last byte.
 * @param {Fid} file
 * @param {number} offset
 * @param {Content} content
 * @param {WriteFileOptions} [options]
 */
export async function writeContent(file, offset, content, { encoding, signal } = {}) {
  const single = typeof content === 'string' || ArrayBuffer.isView(content);
  let next = offset;
  for await (const part of single ? [content] : content) {
    const bytes = partToBytes(part, encoding);
    await writeAll(file, next, bytes, signal);
    next += bytes.length;
  }
  return next;
}

/**
 * Returns the options as an object. If `options` is a string, it is taken as the `encoding` option.
 * @template {object} O
 * @param {O | BufferEncoding | null | undefined} options
 * @returns {Partial<O> & { encoding?: BufferEncoding | null }}
 */
export function toOptions(options) {
  if (typeof options === 'string') {
    return /** @type {Partial<O> & { encoding: BufferEncoding }} */ ({ encoding: options });
  }
  return options ?? {};
}

/** An open file. The server keeps the file open until `close` is called. */
export class FileHandle {
  #file;
  #path;
  #position = 0;

  /**
   * @param {Fid} file
   * @param {string} path
   */
  constructor(file, path) {
    this.#file = file;
    this.#path = path;
  }

  /**
   * The fid's number, which is unique within the connection. The number is -1 after `close`.
   */
  get fd() {
    return this.#file.inUse ? this.#file.number : -1;
  }

  /** The maximum number of bytes that one request can read or write. */
  get unit() {
    return this.#file.unit;
  }

  /** The identity of the file on the server. */
  get qid() {
    return this.#file.qid;
  }

  /**
   * @template T
   * @param {string} syscall
   * @param {Promise<T>} result
   */
  #locate(syscall, result) {
    return locate(syscall, this.#path, result);
  }

  /**
   * Reads into `buffer` with one request, which reads at most `length` bytes and at most {@link
   * unit} bytes. `bytesRead` is 0 at the end of the file and after each piece of data from a stream
   * file.
   *
   * Without a position, reads at the current position and advances it. The arguments may also be an
   * object, as in `node:fs`. Without a buffer, allocates one of 16384 bytes.
   * @template {NodeJS.ArrayBufferView} B
   * @overload
   * @param {B} buffer
   * @param {number | null} [offset] The offset in `buffer` at which the data is stored.
   * @param {number | null} [length]
   * @param {number | bigint | null} [position]
   * @returns {Promise<{ bytesRead: number, buffer: B }>}
   */
  /**
   * @template {NodeJS.ArrayBufferView} B
   * @overload
   * @param {B} buffer
   * @param {ReadOptions} options
   * @returns {Promise<{ bytesRead: number, buffer: B }>}
   */
  /**
   * @template {NodeJS.ArrayBufferView} B
   * @overload
   * @param {ReadOptions & { buffer: B }} options
   * @returns {Promise<{ bytesRead: number, buffer: B }>}
   */
  /**
   * @overload
   * @param {ReadOptions} [options]
   * @returns {Promise<{ bytesRead: number, buffer: Buffer }>}
   */
  /**
   * @param {NodeJS.ArrayBufferView | (ReadOptions & { buffer?: NodeJS.ArrayBufferView })} [buffer]
   * @param {number | ReadOptions | null} [offset]
   * @param {number | null} [length]
   * @param {number | bigint | null} [position]
   * @returns {Promise<{ bytesRead: number, buffer: any }>}
   */
  async read(buffer, offset, length, position) {
    const options = ArrayBuffer.isView(buffer)
      ? { buffer, ...(typeof offset === 'object' ? offset : { offset, length, position }) }
      : buffer;
    const to = options?.buffer ?? Buffer.alloc(DEFAULT_BUFFER);
    const from = options?.offset ?? 0;
    const bytes = partToBytes(to).subarray(from, from + (options?.length ?? to.byteLength));
    const at = isPosition(options?.position) ? options.position : this.#position;
    const data = await this.#locate('read', readOnce(this.#file, at, bytes.length));
    bytes.set(data);
    if (!isPosition(options?.position)) this.#position += data.length;
    return { bytesRead: data.length, buffer: to };
  }

  /**
   * Writes at most {@link unit} bytes with a single request. `bytesWritten` is the number of bytes
   * that the server has written.
   *
   * Without a position, writes at the current position and advances it.
   * @overload
   * @param {NodeJS.ArrayBufferView} buffer
   * @param {number | null} [offset] The offset of the first byte in `buffer`.
   * @param {number | null} [length]
   * @param {number | null} [position]
   * @returns {Promise<{ bytesWritten: number, buffer: NodeJS.ArrayBufferView }>}
   */
  /**
   * @overload
   * @param {string} text
   * @param {number | null} [position]
   * @param {BufferEncoding | null} [encoding]
   * @returns {Promise<{ bytesWritten: number, buffer: string }>}
   */
  /**
   * @param {string | NodeJS.ArrayBufferView} buffer
   * @param {number | null} [first]
   * @param {number | BufferEncoding | null} [second]
   * @param {number | null} [third]
   * @returns {Promise<{ bytesWritten: number, buffer: any }>}
   */
  async write(buffer, first, second, third) {
    const isText = typeof buffer === 'string';
    const encoding = typeof second === 'string' ? second : undefined;
    const all = partToBytes(buffer, encoding);
    const [offset, length, position] = isText
      ? [0, all.length, first]
      : [first ?? 0, typeof second === 'number' ? second : all.length, third];
    const bytes = all.subarray(offset, offset + length);
    const at = isPosition(position) ? position : this.#position;
    const bytesWritten = await this.#locate('write', writeOnce(this.#file, at, bytes));
    if (!isPosition(position)) this.#position += bytesWritten;
    return { bytesWritten, buffer };
  }

  /**
   * Reads from the current position to the end of the file. For a stream file, reads to the end of
   * the current piece of data.
   * @overload
   * @param {ReadBufferOptions | null} [options]
   * @returns {Promise<Buffer>}
   */
  /**
   * @overload
   * @param {ReadTextOptions | BufferEncoding} options
   * @returns {Promise<string>}
   */
  /**
   * @param {ReadBufferOptions | ReadTextOptions | BufferEncoding | null} [options]
   * @returns {Promise<Buffer | string>}
   */
  async readFile(options) {
    const { encoding, signal, limit = MAX_FILE } = toOptions(options);
    const reading = readToEnd(this.#file, this.#position, limit, signal);
    const data = await this.#locate('readFile', reading);
    this.#position += data.length;
    return encoding ? data.toString(encoding) : data;
  }

  /**
   * Writes all of `content` at the current position and advances it.
   * @param {Content} content
   * @param {WriteFileOptions | BufferEncoding | null} [options]
   */
  async writeFile(content, options) {
    const { encoding, signal } = toOptions(options);
    const fields = { encoding: encoding ?? undefined, signal };
    const writing = writeContent(this.#file, this.#position, content, fields);
    this.#position = await this.#locate('writeFile', writing);
  }

  /** @returns {Promise<Stats>} */
  async stat() {
    return this.#locate('stat', this.#file.stat());
  }

  /** @param {number} [length] */
  async truncate(length = 0) {
    await this.#locate('truncate', this.#file.setAttributes({ length }));
  }

  /** @param {number} mode */
  async chmod(mode) {
    await this.#locate('chmod', this.#file.setAttributes({ mode }));
  }

  /** Waits until the content is on stable storage. */
  async sync() {
    await this.#locate('sync', this.#file.sync());
  }

  /** Equivalent to {@link sync}. */
  async datasync() {
    await this.sync();
  }

  /**
   * Returns a readable stream of the content. The stream ends at the end of the file or, for a
   * stream file, after one piece of data. When it ends, it closes the handle unless `autoClose` is
   * `false`.
   * @param {{ encoding?: BufferEncoding, start?: number, end?: number, autoClose?: boolean,
   *   highWaterMark?: number }} [options] `end` is the offset of the last byte.
   */
  createReadStream({ start, end = Infinity, autoClose = true, ...options } = {}) {
    let next = start ?? this.#position;
    const readAt = (/** @type {number} */ count) => readOnce(this.#file, next, count);
    return new Readable({
      highWaterMark: 1 << 16,
      ...options,
      read(size) {
        const count = Math.max(0, Math.min(size, end + 1 - next));
        readAt(count).then(
          (data) => {
            next += data.length;
            this.push(data.length > 0 ? data : null);
          },
          (error) => this.destroy(error),
        );
      },
      destroy: (error, callback) => this.#closeStream(autoClose, error, callback),
    });
  }

  /**
   * Returns an async iterator over the lines from the current position to the end of the file.
   * After the last line, closes the handle unless `autoClose` is `false`.
   * @param {{ encoding?: BufferEncoding, start?: number, end?: number, autoClose?: boolean,
   *   highWaterMark?: number }} [options]
   */
  readLines(options) {
    return createInterface({ input: this.createReadStream(options), crlfDelay: Infinity });
  }

  /**
   * Returns a writable stream that writes at the offset `start`, or at the current position by
   * default. When the stream ends, the handle is closed unless `autoClose` is `false`.
   * @param {{ encoding?: BufferEncoding, start?: number, autoClose?: boolean,
   *   highWaterMark?: number }} [options]
   */
  createWriteStream({ encoding, start, autoClose = true, ...options } = {}) {
    let next = start ?? this.#position;
    const writeNext = async (/** @type {Uint8Array} */ data) => {
      await writeAll(this.#file, next, data);
      next += data.length;
    };
    return new Writable({
      highWaterMark: 1 << 16,
      defaultEncoding: encoding,
      ...options,
      write(chunk, _encoding, callback) {
        writeNext(chunk).then(() => callback(), callback);
      },
      destroy: (error, callback) => this.#closeStream(autoClose, error, callback),
    });
  }

  /**
   * @param {boolean} autoClose
   * @param {Error | null} error
   * @param {(error?: Error | null) => void} callback
   */
  #closeStream(autoClose, error, callback) {
    if (!autoClose) callback(error);
    else this.close().then(() => callback(error), callback);
  }

  /**
   * Closes the file and waits for the reply. Some servers do not apply writes to a file until the
   * file is closed. Does nothing if the file is already closed.
   */
  async close() {
    if (this.#file.inUse) await this.#locate('close', this.#file.clunk());
  }

  async [Symbol.asyncDispose]() {
    await this.close();
  }
}

/**
 * Waits for a promise. If it rejects with a `ServerError`, adds the operation and the path to that
 * error.
 * @template T
 * @param {string} syscall
 * @param {string} path
 * @param {Promise<T>} result
 * @returns {Promise<T>}
 */
export async function locate(syscall, path, result) {
  try {
    return await result;
  } catch (error) {
    throw error instanceof ServerError ? error.locate(syscall, path) : error;
  }
}
