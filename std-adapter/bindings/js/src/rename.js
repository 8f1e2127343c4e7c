/**
 * Renames files.
 * @module
 */

import { ServerError } from './errors.js';
import * as messages from './messages.js';
import { show } from './paths.js';
import { withFid } from './tree_operations.js';

/** @typedef {import('./fid.js').Fid} Fid */
/** @typedef {ReturnType<typeof import('./paths.js').splitLast>} Entry */

/**
 * Renames a file. Only 9P2000.L can move the file to another directory. In other dialects, moving a
 * file to another directory fails with `EXDEV`.
 * @param {Fid} root
 * @param {Entry} from
 * @param {Entry} to
 * @param {AbortSignal} [signal]
 */
export async function renameEntry(root, from, to, signal) {
  if (root.dialect === '9P2000.L') {
    await renameAt(root, from, to, signal);
  } else if (from.dir.map(show).join('/') === to.dir.map(show).join('/')) {
    const path = [...from.dir, from.name];
    await withFid(root, path, signal, (fid) => fid.setName(to.name, signal));
  } else {
    throw ServerError.of('EXDEV');
  }
}

/**
 * @param {Fid} root
 * @param {Entry} from
 * @param {Entry} to
 * @param {AbortSignal | undefined} signal
 */
async function renameAt(root, from, to, signal) {
  const { connection } = root;
  const [dir, newdir] = await root.walkBoth([from.dir, to.dir], signal);
  try {
    const request = messages.renameat(dir.number, from.name, newdir.number, to.name);
    await connection.call(request, { signal });
  } catch (error) {
    const unknown = error instanceof ServerError && /^(ENOSYS|EOPNOTSUPP)$/.test(error.code);
    if (!unknown) throw error;
    // Walk with the directory's fid, because waiting for a third fid could deadlock.
    await connection.call(messages.walk(dir.number, dir.number, [from.name]), { signal });
    const request = messages.rename(dir.number, newdir.number, to.name);
    await connection.call(request, { signal });
  } finally {
    dir.release();
    newdir.release();
  }
}
