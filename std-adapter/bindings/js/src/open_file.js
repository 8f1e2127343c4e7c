/**
 * Opens and creates files with the flags of `node:fs`.
 * @module
 */

import { InvalidArgumentError, ServerError } from './errors.js';
import { FOLLOW, OpenMode, READ } from './messages.js';
import { split, splitLast } from './paths.js';

/** @typedef {import('./fid.js').Fid} Fid */
/** @typedef {import('./paths.js').Path} Path */

/**
 * The mode in which a file is opened. `r` opens a file for reading, and `r+` opens it for reading
 * and writing. `w` truncates or creates a file for writing, and `wx` does the same but fails if the
 * file exists. `w+` and `wx+` are like `w` and `wx` but also allow reading.
 * @typedef {'r' | 'r+' | 'w' | 'w+' | 'wx' | 'wx+'} OpenFlags
 */

/** @type {Record<OpenFlags, { access: number, creates: boolean, exclusive?: boolean }>} */
const FLAGS = {
  r: { access: 0, creates: false },
  'r+': { access: 2, creates: false },
  w: { access: 1, creates: true },
  'w+': { access: 2, creates: true },
  wx: { access: 1, creates: true, exclusive: true },
  'wx+': { access: 2, creates: true, exclusive: true },
};

/**
 * Opens a file, creating it if it does not exist and the flags allow that. Fails with `EISDIR` if
 * the path is a directory. The client itself rejects directories, because some servers open
 * directories in any mode.
 * @param {Fid} root
 * @param {Path} path
 * @param {{ flags: OpenFlags, mode: number, signal?: AbortSignal }} options
 */
export async function openFile(root, path, { flags, mode, signal }) {
  if (!Object.hasOwn(FLAGS, flags)) {
    const known = Object.keys(FLAGS).join(', ');
    throw new InvalidArgumentError(`flags ${JSON.stringify(flags)}: must be one of ${known}`);
  }
  const { access, creates, exclusive = false } = FLAGS[flags];
  const openMode = new OpenMode(access, { truncate: creates, exclusive });
  const existing = await openExisting(root, path, { openMode, exclusive, creates, signal });
  if (existing) return existing;
  try {
    return await createFile(root, path, { openMode, mode, signal });
  } catch (error) {
    // Another client may have created the file in the meantime.
    const exists = error instanceof ServerError && error.code === 'EEXIST';
    if (!exists || exclusive) throw error;
    const opened = await openExisting(root, path, { openMode, exclusive, creates: false, signal });
    return /** @type {Fid} */ (opened);
  }
}

/**
 * Opens a stream file or a parameter for reading its deliveries. Fails with `EISDIR` if the path is
 * a directory.
 * @param {Fid} root
 * @param {Path} path
 * @param {AbortSignal} signal
 */
export async function openToWatch(root, path, signal) {
  const fid = await root.walk(split(path), signal);
  try {
    if (fid.isDirectory) throw ServerError.of('EISDIR');
    return await fid.open(FOLLOW, signal).catch((error) => {
      if (!(error instanceof ServerError)) throw error;
      // A server that supports the append flag only for writes may refuse to open the file.
      return fid.open(READ, signal);
    });
  } catch (error) {
    fid.release();
    throw error;
  }
}

/**
 * Opens a file. Returns `undefined` if the file does not exist and the caller may create it.
 * @param {Fid} root
 * @param {Path} path
 * @param {{ openMode: OpenMode, exclusive: boolean, creates: boolean, signal?: AbortSignal }} how
 */
async function openExisting(root, path, { openMode, exclusive, creates, signal }) {
  let fid;
  try {
    fid = await root.walk(split(path), signal);
  } catch (error) {
    if (creates && error instanceof ServerError && error.code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    // The client itself checks whether the file exists, because some servers replace an existing
    // file.
    if (exclusive) throw ServerError.of('EEXIST');
    if (fid.isDirectory) throw ServerError.of('EISDIR');
    return await fid.open(openMode, signal).catch((error) => {
      const truncates = (openMode.byte & 0x10) !== 0;
      if (!truncates || !(error instanceof ServerError)) throw error;
      // Command files and stream files cannot be truncated, so the file is opened without
      // truncation.
      return fid.open(new OpenMode(openMode.byte & 3), signal);
    });
  } catch (error) {
    fid.release();
    throw error;
  }
}

/**
 * @param {Fid} root
 * @param {Path} path
 * @param {{ openMode: OpenMode, mode: number, signal?: AbortSignal }} how
 */
async function createFile(root, path, { openMode, mode, signal }) {
  const { dir, name } = splitLast(path);
  const fid = await root.walk(dir, signal);
  try {
    return await fid.create(name, mode, openMode, signal);
  } catch (error) {
    fid.release();
    throw error;
  }
}
