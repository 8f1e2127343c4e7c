/**
 * Splits the bytes received on a connection into messages.
 * @module
 */

import { ProtocolError } from './errors.js';
import { HEADER } from './wire.js';

/**
 * Collects the bytes received on a connection and splits them into messages. Buffers at most one
 * incomplete message.
 */
export class Frames {
  /** The maximum message length in bytes. */
  limit;
  /** @type {Buffer[]} */
  #chunks = [];
  #length = 0;

  /** @param {number} limit The maximum message length in bytes. */
  constructor(limit) {
    this.limit = limit;
  }

  /**
   * Adds bytes and returns all messages that are now complete. The messages may share memory with
   * the chunk. Throws a `ProtocolError` if the size of a message is not valid, even if the rest of
   * the message has not arrived yet.
   * @param {Buffer} chunk
   * @returns {Generator<Buffer, void>}
   */
  *push(chunk) {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    while (this.#length >= 4) {
      const size = this.#peekSize();
      if (size < HEADER || size > this.limit) {
        throw new ProtocolError(
          `a reply has ${size} bytes, but must have ${HEADER} to ${this.limit}`,
        );
      }
      if (this.#length < size) return;
      const all = this.#joined();
      this.#chunks = all.length > size ? [all.subarray(size)] : [];
      this.#length -= size;
      yield all.subarray(0, size);
    }
  }

  #peekSize() {
    if (this.#chunks[0].length < 4) this.#chunks = [this.#joined()];
    return this.#chunks[0].readUInt32LE(0);
  }

  #joined() {
    return this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks);
  }
}
