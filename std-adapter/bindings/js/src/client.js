/**
 * A client with the methods of `node:fs/promises`.
 * @module
 */

import { connectRoot } from './connect.js';
import { ServerError } from './errors.js';
import { FileHandle, locate, toOptions, writeContent } from './file_handle.js';
import { readDirectory } from './listing.js';
import { READ } from './messages.js';
import { openFile, openToWatch } from './open_file.js';
import { show, split, splitLast } from './paths.js';
import { MAX_FILE, readToEnd } from './transfer.js';
import { renameEntry } from './rename.js';
import { makeDirectories, makeDirectory, removeTree, withFid } from './tree_operations.js';
import { Watch } from './watch.js';

/** @typedef {import('./fid.js').Fid} Fid */
/** @typedef {import('./file_handle.js').Content} Content */
/** @typedef {import('./file_handle.js').ReadBufferOptions} ReadBufferOptions */
/** @typedef {import('./file_handle.js').ReadTextOptions} ReadTextOptions */
/** @typedef {import('./open_file.js').OpenFlags} OpenFlags */
/** @typedef {import('./paths.js').Path} Path */
/** @typedef {import('./stats.js').Dirent} Dirent */
/** @typedef {import('./stats.js').Stats} Stats */

/** @typedef {{ signal?: AbortSignal }} SignalOption */

/**
 * @typedef {object} WriteOptions
 * @property {BufferEncoding} [encoding] The encoding of strings, UTF-8 by default.
 * @property {OpenFlags} [flag] The flags used to open the file, `w` by default.
 * @property {number} [mode] The permission bits of a new file, 0o666 by default.
 * @property {AbortSignal} [signal]
 */

/**
 * Connects to a server, negotiates the dialect and attaches to the root directory.
 * @param {string} address `HOST`, `HOST:PORT`, `tcp://HOST:PORT`, `unix://PATH` or a path.
 * @param {import('./connect.js').ConnectOptions} [options]
 */
export async function connect(address, options) {
  return new Client(await connectRoot(address, options));
}

/**
 * A client for a 9P server. The client has one connection, which is attached to the root directory.
 *
 * Any number of calls may be in progress at the same time. The client pipelines their requests. The
 * methods reject with a `ServerError` if the server refuses a request, with a `ConnectionLostError`
 * if the connection is lost, and with an `AbortError` if the `signal` in their options is aborted.
 * If a call that changes a file is aborted, the server may or may not have made the change.
 *
 * Unlike `node:fs`, the client does not follow symbolic links.
 */
export class Client {
  #root;

  /** @param {Fid} root */
  constructor(root) {
    this.#root = root;
  }

  /** The fid of the root directory. Use this fid for requests that have no method in this class. */
  get root() {
    return this.#root;
  }

  /** The dialect: `9P2000`, `9P2000.u` or `9P2000.L`. */
  get dialect() {
    return this.#root.dialect;
  }

  /** The maximum message length in bytes. */
  get msize() {
    return this.#root.connection.msize;
  }

  /**
   * Closes the connection. Requests that have not received a reply fail. Waits up to one second for
   * the server to close its side.
   */
  async close() {
    await this.#root.connection.close();
  }

  async [Symbol.asyncDispose]() {
    await this.close();
  }

  /**
   * @template T
   * @param {string} syscall
   * @param {Path} path
   * @param {AbortSignal | undefined} signal
   * @param {(fid: Fid) => Promise<T>} f
   */
  #at(syscall, path, signal, f) {
    return locate(syscall, show(path), withFid(this.#root, split(path), signal, f));
  }

  /**
   * Opens a file. `mode` contains the permission bits of a new file.
   * @param {Path} path
   * @param {OpenFlags} [flags]
   * @param {number} [mode]
   * @param {SignalOption} [options]
   */
  async open(path, flags = 'r', mode = 0o666, { signal } = {}) {
    const opening = openFile(this.#root, path, { flags, mode, signal });
    return new FileHandle(await locate('open', show(path), opening), show(path));
  }

  /**
   * Reads a whole file. For a stream file, returns the first delivery (see {@link watch}). Fails
   * with `EFBIG` if the file is longer than `limit` bytes. The default limit is 1 GiB.
   * @overload
   * @param {Path} path
   * @param {ReadBufferOptions | null} [options]
   * @returns {Promise<Buffer>}
   */
  /**
   * @overload
   * @param {Path} path
   * @param {ReadTextOptions | BufferEncoding} options
   * @returns {Promise<string>}
   */
  /**
   * @param {Path} path
   * @param {ReadBufferOptions | ReadTextOptions | BufferEncoding | null} [options]
   * @returns {Promise<Buffer | string>}
   */
  async readFile(path, options) {
    const { encoding, signal, limit = MAX_FILE } = toOptions(options);
    const data = await this.#at('readFile', path, signal, async (fid) => {
      if (fid.isDirectory) throw ServerError.of('EISDIR');
      return readToEnd(await fid.open(READ, signal), 0, limit, signal);
    });
    return encoding ? data.toString(encoding) : data;
  }

  /**
   * Replaces the content of a file, creating the file if it does not exist. Returns after the
   * server has closed the file. If the content is a string or a buffer that fits into one message,
   * the client writes it with a single request. Command files require this, because each write is
   * one command.
   * @param {Path} path
   * @param {Content} content
   * @param {WriteOptions | BufferEncoding | null} [options]
   */
  async writeFile(path, content, options) {
    const { encoding, flag = 'w', mode = 0o666, signal } = toOptions(options);
    const fields = { encoding: encoding ?? undefined, signal };
    const write = async () => {
      const file = await openFile(this.#root, path, { flags: flag, mode, signal });
      try {
        await writeContent(file, 0, content, fields);
      } catch (error) {
        file.release();
        throw error;
      }
      await file.clunk();
    };
    await locate('writeFile', show(path), write());
  }

  /**
   * Returns the names in a directory in the order in which the server sends them. With the encoding
   * `'buffer'`, the names are buffers.
   * @overload
   * @param {Path} path
   * @param {{ withFileTypes?: false, encoding?: BufferEncoding | null } & SignalOption} [options]
   * @returns {Promise<string[]>}
   */
  /**
   * @overload
   * @param {Path} path
   * @param {{ withFileTypes?: false, encoding: 'buffer' } & SignalOption} options
   * @returns {Promise<Buffer[]>}
   */
  /**
   * @overload
   * @param {Path} path
   * @param {{ withFileTypes: true } & SignalOption} options
   * @returns {Promise<Dirent[]>}
   */
  /**
   * @param {Path} path
   * @param {{ withFileTypes?: boolean, encoding?: BufferEncoding | 'buffer' | null }
   *   & SignalOption} [options]
   * @returns {Promise<string[] | Buffer[] | Dirent[]>}
   */
  async readdir(path, { withFileTypes = false, encoding, signal } = {}) {
    const entries = await this.#at('readdir', path, signal, async (fid) => {
      // Check the type first, because opening a file can have side effects.
      if (!fid.isDirectory) throw ServerError.of('ENOTDIR');
      return readDirectory(await fid.open(READ, signal), signal);
    });
    for (const entry of entries) entry.parentPath = show(path);
    if (withFileTypes) return entries;
    if (encoding === 'buffer') return entries.map((entry) => entry.nameBytes);
    return entries.map((entry) => entry.nameBytes.toString(encoding ?? 'utf8'));
  }

  /**
   * Reads the attributes of a file.
   * @param {Path} path
   * @param {SignalOption} [options]
   * @returns {Promise<Stats>}
   */
  async stat(path, { signal } = {}) {
    return this.#at('stat', path, signal, (fid) => fid.stat(signal));
  }

  /**
   * Equivalent to {@link stat}, because `stat` does not follow symbolic links.
   * @param {Path} path
   * @param {SignalOption} [options]
   */
  async lstat(path, options) {
    return this.stat(path, options);
  }

  /**
   * Fails with `ENOENT` if the path does not exist. Does not check permissions, because the server
   * checks them when a file is opened.
   * @param {Path} path
   * @param {SignalOption} [options]
   */
  async access(path, { signal } = {}) {
    await this.#at('access', path, signal, async () => undefined);
  }

  /**
   * Creates a directory. With `recursive`, also creates missing parents, accepts an existing
   * directory, and returns the path of the first directory created.
   * @param {Path} path
   * @param {{ recursive?: boolean, mode?: number } & SignalOption} [options]
   * @returns {Promise<string | undefined>}
   */
  async mkdir(path, { recursive = false, mode = 0o777, signal } = {}) {
    const names = split(path);
    if (!recursive) {
      await locate('mkdir', show(path), makeDirectory(this.#root, names, mode, signal));
      return undefined;
    }
    const making = makeDirectories(this.#root, names, mode, signal);
    const count = await locate('mkdir', show(path), making);
    return count === undefined ? undefined : `/${names.slice(0, count).map(show).join('/')}`;
  }

  /**
   * Removes a file or a symbolic link. With `recursive`, also removes a directory and its contents.
   * With `force`, does not fail if the path does not exist.
   * @param {Path} path
   * @param {{ recursive?: boolean, force?: boolean } & SignalOption} [options]
   */
  async rm(path, { recursive = false, force = false, signal } = {}) {
    const { dir, name } = splitLast(path);
    const remove = recursive
      ? locate('rm', show(path), removeTree(this.#root, [...dir, name], signal))
      : this.#remove('rm', path, signal, false);
    await remove.catch((error) => {
      if (!force || !(error instanceof ServerError && error.code === 'ENOENT')) throw error;
    });
  }

  /**
   * Removes a file or a symbolic link.
   * @param {Path} path
   * @param {SignalOption} [options]
   */
  async unlink(path, { signal } = {}) {
    await this.#remove('unlink', path, signal, false);
  }

  /**
   * Removes a directory. The server decides whether the directory must be empty. The DataKit
   * database also removes the contents of the directory.
   * @param {Path} path
   * @param {SignalOption} [options]
   */
  async rmdir(path, { signal } = {}) {
    await this.#remove('rmdir', path, signal, true);
  }

  /**
   * @param {string} syscall
   * @param {Path} path
   * @param {AbortSignal | undefined} signal
   * @param {boolean} isDirectory
   */
  async #remove(syscall, path, signal, isDirectory) {
    await this.#at(syscall, path, signal, async (fid) => {
      if (fid.isDirectory !== isDirectory) throw ServerError.of(isDirectory ? 'ENOTDIR' : 'EISDIR');
      await fid.remove();
    });
  }

  /**
   * Renames a file. If `to` exists, the server decides whether to replace it. Only 9P2000.L can
   * move a file to another directory. In other dialects, a move to another directory fails with
   * `EXDEV`.
   * @param {Path} from
   * @param {Path} to
   * @param {SignalOption} [options]
   */
  async rename(from, to, { signal } = {}) {
    const [old, target] = [splitLast(from), splitLast(to)];
    await locate('rename', show(from), renameEntry(this.#root, old, target, signal));
  }

  /**
   * Creates a symbolic link to `target` at `path`. Fails with `EOPNOTSUPP` in 9P2000.
   * @param {Path} target
   * @param {Path} path
   * @param {SignalOption} [options]
   */
  async symlink(target, path, { signal } = {}) {
    const { dir, name } = splitLast(path);
    const link = withFid(this.#root, dir, signal, (fid) => fid.symlink(name, target, signal));
    await locate('symlink', show(path), link);
  }

  /**
   * Reads the target of a symbolic link. Fails with `EINVAL` if the file is not a symbolic link,
   * and with `EOPNOTSUPP` in 9P2000.
   * @overload
   * @param {Path} path
   * @param {{ encoding?: BufferEncoding | null } & SignalOption} [options]
   * @returns {Promise<string>}
   */
  /**
   * @overload
   * @param {Path} path
   * @param {{ encoding: 'buffer' } & SignalOption} options
   * @returns {Promise<Buffer>}
   */
  /**
   * @param {Path} path
   * @param {{ encoding?: BufferEncoding | 'buffer' | null } & SignalOption} [options]
   * @returns {Promise<string | Buffer>}
   */
  async readlink(path, { encoding, signal } = {}) {
    const target = await this.#at('readlink', path, signal, (fid) => fid.readlink(signal));
    return encoding === 'buffer' ? target : target.toString(encoding ?? 'utf8');
  }

  /**
   * Sets the length of a file in bytes. Truncates the file or extends it with zeros.
   * @param {Path} path
   * @param {number} [length]
   * @param {SignalOption} [options]
   */
  async truncate(path, length = 0, { signal } = {}) {
    await this.#at('truncate', path, signal, async (fid) => {
      if (fid.isDirectory) throw ServerError.of('EISDIR');
      await fid.setAttributes({ length }, signal);
    });
  }

  /**
   * Sets the permission bits, at most 0o7777. 9P2000 supports only the lower nine bits.
   * @param {Path} path
   * @param {number} mode
   * @param {SignalOption} [options]
   */
  async chmod(path, mode, { signal } = {}) {
    await this.#at('chmod', path, signal, (fid) => fid.setAttributes({ mode }, signal));
  }

  /**
   * Watches a stream file, which sends its data in pieces called deliveries, or a parameter, whose
   * deliveries are its values. Returns an async iterator over the deliveries. The first delivery is
   * the current value. The iterator does not reconnect.
   * @overload
   * @param {Path} path
   * @param {{ encoding?: null } & SignalOption} [options]
   * @returns {Watch<Buffer>}
   */
  /**
   * @overload
   * @param {Path} path
   * @param {({ encoding: BufferEncoding } & SignalOption) | BufferEncoding} options
   * @returns {Watch<string>}
   */
  /**
   * @param {Path} path
   * @param {({ encoding?: BufferEncoding | null } & SignalOption) | BufferEncoding} [options]
   * @returns {Watch<any>}
   */
  watch(path, options) {
    const { encoding, signal } = toOptions(options);
    const open = (/** @type {AbortSignal} */ stop) =>
      locate('watch', show(path), openToWatch(this.#root, path, stop));
    return new Watch(open, (data) => [encoding ? data.toString(encoding) : data], signal);
  }
}
