/**
 * Connects to a server and negotiates the dialect.
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
 * @property {Dialect} [dialect] The only dialect that the client offers. By default, the client
 *   offers 9P2000.u, 9P2000.L and 9P2000, in that order. 9P2000.u comes first because its errors
 *   contain text.
 * @property {number} [msize] The maximum message length in bytes. The minimum is 256, and the
 *   default is 131096. The server may choose a smaller value.
 * @property {string} [uname] The user name. The default is the name of the user running this
 *   process.
 * @property {number} [uid] The user id for 9P2000.u and 9P2000.L. The default is the user id of
 *   this process.
 * @property {number} [gid] The group id of new files in 9P2000.L. The default is the group id of
 *   this process.
 * @property {string} [aname] The name of the tree to attach to, `/` by default. Most servers have
 *   only one tree.
 * @property {number} [timeout] The connection timeout in milliseconds, 10000 by default. Requests
 *   have no timeout. To set one, pass `AbortSignal.timeout()` as the `signal` option of a method.
 * @property {AbortSignal} [signal] Aborts the connection attempt.
 * @property {number} [maxRequests] The maximum number of requests in flight, 32 by default. Further
 *   requests wait. Reads by watches are not counted.
 * @property {number} [maxFids] The maximum number of fids in use, 65536 by default. A fid is a
 *   number that identifies a file that the client is using on the server. A call that needs another
 *   fid has to wait.
 */

const MIN_MSIZE = 256;
const DEFAULT_MSIZE = (128 << 10) + IO_HEADER;
/** Servers refuse requests if too many others are waiting, so the default is small. */
const DEFAULT_REQUESTS = 32;
const DEFAULT_TIMEOUT = 10_000;
/**
 * After this many milliseconds without traffic, TCP checks whether the server still responds.
 */
const KEEP_ALIVE = 30_000;

/**
 * Connects to a server and attaches to the root directory.
 * @param {string} address
 * @param {ConnectOptions} [options]
 * @returns {Promise<Fid>} The fid of the root directory.
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
  // If a host name resolves to multiple addresses, Node reports one error for each address.
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
  throw new InvalidArgumentError(
    `${name} is ${value}, but must be an integer from ${low} to ${high}`,
  );
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
    // The user of this process has no entry in the user database.
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
      throw ServerError.of('EOPNOTSUPP', `the server supports only ${dialect}, not ${offer}`);
    }
    if (msize < MIN_MSIZE || msize > offered) {
      const reason = `the msize of the server is ${msize}, but must be from ${MIN_MSIZE} to ${offered}`;
      throw new ConnectionLostError(reason, { code: 'EPROTO' });
    }
    connection.agree(msize, dialect);
    return;
  }
  throw ServerError.of('EOPNOTSUPP', `the server supports none of ${dialects.join(', ')}`);
}
