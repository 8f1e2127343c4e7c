/**
 * Paths on the server.
 * @module
 */

import { ServerError } from './errors.js';

/** @typedef {import('./wire.js').Text} Text */

/**
 * A path with slashes, absolute or not: both start at the root. Bytes stand for a path that is not
 * UTF-8. Empty names and `.` are ignored.
 * @typedef {string | Uint8Array} Path
 */

/**
 * Returns the names in a path.
 * @param {Path} path
 * @returns {Text[]}
 */
export function split(path) {
  if (typeof path === 'string') return path.split('/').filter(isName);
  // Latin-1 keeps the bytes.
  const names = Buffer.from(path).toString('latin1').split('/');
  return names.filter(isName).map((name) => Buffer.from(name, 'latin1'));
}

/** @param {string} name */
const isName = (name) => name !== '' && name !== '.';

/**
 * Returns the directory and the name of an entry. Throws `EINVAL` for the root and for `..`.
 * @param {Path} path
 * @returns {{ dir: Text[], name: Text }}
 */
export function splitLast(path) {
  const dir = split(path);
  const name = dir.pop();
  if (name === undefined || name.toString() === '..') {
    throw ServerError.of('EINVAL', 'the path must end with a name').locate('path', show(path));
  }
  return { dir, name };
}

/**
 * Returns the path for a message.
 * @param {Path} path
 */
export function show(path) {
  return typeof path === 'string' ? path : Buffer.from(path).toString();
}
