/**
 * The database: branches, commits, trees and remotes.
 * @module
 */

import { connect } from '../client.js';
import { Branch } from './branch.js';
import { Commit, parseCommit } from './commit.js';
import {
  branchFromFileName,
  branchToFileName,
  checkBranch,
  checkHash,
  sortByBytes,
} from './names.js';
import { RemotePath, uniqueName } from './remote_path.js';
import { Tree } from './tree.js';

/** @typedef {import('../client.js').Client} Client */

/**
 * A DataKit database.
 *
 * In 9P2000.L, errors have no text, so the kinds `conflict`, `open_conflicts` and
 * `not_fast_forward` are reported as `other`. In 9P2000, symbolic links cannot be created.
 */
export class Database {
  #client;

  /** @param {Client} client */
  constructor(client) {
    this.#client = client;
  }

  /**
   * Connects to a server.
   * @param {string} address `HOST`, `HOST:PORT`, `tcp://HOST:PORT`, `unix://PATH` or a path.
   * @param {import('../connect.js').ConnectOptions} [options]
   */
  static async connect(address, options) {
    return new Database(await connect(address, options));
  }

  /** The 9P client, for direct access to the database files. */
  get client() {
    return this.#client;
  }

  /** Closes the connection. Closing the connection aborts its transactions. */
  async close() {
    await this.#client.close();
  }

  async [Symbol.asyncDispose]() {
    await this.close();
  }

  /** @param {string[]} names */
  #path(...names) {
    return new RemotePath(this.#client, names);
  }

  /**
   * Returns the names of all branches that have commits and of all branches that this connection
   * has created. The names are sorted by their UTF-8 bytes.
   */
  async branches() {
    const names = await this.#path('branch').list();
    return sortByBytes(names.map(branchFromFileName));
  }

  /**
   * Returns a branch. If the branch does not exist, the server creates it for this connection.
   * Other clients see it after its first commit. Fails with kind `invalid_branch` if Git does not
   * allow the name.
   * @param {string} name
   */
  async branch(name) {
    const branch = new Branch(this.#client, name);
    // Creating the directory of an existing branch is not an error.
    await this.#path('branch').mkdir(branchToFileName(name));
    return branch;
  }

  /** @param {string} name */
  async removeBranch(name) {
    await new Branch(this.#client, name).remove();
  }

  /**
   * Returns the commit with the given hash. Fails with kind `invalid_hash` if `hash` is not a valid
   * hash, and with kind `does_not_exist` if there is no such commit.
   * @param {string} hash
   */
  async commit(hash) {
    await this.#path('commits', checkHash(hash)).read();
    return new Commit(this.#client, hash);
  }

  /**
   * Returns the tree with the given id. The id of a directory is `D-` followed by the hash of a Git
   * tree. The id of a file, an executable file or a symbolic link is `F-`, `X-` or `L-` followed by
   * the hash of a Git blob. In that case, the root of the returned tree is the file or link itself.
   * Sends no request. If the id does not exist, the methods that read the tree fail.
   * @param {string} id
   */
  tree(id) {
    return new Tree(this.#path('trees', id));
  }

  /**
   * Makes the server fetch a branch of another repository and returns the head of that branch. Does
   * not change any branch of this database. The server protects the commit from garbage collection
   * only until this method returns, so point a branch to the commit soon, for example with
   * `fastForward`. Fails with kind `invalid_branch` if Git does not allow the name. If the server
   * cannot fetch the branch, the `text` of the error contains Git's reason.
   * @param {string} url
   * @param {string} branch
   * @param {{ signal?: AbortSignal }} [options]
   */
  async fetch(url, branch, { signal } = {}) {
    // The server ignores an empty command, so `head` would never contain a hash.
    checkBranch(branch);
    const name = uniqueName();
    const remote = this.#path('remotes', name);
    await this.#path('remotes').mkdir(name);
    try {
      await remote.join('url').replace(Buffer.from(url));
      await remote.join('fetch').explainedCommand(branch, signal);
      return parseCommit(this.#client, await remote.join('head').readText(signal));
    } finally {
      // The original DataKit server cannot remove remotes, so errors are ignored.
      await remote.remove().catch(() => {});
    }
  }
}
