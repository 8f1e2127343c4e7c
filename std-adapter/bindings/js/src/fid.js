/**
 * Fids: numbers that the client uses to refer to files on the server.
 * @module
 */

import { ServerError } from './errors.js';
import * as messages from './messages.js';
import { READ } from './messages.js';
import { DMDIR, DMSYMLINK, toWireMode } from './stats.js';
import { IO_HEADER, QidType } from './wire.js';

/** @typedef {import('./connection.js').Connection} Connection */
/** @typedef {import('./messages.js').OpenMode} OpenMode */
/** @typedef {import('./wire.js').Qid} Qid */
/** @typedef {import('./wire.js').Text} Text */

/** The maximum number of names in one Twalk (MAXWELEM). */
const MAX_WALK = 16;

/**
 * A fid that refers to a file on the server. The file may be open. The fid is in use until `clunk`,
 * `release` or `remove` is called.
 */
export class Fid {
  /** @type {number | undefined} */
  #number;

  /** @type {Connection} */
  connection;
  /** @type {Qid} */
  qid;
  /** The maximum number of bytes in one read or write of the open file. */
  unit = 0;

  /**
   * @param {Connection} connection
   * @param {number} number
   * @param {Qid} qid
   */
  constructor(connection, number, qid) {
    this.connection = connection;
    this.#number = number;
    this.qid = qid;
  }

  /**
   * @param {Connection} connection
   * @param {{ uname: string, aname: string, uid: number }} user
   */
  static async attach(connection, user) {
    const number = await connection.fids.acquire();
    const request = messages.attach(connection.dialect, number, user);
    return new Fid(connection, number, await connection.call(request));
  }

  /** The number. Throws `EBADF` if the fid is no longer in use. */
  get number() {
    if (this.#number === undefined) throw ServerError.of('EBADF', 'the file is closed');
    return this.#number;
  }

  /** `false` once the fid has been freed. */
  get inUse() {
    return this.#number !== undefined;
  }

  get isDirectory() {
    return (this.qid.type & QidType.DIR) !== 0;
  }

  get dialect() {
    return this.connection.dialect;
  }

  /**
   * Walks to a file. Each request contains at most 16 names.
   * @param {Text[]} names
   * @param {AbortSignal} [signal]
   * @returns {Promise<Fid>}
   */
  async walk(names, signal) {
    const number = await this.connection.fids.acquire(signal);
    return this.#walkTo(number, names, signal);
  }

  /**
   * Walks to two files. Waits until two fids are free before taking either, because two callers
   * that each hold one fid could deadlock.
   * @param {[Text[], Text[]]} paths
   * @param {AbortSignal} [signal]
   * @returns {Promise<[Fid, Fid]>}
   */
  async walkBoth(paths, signal) {
    const numbers = await this.connection.fids.acquireAll(2, signal);
    const walks = paths.map((names, index) => this.#walkTo(numbers[index], names, signal));
    const [first, second] = await Promise.allSettled(walks);
    if (first.status === 'fulfilled' && second.status === 'fulfilled') {
      return [first.value, second.value];
    }
    for (const walk of [first, second]) if (walk.status === 'fulfilled') walk.value.release();
    throw first.status === 'rejected' ? first.reason : /** @type {any} */ (second).reason;
  }

  /**
   * @param {number} number
   * @param {Text[]} names
   * @param {AbortSignal | undefined} signal
   */
  async #walkTo(number, names, signal) {
    const fid = new Fid(this.connection, number, this.qid);
    const first = names.slice(0, MAX_WALK);
    const request = messages.walk(this.number, number, first);
    const qids = await this.connection.call(request, {
      signal,
      settled(reply, abandoned) {
        // If the reply contains fewer qids than the request contains names, the server has not
        // created the fid.
        const created = reply !== undefined && reply.length === first.length;
        if (!created) fid.forget();
        else if (abandoned) fid.release();
      },
    });
    fid.#arrive(qids, first.length);
    try {
      for (let at = MAX_WALK; at < names.length; at += MAX_WALK) {
        // The server moves the fid only if it finds all the names.
        const more = names.slice(at, at + MAX_WALK);
        const step = messages.walk(number, number, more);
        fid.#arrive(await this.connection.call(step, { signal }), more.length);
      }
    } catch (error) {
      fid.release();
      throw error;
    }
    return fid;
  }

  /**
   * @param {Qid[]} qids
   * @param {number} count
   */
  #arrive(qids, count) {
    const last = qids.at(-1);
    if (qids.length < count) {
      throw ServerError.of(last && !(last.type & QidType.DIR) ? 'ENOTDIR' : 'ENOENT');
    }
    if (last) this.qid = last;
  }

  /**
   * @param {OpenMode} mode
   * @param {AbortSignal} [signal]
   */
  async open(mode, signal) {
    return this.#opened(messages.open(this.dialect, this.number, mode), signal);
  }

  /**
   * Creates and opens a file in this directory. Afterwards, the fid refers to the new file.
   * @param {Text} name
   * @param {number} permissions
   * @param {OpenMode} mode
   * @param {AbortSignal} [signal]
   */
  async create(name, permissions, mode, signal) {
    const [dialect, gid] = [this.dialect, this.connection.gid];
    const perm = dialect === '9P2000.L' ? permissions : toWireMode(permissions, dialect);
    const request =
      dialect === '9P2000.L'
        ? messages.lcreate(this.number, { name, perm, mode, gid })
        : messages.create(dialect, this.number, { name, perm, mode });
    return this.#opened(request, signal);
  }

  /**
   * @param {messages.Request<{ qid: Qid, iounit: number }>} request
   * @param {AbortSignal | undefined} signal
   */
  async #opened(request, signal) {
    const { qid, iounit } = await this.connection.call(request, { signal });
    const most = this.connection.msize - IO_HEADER;
    this.qid = qid;
    this.unit = iounit === 0 ? most : Math.min(iounit, most);
    return this;
  }

  /**
   * Creates a directory in this directory. In 9P2000 and 9P2000.u, the fid refers to the new
   * directory afterwards.
   * @param {Text} name
   * @param {number} permissions
   * @param {AbortSignal} [signal]
   */
  async mkdir(name, permissions, signal) {
    const { dialect, number, connection } = this;
    if (dialect === '9P2000.L') {
      const dir = { name, mode: permissions, gid: connection.gid };
      await connection.call(messages.mkdir(number, dir), { signal });
    } else {
      const perm = DMDIR + toWireMode(permissions, dialect);
      const request = messages.create(dialect, number, { name, perm, mode: READ });
      await connection.call(request, { signal });
    }
  }

  /**
   * Creates a symbolic link in this directory. In 9P2000.u, the fid refers to the new link
   * afterwards.
   * @param {Text} name
   * @param {Text} target
   * @param {AbortSignal} [signal]
   */
  async symlink(name, target, signal) {
    const { dialect, number, connection } = this;
    if (dialect === '9P2000') throw ServerError.of('EOPNOTSUPP', '9P2000 has no symbolic links');
    if (dialect === '9P2000.L') {
      const link = { name, target, gid: connection.gid };
      await connection.call(messages.symlink(number, link), { signal });
    } else {
      const link = { name, perm: DMSYMLINK + 0o777, mode: READ, extension: target };
      await connection.call(messages.create(dialect, number, link), { signal });
    }
  }

  /** @param {AbortSignal} [signal] */
  async stat(signal) {
    return this.connection.call(messages.stat(this.dialect, this.number), { signal });
  }

  /**
   * Reads the target of a symbolic link.
   * @param {AbortSignal} [signal]
   * @returns {Promise<Buffer>}
   */
  async readlink(signal) {
    if (this.dialect === '9P2000') {
      throw ServerError.of('EOPNOTSUPP', '9P2000 has no symbolic links');
    }
    if (this.dialect === '9P2000.L') {
      return this.connection.call(messages.readlink(this.number), { signal });
    }
    const { target } = await this.stat(signal);
    if (!target) throw ServerError.of('EINVAL', 'the file is not a symbolic link');
    return target;
  }

  /**
   * Changes the length, the permission bits, or both.
   * @param {{ length?: number, mode?: number }} changes
   * @param {AbortSignal} [signal]
   */
  async setAttributes({ length, mode }, signal) {
    const { dialect, number, connection } = this;
    if (dialect === '9P2000.L') {
      const changes = { length, mode: mode === undefined ? undefined : mode & 0o7777 };
      await connection.call(messages.setattr(number, changes), { signal });
      return;
    }
    // Twstat must not change the bit that marks a directory.
    const dir = this.isDirectory ? DMDIR : 0;
    const wire = mode === undefined ? undefined : dir + toWireMode(mode, dialect);
    await connection.call(messages.wstat(dialect, number, { length, mode: wire }), { signal });
  }

  /**
   * Renames the file within its directory. The connection must use 9P2000 or 9P2000.u.
   * @param {Text} name
   * @param {AbortSignal} [signal]
   */
  async setName(name, signal) {
    await this.connection.call(messages.wstat(this.dialect, this.number, { name }), { signal });
  }

  /**
   * Waits until the open file's content is on stable storage.
   * @param {AbortSignal} [signal]
   */
  async sync(signal) {
    const { dialect, number, connection } = this;
    // In 9P2000 and 9P2000.u, a Twstat that changes no field has the same effect as Tfsync.
    const request =
      dialect === '9P2000.L' ? messages.fsync(number) : messages.wstat(dialect, number, {});
    await connection.call(request, { signal });
  }

  /** Removes the file. The fid is freed even if the server refuses to remove the file. */
  async remove() {
    await this.#free(messages.remove);
  }

  /** Frees the fid and waits for the reply, which may report that earlier writes failed. */
  async clunk() {
    await this.#free(messages.clunk);
  }

  /**
   * Frees the fid without waiting for the reply. Does nothing if the fid has already been freed.
   */
  release() {
    if (this.#number !== undefined) this.clunk().catch(() => {});
  }

  /** @param {(fid: number) => messages.Request<undefined>} message */
  async #free(message) {
    const { number, connection } = this;
    this.#number = undefined;
    await connection.call(message(number)).finally(() => connection.fids.release(number));
  }

  /**
   * Returns the number to the pool without sending a request, because the server has no such fid.
   */
  forget() {
    if (this.#number !== undefined) this.connection.fids.release(this.#number);
    this.#number = undefined;
  }
}
