/**
 * Pools of the numbers used as tags and fids.
 * @module
 */

import { onAbort } from './abort.js';
import { AbortError, throwIfAborted } from './errors.js';

/**
 * @typedef {object} Waiter
 * @property {number} count
 * @property {(numbers: number[]) => void} resolve
 * @property {(error: Error) => void} reject
 */

/** A pool of numbers. If no number is free, callers wait and are served in FIFO order. */
export class Pool {
  #limit;
  #next;
  #base;
  /** @type {number[]} */
  #free = [];
  /** @type {Set<Waiter>} */
  #waiters = new Set();
  /** @type {(() => Error) | undefined} */
  #closed;

  /**
   * @param {number} limit The maximum number of numbers in use at the same time.
   * @param {number} [base] The smallest number in the pool.
   */
  constructor(limit, base = 0) {
    this.#limit = limit;
    this.#base = base;
    this.#next = base;
  }

  /** How many numbers are in use. */
  get used() {
    return this.#next - this.#base - this.#free.length;
  }

  /** Takes a number. Returns `undefined` if the caller has to wait. */
  tryAcquire() {
    if (this.#closed || this.#waiters.size > 0) return undefined;
    return this.used < this.#limit ? this.#take() : undefined;
  }

  #take() {
    return this.#free.pop() ?? this.#next++;
  }

  /**
   * Waits until a number is free and takes it.
   * @param {AbortSignal} [signal]
   * @returns {Promise<number>}
   */
  async acquire(signal) {
    return this.tryAcquire() ?? (await this.acquireAll(1, signal))[0];
  }

  /**
   * Waits until multiple numbers are free and takes all of them. If callers held one number while
   * waiting for another, they could deadlock.
   * @param {number} count
   * @param {AbortSignal} [signal]
   * @returns {Promise<number[]>}
   */
  async acquireAll(count, signal) {
    throwIfAborted(signal);
    if (this.#closed) throw this.#closed();
    if (count > this.#limit) throw new RangeError(`cannot take ${count} of ${this.#limit} numbers`);
    /** @type {PromiseWithResolvers<number[]>} */
    const { promise, resolve, reject } = withResolvers();
    const waiter = { count, resolve, reject };
    const detach = onAbort(signal, () => {
      this.#waiters.delete(waiter);
      reject(new AbortError(signal?.reason));
      this.#serve();
    });
    this.#waiters.add(waiter);
    this.#serve();
    return promise.finally(detach);
  }

  /** @param {number} number */
  release(number) {
    this.#free.push(number);
    this.#serve();
  }

  #serve() {
    for (const waiter of this.#waiters) {
      if (this.#limit - this.used < waiter.count) return;
      this.#waiters.delete(waiter);
      waiter.resolve(Array.from({ length: waiter.count }, () => this.#take()));
    }
  }

  /**
   * Makes all current and subsequent callers fail.
   * @param {() => Error} error
   */
  close(error) {
    this.#closed = error;
    for (const { reject } of this.#waiters) reject(error());
    this.#waiters.clear();
  }
}

/**
 * @template T
 * @typedef {object} PromiseWithResolvers
 * @property {Promise<T>} promise
 * @property {(value: T) => void} resolve
 * @property {(error: unknown) => void} reject
 */

/**
 * Equivalent to `Promise.withResolvers`, which Node 20 does not have.
 * @template T
 * @returns {PromiseWithResolvers<T>}
 */
export function withResolvers() {
  /** @type {any} */
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
}
