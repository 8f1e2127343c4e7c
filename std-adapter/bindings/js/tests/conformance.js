/**
 * The operations of the conformance table.
 * @module
 */

import assert from 'node:assert/strict';

import { Commit, DatakitError } from 'datakit';

/** @typedef {import('datakit').Database} Database */
/** @typedef {import('datakit').Transaction} Transaction */
/** @typedef {import('datakit').Tree} Tree */
/** @typedef {Record<string, any>} Arguments */

/** The timeout of `next` in milliseconds. */
const NEXT_TIMEOUT = 20_000;

/** @param {any} content */
function toBuffer(content) {
  if (typeof content === 'string') return Buffer.from(content);
  if ('base64' in content) return Buffer.from(content.base64, 'base64');
  return Buffer.from(content.repeat.repeat(content.times));
}

/**
 * Converts the contents in an expected result to bytes.
 * @param {any} expected
 */
function comparable(expected) {
  if (expected === null || typeof expected !== 'object') return expected;
  if ('base64' in expected || 'repeat' in expected) return toBuffer(expected);
  for (const key of ['file', 'exec']) {
    if (key in expected) return { [key]: toBuffer(expected[key]) };
  }
  return expected;
}

/** Executes the steps of one test case on one connection. */
export class Runner {
  /** @type {Map<string, any>} */
  #bound = new Map();
  /** @type {Map<string, Transaction>} */
  #transactions = new Map();
  /** @type {Map<string, any>} */
  #merges = new Map();
  /** @type {Map<string, import('datakit').Watch<any>>} */
  #watches = new Map();
  #database;

  /** @param {Database} database */
  constructor(database) {
    this.#database = database;
  }

  /**
   * Replaces `$NAME` with the result that was bound to `NAME`.
   * @param {any} value
   * @returns {any}
   */
  #resolve(value) {
    if (typeof value === 'string' && value.startsWith('$')) {
      assert(this.#bound.has(value.slice(1)), `${value} is not bound`);
      return this.#bound.get(value.slice(1));
    }
    if (Array.isArray(value)) return value.map((item) => this.#resolve(item));
    if (value === null || typeof value !== 'object') return value;
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, this.#resolve(v)]));
  }

  /**
   * Executes a step and compares its result with the expected result.
   * @param {Arguments} step
   */
  async step(step) {
    const resolved = this.#resolve(step);
    const operation = this.operations[step.op];
    assert(operation, `there is no operation ${step.op}`);
    let [result, kind] = /** @type {[any, string | undefined]} */ ([undefined, undefined]);
    try {
      result = await operation(resolved);
    } catch (error) {
      if (!(error instanceof DatakitError) || !('error' in step)) throw error;
      kind = error.kind;
    }
    assert.equal(kind, step.error, JSON.stringify(step));
    if ('bind' in step) this.#bound.set(step.bind, result);
    if (!('expect' in step)) return;
    const expected = comparable(resolved.expect);
    const isText = Buffer.isBuffer(result) && typeof expected === 'string';
    assert.deepEqual(result, isText ? Buffer.from(expected) : expected, JSON.stringify(step));
  }

  /** @param {Arguments} a */
  #branch(a) {
    return this.#database.branch(a.branch);
  }

  /** @param {string} hash */
  #commit(hash) {
    return new Commit(this.#database.client, hash);
  }

  /** @param {Arguments} a */
  #transaction(a) {
    return /** @type {Transaction} */ (this.#transactions.get(a.transaction));
  }

  /**
   * @param {Arguments} a
   * @returns {Tree}
   */
  #tree(a) {
    if (a.commit) return this.#commit(a.commit).tree;
    if (a.tree) return this.#database.tree(a.tree);
    if (a.side) return this.#merges.get(a.transaction)[a.side];
    return this.#transaction(a).tree;
  }

  /** @type {Record<string, (a: Arguments) => Promise<any>>} */
  operations = {
    branches: () => this.#database.branches(),
    branch: (a) => this.#branch(a),
    remove_branch: (a) => this.#database.removeBranch(a.branch),
    head: async (a) => (await (await this.#branch(a)).head())?.hash ?? null,
    fast_forward: async (a) => (await this.#branch(a)).fastForward(this.#commit(a.commit)),

    commit_files: async (a) => {
      /** @param {Arguments} file */
      const toFile = (file) => ({ ...file, path: file.path, content: toBuffer(file.content) });
      const changes = { files: a.files.map(toFile), remove: a.remove };
      return (await (await this.#branch(a)).commitFiles(a.message, changes)).hash;
    },
    merge_branch: async (a) => {
      const branch = await this.#branch(a);
      return (await branch.merge(this.#commit(a.commit), a.message)).hash;
    },

    commit: async (a) => (await this.#database.commit(a.hash)).hash,
    message: (a) => this.#commit(a.commit).message(),
    parents: async (a) => (await this.#commit(a.commit).parents()).map(({ hash }) => hash),
    diff: async (a) => {
      const old = this.#commit(a.old);
      const changes = a.transaction
        ? await this.#transaction(a).diff(old)
        : await this.#commit(a.new).diff(old);
      return changes.map(({ change, path }) => `${change} ${path}`).sort();
    },

    begin: async (a) => {
      this.#transactions.set(a.as, await (await this.#branch(a)).transaction());
    },
    end_commit: async (a) => (await this.#transaction(a).commit(a.message)).hash,
    abort: (a) => this.#transaction(a).abort(),
    create_dir: (a) => this.#transaction(a).createDir(a.path),
    make_dirs: (a) => this.#transaction(a).makeDirs(a.path),
    create_file: (a) => this.#transaction(a).createFile(a.path, toBuffer(a.content), a),
    create_files: (a) => {
      const paths = Array.from({ length: a.count }, (_, number) => `${a.prefix}${number}`);
      const content = toBuffer(a.content);
      const create = (/** @type {string} */ path) => this.#transaction(a).createFile(path, content);
      return Promise.all(paths.map(create));
    },
    create_symlink: (a) => this.#transaction(a).createSymlink(a.path, a.target),
    replace_file: (a) => this.#transaction(a).replaceFile(a.path, toBuffer(a.content)),
    create_or_replace_file: (a) =>
      this.#transaction(a).createOrReplaceFile(a.path, toBuffer(a.content)),
    set_executable: (a) => this.#transaction(a).setExecutable(a.path, a.executable),
    truncate: (a) => this.#transaction(a).truncate(a.path, a.length),
    remove: (a) => this.#transaction(a).remove(a.path),
    transaction_parents: async (a) =>
      (await this.#transaction(a).parents()).map(({ hash }) => hash),
    set_parents: (a) =>
      this.#transaction(a).setParents(a.parents.map((/** @type {string} */ p) => this.#commit(p))),
    merge: async (a) => {
      const merged = await this.#transaction(a).merge(this.#commit(a.commit));
      this.#merges.set(a.transaction, merged);
      return merged.conflicts.sort();
    },
    conflicts: async (a) => (await this.#transaction(a).conflicts()).sort(),

    read: async (a) => {
      const content = await this.#tree(a).read(a.path);
      if (content.kind === 'dir') return { dir: content.names };
      return content.kind === 'link' ? { link: content.target } : { file: content.data };
    },
    read_file: (a) => this.#tree(a).readFile(a.path),
    read_dir: (a) => this.#tree(a).readDir(a.path),
    count_dir: async (a) => (await this.#tree(a).readDir(a.path)).length,
    read_link: (a) => this.#tree(a).readLink(a.path),
    stat: (a) => this.#tree(a).stat(a.path),
    exists: (a) => this.#tree(a).exists(a.path),
    exists_file: (a) => this.#tree(a).existsFile(a.path),
    exists_dir: (a) => this.#tree(a).existsDir(a.path),

    watch_head: async (a) => {
      this.#watches.set(a.as, (await this.#branch(a)).watchHead());
    },
    watch_path: async (a) => {
      this.#watches.set(a.as, (await this.#branch(a)).watchPath(a.path));
    },
    next: async (a) => {
      const { value } = await within(NEXT_TIMEOUT, this.#watches.get(a.watch)?.next());
      if (value instanceof Commit) return value.hash;
      if (value?.kind === 'dir') return { dir: await value.tree.readDir('') };
      if (value?.kind === 'link') return { link: value.target };
      return value ? { [value.kind]: value.data } : value;
    },
    close_watch: async (a) => this.#watches.get(a.watch)?.return(),
  };
}

/**
 * @template T
 * @param {number} limit
 * @param {Promise<T> | undefined} result
 * @returns {Promise<any>}
 */
async function within(limit, result) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const expired = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no value within ${limit} ms`)), limit);
  });
  return Promise.race([result, expired]).finally(() => clearTimeout(timer));
}
