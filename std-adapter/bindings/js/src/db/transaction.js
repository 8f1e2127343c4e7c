/**
 * Transactions, which change branches.
 * @module
 */

import { DatakitError, ServerError } from '../errors.js';
import { partToBytes } from '../file_handle.js';
import { parseChanges, parseCommits, parseHead } from './commit.js';
import { entryNames, treeNames } from './names.js';
import { uniqueName } from './remote_path.js';
import { Tree } from './tree.js';

/** @typedef {import('../client.js').Client} Client */
/** @typedef {import('../wire.js').Text} Text */
/** @typedef {import('./branch.js').Branch} Branch */
/** @typedef {import('./commit.js').Commit} Commit */
/** @typedef {import('./names.js').TreePath} TreePath */
/** @typedef {import('./remote_path.js').RemotePath} RemotePath */
/** @typedef {string | NodeJS.ArrayBufferView} FileContent */

/**
 * The result of a merge into a transaction. The trees can be read until the next merge or until the
 * transaction ends.
 * @typedef {object} MergeResult
 * @property {Tree} ours The tree of the transaction before the merge.
 * @property {Tree} theirs The tree of the merged commit.
 * @property {Tree} base The tree of the common ancestor. It is empty if there is no common
 *   ancestor.
 * @property {string[]} conflicts The paths of the conflicting files. Each file contains a
 *   description of its conflict. Replace or remove each file before committing.
 */

/**
 * @typedef {object} CommitOptions
 * @property {boolean} [fastForwardOnly] If the head of the branch has changed since the transaction
 *   started, fail with `EBUSY` instead of merging.
 * @property {boolean} [ifChanged] Skip the commit if the tree is identical to the tree of the head.
 */

/** The maximum number of names that `start` tries for a new transaction. */
const MAX_TRIES = 3;

/**
 * A set of changes to a branch that are committed together or not at all.
 *
 * A transaction starts from the current head of the branch. The commit merges the transaction with
 * later changes to the branch and fails if there are conflicts. If the transaction was not
 * committed, `await using` aborts it at the end of the scope. When the connection closes, the
 * server aborts its transactions. After a commit or an abort, all methods except `abort` fail with
 * kind `transaction_ended`.
 */
export class Transaction {
  #branch;
  #dir;
  #ended = false;

  /**
   * @param {Branch} branch
   * @param {RemotePath} dir
   */
  constructor(branch, dir) {
    this.#branch = branch;
    this.#dir = dir;
  }

  /**
   * Starts a transaction.
   * @param {Branch} branch
   * @param {RemotePath} dir The directory of the branch.
   * @returns {Promise<Transaction>}
   */
  static async start(branch, dir) {
    const all = dir.join('transactions');
    for (let tries = 1; ; tries++) {
      const name = uniqueName();
      try {
        await all.mkdir(name);
        return new Transaction(branch, all.join(name));
      } catch (error) {
        const taken = error instanceof ServerError && error.code === 'EEXIST';
        if (!taken || tries === MAX_TRIES) throw error;
      }
    }
  }

  /** The branch to which the transaction commits. */
  get branch() {
    return this.#branch;
  }

  /** `true` once the transaction has been committed or aborted. */
  get ended() {
    return this.#ended;
  }

  #checkOpen() {
    if (!this.#ended) return;
    throw new DatakitError('the transaction has already been committed or aborted', {
      code: 'ERR_TRANSACTION_ENDED',
      kind: 'transaction_ended',
    });
  }

  /** @param {string} name */
  #control(name) {
    this.#checkOpen();
    return this.#dir.join(name);
  }

  /** @param {TreePath} path */
  #entry(path) {
    const { dir, name } = entryNames(path);
    const parent = this.#control('rw').join(...dir);
    return { parent, name, full: parent.join(name) };
  }

  /** @param {string} name */
  #subtree(name) {
    return new Tree(this.#dir.join(name), () => this.#checkOpen());
  }

  /** The current tree, which includes all changes made so far. */
  get tree() {
    return this.#subtree('rw');
  }

  /**
   * Creates a directory. Git cannot store empty directories, so the commit omits directories
   * without files.
   * @param {TreePath} path
   */
  async createDir(path) {
    const { parent, name } = this.#entry(path);
    await parent.mkdir(name);
  }

  /**
   * Creates a directory and any missing parents. Fails with kind `not_dir` if the path or one of
   * its parents exists and is not a directory.
   * @param {TreePath} path
   */
  async makeDirs(path) {
    const names = treeNames(path);
    if (names.length === 0) return;
    try {
      await this.createDir(path);
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      if (error.code === 'ENOENT') {
        await this.makeDirs(names.slice(0, -1).join('/'));
        await this.makeDirs(path);
      } else if (error.code === 'EEXIST') {
        if (!(await this.tree.existsDir(path))) throw ServerError.of('ENOTDIR');
      } else {
        throw error;
      }
    }
  }

  /**
   * In 9P2000.L, removes an existing file or link, because a create request in this dialect does
   * not replace it. Does nothing in the other dialects.
   * @param {RemotePath} file
   */
  async #removeExisting(file) {
    if (file.client.dialect !== '9P2000.L') return;
    await file
      .atFile('create', (fid) => fid.remove())
      .catch((error) => {
        if (!(error instanceof ServerError && error.code === 'ENOENT')) throw error;
      });
  }

  /**
   * Creates a file, replacing any existing file or link. The parent directory must exist.
   * @param {TreePath} path
   * @param {FileContent} content
   * @param {{ executable?: boolean }} [options]
   */
  async createFile(path, content, { executable = false } = {}) {
    const { parent, name, full } = this.#entry(path);
    await this.#removeExisting(full);
    await parent.createFile(name, partToBytes(content), permissions(executable));
  }

  /**
   * Creates a symbolic link, replacing any existing file or link. Fails with `EOPNOTSUPP` in
   * 9P2000.
   * @param {TreePath} path
   * @param {Text} target
   */
  async createSymlink(path, target) {
    const { parent, name, full } = this.#entry(path);
    await this.#removeExisting(full);
    await parent.at('symlink', (dir) => dir.symlink(name, target));
  }

  /**
   * Replaces the content of an existing file. An executable file remains executable.
   * @param {TreePath} path
   * @param {FileContent} content
   */
  async replaceFile(path, content) {
    await this.#entry(path).full.replace(partToBytes(content));
  }

  /**
   * Replaces the content of a file, creating the file if it does not exist. The parent directory
   * must exist.
   * @param {TreePath} path
   * @param {FileContent} content
   */
  async createOrReplaceFile(path, content) {
    try {
      await this.replaceFile(path, content);
    } catch (error) {
      if (!(error instanceof ServerError && error.code === 'ENOENT')) throw error;
      await this.createFile(path, content);
    }
  }

  /**
   * Sets whether a file is executable. If the path is a symbolic link, it becomes a file that
   * contains the link's target.
   * @param {TreePath} path
   * @param {boolean} executable
   */
  async setExecutable(path, executable) {
    const mode = permissions(executable);
    await this.#entry(path).full.atFile('chmod', (fid) => fid.setAttributes({ mode }));
  }

  /**
   * Sets the length of a file in bytes. Truncates the file or extends it with zeros.
   * @param {TreePath} path
   * @param {number} length
   */
  async truncate(path, length) {
    await this.#entry(path).full.atFile('truncate', (fid) => fid.setAttributes({ length }));
  }

  /**
   * Removes a file, a link, or a directory and its contents.
   * @param {TreePath} path
   */
  async remove(path) {
    await this.#entry(path).full.remove();
  }

  /**
   * Returns the parents that the new commit will have: the commit from which the transaction
   * started, followed by the merged commits.
   */
  async parents() {
    return parseCommits(this.#dir.client, await this.#control('parents').readText());
  }

  /**
   * Sets the parents of the new commit. Does not change any files.
   * @param {Commit[]} parents
   */
  async setParents(parents) {
    const lines = parents.map((parent) => `${parent.hash}\n`).join('');
    await this.#control('parents').replace(Buffer.from(lines));
  }

  /**
   * Sets the author of the commit, in the form `NAME <MAIL>`. A date may follow.
   * @param {string} author
   */
  async setAuthor(author) {
    await this.#control('author').replace(Buffer.from(author));
  }

  /**
   * Returns the changes from `old` to the current tree, sorted by path.
   * @param {Commit} old
   */
  async diff(old) {
    return parseChanges(await this.#control('diff').join(old.hash).readText());
  }

  /**
   * Merges a commit into the transaction and adds it to the parents. Conflicts are not an error.
   * Fails with kind `open_conflicts` if the previous merge left conflicts that have not been
   * resolved.
   * @param {Commit} theirs
   * @returns {Promise<MergeResult>}
   */
  async merge(theirs) {
    await this.#control('merge').command(theirs.hash);
    const conflicts = await this.conflicts();
    const [ours, base] = [this.#subtree('ours'), this.#subtree('base')];
    return { ours, theirs: this.#subtree('theirs'), base, conflicts };
  }

  /**
   * Returns the paths of the files that are still in conflict. Writing or removing a file resolves
   * its conflict.
   */
  async conflicts() {
    try {
      const text = await this.#control('conflicts').readText();
      return text.split('\n').filter((line) => line !== '');
    } catch (error) {
      // The `conflicts` file does not exist until the first merge.
      if (error instanceof ServerError && error.code === 'ENOENT') return [];
      throw error;
    }
  }

  /**
   * Commits the changes and ends the transaction. Returns the new head, which is a merge commit if
   * the branch has changed since the transaction started.
   *
   * Fails with kind `conflict` if the branch and the transaction both changed the same file, and
   * with kind `open_conflicts` if a merge left conflicts that have not been resolved. After either
   * error, the transaction remains open.
   * @param {string} message
   * @param {CommitOptions} [options]
   * @returns {Promise<Commit>}
   */
  async commit(message, { fastForwardOnly = false, ifChanged = false } = {}) {
    await this.#control('msg').replace(Buffer.from(message));
    const words = ['commit'];
    if (fastForwardOnly) words.push('ff-only');
    if (ifChanged) words.push('if-changed');
    const reply = await this.#runCommit(words);
    this.#ended = true;
    const head = parseHead(this.#dir.client, reply) ?? (await this.#branch.head());
    if (!head) throw ServerError.of('ENOENT', 'the branch was removed after the commit');
    return head;
  }

  /** @param {string[]} words */
  async #runCommit(words) {
    const ctl = this.#control('ctl');
    try {
      return await ctl.commandWithReply([...words, 'id'].join(' '));
    } catch (error) {
      const old = error instanceof ServerError && error.text.startsWith('Unknown command ');
      if (!old || words.length > 1) throw error;
      // The original DataKit server does not support the options and does not return the head.
      await ctl.command('commit');
      return '';
    }
  }

  /**
   * Ends the transaction without committing it. Does nothing if the transaction has already ended.
   * Never fails.
   */
  async abort() {
    if (this.#ended) return;
    this.#ended = true;
    await this.#dir
      .join('ctl')
      .command('close')
      .catch(() => {
        // Ignore the error, because the server also ends the transaction when the connection
        // closes.
      });
  }

  async [Symbol.asyncDispose]() {
    await this.abort();
  }
}

/** @param {boolean} executable */
function permissions(executable) {
  return executable ? 0o755 : 0o644;
}
