/**
 * Reads directory entries.
 * @module
 */

import { ProtocolError, ServerError } from './errors.js';
import * as messages from './messages.js';
import { readEntries } from './stats.js';
import { Reader } from './wire.js';

/** @typedef {import('./fid.js').Fid} Fid */
/** @typedef {import('./stats.js').Dirent} Dirent */

/** The maximum number of names in a directory listing. */
const MAX_NAMES = 1 << 20;
/** The maximum length in bytes of a directory listing. */
const MAX_LISTING = 1 << 28;

/**
 * Returns all entries in an open directory except `.` and `..`, in the server's order.
 *
 * Fails with `EFBIG` if the listing has more than 1048576 names or is larger than 256 MiB, and with
 * `EPROTO` if the server repeats an offset.
 * @param {Fid} dir
 * @param {AbortSignal} [signal]
 * @returns {Promise<Dirent[]>}
 */
export async function readDirectory(dir, signal) {
  if (!dir.isDirectory) throw ServerError.of('ENOTDIR');
  const list = dir.dialect === '9P2000.L' ? messages.readdir : messages.read;
  /** @type {Dirent[]} */
  const all = [];
  const seen = new Set();
  let [offset, bytes] = [0n, 0];
  for (;;) {
    const request = list(dir.number, offset, dir.unit);
    const data = await dir.connection.call(request, { signal });
    if (data.length === 0) return all;
    seen.add(offset);
    const { entries, next } = readEntries(new Reader(data), offset, dir.dialect);
    if (seen.has(next)) throw new ProtocolError('the listing of a directory does not end');
    offset = next;
    for (const entry of entries) if (isListed(entry.nameBytes)) all.push(entry);
    bytes += data.length;
    if (all.length > MAX_NAMES || bytes > MAX_LISTING) {
      const limits = `${MAX_NAMES} names or ${MAX_LISTING} bytes`;
      throw ServerError.of('EFBIG', `the listing of the directory is longer than ${limits}`);
    }
  }
}

/**
 * Returns `false` for `.` and `..`. Throws if a name could lead out of the directory, because
 * callers walk to the names.
 * @param {Buffer} name
 */
function isListed(name) {
  if (name.length === 0 || name.includes(0) || name.includes('/')) {
    throw new ProtocolError('a name in a directory is empty or contains a slash or a NUL byte');
  }
  const text = name.length <= 2 ? name.toString('latin1') : '';
  return text !== '.' && text !== '..';
}
