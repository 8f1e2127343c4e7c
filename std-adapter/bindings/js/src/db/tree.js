/**
 * Reads the files of a tree.
 * @module
 */

import { DatakitError, ServerError } from '../errors.js';
import { READ } from '../messages.js';
import { MAX_FILE, readToEnd } from '../transfer.js';
import { readDirectory } from '../listing.js';
import { sortByBytes, treeNames } from './names.js';

/** @typedef {import('../fid.js').Fid} Fid */
/** @typedef {import('../stats.js').Stats} Stats */
/** @typedef {import('./names.js').TreePath} TreePath */
/** @typedef {import('./remote_path.js').RemotePath} RemotePath */
/** @typedef {{ signal?: AbortSignal }} SignalOption */

/**
 * The type of a tree entry. Git distinguishes these four types.
 * @typedef {'file' | 'exec' | 'link' | 'dir'} Kind
 */

/**
 * The content of a tree entry: the bytes of a file, the sorted names in a directory, or the target
 * of a symbolic link.
 * @typedef {{ kind: 'file' | 'exec', data: Buffer } | { kind: 'dir', names: string[] }
 *   | { kind: 'link', target: string }} TreeContent
 */

/**
 * The tree of a commit, the tree of a transaction, or an object with a given id.
 *
 * Every method sends requests. Once a transaction has ended, the methods of its trees fail with
 * kind `transaction_ended`.
 */
export class Tree {
  #root;
  #checkOpen;

  /**
   * @param {RemotePath} root
   * @param {() => void} [checkOpen] Throws if the tree's transaction has ended.
   */
  constructor(root, checkOpen = () => {}) {
    this.#root = root;
    this.#checkOpen = checkOpen;
  }

  /**
   * @template T
   * @param {string} syscall
   * @param {TreePath} path
   * @param {AbortSignal | undefined} signal
   * @param {(fid: Fid, stats: Stats) => Promise<T>} f
   */
  async #at(syscall, path, signal, f) {
    const names = treeNames(path);
    this.#checkOpen();
    const statAnd = async (/** @type {Fid} */ fid) => f(fid, await fid.stat(signal));
    return this.#root.join(...names).at(syscall, statAnd, signal);
  }

  /**
   * Reads a tree entry of any kind.
   * @param {TreePath} path
   * @param {SignalOption} [options]
   * @returns {Promise<TreeContent>}
   */
  async read(path, { signal } = {}) {
    return this.#at('read', path, signal, async (fid, stats) => {
      const kind = kindOf(stats);
      if (kind === 'dir') return { kind, names: await list(fid, signal) };
      if (kind === 'link') return { kind, target: String(await target(fid, stats, signal)) };
      return { kind, data: await content(fid, signal) };
    });
  }

  /**
   * Reads a file. The file may be executable. Fails with kind `not_file` if the path is a directory
   * or a link.
   * @overload
   * @param {TreePath} path
   * @param {{ encoding?: null } & SignalOption} [options]
   * @returns {Promise<Buffer>}
   */
  /**
   * @overload
   * @param {TreePath} path
   * @param {({ encoding: BufferEncoding } & SignalOption) | BufferEncoding} options
   * @returns {Promise<string>}
   */
  /**
   * @param {TreePath} path
   * @param {({ encoding?: BufferEncoding | null } & SignalOption) | BufferEncoding} [options]
   * @returns {Promise<Buffer | string>}
   */
  async readFile(path, options) {
    const { encoding = null, signal } =
      typeof options === 'string' ? { encoding: options } : (options ?? {});
    return this.#at('readFile', path, signal, async (fid, stats) => {
      if (stats.isDirectory()) throw wrongKind('EISDIR', 'not_file', 'Not a file', path);
      if (stats.isSymbolicLink()) throw wrongKind('EINVAL', 'not_file', 'Not a file', path);
      const data = await content(fid, signal);
      return encoding ? data.toString(encoding) : data;
    });
  }

  /**
   * Returns the names in a directory, sorted by their UTF-8 bytes.
   * @param {TreePath} path
   * @param {SignalOption} [options]
   */
  async readDir(path, { signal } = {}) {
    return this.#at('readDir', path, signal, async (fid, stats) => {
      if (!stats.isDirectory()) throw ServerError.of('ENOTDIR');
      return list(fid, signal);
    });
  }

  /**
   * Reads the target of a symbolic link. Fails with kind `not_symlink` if the path is not a
   * symbolic link.
   * @param {TreePath} path
   * @param {SignalOption} [options]
   */
  async readLink(path, { signal } = {}) {
    return this.#at('readLink', path, signal, async (fid, stats) => {
      if (!stats.isSymbolicLink()) throw wrongKind('EINVAL', 'not_symlink', 'Not a symlink', path);
      return String(await target(fid, stats, signal));
    });
  }

  /**
   * Returns the kind and size of a tree entry, or `null` if the path does not exist. The size is in
   * bytes and is 0 for directories.
   * @param {TreePath} path
   * @param {SignalOption} [options]
   * @returns {Promise<{ kind: Kind, size: number } | null>}
   */
  async stat(path, { signal } = {}) {
    try {
      return await this.#at('stat', path, signal, async (_, stats) => {
        const kind = kindOf(stats);
        return { kind, size: kind === 'dir' ? 0 : stats.size };
      });
    } catch (error) {
      if (error instanceof ServerError && /^(ENOENT|ENOTDIR)$/.test(error.code)) return null;
      throw error;
    }
  }

  /**
   * @param {TreePath} path
   * @param {SignalOption} [options]
   */
  async exists(path, options) {
    return (await this.stat(path, options)) !== null;
  }

  /**
   * Returns `true` if the path exists and is not a directory.
   * @param {TreePath} path
   * @param {SignalOption} [options]
   */
  async existsFile(path, options) {
    const stat = await this.stat(path, options);
    return stat !== null && stat.kind !== 'dir';
  }

  /**
   * @param {TreePath} path
   * @param {SignalOption} [options]
   */
  async existsDir(path, options) {
    return (await this.stat(path, options))?.kind === 'dir';
  }
}

/**
 * Returns the kind of a tree entry. Uses the mode, because the original DataKit server's qids do
 * not identify symbolic links.
 * @param {Stats} stats
 * @returns {Kind}
 */
function kindOf(stats) {
  if (stats.isDirectory()) return 'dir';
  if (stats.isSymbolicLink()) return 'link';
  return stats.mode & 0o100 ? 'exec' : 'file';
}

/**
 * @param {string} code
 * @param {import('../errors.js').ErrorKind} kind
 * @param {string} text
 * @param {TreePath} path
 */
function wrongKind(code, kind, text, path) {
  return new DatakitError(`${code}: ${text}, '${path}'`, { code, kind });
}

/**
 * @param {Fid} fid
 * @param {AbortSignal | undefined} signal
 */
async function content(fid, signal) {
  return readToEnd(await fid.open(READ, signal), 0, MAX_FILE, signal);
}

/**
 * @param {Fid} fid
 * @param {AbortSignal | undefined} signal
 */
async function list(fid, signal) {
  const entries = await readDirectory(await fid.open(READ, signal), signal);
  return sortByBytes(entries.map((entry) => entry.name));
}

/**
 * Reads the target of a link. 9P2000 has no request for this, so the client reads the link like a
 * file.
 * @param {Fid} fid
 * @param {Stats} stats
 * @param {AbortSignal | undefined} signal
 */
async function target(fid, stats, signal) {
  if (stats.target) return stats.target;
  return fid.dialect === '9P2000.L' ? fid.readlink(signal) : content(fid, signal);
}
