/**
 * Parses server addresses.
 * @module
 */

import net from 'node:net';

import { InvalidArgumentError } from './errors.js';

/** The port used for TCP addresses without a port. */
const DEFAULT_PORT = 5640;

/** @typedef {{ host: string, port: number } | { path: string }} Address */

/**
 * Parses an address: `HOST`, `HOST:PORT`, `tcp://HOST[:PORT]`, `unix://PATH`, `file://PATH` or a
 * path.
 *
 * The default port is 5640. A path begins with `/`, `./`, `../` or `\\.\pipe\`. An IPv6 address
 * before a port must be in brackets. Throws an `InvalidArgumentError` if the text has none of these
 * forms.
 * @param {string} text
 * @returns {Address}
 */
export function parseAddress(text) {
  if (/^(unix|file):\/\//.test(text)) return { path: text.slice(7) };
  if (/^(\.{0,2}\/|\\\\)/.test(text)) return { path: text };
  const rest = text.replace(/^tcp:(\/\/)?/, '');
  const match = /^\[([^\]]+)\](?::(\d+))?$/.exec(rest) ?? /^([^:/]+)(?::(\d+))?$/.exec(rest);
  const bare = net.isIPv6(rest);
  const [host, port] = match ? [match[1], Number(match[2] ?? DEFAULT_PORT)] : [rest, DEFAULT_PORT];
  if (!match && !bare) {
    const forms = 'HOST, HOST:PORT, [IPV6]:PORT, tcp://HOST:PORT, unix://PATH or a path';
    throw new InvalidArgumentError(`address ${JSON.stringify(text)}: must be ${forms}`);
  }
  if (port < 1 || port > 65535) {
    throw new InvalidArgumentError(
      `address ${JSON.stringify(text)}: the port must be from 1 to 65535`,
    );
  }
  return { host, port };
}
