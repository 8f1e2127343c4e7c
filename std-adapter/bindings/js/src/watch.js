/**
 * Watches of stream files. A stream file sends its text in pieces called deliveries.
 * @module
 */

import { onAbort } from './abort.js';
import { AbortError, ServerError, throwIfAborted } from './errors.js';
import { readOnce } from './transfer.js';

/** @typedef {import('./fid.js').Fid} Fid */

/** The maximum length of a delivery in bytes. */
const MAX_DELIVERY = 1 << 24;

/**
 * An async iterator over the deliveries of a stream file, or over values decoded from the
 * deliveries.
 *
 * The first call to `start` or `next` opens the file. The watch ends when a `for await` loop over
 * it ends, when `return` is called, or when the scope of `await using` ends. The client then
 * cancels the read in flight and waits for the server to close the file. If the signal is aborted,
 * `next` rejects with an `AbortError`. Concurrent calls to `next` run one after another.
 * @template T
 * @implements {AsyncIterableIterator<T>}
 */
export class Watch {
  #open;
  #values;
  #signal;
  #stop = new AbortController();
  /** @type {Fid | undefined} */
  #file;
  #offset = 0;
  #empty = false;
  #ended = false;
  /** @type {Promise<unknown>} */
  #last = Promise.resolve();
  /** @type {T[]} */
  #ready = [];

  /**
   * @param {(signal: AbortSignal) => Promise<Fid>} open
   * @param {(delivery: Buffer, signal: AbortSignal) => T[] | Promise<T[]>} values
   * @param {AbortSignal} [signal]
   */
  constructor(open, values, signal) {
    this.#open = open;
    this.#values = values;
    this.#signal = signal;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /**
   * Opens the file without waiting for a value. The watch sees all changes made after this call.
   * Does nothing if the file is already open.
   * @returns {Promise<void>}
   */
  start() {
    return this.#inOrder(async () => {
      this.#file ??= await this.#open(this.#stop.signal);
    });
  }

  /**
   * Waits for the next value. If this fails, the watch has ended.
   * @returns {Promise<IteratorResult<T, undefined>>}
   */
  async next() {
    const result = await this.#inOrder(async () => {
      while (!this.#ended && this.#ready.length === 0) await this.#deliver();
      return this.#ended ? undefined : this.#ready.splice(0, 1);
    });
    return result ? { done: false, value: result[0] } : { done: true, value: undefined };
  }

  /**
   * Waits for earlier calls to finish and then calls `f`. Returns `undefined` if the watch has
   * already ended or ends during the call.
   * @template R
   * @param {() => Promise<R>} f
   * @returns {Promise<R | undefined>}
   */
  #inOrder(f) {
    const result = this.#last.then(() => (this.#ended ? undefined : this.#abortable(f)));
    this.#last = result.catch(() => {});
    return result;
  }

  /**
   * @template R
   * @param {() => Promise<R>} f
   */
  async #abortable(f) {
    const signal = this.#signal;
    const detach = onAbort(signal, () => this.#stop.abort(signal?.reason));
    try {
      throwIfAborted(signal);
      return await f();
    } catch (error) {
      // `return` was called while `f` was running.
      if (this.#ended && error instanceof AbortError) return undefined;
      this.#end();
      throw error;
    } finally {
      detach();
    }
  }

  /**
   * Reads one delivery. An empty read marks the end of a delivery, and two empty reads in a row
   * mark the end of the stream.
   */
  async #deliver() {
    const stop = this.#stop.signal;
    this.#file ??= await this.#open(stop);
    const pieces = [];
    for (let length = 0; ;) {
      const data = await readOnce(this.#file, this.#offset, this.#file.unit, stop, true);
      if (data.length === 0) break;
      length += data.length;
      if (length > MAX_DELIVERY) {
        throw ServerError.of('EFBIG', `a delivery has more than ${MAX_DELIVERY} bytes`);
      }
      this.#offset += data.length;
      this.#empty = false;
      pieces.push(data);
    }
    if (pieces.length > 0) {
      const values = await this.#values(Buffer.concat(pieces), stop);
      this.#ready.push(...values);
    } else if (this.#empty) {
      this.#end();
    }
    this.#empty = true;
  }

  #end() {
    this.#ended = true;
    this.#ready = [];
    this.#stop.abort();
    this.#file?.release();
  }

  /**
   * Ends the watch. A pending call to `next` then returns `done: true`.
   * @returns {Promise<IteratorResult<T, undefined>>}
   */
  async return() {
    this.#ended = true;
    this.#ready = [];
    this.#stop.abort();
    await this.#last;
    // The file was only read, so an error from Tclunk does not matter.
    if (this.#file?.inUse) await this.#file.clunk().catch(() => {});
    return { done: true, value: undefined };
  }

  async [Symbol.asyncDispose]() {
    await this.return();
  }
}
