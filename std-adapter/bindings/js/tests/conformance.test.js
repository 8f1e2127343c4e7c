/**
 * Runs the conformance table of the bindings in all dialects.
 * @module
 */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';

import { Database } from 'datakit';

import { Runner } from './conformance.js';
import { serve } from './server.js';

/**
 * The features that each dialect offers. The `needs` list of a test case names the features that
 * the case requires.
 */
const OFFERS = {
  '9P2000': ['error_texts'],
  '9P2000.u': ['error_texts', 'symlinks'],
  '9P2000.L': ['symlinks'],
};

const table = JSON.parse(
  readFileSync(
    process.env.CONFORMANCE ?? new URL('../../conformance.json', import.meta.url),
    'utf8',
  ),
);

for (const [name, offers] of Object.entries(OFFERS)) {
  const dialect = /** @type {import('datakit').Dialect} */ (name);
  describe(`conformance in ${dialect}`, { concurrency: 2 }, () => {
    const cases = table.cases.filter((/** @type {any} */ { needs = [] }) =>
      needs.every((/** @type {string} */ need) => offers.includes(need)),
    );
    assert(table.version === 1 && cases.length > 30);
    for (const { name, steps } of cases) {
      test(name, async (t) => {
        const database = await Database.connect(await serve(t), { dialect });
        t.after(() => database.close());
        assert.equal(database.client.dialect, dialect);
        const runner = new Runner(database);
        for (const step of steps) await runner.step(step);
      });
    }
  });
}
