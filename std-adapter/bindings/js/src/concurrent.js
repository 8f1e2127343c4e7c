/**
 * Runs functions concurrently, so that their requests are pipelined.
 * @module
 */

/** The largest number of calls that run at the same time. */
const CONCURRENCY = 32;

/**
 * Calls `f` for each item, at most 32 at a time. Rejects with the first error, after the calls that
 * have begun have ended.
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
