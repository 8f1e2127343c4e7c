/**
 * Names in the database: tree paths, commit hashes and branch names. These functions check names
 * before a request is sent.
 * @module
 */

import { InvalidArgumentError } from '../errors.js';

/**
 * A path in a tree: names separated by single slashes, for example `etc/hosts`. The empty string is
 * the root.
 * @typedef {string} TreePath
 */

/**
 * Returns the names in a path. Throws an error of kind `invalid_path` if the path is not valid.
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
 * Splits the path of a file or directory into the names of its parent directories and its own name.
 * Throws an error of kind `invalid_path` if the path is not valid or is the root.
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
  if (name === '.' || name === '..') return 'the names . and .. are not allowed';
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
 * Returns the text if it is a valid hash. Otherwise throws an error of kind `invalid_hash`.
 * @param {string} text
 */
export function checkHash(text) {
  if (/^[0-9a-f]{40}$/.test(text)) return text;
  const reason = 'a hash has 40 digits from 0 to 9 and a to f';
  throw new InvalidArgumentError(`invalid hash ${JSON.stringify(text)}: ${reason}`, 'invalid_hash');
}

/**
 * The maximum length, in bytes, of a branch name component. The component must still be a valid
 * file name once `.lock` has been appended.
 */
const COMPONENT_MAX = 250;

/**
 * Throws an error of kind `invalid_branch` if the name violates a rule of `git check-ref-format
 * --branch`.
 * @param {string} name
 */
export function checkBranch(name) {
  const reason = brokenBranchRule(name);
  if (reason) {
    const text = `invalid branch name ${JSON.stringify(name)}: ${reason}`;
    throw new InvalidArgumentError(text, 'invalid_branch');
  }
}

/**
 * Returns the name of a branch's directory on the server. In this name, `/` is written as `%2F` and
 * `%` as `%25`. Throws an error of kind `invalid_branch` if the name is not valid.
 * @param {string} name
 */
export function branchToFileName(name) {
  checkBranch(name);
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
 * Sorts names by their UTF-8 bytes, as Git does. JavaScript compares UTF-16 code units, which
 * orders characters above U+FFFF differently.
 * @param {string[]} names
 */
export function sortByBytes(names) {
  return names
    .map((name) => Buffer.from(name))
    .sort(Buffer.compare)
    .map(String);
}
