/**
 * Reads a small file 1000 times, 32 reads at a time, and prints the number of reads per second.
 * @module
 */

import { connect } from 'datakit';

import { Server } from './server.js';

const READS = 1000;
const AT_A_TIME = 32;

const server = await Server.start('--scratch');
const client = await connect(server.address);
await client.writeFile('/small', 'hello, world\n');

let left = READS;
const reader = async () => {
  while (left-- > 0) {
    const text = await client.readFile('/small', 'utf8');
    if (text !== 'hello, world\n') throw new Error(`read ${JSON.stringify(text)}`);
  }
};
const begin = performance.now();
await Promise.all(Array.from({ length: AT_A_TIME }, reader));
const seconds = (performance.now() - begin) / 1000;
console.log(`js: ${READS} pipelined reads: ${Math.round(READS / seconds)}/s`);

await client.close();
await server.stop();
