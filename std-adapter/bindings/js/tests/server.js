/**
 * Starts the program whose path is in the DATAKIT environment variable, or an example.
 * @module
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';

const PROGRAM = process.env.DATAKIT ?? 'datakit';
/**
 * An example that serves parameters. Cargo builds the examples into a directory next to the
 * programs.
 */
const SETTINGS = path.join(path.dirname(PROGRAM), 'examples', 'settings');

/** A server on a port chosen by the operating system. */
export class Server {
  /**
   * @param {import('node:child_process').ChildProcess} process
   * @param {string} address
   */
  constructor(process, address) {
    this.process = process;
    this.address = address;
  }

  /** @param {...string} options */
  static async start(...options) {
    const args = ['serve', '--quiet', '--listen-9p', 'tcp://127.0.0.1:0', ...options];
    return Server.run(PROGRAM, args);
  }

  /**
   * Starts a program that prints the address on which it listens.
   * @param {string} program
   * @param {string[]} args
   */
  static async run(program, args) {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const failed = once(child, 'exit').then(
      () => '',
      (error) => `${error}`,
    );
    const first = once(createInterface(child.stdout), 'line').then(([line]) => String(line));
    const line = await Promise.race([first, failed]);
    const match = /^listening on (.+)$/.exec(line);
    if (!match) {
      child.kill();
      throw new Error(`${program} ${args.join(' ')} printed ${JSON.stringify(line)}`);
    }
    return new Server(child, match[1]);
  }

  async stop() {
    const exited = once(this.process, 'exit');
    if (this.process.kill('SIGKILL')) await exited;
  }

  async [Symbol.asyncDispose]() {
    await this.stop();
  }
}

/**
 * Starts a server and stops it after the test.
 * @param {import('node:test').TestContext} test
 * @param {...string} options
 */
export async function serve(test, ...options) {
  const server = await Server.start(...options);
  test.after(() => server.stop());
  return server.address;
}

/**
 * The reason why {@link serveSettings} cannot be used, or `false` if it can be used.
 */
export const settingsMissing = existsSync(SETTINGS) ? false : `${SETTINGS} has not been built`;

/**
 * Starts the `settings` example, which serves parameters, and stops it after the test.
 * @param {import('node:test').TestContext} test
 */
export async function serveSettings(test) {
  const server = await Server.run(SETTINGS, ['tcp://127.0.0.1:0']);
  test.after(() => server.stop());
  return server.address;
}
