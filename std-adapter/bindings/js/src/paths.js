/**
 * Paths on the server.
 * @module
 */

import { ServerError } from './errors.js';

/** @typedef {import('./wire.js').Text} Text */

/**
 * A path consisting of names separated by slashes. The path is relative to the root, with or
 * without a leading slash. The path may be given as bytes if it is not valid UTF-8. Empty names and
 * `.` are ignored.
 * @typedef {string | Uint8Array} Path
 */

/**
 * Returns the names in a path.
 * @param {Path} path
 * @returns {Text[]}
 */
export function split(path) {
  if (typeof path === 'string') return path.split('/').filter(isName);
  // Latin-1 maps each byte to one character, so the bytes are preserved.
  const names = Buffer.from(path).toString('latin1').split('/');
  return names.filter(isName).map((name) => Buffer.from(name, 'latin1'));
}

/** @param {string} name */
const isName = (name) => name !== '' && name !== '.';

/**
 * Splits the path of a file or directory into the names of its parent directories and its own name.
 * Throws `EINVAL` if the path is the root or ends with `..`.
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
 * Returns the path as a string for error messages.
 * @param {Path} path
 */
export function show(path) {
  return typeof path === 'string' ? path : Buffer.from(path).toString();
}
