/**
 * Runs the examples.
 * @module
 */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { serve } from './server.js';

test('the tour prints the file that it commits', async (t) => {
  const program = fileURLToPath(new URL('../examples/tour.js', import.meta.url));
  const run = promisify(execFile)(process.execPath, [program, await serve(t)]);
  assert.deepEqual((await run).stdout.trimEnd().split('\n'), [
    "Set the log level [ 'level' ]",
    'debug',
    'info',
    '* etc/app/level',
    'info',
  ]);
});
