/**
 * The 9P2000, 9P2000.u and 9P2000.L requests that this client sends, and their replies.
 * @module
 */

import { readAttributes, readStat, writeStat } from './stats.js';

/** @typedef {import('./wire.js').Reader} Reader */
/** @typedef {import('./wire.js').Writer} Writer */
/** @typedef {import('./wire.js').Text} Text */
/** @typedef {import('./wire.js').Qid} Qid */
/** @typedef {import('./stats.js').Stats} Stats */

/** @typedef {'9P2000' | '9P2000.u' | '9P2000.L'} Dialect */

/**
 * A request and the function that decodes its reply.
 * @template R
 * @typedef {object} Request
 * @property {number} type The message type. The type of the reply is one greater.
 * @property {(writer: Writer) => void} write Writes the fields.
 * @property {(reader: Reader) => R} read Reads the fields of the reply.
 */

/** The dialects in the order in which the client offers them by default. */
export const DIALECTS = Object.freeze(
  /** @type {Dialect[]} */ (['9P2000.u', '9P2000.L', '9P2000']),
);

export const NOTAG = 0xffff;
export const NOFID = 0xffff_ffff;
export const RLERROR = 7;
export const RERROR = 107;
export const TFLUSH = 108;

/** The Tlcreate flag that makes the server create the file. */
const O_CREAT = 0o100;

/** The mode in which a file is opened, as encoded in Topen and Tlopen. */
export class OpenMode {
  /**
   * @param {number} access 0 for reading, 1 for writing, 2 for both.
   * @param {{ truncate?: boolean, append?: boolean, exclusive?: boolean }} [options]
   */
  constructor(access, { truncate = false, append = false, exclusive = false } = {}) {
    /** The mode byte of Topen and Tcreate. */
    this.byte = access | (truncate ? 0x10 : 0) | (append ? 0x80 : 0);
    /** The flags of Tlopen and Tlcreate. */
    this.flags = access | (truncate ? 0o1000 : 0) | (append ? 0o2000 : 0) | (exclusive ? 0o200 : 0);
  }
}

export const READ = new OpenMode(0);
/** The mode for reading in which reads of a parameter wait for the next value. */
export const FOLLOW = new OpenMode(0, { append: true });
export const WRITE = new OpenMode(1);
export const READ_WRITE = new OpenMode(2);

/** @param {Reader} _reader */
const nothing = (_reader) => undefined;

/** @param {Reader} reader */
const readQid = (reader) => reader.qid();

/** @param {Reader} reader */
const readOpened = (reader) => ({ qid: reader.qid(), iounit: reader.u32() });

/**
 * @param {number} msize
 * @param {Dialect} dialect
 * @returns {Request<{ msize: number, version: string }>}
 */
export const version = (msize, dialect) => ({
  type: 100,
  write: (w) => (w.u32(msize), w.text(dialect)),
  read: (r) => ({ msize: r.u32(), version: r.text().toString() }),
});

/**
 * @param {Dialect} dialect
 * @param {number} fid
 * @param {{ uname: string, aname: string, uid: number }} user
 * @returns {Request<Qid>}
 */
export const attach = (dialect, fid, { uname, aname, uid }) => ({
  type: 104,
  write(w) {
    w.u32(fid);
    w.u32(NOFID);
    w.text(uname);
    w.text(aname);
    if (dialect !== '9P2000') w.u32(uid);
  },
  read: readQid,
});

/**
 * @param {number} oldtag
 * @returns {Request<undefined>}
 */
export const flush = (oldtag) => ({ type: TFLUSH, write: (w) => w.u16(oldtag), read: nothing });

/**
 * @param {number} fid
 * @param {number} newfid
 * @param {Text[]} names At most 16 names.
 * @returns {Request<Qid[]>}
 */
export const walk = (fid, newfid, names) => ({
  type: 110,
  write(w) {
    w.u32(fid);
    w.u32(newfid);
    w.u16(names.length);
    for (const name of names) w.text(name);
  },
  read: (r) => Array.from({ length: Math.min(r.u16(), 16) }, () => r.qid()),
});

/**
 * @param {Dialect} dialect
 * @param {number} fid
 * @param {OpenMode} mode
 * @returns {Request<{ qid: Qid, iounit: number }>}
 */
export const open = (dialect, fid, mode) =>
  dialect === '9P2000.L'
    ? { type: 12, write: (w) => (w.u32(fid), w.u32(mode.flags)), read: readOpened }
    : { type: 112, write: (w) => (w.u32(fid), w.u8(mode.byte)), read: readOpened };

/**
 * Returns a Tcreate for 9P2000 or 9P2000.u.
 * @param {Dialect} dialect
 * @param {number} fid
 * @param {{ name: Text, perm: number, mode: OpenMode, extension?: Text }} file
 * @returns {Request<{ qid: Qid, iounit: number }>}
 */
export const create = (dialect, fid, { name, perm, mode, extension = '' }) => ({
  type: 114,
  write(w) {
    w.u32(fid);
    w.text(name);
    w.u32(perm);
    w.u8(mode.byte);
    if (dialect === '9P2000.u') w.text(extension);
  },
  read: readOpened,
});

/**
 * @param {number} fid
 * @param {{ name: Text, perm: number, mode: OpenMode, gid: number }} file
 * @returns {Request<{ qid: Qid, iounit: number }>}
 */
export const lcreate = (fid, { name, perm, mode, gid }) => ({
  type: 14,
  write(w) {
    w.u32(fid);
    w.text(name);
    w.u32(mode.flags | O_CREAT);
    w.u32(perm);
    w.u32(gid);
  },
  read: readOpened,
});

/**
 * Returns a Tread, which reads a file or, in 9P2000 and 9P2000.u, a directory.
 * @param {number} fid
 * @param {number | bigint} offset
 * @param {number} count
 * @returns {Request<Buffer>}
 */
export const read = (fid, offset, count) => ({
  type: 116,
  write: (w) => (w.u32(fid), w.u64(offset), w.u32(count)),
  read: (r) => r.data(),
});

/**
 * Returns a Treaddir, which reads a directory in 9P2000.L.
 * @param {number} fid
 * @param {number | bigint} offset
 * @param {number} count
 * @returns {Request<Buffer>}
 */
export const readdir = (fid, offset, count) => ({ ...read(fid, offset, count), type: 40 });

/**
 * @param {number} fid
 * @param {number} offset
 * @param {Uint8Array} data
 * @returns {Request<number>}
 */
export const write = (fid, offset, data) => ({
  type: 118,
  write: (w) => (w.u32(fid), w.u64(offset), w.data(data)),
  read: (r) => r.u32(),
});

/**
 * Returns a request whose only field is a fid and whose reply has no fields.
 * @param {number} type
 * @param {number} fid
 * @returns {Request<undefined>}
 */
const ofFid = (type, fid) => ({ type, write: (w) => w.u32(fid), read: nothing });

/** @param {number} fid */
export const clunk = (fid) => ofFid(120, fid);

/** @param {number} fid */
export const remove = (fid) => ofFid(122, fid);

/**
 * @param {Dialect} dialect
 * @param {number} fid
 * @returns {Request<Stats>}
 */
export const stat = (dialect, fid) =>
  dialect === '9P2000.L'
    ? { type: 24, write: (w) => (w.u32(fid), w.u64(0x7ff)), read: readAttributes }
    : {
        type: 124,
        write: (w) => w.u32(fid),
        read: (r) => (r.u16(), readStat(r, dialect).stats),
      };

/**
 * @param {Dialect} dialect
 * @param {number} fid
 * @param {{ name?: Text, length?: number, mode?: number }} changes
 * @returns {Request<undefined>}
 */
export const wstat = (dialect, fid, changes) => ({
  type: 126,
  write: (w) => (w.u32(fid), writeStat(w, changes, dialect)),
  read: nothing,
});

/**
 * @param {number} fid
 * @param {{ length?: number, mode?: number }} changes
 * @returns {Request<undefined>}
 */
export const setattr = (fid, { length, mode }) => ({
  type: 26,
  write(w) {
    w.u32(fid);
    w.u32((mode === undefined ? 0 : 0x1) | (length === undefined ? 0 : 0x8));
    w.u32(mode ?? 0);
    w.u32(0);
    w.u32(0);
    w.u64(length ?? 0);
    for (let times = 4; times > 0; times--) w.u64(0);
  },
  read: nothing,
});

/**
 * @param {number} fid
 * @returns {Request<undefined>}
 */
export const fsync = (fid) => ({
  type: 50,
  write: (w) => (w.u32(fid), w.u32(0)),
  read: nothing,
});

/**
 * @param {number} dfid
 * @param {{ name: Text, mode: number, gid: number }} dir
 * @returns {Request<Qid>}
 */
export const mkdir = (dfid, { name, mode, gid }) => ({
  type: 72,
  write: (w) => (w.u32(dfid), w.text(name), w.u32(mode), w.u32(gid)),
  read: readQid,
});

/**
 * @param {number} dfid
 * @param {{ name: Text, target: Text, gid: number }} link
 * @returns {Request<Qid>}
 */
export const symlink = (dfid, { name, target, gid }) => ({
  type: 16,
  write: (w) => (w.u32(dfid), w.text(name), w.text(target), w.u32(gid)),
  read: readQid,
});

/**
 * @param {number} fid
 * @returns {Request<Buffer>}
 */
export const readlink = (fid) => ({
  type: 22,
  write: (w) => w.u32(fid),
  read: (r) => Buffer.from(r.text()),
});

/**
 * @param {number} olddirfid
 * @param {Text} oldname
 * @param {number} newdirfid
 * @param {Text} newname
 * @returns {Request<undefined>}
 */
export const renameat = (olddirfid, oldname, newdirfid, newname) => ({
  type: 74,
  write: (w) => (w.u32(olddirfid), w.text(oldname), w.u32(newdirfid), w.text(newname)),
  read: nothing,
});

/**
 * @param {number} fid
 * @param {number} dfid
 * @param {Text} name
 * @returns {Request<undefined>}
 */
export const rename = (fid, dfid, name) => ({
  type: 20,
  write: (w) => (w.u32(fid), w.u32(dfid), w.text(name)),
  read: nothing,
});
