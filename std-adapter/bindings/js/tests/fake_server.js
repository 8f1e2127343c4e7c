/**
 * A server for tests. The test decides how the server replies.
 * @module
 */

import net from 'node:net';

import { Frames } from '../src/frames.js';
import { HEADER, Reader, Writer } from '../src/wire.js';

/** The message types. */
export const T = Object.freeze({
  LERROR: 7,
  LOPEN: 12,
  VERSION: 100,
  ATTACH: 104,
  ERROR: 107,
  FLUSH: 108,
  WALK: 110,
  OPEN: 112,
  CREATE: 114,
  READ: 116,
  WRITE: 118,
  CLUNK: 120,
  REMOVE: 122,
  STAT: 124,
});

/** @typedef {{ type: number, tag: number, fields: Reader }} Request */

const DIR = 0x80;

/** The server side of one connection. Requests are queued until the test takes them. */
export class FakeServer {
  /** @type {Request[]} */
  #requests = [];
  /** @type {((request: Request) => void)[]} */
  #takers = [];
  /** @type {net.Socket | undefined} */
  socket;
  address = '';

  /** @param {import('node:test').TestContext} test */
  static async start(test) {
    const fake = new FakeServer();
    const listener = net.createServer((socket) => fake.#accept(socket));
    await new Promise((resolve) => listener.listen(0, '127.0.0.1', () => resolve(undefined)));
    const address = /** @type {net.AddressInfo} */ (listener.address());
    fake.address = `tcp://127.0.0.1:${address.port}`;
    test.after(() => {
      fake.socket?.destroy();
      listener.close();
    });
    return fake;
  }

  /** @param {net.Socket} socket */
  #accept(socket) {
    this.socket = socket;
    const frames = new Frames(1 << 24);
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      for (const frame of frames.push(/** @type {Buffer} */ (chunk))) {
        const request = {
          type: frame.readUInt8(4),
          tag: frame.readUInt16LE(5),
          fields: new Reader(frame, HEADER),
        };
        const taker = this.#takers.shift();
        if (taker) taker(request);
        else this.#requests.push(request);
      }
    });
  }

  /** The number of requests that the test has not yet taken. */
  get queued() {
    return this.#requests.length;
  }

  /**
   * Waits for the next request, which must have the given type.
   * @param {number} type
   * @returns {Promise<Request>}
   */
  async take(type) {
    /** @type {Request} */
    const request = this.#requests.shift() ?? (await new Promise((r) => this.#takers.push(r)));
    if (request.type !== type) {
      throw new Error(`the client sent a request of type ${request.type}, not ${type}`);
    }
    return request;
  }

  /**
   * Sends a reply.
   * @param {number} type
   * @param {number} tag
   * @param {(writer: Writer) => void} [fields]
   */
  send(type, tag, fields = () => {}) {
    const writer = new Writer();
    fields(writer);
    this.socket?.write(writer.finish(type, tag));
  }

  /**
   * Sends the reply to a request.
   * @param {Request} request
   * @param {(writer: Writer) => void} [fields]
   */
  answer(request, fields) {
    this.send(request.type + 1, request.tag, fields);
  }

  /**
   * Takes a request and sends the reply.
   * @param {number} type
   * @param {(writer: Writer) => void} [fields]
   */
  async serve(type, fields) {
    const request = await this.take(type);
    this.answer(request, fields);
    return request;
  }

  /**
   * Replies to Tversion and Tattach.
   * @param {{ msize?: number, version?: string }} [agreed]
   */
  async handshake({ msize = 8192, version = '9P2000.u' } = {}) {
    await this.serve(T.VERSION, (w) => (w.u32(msize), w.text(version)));
    await this.serve(T.ATTACH, (w) => writeQid(w, DIR));
  }
}

/**
 * @param {Writer} writer
 * @param {number} type
 * @param {number} [path]
 */
export function writeQid(writer, type, path = 1) {
  writer.u8(type);
  writer.u32(0);
  writer.u64(path);
}

/**
 * Returns a function that writes the fields of an Rwalk for one name.
 * @param {number} [type]
 */
export const walked =
  (type = 0) =>
  (/** @type {Writer} */ w) => (w.u16(1), writeQid(w, type));

/** @param {Writer} w */
export const opened = (w) => (writeQid(w, 0), w.u32(0));
