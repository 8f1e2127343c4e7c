/**
 * Names in the database: paths in trees, hashes of commits and names of branches. They are checked
 * here, so that a wrong one fails without a request.
 * @module
 */

import { InvalidArgumentError } from '../errors.js';

/**
 * A path in a tree: names with single slashes between them, for example `etc/hosts`. The empty
 * string is the root.
 * @typedef {string} TreePath
 */

/**
 * Returns the names in a path. Throws an error of the kind `invalid_path`.
 * @param {TreePath} path
 */
export function treeNames(path) {
  if (path === '') return [];
  const names = path.split('/');
  const reason = path.startsWith('/')
    ? 'a path must be relative, for example etc/hosts'
    : path.endsWith('/')
      ? 'a path must not end with a slash'
      : names.map(brokenRule).find((rule) => rule !== undefined);
  if (reason) throw invalidPath(path, reason);
  return names;
}

/**
 * Returns the directory and the name of an entry. Throws an error of the kind `invalid_path` for
 * the root as well.
 * @param {TreePath} path
 */
export function entryNames(path) {
  const dir = treeNames(path);
  const name = dir.pop();
  if (name === undefined) throw invalidPath(path, 'the operation does not accept the root');
  return { dir, name };
}

/** @param {string} name */
function brokenRule(name) {
  if (name === '') return 'a name must not be empty';
  if (name === '.' || name === '..') return '. and .. are not allowed';
  return name.includes('\0') ? 'a name must not contain a NUL byte' : undefined;
}

/**
 * @param {string} path
 * @param {string} reason
 */
function invalidPath(path, reason) {
  return new InvalidArgumentError(`path ${JSON.stringify(path)}: ${reason}`, 'invalid_path');
}

/**
 * Returns the hash. Throws an error of the kind `invalid_hash`.
 * @param {string} text
 */
export function checkHash(text) {
  if (/^[0-9a-f]{40}$/.test(text)) return text;
  const reason = 'a hash has 40 digits from 0 to 9 and a to f';
  throw new InvalidArgumentError(`invalid hash ${JSON.stringify(text)}: ${reason}`, 'invalid_hash');
}

/** With `.lock` appended, a component must still be a valid file name. */
const COMPONENT_MAX = 250;

/**
 * Returns the name of the directory of a branch, in which `/` is `%2F` and `%` is `%25`. Throws an
 * error of the kind `invalid_branch` if the name breaks a rule of `git check-ref-format --branch`.
 * @param {string} name
 */
export function branchToFileName(name) {
  const reason = brokenBranchRule(name);
  if (reason) {
    const text = `invalid branch name ${JSON.stringify(name)}: ${reason}`;
    throw new InvalidArgumentError(text, 'invalid_branch');
  }
  return name.replaceAll('%', '%25').replaceAll('/', '%2F');
}

/** @param {string} fileName */
export function branchFromFileName(fileName) {
  return fileName.replace(/%2F|%25/gi, (escape) => (escape === '%25' ? '%' : '/'));
}

/** @param {string} name */
function brokenBranchRule(name) {
  if (name === '') return 'it is empty';
  if (name.startsWith('-')) return 'it starts with a dash, like an option';
  if (name === 'HEAD') return 'HEAD stands for the commit that is checked out';
  const character = /[\x00-\x20\x7f~^:?*[\\]|\.\.|@\{/.exec(name)?.[0];
  if (character) return `it contains ${JSON.stringify(character)}`;
  if (name.endsWith('.')) return 'it ends with a dot';
  for (const component of name.split('/')) {
    if (component === '') return 'it starts or ends with a slash, or has two in a row';
    if (component.startsWith('.')) return 'a component starts with a dot';
    if (component.endsWith('.lock')) return 'a component ends with ".lock"';
    if (Buffer.byteLength(component) > COMPONENT_MAX) {
      return `a component is longer than ${COMPONENT_MAX} bytes`;
    }
  }
  return undefined;
}

/**
 * Sorts names by their bytes in UTF-8, as Git does. The order of strings in JavaScript differs for
 * characters beyond U+FFFF.
 * @param {string[]} names
 */
export function sortByBytes(names) {
  return names
    .map((name) => Buffer.from(name))
    .sort(Buffer.compare)
    .map(String);
}
