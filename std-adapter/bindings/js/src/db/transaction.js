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
 * The result of a merge into a transaction. The trees can be read until the next merge or the end
 * of the transaction.
 * @typedef {object} MergeResult
 * @property {Tree} ours The tree of the transaction before the merge.
 * @property {Tree} theirs The tree of the merged commit.
 * @property {Tree} base The tree of their common ancestor, empty if there is none.
 * @property {string[]} conflicts The paths of the files in conflict. Each contains a description of
 *   its conflict, and must be replaced or removed before the commit.
 */

/**
 * @typedef {object} CommitOptions
 * @property {boolean} [fastForwardOnly] Fail with `EBUSY` if the branch is no longer where the
 *   transaction started, instead of merging.
 * @property {boolean} [ifChanged] Make no commit if the tree is the same as that of the head.
 */

/** The largest number of names that are tried for a new transaction. */
const MAX_TRIES = 3;

/**
 * A set of changes to a branch that are committed together or not at all.
 *
 * A transaction starts from the head of the branch. The commit merges it with later changes to the
 * branch, and fails if there are conflicts. `await using` aborts a transaction that was not
 * committed; the end of the connection does the same. After a commit or an abort, all methods
 * except `abort` fail with the kind `transaction_ended`.
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

  /** The branch that the commit changes. */
  get branch() {
    return this.#branch;
  }

  /** `true` after a commit or an abort. */
  get ended() {
    return this.#ended;
  }

  #checkOpen() {
    if (!this.#ended) return;
    throw new DatakitError('the transaction was committed or aborted', {
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

  /** The current tree, with all changes made so far. */
  get tree() {
    return this.#subtree('rw');
  }

  /**
   * Creates a directory. Git has no empty directories, so it is committed only with a file in it.
   * @param {TreePath} path
   */
  async createDir(path) {
    const { parent, name } = this.#entry(path);
    await parent.mkdir(name);
  }

  /**
   * Creates a directory and its missing parents. Fails with the kind `not_dir` if one of them
   * exists and is not a directory.
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
   * Removes a file or a link before it is created anew. In 9P2000.L, the server does not replace
   * it.
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
   * Creates a file, or replaces a file or a link. The directory must exist.
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
   * Creates a symbolic link, or replaces a file or a link. Fails with `EOPNOTSUPP` in 9P2000.
   * @param {TreePath} path
   * @param {Text} target
   */
  async createSymlink(path, target) {
    const { parent, name, full } = this.#entry(path);
    await this.#removeExisting(full);
    await parent.at('symlink', (dir) => dir.symlink(name, target));
  }

  /**
   * Replaces the content of a file. An executable file stays executable.
   * @param {TreePath} path
   * @param {FileContent} content
   */
  async replaceFile(path, content) {
    await this.#entry(path).full.replace(partToBytes(content));
  }

  /**
   * Replaces the content of a file, or creates the file. The directory must exist.
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
   * Sets whether a file is executable. A link becomes a file that contains its target.
   * @param {TreePath} path
   * @param {boolean} executable
   */
  async setExecutable(path, executable) {
    const mode = permissions(executable);
    await this.#entry(path).full.atFile('chmod', (fid) => fid.setAttributes({ mode }));
  }

  /**
   * Cuts a file to `length` bytes, or extends it with zeros.
   * @param {TreePath} path
   * @param {number} length
   */
  async truncate(path, length) {
    await this.#entry(path).full.atFile('truncate', (fid) => fid.setAttributes({ length }));
  }

  /**
   * Removes a file, a link, or a directory with all that is in it.
   * @param {TreePath} path
   */
  async remove(path) {
    await this.#entry(path).full.remove();
  }

  /** Reads the parents of the new commit: the start of the transaction, then the merged commits. */
  async parents() {
    return parseCommits(this.#dir.client, await this.#control('parents').readText());
  }

  /**
   * Sets the parents of the new commit. Changes no files.
   * @param {Commit[]} parents
   */
  async setParents(parents) {
    const lines = parents.map((parent) => `${parent.hash}\n`).join('');
    await this.#control('parents').replace(Buffer.from(lines));
  }

  /**
   * Sets the author of the commit: `NAME <MAIL>`, followed by a date or not.
   * @param {string} author
   */
  async setAuthor(author) {
    await this.#control('author').replace(Buffer.from(author));
  }

  /**
   * Reads the changes from `old` to the current tree, sorted by path.
   * @param {Commit} old
   */
  async diff(old) {
    return parseChanges(await this.#control('diff').join(old.hash).readText());
  }

  /**
   * Merges a commit into the transaction and adds it to the parents. Conflicts are no error. Fails
   * with the kind `open_conflicts` if the last merge left conflicts that are not resolved.
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
   * Reads the paths that are still in conflict. Writing or removing a file resolves its conflict.
   */
  async conflicts() {
    try {
      const text = await this.#control('conflicts').readText();
      return text.split('\n').filter((line) => line !== '');
    } catch (error) {
      // The file does not exist before the first merge.
      if (error instanceof ServerError && error.code === 'ENOENT') return [];
      throw error;
    }
  }

  /**
   * Commits the changes and ends the transaction. Returns the new head, which is a merge commit if
   * the branch has changed since the transaction started.
   *
   * Fails with the kinds `conflict` and `open_conflicts`, which leave the transaction open.
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
      // The original server has no options and does not return the head.
      await ctl.command('commit');
      return '';
    }
  }

  /** Ends the transaction without a commit. Never fails, and does nothing if it has ended. */
  async abort() {
    if (this.#ended) return;
    this.#ended = true;
    await this.#dir
      .join('ctl')
      .command('close')
      .catch(() => {
        // A lost connection ends the transaction as well.
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
