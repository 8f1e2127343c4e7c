/**
 * File attributes and directory entries with the interfaces of `node:fs`.
 * @module
 */

import { QidType } from './wire.js';

/** @typedef {import('./wire.js').Reader} Reader */
/** @typedef {import('./wire.js').Writer} Writer */
/** @typedef {import('./wire.js').Qid} Qid */
/** @typedef {import('./messages.js').Dialect} Dialect */

/** Mode bits in 9P2000 and 9P2000.u. */
export const DMDIR = 0x8000_0000;
export const DMSYMLINK = 0x0200_0000;
const DMDEVICE = 0x0080_0000;
const DMNAMEDPIPE = 0x0020_0000;
const DMSOCKET = 0x0010_0000;

/** The file type bits of a Linux mode. */
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;
const S_IFLNK = 0o120000;
const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;
const S_IFIFO = 0o010000;
const S_IFSOCK = 0o140000;

/**
 * The set-user-id, set-group-id and sticky bits in 9P2000.u, each with the corresponding Linux bit.
 */
const SPECIAL_BITS = [
  [0x0008_0000, 0o4000],
  [0x0004_0000, 0o2000],
  [0x0001_0000, 0o1000],
];

const NONE_32 = 0xffff_ffff;
const NONE_64 = 0xffff_ffff_ffff_ffffn;

/**
 * Converts permission bits to a 9P2000 or 9P2000.u mode.
 * @param {number} mode
 * @param {Dialect} dialect
 */
export function toWireMode(mode, dialect) {
  let bits = mode & 0o777;
  if (dialect === '9P2000.u') {
    for (const [wire, linux] of SPECIAL_BITS) if (mode & linux) bits += wire;
  }
  return bits;
}

/**
 * Converts a 9P2000 or 9P2000.u mode to a Linux mode.
 * @param {number} wire
 * @param {Qid} qid
 * @param {Dialect} dialect
 */
function toMode(wire, qid, dialect) {
  const unix = dialect === '9P2000.u';
  let mode = wire & 0o777;
  if (unix) for (const [bit, linux] of SPECIAL_BITS) if (wire & bit) mode |= linux;
  if (wire & DMDIR) return mode | S_IFDIR;
  if (wire & DMSYMLINK) return mode | S_IFLNK;
  if (unix && wire & DMSOCKET) return mode | S_IFSOCK;
  if (unix && wire & DMNAMEDPIPE) return mode | S_IFIFO;
  if (unix && wire & DMDEVICE) return mode | S_IFCHR;
  return mode | typeOf(qid);
}

/** @param {Qid} qid */
function typeOf(qid) {
  if (qid.type & QidType.DIR) return S_IFDIR;
  if (qid.type & QidType.SYMLINK) return S_IFLNK;
  return S_IFREG;
}

/** The methods of `fs.Stats` and `fs.Dirent` that test a file's type. */
class FileType {
  #type;

  /** @param {number} mode */
  constructor(mode) {
    this.#type = mode & S_IFMT;
  }

  isFile() {
    return this.#type === S_IFREG;
  }

  isDirectory() {
    return this.#type === S_IFDIR;
  }

  isSymbolicLink() {
    return this.#type === S_IFLNK;
  }

  isCharacterDevice() {
    return this.#type === S_IFCHR;
  }

  isBlockDevice() {
    return this.#type === S_IFBLK;
  }

  isFIFO() {
    return this.#type === S_IFIFO;
  }

  isSocket() {
    return this.#type === S_IFSOCK;
  }
}

/**
 * The attributes that a server sends. Times are in milliseconds since 1970.
 * @typedef {object} StatFields
 * @property {Qid} qid
 * @property {number} mode
 * @property {number} size
 * @property {number} nlink
 * @property {number} uid
 * @property {number} gid
 * @property {string} owner
 * @property {string} group
 * @property {number} atimeMs
 * @property {number} mtimeMs
 * @property {number} ctimeMs
 * @property {Buffer} [target]
 */

/** The attributes of a file, with the fields of `fs.Stats`. */
export class Stats extends FileType {
  /** @param {StatFields} fields */
  constructor(fields) {
    super(fields.mode);
    /** The identity of the file on the server. */
    this.qid = fields.qid;
    this.dev = 0;
    /** The file's number. Numbers above 2^53 are rounded. `qid.path` is the exact number. */
    this.ino = Number(fields.qid.path);
    /** The type and permission bits, as in Linux. */
    this.mode = fields.mode;
    /**
     * The length in bytes. The length, which is 0 for directories and usually 0 for stream files.
     */
    this.size = fields.size;
    /** The number of hard links. Only 9P2000.L sends it. The number is 1 in other dialects. */
    this.nlink = fields.nlink;
    this.uid = fields.uid;
    this.gid = fields.gid;
    /** The owner's name. In 9P2000.L, this is the user id as a decimal number. */
    this.owner = fields.owner;
    /** The group's name. In 9P2000.L, this is the group id as a decimal number. */
    this.group = fields.group;
    this.rdev = 0;
    this.blksize = 4096;
    this.blocks = Math.ceil(fields.size / 512);
    this.atimeMs = fields.atimeMs;
    this.mtimeMs = fields.mtimeMs;
    this.ctimeMs = fields.ctimeMs;
    this.birthtimeMs = fields.ctimeMs;
    this.atime = new Date(fields.atimeMs);
    this.mtime = new Date(fields.mtimeMs);
    this.ctime = new Date(fields.ctimeMs);
    this.birthtime = new Date(fields.ctimeMs);
    /**
     * The target of a symbolic link. Only 9P2000.u sends it along with the attributes.
     * @type {Buffer | undefined}
     */
    this.target = fields.target;
  }
}

/** A directory entry with the fields of `fs.Dirent`. */
export class Dirent extends FileType {
  /**
   * @param {Buffer} name
   * @param {number} mode
   * @param {Qid} qid
   */
  constructor(name, mode, qid) {
    super(mode);
    /** The name. Bytes that are not valid UTF-8 are replaced by U+FFFD. */
    this.name = name.toString();
    /**
     * The bytes of the name.
     * @type {Buffer}
     */
    this.nameBytes = name;
    /** The identity of the file on the server. */
    this.qid = qid;
    /** The path of the directory that was listed. */
    this.parentPath = '';
  }
}

/**
 * Reads a 9P2000 or 9P2000.u stat record.
 * @param {Reader} reader
 * @param {Dialect} dialect
 * @returns {{ name: Buffer, stats: Stats }}
 */
export function readStat(reader, dialect) {
  const end = reader.u16();
  const start = reader.left;
  reader.u16(); // The fields `type` and `dev` are only for the kernel of the server.
  reader.u32();
  const qid = reader.qid();
  const wire = reader.u32();
  const [atimeMs, mtimeMs] = [reader.u32() * 1000, reader.u32() * 1000];
  const size = reader.number();
  const name = Buffer.from(reader.text());
  const [owner, group] = [reader.text().toString(), reader.text().toString()];
  reader.text();
  let [extension, uid, gid] = [Buffer.alloc(0), 0, 0];
  if (dialect === '9P2000.u' && start - reader.left < end) {
    extension = Buffer.from(reader.text());
    [uid, gid] = [reader.u32(), reader.u32()];
    reader.u32();
  }
  // The record may end with fields unknown to this client.
  reader.bytes(Math.max(0, end - (start - reader.left)));
  const mode = toMode(wire, qid, dialect);
  const link = (mode & S_IFMT) === S_IFLNK && extension.length > 0;
  const fields = { qid, mode, size, nlink: 1, uid, gid, owner, group, atimeMs, mtimeMs };
  const target = link ? { target: extension } : {};
  return { name, stats: new Stats({ ...fields, ctimeMs: mtimeMs, ...target }) };
}

/**
 * Writes a stat record that changes only the given fields.
 * @param {Writer} writer
 * @param {{ name?: import('./wire.js').Text, length?: number, mode?: number }} changes
 * @param {Dialect} dialect
 */
export function writeStat(writer, { name = '', length, mode }, dialect) {
  const unix = dialect === '9P2000.u';
  const bytes = typeof name === 'string' ? Buffer.byteLength(name) : name.length;
  const size = 47 + bytes + (unix ? 14 : 0);
  writer.u16(size + 2);
  writer.u16(size);
  writer.u16(0xffff);
  writer.u32(NONE_32);
  writer.u8(0xff);
  writer.u32(NONE_32);
  writer.u64(NONE_64);
  writer.u32(mode ?? NONE_32);
  writer.u32(NONE_32);
  writer.u32(NONE_32);
  writer.u64(length ?? NONE_64);
  writer.text(name);
  for (let strings = unix ? 4 : 3; strings > 0; strings--) writer.text('');
  if (unix) for (let numbers = 3; numbers > 0; numbers--) writer.u32(NONE_32);
}

/**
 * Reads the attributes from an Rgetattr.
 * @param {Reader} reader
 */
export function readAttributes(reader) {
  reader.u64(); // The mask of valid fields. Servers set the other fields to 0.
  const qid = reader.qid();
  let mode = reader.u32();
  if ((mode & S_IFMT) === 0) mode |= typeOf(qid);
  const [uid, gid] = [reader.u32(), reader.u32()];
  const nlink = reader.number();
  reader.u64();
  const size = reader.number();
  reader.u64();
  reader.u64();
  const time = () => reader.number() * 1000 + reader.number() / 1e6;
  const [atimeMs, mtimeMs, ctimeMs] = [time(), time(), time()];
  time();
  reader.u64();
  reader.u64();
  const [owner, group] = [String(uid), String(gid)];
  return new Stats({ qid, mode, size, nlink, uid, gid, owner, group, atimeMs, mtimeMs, ctimeMs });
}

/**
 * Reads the directory entries in the data of an Rread or Rreaddir. Returns the entries and the
 * offset of the next request.
 * @param {Reader} reader
 * @param {number | bigint} offset The offset of the request.
 * @param {Dialect} dialect
 */
export function readEntries(reader, offset, dialect) {
  const entries = [];
  let next = BigInt(offset) + BigInt(reader.left);
  while (reader.left > 0) {
    if (dialect === '9P2000.L') {
      const qid = reader.qid();
      next = reader.u64();
      // The type byte contains the file type bits of the mode, shifted right by 12 bits.
      const type = reader.u8() << 12;
      entries.push(new Dirent(Buffer.from(reader.text()), type || typeOf(qid), qid));
    } else {
      const { name, stats } = readStat(reader, dialect);
      entries.push(new Dirent(name, stats.mode, stats.qid));
    }
  }
  return { entries, next };
}
