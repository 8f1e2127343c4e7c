/**
 * Listens for abort signals.
 * @module
 */

/**
 * The callbacks for each signal. Each signal has one listener, which calls all its callbacks. Many
 * calls may share a signal, and Node warns about a memory leak if a signal has more than 10
 * listeners.
 * @type {WeakMap<AbortSignal, { callbacks: Set<() => void>, listener: () => void }>}
 */
const signals = new WeakMap();

/**
 * Calls `callback` when the signal is aborted. Returns a function that removes the callback.
 * @param {AbortSignal | undefined} signal
 * @param {() => void} callback Must be a different function for each call, because the callbacks
 *   are stored in a set.
 * @returns {() => void}
 */
export function onAbort(signal, callback) {
  if (!signal) return () => {};
  const entry = signals.get(signal) ?? listen(signal);
  entry.callbacks.add(callback);
  return () => {
    entry.callbacks.delete(callback);
    if (entry.callbacks.size > 0 || signals.get(signal) !== entry) return;
    signals.delete(signal);
    signal.removeEventListener('abort', entry.listener);
  };
}

/** @param {AbortSignal} signal */
function listen(signal) {
  /** @type {Set<() => void>} */
  const callbacks = new Set();
  const listener = () => {
    for (const callback of callbacks) callback();
  };
  const entry = { callbacks, listener };
  signals.set(signal, entry);
  signal.addEventListener('abort', listener);
  return entry;
}
