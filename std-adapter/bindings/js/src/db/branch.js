/**
 * Database branches.
 * @module
 */

import { forEachConcurrently } from '../concurrent.js';
import { DatakitError, ProtocolError, ServerError } from '../errors.js';
import { Watch } from '../watch.js';
import { parseHead } from './commit.js';
import { branchToFileName, entryNames, treeNames } from './names.js';
import { RemotePath } from './remote_path.js';
import { Transaction } from './transaction.js';
import { Tree } from './tree.js';

/** @typedef {import('../client.js').Client} Client */
/** @typedef {import('./commit.js').Commit} Commit */
/** @typedef {import('./names.js').TreePath} TreePath */
/** @typedef {import('./transaction.js').FileContent} FileContent */
/** @typedef {{ signal?: AbortSignal }} SignalOption */

/**
 * The file, symbolic link or directory at a path in a branch.
 * @typedef {{ kind: 'file' | 'exec', data: Buffer } | { kind: 'link', target: string }
 *   | { kind: 'dir', tree: Tree }} PathValue
 */

/**
 * A file that `commitFiles` creates.
 * @typedef {{ path: TreePath, content: FileContent, executable?: boolean }} NewFile
 */

/** A branch, which may not have any commits yet. */
export class Branch {
  #dir;

  /**
   * @param {Client} client
   * @param {string} name
   */
  constructor(client, name) {
    this.#dir = new RemotePath(client, ['branch', branchToFileName(name)]);
    /** The branch's name, which may contain slashes. */
    this.name = name;
  }

  /**
   * Returns the newest commit, or `null` if there are no commits.
   * @param {SignalOption} [options]
   * @returns {Promise<Commit | null>}
   */
  async head({ signal } = {}) {
    return parseHead(this.#dir.client, await this.#dir.join('head').readText(signal));
  }

  /**
   * Removes the branch. Its commits remain readable as long as they are reachable from another
   * branch.
   */
  async remove() {
    await this.#dir.remove();
  }

  /**
   * Sets the head of the branch to `commit`. Fails with kind `not_fast_forward` if the branch has a
   * head and `commit` is not a descendant of that head.
   * @param {Commit} commit
   */
  async fastForward(commit) {
    await this.#dir.join('fast-forward').command(commit.hash);
  }

  /** Starts a transaction. */
  async transaction() {
    return Transaction.start(this, this.#dir);
  }

  /**
   * Calls `f` with a new transaction, which `f` must commit or abort. If `f` fails, aborts the
   * transaction and rejects with the error from `f`. If the transaction is still open when `f`
   * returns, aborts it and fails with the code `ERR_TRANSACTION_OPEN`.
   *
   *     const head = await branch.withTransaction(async (transaction) => {
   *       await transaction.createFile('motd', 'hello\n');
   *       return transaction.commit('Say hello');
   *     });
   * @template T
   * @param {(transaction: Transaction) => Promise<T>} f
   */
  async withTransaction(f) {
    const transaction = await this.transaction();
    try {
      const result = await f(transaction);
      if (transaction.ended) return result;
    } finally {
      await transaction.abort();
    }
    const code = 'ERR_TRANSACTION_OPEN';
    throw new DatakitError('the transaction was neither committed nor aborted', { code });
  }

  /**
   * Removes the paths in `remove`, creates the files in `files` along with their parent
   * directories, and commits the changes. If one of these steps fails, nothing is committed.
   * @param {string} message
   * @param {{ files?: NewFile[], remove?: TreePath[] }} changes
   * @returns {Promise<Commit>}
   */
  async commitFiles(message, { files = [], remove = [] }) {
    return this.withTransaction(async (transaction) => {
      for (const path of remove) await transaction.remove(path);
      const dirs = new Set(files.map(({ path }) => entryNames(path).dir.join('/')));
      for (const dir of dirs) await transaction.makeDirs(dir);
      await forEachConcurrently(files, ({ path, content, executable }) =>
        transaction.createFile(path, content, { executable }),
      );
      return transaction.commit(message);
    });
  }

  /**
   * Merges a commit into the branch. If there are conflicts, fails with kind `open_conflicts` and
   * leaves the branch unchanged.
   * @param {Commit} commit
   * @param {string} message
   * @returns {Promise<Commit>}
   */
  async merge(commit, message) {
    return this.withTransaction(async (transaction) => {
      const { conflicts } = await transaction.merge(commit);
      if (conflicts.length > 0) {
        const text = `the merge has conflicts: ${conflicts.join(', ')}`;
        throw new DatakitError(text, { code: 'EBUSY', kind: 'open_conflicts' });
      }
      return transaction.commit(message);
    });
  }

  /**
   * Watches the head. The first value is the current head, and each later value is a new head. A
   * value is `null` if the branch has no commits. If the caller does not read from the watch for a
   * while, the watch skips heads.
   * @param {SignalOption} [options]
   * @returns {Watch<Commit | null>}
   */
  watchHead(options) {
    return this.#watchCommits('head.live', options);
  }

  /**
   * Watches every change of the head without skipping any. A value is `null` if the branch was
   * removed. If the caller reads from the watch too slowly, the server ends it.
   *
   * The watch reports only changes made after the first call to `start` or `next`.
   * @param {SignalOption} [options]
   * @returns {Watch<Commit | null>}
   */
  reflog(options) {
    return this.#watchCommits('reflog', options);
  }

  /**
   * @param {string} file
   * @param {SignalOption} [options]
   */
  #watchCommits(file, { signal } = {}) {
    const path = this.#dir.join(file);
    return new Watch(
      (stop) => path.open(stop),
      (text) => lines(text).map((line) => parseHead(path.client, line)),
      signal,
    );
  }

  /**
   * Watches the value at a path. The first value is the current value, and each later value is a
   * new value. A value is `null` if the path does not exist. If the caller does not read from the
   * watch for a while, the watch skips values.
   * @param {TreePath} path
   * @param {SignalOption} [options]
   * @returns {Watch<PathValue | null>}
   */
  watchPath(path, { signal } = {}) {
    const nodes = treeNames(path).map((name) => `${name}.node`);
    const live = this.#dir.join('watch', ...nodes, 'tree.live');
    return new Watch(
      (stop) => live.open(stop),
      (text, stop) => Promise.all(lines(text).map((line) => readValue(live.client, line, stop))),
      signal,
    );
  }

  /**
   * Calls `f` with the current head and then with each new head until `f` returns a value other
   * than `undefined`. Returns that value.
   * @template T
   * @param {(head: Commit | null) => T | undefined | Promise<T | undefined>} f
   * @param {SignalOption} [options]
   */
  async waitForHead(f, options) {
    return waitFor(this.watchHead(options), f);
  }

  /**
   * Calls `f` with the current value at a path and then with each new value until `f` returns a
   * value other than `undefined`. Returns that value.
   * @template T
   * @param {TreePath} path
   * @param {(value: PathValue | null) => T | undefined | Promise<T | undefined>} f
   * @param {SignalOption} [options]
   */
  async waitForPath(path, f, options) {
    return waitFor(this.watchPath(path, options), f);
  }
}

/** @param {Buffer} delivery */
function lines(delivery) {
  return delivery.toString().replace(/\n$/, '').split('\n');
}

/**
 * Reads the object whose id is in a line read from `tree.live`.
 * @param {Client} client
 * @param {string} line
 * @param {AbortSignal} signal
 * @returns {Promise<PathValue | null>}
 */
async function readValue(client, line, signal) {
  const id = line.trim();
  if (id === '') return null;
  const object = new RemotePath(client, ['trees', id]);
  switch (id.slice(0, 2)) {
    case 'D-':
      return { kind: 'dir', tree: new Tree(object) };
    case 'F-':
      return { kind: 'file', data: await object.read(signal) };
    case 'X-':
      return { kind: 'exec', data: await object.read(signal) };
    case 'L-':
      return { kind: 'link', target: (await object.read(signal)).toString() };
    default:
      throw new ProtocolError(`tree.live has the invalid line ${JSON.stringify(id.slice(0, 80))}`);
  }
}

/**
 * @template V, T
 * @param {Watch<V>} watch
 * @param {(value: V) => T | undefined | Promise<T | undefined>} f
 * @returns {Promise<T>}
 */
async function waitFor(watch, f) {
  for await (const value of watch) {
    const result = await f(value);
    if (result !== undefined) return result;
  }
  throw ServerError.of('EPIPE', 'the server ended the stream');
}
