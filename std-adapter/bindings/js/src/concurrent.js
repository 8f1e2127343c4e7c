/**
 * Runs functions concurrently so that their requests are pipelined.
 * @module
 */

/** The maximum number of calls that run at the same time. */
const CONCURRENCY = 32;

/**
 * Calls `f` for each item, with at most 32 calls in progress at a time. If a call fails, starts no
 * further calls, waits for the calls in progress to finish, and rejects with an error from one of
 * the calls.
 * @template T
 * @param {Iterable<T>} items
 * @param {(item: T) => Promise<unknown>} f
 */
export async function forEachConcurrently(items, f) {
  const left = items[Symbol.iterator]();
  let failed = false;
  const worker = async () => {
    for (let item = left.next(); !item.done && !failed; item = left.next()) {
      try {
        await f(item.value);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const results = await Promise.allSettled(Array.from({ length: CONCURRENCY }, worker));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}
