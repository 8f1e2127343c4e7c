/**
 * Encodes and decodes 9P messages. Integers are little-endian. A string is preceded by a 16-bit
 * length, and data by a 32-bit length.
 * @module
 */

import { InvalidArgumentError, ProtocolError, ServerError } from './errors.js';

/**
 * The length of a message header in bytes. The header consists of the message's size, type and tag.
 */
export const HEADER = 7;
/**
 * The maximum length in bytes of a read or write message without its data (IOHDRSZ).
 */
export const IO_HEADER = 24;

const TWO_32 = 0x1_0000_0000;

/**
 * A string, or bytes if they are not valid UTF-8.
 * @typedef {string | Uint8Array} Text
 */

/**
 * The identity of a file on the server.
 * @typedef {object} Qid
 * @property {number} type A combination of the bits in `QidType`.
 * @property {number} version A number that changes when the content changes, or 0 if the content
 *   must not be cached.
 * @property {bigint} path A number that uniquely identifies the file on the server.
 */

/** Bits of `Qid.type`. */
export const QidType = Object.freeze({ DIR: 0x80, APPEND: 0x40, SYMLINK: 0x02 });

/**
 * Returns the UTF-8 bytes of a string. Throws if the string contains a lone surrogate, which UTF-8
 * cannot encode.
 * @param {Text} text
 * @returns {Uint8Array}
 */
export function toBytes(text) {
  if (typeof text !== 'string') return text;
  if (!text.isWellFormed()) {
    throw new InvalidArgumentError(`${JSON.stringify(text)} contains a lone surrogate`);
  }
  return Buffer.from(text);
}

/** Encodes one message. */
export class Writer {
  #buffer = Buffer.allocUnsafe(256);
  #length = HEADER;

  /** @param {number} count */
  #reserve(count) {
    const needed = this.#length + count;
    if (needed > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, 2 * this.#buffer.length));
      this.#buffer.copy(larger, 0, 0, this.#length);
      this.#buffer = larger;
    }
    const at = this.#length;
    this.#length = needed;
    return at;
  }

  /** @param {number} value */
  u8(value) {
    this.#buffer.writeUInt8(value, this.#reserve(1));
  }

  /** @param {number} value */
  u16(value) {
    this.#buffer.writeUInt16LE(value, this.#reserve(2));
  }

  /** @param {number} value */
  u32(value) {
    this.#buffer.writeUInt32LE(value, this.#reserve(4));
  }

  /** @param {number | bigint} value */
  u64(value) {
    const at = this.#reserve(8);
    if (typeof value === 'bigint') {
      this.#buffer.writeBigUInt64LE(value, at);
    } else {
      this.#buffer.writeUInt32LE(value % TWO_32, at);
      this.#buffer.writeUInt32LE(Math.floor(value / TWO_32), at + 4);
    }
  }

  /** @param {Text} value */
  text(value) {
    const bytes = toBytes(value);
    if (bytes.length > 0xffff) {
      throw ServerError.of(
        'ENAMETOOLONG',
        `a string has ${bytes.length} bytes, but may have at most 65535`,
      );
    }
    this.u16(bytes.length);
    this.bytes(bytes);
  }

  /** @param {Uint8Array} value */
  data(value) {
    this.u32(value.length);
    this.bytes(value);
  }

  /** @param {Uint8Array} value */
  bytes(value) {
    const at = this.#reserve(value.length);
    this.#buffer.set(value, at);
  }

  /** The length in bytes of the message so far. */
  get length() {
    return this.#length;
  }

  /**
   * Writes the header and returns the message.
   * @param {number} type
   * @param {number} tag
   * @returns {Buffer}
   */
  finish(type, tag) {
    this.#buffer.writeUInt32LE(this.#length, 0);
    this.#buffer.writeUInt8(type, 4);
    this.#buffer.writeUInt16LE(tag, 5);
    return this.#buffer.subarray(0, this.#length);
  }
}

/**
 * Decodes a message or part of one. Each method throws a `ProtocolError` if its field extends
 * beyond the end of the message.
 */
export class Reader {
  #buffer;
  #offset;

  /**
   * @param {Buffer} buffer
   * @param {number} [offset]
   */
  constructor(buffer, offset = 0) {
    this.#buffer = buffer;
    this.#offset = offset;
  }

  /** @param {number} count */
  #take(count) {
    const at = this.#offset;
    if (count > this.#buffer.length - at) {
      throw new ProtocolError(`malformed reply: a field of ${count} bytes is longer than the rest`);
    }
    this.#offset = at + count;
    return at;
  }

  u8() {
    return this.#buffer.readUInt8(this.#take(1));
  }

  u16() {
    return this.#buffer.readUInt16LE(this.#take(2));
  }

  u32() {
    return this.#buffer.readUInt32LE(this.#take(4));
  }

  u64() {
    return this.#buffer.readBigUInt64LE(this.#take(8));
  }

  /** Reads a 64-bit number. Numbers above 2^53 are rounded. */
  number() {
    const at = this.#take(8);
    return this.#buffer.readUInt32LE(at) + this.#buffer.readUInt32LE(at + 4) * TWO_32;
  }

  /**
   * Reads the bytes of a string. The result shares memory with the message.
   * @returns {Buffer}
   */
  text() {
    return this.bytes(this.u16());
  }

  /**
   * Reads data and the length that precedes it. The result shares memory with the message.
   * @returns {Buffer}
   */
  data() {
    return this.bytes(this.u32());
  }

  /**
   * @param {number} count
   * @returns {Buffer}
   */
  bytes(count) {
    const at = this.#take(count);
    return this.#buffer.subarray(at, at + count);
  }

  /** @returns {Qid} */
  qid() {
    return { type: this.u8(), version: this.u32(), path: this.u64() };
  }

  /** The number of unread bytes. */
  get left() {
    return this.#buffer.length - this.#offset;
  }

  /** Throws a `ProtocolError` if there are unread bytes. */
  end() {
    if (this.left > 0) {
      throw new ProtocolError(`malformed reply: ${this.left} bytes are left over`);
    }
  }
}
