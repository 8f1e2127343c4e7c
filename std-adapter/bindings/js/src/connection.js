/**
 * Assigns tags to requests and delivers replies to the callers.
 * @module
 */

import { onAbort } from './abort.js';
import {
  AbortError,
  ConnectionLostError,
  ProtocolError,
  ServerError,
  throwIfAborted,
} from './errors.js';
import { Frames } from './frames.js';
import * as messages from './messages.js';
import { NOTAG, RERROR, RLERROR, TFLUSH } from './messages.js';
import { Pool, withResolvers } from './pool.js';
import { HEADER, Reader, Writer } from './wire.js';

/** @typedef {import('./messages.js').Dialect} Dialect */
/** @template R @typedef {import('./messages.js').Request<R>} Request */

/**
 * A request that has no reply yet.
 * @typedef {object} Pending
 * @property {Request<any>} request
 * @property {(value: any) => void} resolve
 * @property {(error: unknown) => void} reject
 * @property {((value: any, abandoned: boolean) => void) | undefined} settled
 * @property {() => void} detach Stops listening to the signal.
 * @property {boolean} abandoned `true` if the caller has aborted the request. The tag remains in
 *   use until Rflush.
 * @property {boolean} answered `true` if the reply to an aborted request has arrived.
 */

/**
 * @template R
 * @typedef {object} CallOptions
 * @property {AbortSignal} [signal]
 * @property {boolean} [stream] `true` if the reply may take a long time, as for a watch. Such a
 *   request does not count towards `maxRequests`.
 * @property {(value: R | undefined, abandoned: boolean) => void} [settled] Called once, no later
 *   than when the reply or Rflush arrives. The value is the decoded reply, or `undefined` if there
 *   is no reply or the reply is an error. `abandoned` is `true` if the signal was aborted, in which
 *   case the caller does not receive the reply.
 */

/** The number of tags for requests other than Tflush. Tflush uses higher tags. */
const TAGS = 0x7fff;
/** The maximum value of `maxRequests`. The remaining tags are used for reads of stream files. */
export const MAX_REQUESTS = 0x4000;
/** The maximum value of the `maxFids` option. */
export const MAX_FIDS = 0x10000;
/** Callers wait while more than this many bytes are queued for writing. */
const MAX_BACKLOG = 1 << 20;
/**
 * How long `close` waits for the server to close its side of the connection, in milliseconds.
 */
const CLOSE_TIMEOUT = 1000;
/** The tag of a Tflush is the tag of the request that it cancels, with this bit set. */
const FLUSH_BIT = 0x8000;

/**
 * A 9P connection over a connected socket.
 *
 * A request keeps its tag until its reply arrives or, if the request was aborted, until Rflush
 * arrives. Each tag has a reserved tag for its Tflush, so a request can be aborted even if all
 * other tags are in use.
 */
export class Connection {
  #socket;
  #frames;
  #requestTags;
  #streamTags;
  #maxRequests;
  /** @type {Map<number, Pending>} */
  #pending = new Map();
  /**
   * Callers waiting until the socket has written all its queued bytes.
   * @type {(() => void)[]}
   */
  #backlogged = [];
  /** @type {Buffer[]} */
  #batch = [];
  #batchLength = 0;
  /** @type {{ reason: string, code?: string, cause?: unknown } | undefined} */
  #lost;
  /**
   * Resolves when the socket has closed.
   * @type {Promise<void>}
   */
  #closed;

  /** @type {Dialect} */
  dialect = '9P2000';
  /** The maximum message length in bytes. */
  msize;
  /**
   * The pool of fid numbers.
   * @type {Pool}
   */
  fids;
  /** The group id of new files in 9P2000.L. */
  gid = 0;

  /**
   * @param {import('node:net').Socket} socket
   * @param {{ msize: number, maxRequests: number, maxFids: number }} limits
   */
  constructor(socket, { msize, maxRequests, maxFids }) {
    this.#socket = socket;
    this.msize = msize;
    this.#frames = new Frames(msize);
    this.#maxRequests = maxRequests;
    this.#requestTags = new Pool(maxRequests);
    this.#streamTags = new Pool(TAGS - maxRequests, maxRequests);
    this.fids = new Pool(maxFids);
    socket.on('data', (chunk) => this.#receive(/** @type {Buffer} */ (chunk)));
    socket.on('drain', () => this.#drained());
    socket.on('error', (cause) => this.lose({ reason: cause.message, cause }));
    socket.on('end', () => this.lose({ reason: 'the server closed the connection' }));
    const { promise, resolve } = withResolvers();
    this.#closed = /** @type {Promise<void>} */ (promise);
    socket.on('close', () => {
      this.lose({ reason: 'the connection was closed' });
      resolve(undefined);
    });
  }

  /** `true` once the connection has been lost or closed. */
  get lost() {
    return this.#lost !== undefined;
  }

  /** The number of requests that have not received a reply, including aborted requests. */
  get requests() {
    return this.#requestTags.used + this.#streamTags.used;
  }

  /** The number of bytes that are queued for writing. */
  get queued() {
    return this.#socket.writableLength + this.#batchLength;
  }

  /**
   * Sends Tversion, which must be the first request. Tversion cannot be aborted, so the caller
   * closes the connection instead.
   * @param {Dialect} offer
   */
  version(offer) {
    return this.#start(NOTAG, messages.version(this.msize, offer), {});
  }

  /**
   * Sets the negotiated msize and dialect.
   * @param {number} msize
   * @param {Dialect} dialect
   */
  agree(msize, dialect) {
    this.msize = msize;
    this.#frames.limit = msize;
    this.dialect = dialect;
  }

  /**
   * Sends a request and waits for its reply. Before sending, waits while `maxRequests` requests are
   * in flight or more than 1 MiB is queued for writing.
   *
   * If the signal is aborted, rejects immediately with an `AbortError` and cancels the request with
   * Tflush.
   * @template R
   * @param {Request<R>} request
   * @param {CallOptions<R>} [options]
   * @returns {Promise<R>}
   */
  async call(request, options = {}) {
    const { signal, stream, settled } = options;
    const tags = stream ? this.#streamTags : this.#requestTags;
    let tag;
    try {
      throwIfAborted(signal);
      tag = tags.tryAcquire() ?? (await tags.acquire(signal));
      // There is no `await` between this check and the write, so if several callers resume
      // together, each one sees the bytes that the previous ones queued.
      while (this.queued > MAX_BACKLOG && !this.lost) await this.#drain(signal);
    } catch (error) {
      if (tag !== undefined) this.#releaseTag(tag);
      settled?.(undefined, false);
      throw error;
    }
    return this.#start(tag, request, options);
  }

  /**
   * Waits until the socket has written all its queued bytes.
   * @param {AbortSignal | undefined} signal
   */
  async #drain(signal) {
    const { promise, resolve, reject } = withResolvers();
    const detach = onAbort(signal, () => reject(new AbortError(signal?.reason)));
    this.#backlogged.push(() => resolve(undefined));
    await promise.finally(detach);
  }

  #drained() {
    for (const resume of this.#backlogged.splice(0)) resume();
  }

  /**
   * Sends a request with the given tag.
   * @template R
   * @param {number} tag
   * @param {Request<R>} request
   * @param {CallOptions<R>} options
   * @returns {Promise<R>}
   */
  #start(tag, request, { signal, settled }) {
    let frame;
    try {
      throwIfAborted(signal);
      if (this.#lost) throw this.#lostError();
      frame = this.#encode(tag, request);
    } catch (error) {
      this.#releaseTag(tag);
      settled?.(undefined, false);
      return Promise.reject(error);
    }
    const { promise, resolve, reject } = /** @type {typeof withResolvers<R>} */ (withResolvers)();
    const flags = { abandoned: false, answered: false };
    const pending = { request, resolve, reject, settled, detach: () => {}, ...flags };
    pending.detach = onAbort(signal, () => this.#abandon(tag, pending, signal?.reason));
    this.#pending.set(tag, pending);
    this.#write(frame);
    return promise;
  }

  /**
   * @param {number} tag
   * @param {Request<any>} request
   */
  #encode(tag, request) {
    const writer = new Writer();
    request.write(writer);
    if (writer.length > this.msize) {
      const text = `a request has ${writer.length} bytes, but the msize allows at most ${this.msize}`;
      throw ServerError.of('EMSGSIZE', text);
    }
    return writer.finish(request.type, tag);
  }

  /**
   * Queues a message. All messages queued in one turn of the event loop are written together.
   * @param {Buffer} frame
   */
  #write(frame) {
    if (this.#batch.length === 0) process.nextTick(() => this.#flush());
    this.#batch.push(frame);
    this.#batchLength += frame.length;
  }

  #flush() {
    if (this.#batch.length === 0) return;
    const all = this.#batch.length === 1 ? this.#batch[0] : Buffer.concat(this.#batch);
    [this.#batch, this.#batchLength] = [[], 0];
    // If `write` returns `true`, the socket emits no `drain` event.
    if (this.#socket.write(all)) this.#drained();
  }

  /**
   * Rejects the promise of a request and sends Tflush. The tag remains in use until Rflush arrives.
   * @param {number} tag
   * @param {Pending} pending
   * @param {unknown} reason
   */
  #abandon(tag, pending, reason) {
    pending.detach();
    pending.abandoned = true;
    pending.reject(new AbortError(reason));
    // No caller waits for the reply to Tflush, so its errors are ignored.
    this.#start(tag | FLUSH_BIT, messages.flush(tag), {}).catch(() => {});
  }

  /** @param {Buffer} chunk */
  #receive(chunk) {
    try {
      for (const frame of this.#frames.push(chunk)) {
        if (this.#lost) return;
        this.#receiveFrame(frame);
      }
    } catch (cause) {
      if (!(cause instanceof ProtocolError)) throw cause;
      this.lose({ reason: cause.message, code: cause.code, cause });
    }
  }

  /** @param {Buffer} frame */
  #receiveFrame(frame) {
    const [type, tag] = [frame.readUInt8(4), frame.readUInt16LE(5)];
    const pending = this.#pending.get(tag);
    if (!pending || pending.answered) {
      throw new ProtocolError(`a reply has the tag ${tag}, which no request has`);
    }
    const reader = new Reader(frame, HEADER);
    const { request, settled } = pending;
    const error = type === request.type + 1 ? undefined : this.#readError(type, request, reader);
    const value = error ? undefined : request.read(reader);
    reader.end();
    pending.detach();
    if (pending.abandoned) {
      pending.answered = true;
    } else {
      this.#pending.delete(tag);
      this.#release(tag, pending);
    }
    settled?.(value, pending.abandoned);
    if (error) pending.reject(error);
    else pending.resolve(value);
  }

  /**
   * Frees the tag of a request that has received its reply. For a Tflush, frees the tag of the
   * cancelled request, because the Tflush tag itself does not belong to a pool.
   * @param {number} tag
   * @param {Pending} pending
   */
  #release(tag, { request }) {
    if (request.type !== TFLUSH) {
      this.#releaseTag(tag);
      return;
    }
    const oldtag = tag & ~FLUSH_BIT;
    const target = this.#pending.get(oldtag);
    this.#pending.delete(oldtag);
    this.#releaseTag(oldtag);
    if (target && !target.answered) target.settled?.(undefined, true);
  }

  /**
   * Returns a tag to its pool. Does nothing for the tags of Tversion and Tflush, which do not
   * belong to a pool.
   * @param {number} tag
   */
  #releaseTag(tag) {
    if (tag >= FLUSH_BIT) return;
    (tag < this.#maxRequests ? this.#requestTags : this.#streamTags).release(tag);
  }

  /**
   * @param {number} type
   * @param {Request<any>} request
   * @param {Reader} reader
   */
  #readError(type, request, reader) {
    if (type === RLERROR && this.dialect === '9P2000.L') return new ServerError(reader.u32());
    if (type === RERROR && this.dialect !== '9P2000.L') {
      const text = reader.text().toString();
      return new ServerError(this.dialect === '9P2000.u' ? reader.u32() : 0, text);
    }
    throw new ProtocolError(
      `the server sent a reply of type ${type} to a request of type ${request.type}`,
    );
  }

  #lostError() {
    const { reason, ...fields } = this.#lost ?? { reason: 'the connection was closed' };
    return new ConnectionLostError(reason, fields);
  }

  /**
   * Makes all current and subsequent requests fail, and closes the socket. Subsequent calls do not
   * change the reason.
   * @param {{ reason: string, code?: string, cause?: unknown }} why
   */
  lose(why) {
    this.#fail(why);
    this.#socket.destroy();
  }

  /** @param {{ reason: string, code?: string, cause?: unknown }} why */
  #fail(why) {
    if (this.#lost) return;
    this.#lost = why;
    const all = [...this.#pending.values()];
    this.#pending.clear();
    for (const { detach, reject, settled, abandoned, answered } of all) {
      detach();
      if (!answered) settled?.(undefined, abandoned);
      reject(this.#lostError());
    }
    this.#requestTags.close(() => this.#lostError());
    this.#streamTags.close(() => this.#lostError());
    this.fids.close(() => this.#lostError());
    this.#drained();
  }

  /**
   * Sends the queued messages and closes the connection. Requests that have not received a reply
   * fail. Waits up to one second for the server to close its side.
   */
  async close() {
    this.#fail({ reason: 'the client closed the connection' });
    // The client reads until the server closes its side, because closing a socket with unread data
    // resets the connection.
    this.#flush();
    this.#socket.end();
    const timer = setTimeout(() => this.#socket.destroy(), CLOSE_TIMEOUT);
    await this.#closed;
    clearTimeout(timer);
  }
}
