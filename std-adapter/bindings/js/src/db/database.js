/**
 * The database: branches, commits, trees and remotes.
 * @module
 */

import { connect } from '../client.js';
import { Branch } from './branch.js';
import { Commit, parseCommit } from './commit.js';
import { branchFromFileName, branchToFileName, checkHash, sortByBytes } from './names.js';
import { RemotePath, uniqueName } from './remote_path.js';
import { Tree } from './tree.js';

/** @typedef {import('../client.js').Client} Client */

/**
 * A Datakit database.
 *
 * In 9P2000.L, errors have no text, so the kinds `conflict`, `open_conflicts` and
 * `not_fast_forward` are reported as `other`. In 9P2000, links cannot be created.
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

  /** The connection, for the files of the database. */
  get client() {
    return this.#client;
  }

  /** Closes the connection, which aborts its transactions. */
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
   * Returns the names of the branches that have commits, and of those that this connection has
   * created, sorted by their bytes.
   */
  async branches() {
    const names = await this.#path('branch').list();
    return sortByBytes(names.map(branchFromFileName));
  }

  /**
   * Returns a branch, which may exist or not. Other clients see it from its first commit on. Fails
   * with the kind `invalid_branch` if Git does not allow the name.
   * @param {string} name
   */
  async branch(name) {
    const branch = new Branch(this.#client, name);
    // Creating the directory of an existing branch succeeds.
    await this.#path('branch').mkdir(branchToFileName(name));
    return branch;
  }

  /** @param {string} name */
  async removeBranch(name) {
    await new Branch(this.#client, name).remove();
  }

  /**
   * Returns the commit with a hash. Fails with the kinds `invalid_hash` and `does_not_exist`.
   * @param {string} hash
   */
  async commit(hash) {
    await this.#path('commits', checkHash(hash)).read();
    return new Commit(this.#client, hash);
  }

  /**
   * Returns the tree with an id: `D-` and the hash of a tree. With `F-`, `X-` or `L-` and the hash
   * of a blob, the root of the tree is a file. Sends no request, so a wrong id fails when it is
   * read.
   * @param {string} id
   */
  tree(id) {
    return new Tree(this.#path('trees', id));
  }

  /**
   * Makes the server fetch a branch of another repository, and returns its head. No branch of this
   * database changes: point one at the commit soon, because the server keeps it only meanwhile.
   * @param {string} url
   * @param {string} branch
   * @param {{ signal?: AbortSignal }} [options]
   */
  async fetch(url, branch, { signal } = {}) {
    const name = uniqueName();
    const remote = this.#path('remotes', name);
    await this.#path('remotes').mkdir(name);
    try {
      await remote.join('url').replace(Buffer.from(url));
      await remote.join('fetch').command(branch, signal);
      return parseCommit(this.#client, await remote.join('head').readText());
    } finally {
      // The original server does not remove remotes.
      await remote.remove().catch(() => {});
    }
  }
}
