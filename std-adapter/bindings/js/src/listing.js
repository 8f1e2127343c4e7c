/**
 * Reads the entries of a directory.
 * @module
 */

import { ProtocolError, ServerError } from './errors.js';
import * as messages from './messages.js';
import { readEntries } from './stats.js';
import { Reader } from './wire.js';

/** @typedef {import('./fid.js').Fid} Fid */
/** @typedef {import('./stats.js').Dirent} Dirent */

/** The largest number of names in a listing. */
const MAX_NAMES = 1 << 20;
/** The largest listing, in bytes. */
const MAX_LISTING = 1 << 28;

/**
 * Reads all entries of an open directory except `.` and `..`, in the order of the server.
 *
 * Fails with `EFBIG` after a million names or 256 MiB, and with `EPROTO` if the listing jumps back.
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
      const limits = `${MAX_NAMES} names and ${MAX_LISTING} bytes`;
      throw ServerError.of('EFBIG', `the listing of the directory is longer than ${limits}`);
    }
  }
}

/**
 * Refuses names that lead out of the directory, because callers walk to them.
 * @param {Buffer} name
 */
function isListed(name) {
  if (name.length === 0 || name.includes(0) || name.includes('/')) {
    throw new ProtocolError('a name in a directory is empty or contains a slash or a NUL byte');
  }
  const text = name.length <= 2 ? name.toString('latin1') : '';
  return text !== '.' && text !== '..';
}
