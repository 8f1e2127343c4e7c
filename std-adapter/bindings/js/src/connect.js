/**
 * Connects to a server and agrees on a dialect.
 * @module
 */

import { once } from 'node:events';
import net from 'node:net';
import os from 'node:os';

import { parseAddress } from './address.js';
import { Connection, MAX_FIDS, MAX_REQUESTS } from './connection.js';
import { AbortError, ConnectionLostError, InvalidArgumentError, ServerError } from './errors.js';
import { Fid } from './fid.js';
import { DIALECTS, NOFID } from './messages.js';
import { IO_HEADER } from './wire.js';

/** @typedef {import('./messages.js').Dialect} Dialect */

/**
 * @typedef {object} ConnectOptions
 * @property {Dialect} [dialect] The only dialect to offer. By default 9P2000.u is offered first,
 *   because its errors contain text, then 9P2000.L and 9P2000.
 * @property {number} [msize] The largest message in bytes, from 256 on; 131096 by default. The
 *   server may choose a smaller one.
 * @property {string} [uname] The name of the user, by default the user of this process.
 * @property {number} [uid] The number of the user for 9P2000.u and 9P2000.L, by default the user of
 *   this process.
 * @property {number} [gid] The group of new files in 9P2000.L, by default the group of this
 *   process.
 * @property {string} [aname] The tree to attach to, `/` by default. Most servers have only one.
 * @property {number} [timeout] The time for connecting in milliseconds, 10000 by default.
 *   Requests have no time limit: pass an `AbortSignal.timeout()` to set one.
 * @property {AbortSignal} [signal] Aborts connecting.
 * @property {number} [maxRequests] The largest number of requests in flight, 32 by default. More
 *   requests wait. The reads of watches do not count.
 * @property {number} [maxFids] The largest number of files that are in use at the same time on the
 *   server, 65536 by default. More files wait.
 */

const MIN_MSIZE = 256;
const DEFAULT_MSIZE = (128 << 10) + IO_HEADER;
/** Servers refuse requests while many others wait. */
const DEFAULT_REQUESTS = 32;
const DEFAULT_TIMEOUT = 10_000;
/** The time without traffic after which TCP checks that the server is alive, in milliseconds. */
const KEEP_ALIVE = 30_000;

/**
 * Connects and attaches to the root.
 * @param {string} address
 * @param {ConnectOptions} [options]
 * @returns {Promise<Fid>} The root.
 */
export async function connectRoot(address, options = {}) {
  const { timeout = DEFAULT_TIMEOUT, signal } = options;
  const limits = {
    msize: between('msize', options.msize ?? DEFAULT_MSIZE, MIN_MSIZE, 0x7fff_ffff),
    maxRequests: between('maxRequests', options.maxRequests ?? DEFAULT_REQUESTS, 1, MAX_REQUESTS),
    maxFids: between('maxFids', options.maxFids ?? MAX_FIDS, 3, MAX_FIDS),
  };
  const target = parseAddress(address);
  const limit = AbortSignal.timeout(timeout);
  const stop = signal ? AbortSignal.any([signal, limit]) : limit;
  const socket = net.connect({ ...target, noDelay: true });
  const expired = () => socket.destroy();
  stop.addEventListener('abort', expired);
  try {
    await once(socket, 'connect', { signal: stop });
    socket.setKeepAlive(true, KEEP_ALIVE);
    return await attachRoot(new Connection(socket, limits), options);
  } catch (cause) {
    socket.destroy();
    if (signal?.aborted) throw new AbortError(signal.reason);
    if (limit.aborted) {
      throw new ConnectionLostError(`${address}: no connection within ${timeout} ms`, {
        code: 'ETIMEDOUT',
      });
    }
    if (cause instanceof ServerError || cause instanceof ConnectionLostError) throw cause;
    throw new ConnectionLostError(`${address}: ${reasonOf(cause)}`, { cause });
  } finally {
    stop.removeEventListener('abort', expired);
  }
}

/** @param {unknown} cause */
function reasonOf(cause) {
  // Node reports an error for each address of a name.
  if (cause instanceof AggregateError) return cause.errors.map((each) => each.message).join(', ');
  return cause instanceof Error ? cause.message : String(cause);
}

/**
 * @param {string} name
 * @param {number} value
 * @param {number} low
 * @param {number} high
 */
function between(name, value, low, high) {
  if (Number.isInteger(value) && value >= low && value <= high) return value;
  throw new InvalidArgumentError(`${name} is ${value}: use an integer from ${low} to ${high}`);
}

/**
 * @param {Connection} connection
 * @param {ConnectOptions} options
 */
async function attachRoot(connection, { dialect, uname, uid, gid, aname = '/' }) {
  await negotiate(connection, dialect ? [dialect] : DIALECTS);
  connection.gid = gid ?? process.getgid?.() ?? 0;
  const user = { uname: uname ?? userName(), uid: uid ?? process.getuid?.() ?? NOFID, aname };
  return Fid.attach(connection, user);
}

function userName() {
  try {
    return os.userInfo().username;
  } catch {
    // The user has no entry in the database of users.
    return 'nobody';
  }
}

/**
 * Offers the dialects in turn until the server accepts one.
 * @param {Connection} connection
 * @param {readonly Dialect[]} dialects
 */
async function negotiate(connection, dialects) {
  const offered = connection.msize;
  for (const offer of dialects) {
    const { msize, version } = await connection.version(offer);
    const dialect = DIALECTS.find((known) => known === version);
    if (!dialect) continue;
    if (!dialects.includes(dialect)) {
      throw ServerError.of('EOPNOTSUPP', `the server speaks only ${dialect}, not ${offer}`);
    }
    if (msize < MIN_MSIZE || msize > offered) {
      const reason = `the msize of the server is ${msize}: from ${MIN_MSIZE} to ${offered}`;
      throw new ConnectionLostError(reason, { code: 'EPROTO' });
    }
    connection.agree(msize, dialect);
    return;
  }
  throw ServerError.of('EOPNOTSUPP', `the server speaks none of ${dialects.join(', ')}`);
}
