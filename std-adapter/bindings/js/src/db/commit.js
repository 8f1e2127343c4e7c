/**
 * Commits and the differences between them.
 * @module
 */

import { ProtocolError, ServerError } from '../errors.js';
import { readChunks } from '../transfer.js';
import { checkHash } from './names.js';
import { RemotePath } from './remote_path.js';
import { Tree } from './tree.js';

/** @typedef {import('../client.js').Client} Client */

/**
 * A file that differs between two trees. `+` means that the file was added, `-` that it was
 * removed, and `*` that its content or mode changed. Directories are not listed.
 * @typedef {{ change: '+' | '-' | '*', path: string }} Change
 */

/**
 * The fields of a commit.
 * @typedef {object} CommitDetails
 * @property {string} hash
 * @property {string[]} parents
 * @property {string} author The author in the form `NAME <MAIL>`.
 * @property {string} date The author date in RFC 3339 format.
 * @property {string} message
 */

/** The maximum length in bytes of a line in a history. */
const MAX_LINE = 64 << 20;

/** A commit of the database. A commit never changes. The constructor sends no request. */
export class Commit {
  #dir;

  /**
   * @param {Client} client
   * @param {string} hash
   */
  constructor(client, hash) {
    /** The commit's hash: 40 hexadecimal digits. */
    this.hash = checkHash(hash);
    this.#dir = new RemotePath(client, ['snapshots', hash]);
  }

  toString() {
    return this.hash;
  }

  /** The tree of the commit. */
  get tree() {
    return new Tree(this.#dir.join('ro'));
  }

  /** Returns the message. */
  async message() {
    // The server appends a newline to the message.
    return (await this.#dir.join('msg').readText()).replace(/\n$/, '');
  }

  /**
   * Returns the parents in the order in which the commit stores them.
   * @returns {Promise<Commit[]>}
   */
  async parents() {
    return parseCommits(this.#dir.client, await this.#dir.join('parents').readText());
  }

  /**
   * Returns the changes from `old` to this commit, sorted by path.
   * @param {Commit} old
   */
  async diff(old) {
    return parseChanges(await this.#dir.join('diff', old.hash).readText());
  }

  /**
   * Returns an iterator over this commit and its ancestors, newest first, in the order of
   * `git log`. The iterator reads the history in pieces.
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {AsyncGenerator<CommitDetails, void>}
   */
  async *history({ signal } = {}) {
    const file = await this.#dir.join('log').open(signal);
    try {
      let rest = Buffer.alloc(0);
      for await (const data of readChunks(file, 0, signal)) {
        rest = Buffer.concat([rest, data]);
        let start = 0;
        for (let end; (end = rest.indexOf('\n', start)) >= 0; start = end + 1) {
          yield parseDetails(rest.toString('utf8', start, end));
        }
        rest = rest.subarray(start);
        if (rest.length > MAX_LINE) throw ServerError.of('EFBIG', 'a line of the log is too long');
      }
      if (rest.length > 0) throw new ProtocolError('the log ends in the middle of a line');
    } finally {
      file.release();
    }
  }
}

/**
 * Parses lines that each contain one hash.
 * @param {Client} client
 * @param {string} text
 */
export function parseCommits(client, text) {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => parseCommit(client, line));
}

/**
 * Parses a hash that the server sent.
 * @param {Client} client
 * @param {string} text
 */
export function parseCommit(client, text) {
  const hash = text.trim();
  if (!/^[0-9a-f]{40}$/.test(hash)) {
    throw new ProtocolError(
      `the server sent ${JSON.stringify(hash.slice(0, 80))} instead of a hash`,
    );
  }
  return new Commit(client, hash);
}

/**
 * Parses a line that contains a hash. Returns `null` for a blank line, which means that there is no
 * commit.
 * @param {Client} client
 * @param {string} line
 */
export function parseHead(client, line) {
  return line.trim() === '' ? null : parseCommit(client, line);
}

/**
 * Parses lines of the form `+ PATH`, `- PATH` or `* PATH`.
 * @param {string} text
 * @returns {Change[]}
 */
export function parseChanges(text) {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      if (!/^[-+*] ./.test(line)) throw new ProtocolError('a line of a diff is invalid');
      return { change: /** @type {Change['change']} */ (line[0]), path: line.slice(2) };
    });
}

/**
 * Parses a line of a log.
 * @param {string} line
 * @returns {CommitDetails}
 */
function parseDetails(line) {
  const fields = line.split('\t');
  if (fields.length !== 5) throw new ProtocolError('a line of a log does not have 5 fields');
  const [hash, parents, date, author, message] = fields;
  return {
    hash,
    parents: parents.split(' ').filter((parent) => parent !== ''),
    date,
    author: unescape(author),
    message: unescape(message),
  };
}

/** @param {string} text */
function unescape(text) {
  return text.replace(/\\(\\|n|t|x[0-9a-f]{2})/g, (_, code) => {
    if (code === '\\') return '\\';
    if (code === 'n') return '\n';
    if (code === 't') return '\t';
    return String.fromCharCode(parseInt(code.slice(1), 16));
  });
}
