/**
 * Database tests that are not in the conformance table.
 * @module
 */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';

import { Commit, Database } from 'datakit';

import { serve } from './server.js';

/** @type {import('datakit').Dialect[]} */
const DIALECTS = ['9P2000', '9P2000.u', '9P2000.L'];

/**
 * @param {import('node:test').TestContext} t
 * @param {import('datakit').ConnectOptions} [options]
 */
async function master(t, options) {
  const database = await Database.connect(await serve(t), options);
  t.after(() => database.close());
  return { database, branch: await database.branch('master') };
}

/** @param {string} content */
const fileA = (content) => ({ files: [{ path: 'a', content }] });

test('a transaction that is not committed is aborted', async (t) => {
  const { database, branch } = await master(t);
  const list = () => database.client.readdir('/branch/master/transactions');
  const transaction = await branch.transaction();
  assert.equal(transaction.branch, branch);
  assert.equal((await list()).length, 1);
  await transaction[Symbol.asyncDispose]();
  assert(transaction.ended);
  assert.deepEqual(await list(), []);

  const failing = branch.withTransaction(async (inner) => {
    await inner.createFile('a', '1');
    throw new Error('mine');
  });
  await assert.rejects(failing, /mine/);
  await assert.rejects(
    branch.withTransaction(async () => 1),
    { code: 'ERR_TRANSACTION_OPEN' },
  );
  assert.equal(await branch.withTransaction(async (inner) => (await inner.abort(), 7)), 7);
  assert.deepEqual(await list(), []);
  assert.equal(await branch.head(), null);
});

test('a transaction that has ended refuses calls', async (t) => {
  const { branch } = await master(t);
  const transaction = await branch.transaction();
  const { tree } = transaction;
  await transaction.abort();
  const error = { code: 'ERR_TRANSACTION_ENDED', kind: 'transaction_ended' };
  await assert.rejects(tree.stat('a'), error);
  await assert.rejects(transaction.commit('x'), error);
  await assert.rejects(transaction.parents(), error);
});

test('of several transactions with fastForwardOnly, exactly one is committed', async (t) => {
  const { branch } = await master(t);
  const transactions = await Promise.all([1, 2, 3, 4].map(() => branch.transaction()));
  const commit = async (
    /** @type {import('datakit').Transaction} */ each,
    /** @type {number} */ n,
  ) => {
    await each.createFile(`f${n}`, String(n));
    return each.commit(`Commit ${n}`, { fastForwardOnly: true });
  };
  const results = await Promise.allSettled(transactions.map(commit));
  const done = results.filter(({ status }) => status === 'fulfilled');
  assert.equal(done.length, 1);
  for (const result of results) {
    if (result.status === 'rejected') assert.equal(result.reason.code, 'EBUSY');
  }
});

test('ifChanged creates no commit if the tree is the same', async (t) => {
  const { branch } = await master(t);
  const first = await branch.commitFiles('First', fileA('1'));
  const second = await branch.withTransaction(async (transaction) => {
    await transaction.replaceFile('a', '1');
    return transaction.commit('Second', { ifChanged: true });
  });
  assert.equal(second.hash, first.hash);
});

test('the history contains the author, the date and the message of each commit', async (t) => {
  const { branch } = await master(t);
  const first = await branch.commitFiles('One\n\ttab \\ é', fileA('1'));
  const second = await branch.withTransaction(async (transaction) => {
    await transaction.setAuthor('Ann <ann@example.org>');
    await transaction.createFile('b', '2');
    return transaction.commit('Two');
  });
  const all = [];
  for await (const details of second.history()) all.push(details);
  assert.deepEqual(
    all.map(({ hash }) => hash),
    [second.hash, first.hash],
  );
  assert.deepEqual([all[0].parents, all[1].parents], [[first.hash], []]);
  assert.equal(all[0].author, 'Ann <ann@example.org>');
  assert.deepEqual(
    all.map(({ message }) => message.trimEnd()),
    ['Two', 'One\n\ttab \\ é'],
  );
  assert(Math.abs(Date.now() - Date.parse(all[0].date)) < 3_600_000);
  for await (const details of second.history()) {
    assert.equal(details.hash, second.hash);
    break;
  }
});

test('reads a long history in pieces', async (t) => {
  const { branch } = await master(t, { msize: 4096 });
  for (let number = 0; number < 60; number++) {
    await branch.commitFiles(`Commit ${number} ${'x'.repeat(100)}`, fileA(String(number)));
  }
  const head = /** @type {Commit} */ (await branch.head());
  let count = 60;
  for await (const { message } of head.history()) {
    count--;
    assert(message.startsWith(`Commit ${count} `));
  }
  assert.equal(count, 0);
});

test('errors of the database have codes and kinds in all dialects', async (t) => {
  const address = await serve(t);
  for (const name of ['9P2000', '9P2000.u', '9P2000.L']) {
    const dialect = /** @type {import('datakit').Dialect} */ (name);
    const database = await Database.connect(address, { dialect });
    t.after(() => database.close());
    const branch = await database.branch(`b-${dialect.length}${dialect.at(-1)}`);
    const first = await branch.commitFiles('First', fileA('1'));
    const [one, two] = [await branch.transaction(), await branch.transaction()];
    await one.replaceFile('a', '2');
    await two.replaceFile('a', '3');
    await one.commit('Two');
    await assert.rejects(two.commit('Three'), {
      code: 'EBUSY',
      kind: dialect === '9P2000.L' ? 'other' : 'conflict',
    });
    assert(!two.ended);
    await assert.rejects(branch.fastForward(first), { code: 'EBUSY' });
    await assert.rejects(first.tree.readFile(''), { code: 'EISDIR', kind: 'not_file' });
    await assert.rejects(first.tree.readLink('a'), { code: 'EINVAL', kind: 'not_symlink' });
  }
});

test('the constructor of Commit checks the hash', async (t) => {
  const { database } = await master(t);
  assert.throws(() => new Commit(database.client, 'master'), { kind: 'invalid_hash' });
});

test('fetches a branch of another repository', async (t) => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'datakit-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const git = (/** @type {string[]} */ ...args) =>
    execFileSync('git', [
      '-C',
      dir,
      '-c',
      'user.name=a',
      '-c',
      'user.email=a@b',
      ...args,
    ]).toString();
  git('init', '--quiet', '--initial-branch=main');
  git('commit', '--quiet', '--allow-empty', '-m', 'Elsewhere');
  const { database, branch } = await master(t);
  const commit = await database.fetch(dir, 'main');
  assert.equal(commit.hash, git('rev-parse', 'HEAD').trim());
  assert.equal((await commit.message()).trim(), 'Elsewhere');
  await branch.fastForward(commit);
  assert.equal((await branch.head())?.hash, commit.hash);
  await assert.rejects(database.fetch(dir, 'nope'), { name: 'ServerError' });
  assert.deepEqual(await database.client.readdir('/remotes'), []);
});

for (const dialect of DIALECTS) {
  test(`a failed fetch reports the whole reason in ${dialect}`, async (t) => {
    // An error reply truncates the text, and has no text in 9P2000.L.
    const { database } = await master(t, { dialect });
    await assert.rejects(
      database.fetch('/nonexistent/repository', 'main'),
      (/** @type {any} */ error) => {
        assert.equal(error.name, 'ServerError');
        assert.match(error.text, /^error: cannot fetch \/nonexistent\/repository: fatal: /);
        assert.match(error.text, /and the repository exists\.$/);
        assert.match(error.path, /^\/remotes\/\d+\/fetch$/);
        return true;
      },
    );
    // The server ignores an empty command.
    for (const branch of ['', ' ', 'a..b']) {
      const signal = AbortSignal.timeout(20_000);
      const fetching = database.fetch('/nonexistent', branch, { signal });
      await assert.rejects(fetching, { kind: 'invalid_branch' });
    }
    assert.deepEqual(await database.client.readdir('/remotes'), []);
  });
}
