/**
 * Paths on the server, and the file operations that the database client needs.
 * @module
 */

import { randomBytes } from 'node:crypto';

import { ServerError } from '../errors.js';
import { locate } from '../file_handle.js';
import { readDirectory } from '../listing.js';
import { READ, READ_WRITE, WRITE } from '../messages.js';
import { show } from '../paths.js';
import { MAX_FILE, readToEnd, writeAll } from '../transfer.js';
import { withFid } from '../tree_operations.js';
import { toBytes } from '../wire.js';

/** @typedef {import('../client.js').Client} Client */
/** @typedef {import('../fid.js').Fid} Fid */
/** @typedef {import('../wire.js').Text} Text */

/**
 * The maximum length in bytes of text that is read as a whole, such as a message or a list.
 */
const MAX_TEXT = 1 << 24;

/** A path on the server. The file may or may not exist. Every operation walks to the path first. */
export class RemotePath {
  /**
   * @param {Client} client
   * @param {Text[]} [names]
   */
  constructor(client, names = []) {
    this.client = client;
    this.names = names;
  }

  /** @param {Text[]} names The caller must have checked the names. */
  join(...names) {
    return new RemotePath(this.client, [...this.names, ...names]);
  }

  toString() {
    return `/${this.names.map(show).join('/')}`;
  }

  /**
   * Walks to the path, calls `f` with the fid and then frees the fid.
   * @template T
   * @param {string} syscall
   * @param {(fid: Fid) => Promise<T>} f
   * @param {AbortSignal} [signal]
   */
  at(syscall, f, signal) {
    return locate(syscall, String(this), withFid(this.client.root, this.names, signal, f));
  }

  /**
   * Like {@link at}, but fails with `EISDIR` if the path is a directory. The check is needed
   * because some servers silently ignore such requests for directories.
   * @template T
   * @param {string} syscall
   * @param {(fid: Fid) => Promise<T>} f
   * @param {AbortSignal} [signal]
   */
  atFile(syscall, f, signal) {
    const check = async (/** @type {Fid} */ fid) => {
      if (fid.isDirectory) throw ServerError.of('EISDIR');
      return f(fid);
    };
    return this.at(syscall, check, signal);
  }

  /**
   * Opens the file for reading. The caller must free the fid.
   * @param {AbortSignal} [signal]
   */
  async open(signal) {
    const fid = await locate('open', String(this), this.client.root.walk(this.names, signal));
    try {
      return await locate('open', String(this), fid.open(READ, signal));
    } catch (error) {
      fid.release();
      throw error;
    }
  }

  /**
   * Reads a whole file. For a stream file, returns the first piece of data.
   * @param {AbortSignal} [signal]
   * @returns {Promise<Buffer>}
   */
  read(signal) {
    return this.at('read', async (fid) => readOpened(fid, MAX_FILE, signal), signal);
  }

  /** @param {AbortSignal} [signal] */
  async readText(signal) {
    const data = await this.at('read', async (fid) => readOpened(fid, MAX_TEXT, signal), signal);
    return data.toString();
  }

  /** @param {AbortSignal} [signal] */
  async list(signal) {
    const read = async (/** @type {Fid} */ fid) =>
      readDirectory(await fid.open(READ, signal), signal);
    return (await this.at('list', read, signal)).map((entry) => entry.name);
  }

  /** @param {Text} name */
  mkdir(name) {
    return this.join(name).#locateBelow('mkdir', this.names, (dir) => dir.mkdir(name, 0o755));
  }

  /**
   * @template T
   * @param {string} syscall
   * @param {Text[]} dir
   * @param {(fid: Fid) => Promise<T>} f
   */
  #locateBelow(syscall, dir, f) {
    return locate(syscall, String(this), withFid(this.client.root, dir, undefined, f));
  }

  remove() {
    return this.at('remove', (fid) => fid.remove());
  }

  /**
   * Creates a file with the given content and waits until the server has closed it.
   * @param {Text} name
   * @param {Uint8Array} content
   * @param {number} permissions
   */
  createFile(name, content, permissions) {
    const file = this.join(name);
    return file.#locateBelow('create', this.names, async (fid) => {
      await fid.create(name, permissions, WRITE);
      await writeAll(fid, 0, content);
      await fid.clunk();
    });
  }

  /**
   * Replaces the content of an existing file. Truncates the file with a separate request, because
   * the original DataKit server ignores Topen's truncate flag.
   * @param {Uint8Array} content
   */
  replace(content) {
    return this.atFile('replace', async (fid) => {
      await fid.setAttributes({ length: 0 });
      await fid.open(WRITE);
      await writeAll(fid, 0, content);
      await fid.clunk();
    });
  }

  /**
   * Writes a command to the file.
   * @param {string} text
   * @param {AbortSignal} [signal]
   */
  command(text, signal) {
    return this.at(
      'command',
      async (fid) => {
        await fid.open(WRITE, signal);
        await writeAll(fid, 0, toBytes(text), signal);
        await fid.clunk();
      },
      signal,
    );
  }

  /**
   * Writes a command to a file that contains the reason for the last failure. If the command fails,
   * the error contains that reason, because an error reply contains only the beginning of the
   * reason, or no text at all in 9P2000.L.
   * @param {string} text
   * @param {AbortSignal} [signal]
   */
  async explainedCommand(text, signal) {
    try {
      await this.command(text, signal);
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      const reason = await this.readText(signal).catch(() => '');
      // The original DataKit server does not explain failures.
      if (reason.trimEnd() === '') throw error;
      throw new ServerError(error.errno, reason.trimEnd()).locate('command', String(this));
    }
  }

  /**
   * Writes a command to the file and reads the reply.
   * @param {string} text
   */
  async commandWithReply(text) {
    const reply = await this.at('command', async (fid) => {
      await fid.open(READ_WRITE);
      await writeAll(fid, 0, toBytes(text));
      return readToEnd(fid, 0, MAX_TEXT);
    });
    return reply.toString();
  }
}

/**
 * @param {Fid} fid
 * @param {number} limit
 * @param {AbortSignal | undefined} signal
 */
async function readOpened(fid, limit, signal) {
  return readToEnd(await fid.open(READ, signal), 0, limit, signal);
}

/** Returns a random 63-bit number as a name. Two calls practically never return the same one. */
export function uniqueName() {
  return String(randomBytes(8).readBigUInt64LE() >> 1n);
}
