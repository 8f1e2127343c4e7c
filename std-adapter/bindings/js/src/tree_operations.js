/**
 * Operations on whole directory trees, like `mkdir -p` and `rm -r`.
 * @module
 */

import { forEachConcurrently } from './concurrent.js';
import { ServerError } from './errors.js';
import { readDirectory } from './listing.js';
import { READ } from './messages.js';

/** @typedef {import('./fid.js').Fid} Fid */
/** @typedef {import('./wire.js').Text} Text */

/**
 * The error codes with which servers refuse to remove a directory that is not empty.
 */
const NOT_EMPTY = new Set(['ENOTEMPTY', 'EEXIST', 'EPERM', 'EBUSY', 'UNKNOWN']);

/**
 * Walks to a file, calls `f` with its fid and then frees the fid.
 * @template T
 * @param {Fid} root
 * @param {Text[]} names
 * @param {AbortSignal | undefined} signal
 * @param {(fid: Fid) => Promise<T>} f
 */
export async function withFid(root, names, signal, f) {
  const fid = await root.walk(names, signal);
  try {
    return await f(fid);
  } finally {
    fid.release();
  }
}

/**
 * Creates a directory.
 * @param {Fid} root
 * @param {Text[]} names
 * @param {number} mode
 * @param {AbortSignal} [signal]
 */
export async function makeDirectory(root, names, mode, signal) {
  const name = names.at(-1);
  if (name === undefined) throw ServerError.of('EEXIST');
  await withFid(root, names.slice(0, -1), signal, (dir) => dir.mkdir(name, mode, signal));
}

/**
 * Creates a directory and any missing parents. Returns the number of names in the path of the first
 * directory that was created, or `undefined` if the directory already existed.
 * @param {Fid} root
 * @param {Text[]} names
 * @param {number} mode
 * @param {AbortSignal} [signal]
 * @returns {Promise<number | undefined>}
 */
export async function makeDirectories(root, names, mode, signal) {
  if (names.length === 0) return undefined;
  try {
    await makeDirectory(root, names, mode, signal);
    return names.length;
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    if (error.code === 'ENOENT') {
      const first = await makeDirectories(root, names.slice(0, -1), mode, signal);
      // This fails if another client has removed the parent in the meantime. It is not repeated.
      await makeDirectory(root, names, mode, signal).catch(unlessExists);
      return first ?? names.length;
    }
    if (error.code !== 'EEXIST') throw error;
    const exists = await withFid(root, names, signal, async (fid) => fid.isDirectory);
    if (!exists) throw ServerError.of('EEXIST', 'the path is not a directory');
    return undefined;
  }
}

/** @param {unknown} error */
function unlessExists(error) {
  if (!(error instanceof ServerError && error.code === 'EEXIST')) throw error;
}

/**
 * Removes a file, or a directory and its contents.
 * @param {Fid} root
 * @param {Text[]} names
 * @param {AbortSignal} [signal]
 */
export async function removeTree(root, names, signal) {
  const fid = await root.walk(names, signal);
  const isDirectory = fid.isDirectory;
  try {
    // The DataKit database removes a directory and its contents with a single request.
    await fid.remove();
  } catch (error) {
    const mayHaveContent = error instanceof ServerError && NOT_EMPTY.has(error.code);
    if (!isDirectory || !mayHaveContent) throw error;
    if (!(await emptyDirectory(root, names, signal))) throw error;
    await (await root.walk(names, signal)).remove();
  }
}

/**
 * Removes the contents of a directory. Returns `false` if the directory was empty.
 * @param {Fid} root
 * @param {Text[]} names
 * @param {AbortSignal | undefined} signal
 */
async function emptyDirectory(root, names, signal) {
  const entries = await withFid(root, names, signal, async (fid) =>
    readDirectory(await fid.open(READ, signal), signal),
  );
  await forEachConcurrently(entries, async ({ nameBytes }) => {
    await removeTree(root, [...names, nameBytes], signal).catch((error) => {
      // Another client may have removed the entry.
      if (!(error instanceof ServerError && error.code === 'ENOENT')) throw error;
    });
  });
  return entries.length > 0;
}
