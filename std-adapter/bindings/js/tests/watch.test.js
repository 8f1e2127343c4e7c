/**
 * Tests for watches.
 * @module
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';

import { Database, connect } from 'datakit';

import { FakeServer, T, opened, walked } from './fake_server.js';
import { serve, serveSettings, settingsMissing } from './server.js';

/** @type {import('datakit').Dialect[]} */
const DIALECTS = ['9P2000', '9P2000.u', '9P2000.L'];

/** @param {import('node:test').TestContext} t */
async function master(t) {
  const database = await Database.connect(await serve(t));
  t.after(() => database.close());
  return { database, branch: await database.branch('master') };
}

/** @param {string} content */
const fileA = (content) => ({ files: [{ path: 'a', content }] });

/** @param {Database} database */
async function noLeaks({ client }) {
  while (client.root.connection.requests > 0) await setImmediate();
  assert.equal(client.root.connection.fids.used, 1);
}

test('leaving the loop closes the file on the server', async (t) => {
  const { database, branch } = await master(t);
  const commits = [];
  for await (const commit of branch.watchHead()) {
    commits.push(commit?.hash ?? null);
    if (commits.length === 3) break;
    await branch.commitFiles('Next', fileA(String(commits.length)));
  }
  assert.equal(commits[0], null);
  assert.equal((await branch.head())?.hash, commits[2]);
  await noLeaks(database);
});

test('return ends a waiting call of next', async (t) => {
  const { database, branch } = await master(t);
  const watch = branch.watchHead();
  await watch.next();
  const [first, second] = [watch.next(), watch.next()];
  assert.deepEqual(await watch.return(), { done: true, value: undefined });
  assert.deepEqual(await first, { done: true, value: undefined });
  assert.deepEqual(await second, { done: true, value: undefined });
  assert.deepEqual(await watch.next(), { done: true, value: undefined });
  await watch.return();
  await watch[Symbol.asyncDispose]();
  await noLeaks(database);
});

test('a signal ends a watch with an AbortError', async (t) => {
  const { database, branch } = await master(t);
  const abort = new AbortController();
  const seen = /** @type {unknown[]} */ ([]);
  const loop = async () => {
    for await (const commit of branch.watchHead({ signal: abort.signal })) {
      seen.push(commit);
      setImmediate().then(() => abort.abort(new Error('enough')));
    }
  };
  await assert.rejects(loop(), (/** @type {any} */ error) => error.cause.message === 'enough');
  assert.deepEqual(seen, [null]);
  const late = branch.watchHead({ signal: abort.signal });
  await assert.rejects(late.next(), { name: 'AbortError' });
  await noLeaks(database);
});

test('return closes a watch that was started but not read', async (t) => {
  const { database, branch } = await master(t);
  const watch = branch.watchHead();
  await watch.start();
  assert.equal(database.client.root.connection.fids.used, 2);
  await watch.return();
  await watch.start();
  await noLeaks(database);
});

test('a watch of an invalid path fails immediately', async (t) => {
  const { branch } = await master(t);
  assert.throws(() => branch.watchPath('/a'), { kind: 'invalid_path' });
});

test('a watch of a removed branch fails with ENOENT', async (t) => {
  const { database, branch } = await master(t);
  await branch.remove();
  await assert.rejects(branch.watchHead().next(), {
    code: 'ENOENT',
    path: '/branch/master/head.live',
  });
  await noLeaks(database);
});

test('the reflog contains every change of the head', async (t) => {
  const { branch } = await master(t);
  const reflog = branch.reflog();
  await reflog.start();
  await reflog.start();
  const expected = [];
  for (const text of ['1', '2', '3']) {
    expected.push((await branch.commitFiles(text, fileA(text))).hash);
  }
  const seen = [];
  for (const _ of expected) seen.push((await reflog.next()).value);
  assert.deepEqual(seen.map(String), expected);
  await branch.remove();
  assert.deepEqual(await reflog.next(), { done: false, value: null });
  await reflog.return();
});

test('waitForHead and waitForPath return the first result', async (t) => {
  const { database, branch } = await master(t);
  const waiting = branch.waitForPath('a', async (value) =>
    value?.kind === 'file' && value.data.toString() === '2' ? 'found' : undefined,
  );
  await branch.commitFiles('1', fileA('1'));
  const second = await branch.commitFiles('2', fileA('2'));
  assert.equal(await waiting, 'found');
  const head = await branch.waitForHead((commit) => commit ?? undefined);
  assert.equal(head.hash, second.hash);
  const failing = branch.waitForHead(() => {
    throw new Error('mine');
  });
  await assert.rejects(failing, /mine/);
  await noLeaks(database);
});

test('many watches share a connection', async (t) => {
  const { database, branch } = await master(t);
  const watches = Array.from({ length: 50 }, (_, number) => branch.watchPath(`f${number}`));
  for (const { value } of await Promise.all(watches.map((watch) => watch.next()))) {
    assert.equal(value, null);
  }
  const nexts = watches.map((watch) => watch.next());
  const files = watches.map((_, number) => ({ path: `f${number}`, content: String(number) }));
  await branch.commitFiles('All', { files });
  const values = (await Promise.all(nexts)).map(({ value }) => value);
  const contents = values.map((value) => value && 'data' in value && String(value.data));
  assert.deepEqual(
    contents,
    files.map(({ content }) => content),
  );
  await Promise.all(watches.map((watch) => watch.return()));
  await noLeaks(database);
});

test('one empty read ends a delivery, and two empty reads end the stream', async (t) => {
  const server = await FakeServer.start(t);
  const [client] = await Promise.all([connect(server.address), server.handshake()]);
  t.after(() => client.close());
  const reading = (async () => {
    const deliveries = [];
    for await (const text of client.watch('/s', 'utf8')) deliveries.push(text);
    return deliveries;
  })();
  await server.serve(T.WALK, walked());
  await server.serve(T.OPEN, opened);
  const offsets = [];
  for (const text of ['on', 'e', '', 'two', '', '']) {
    const read = await server.serve(T.READ, (w) => w.data(Buffer.from(text)));
    read.fields.u32();
    offsets.push(read.fields.number());
  }
  assert.deepEqual(await reading, ['one', 'two']);
  assert.deepEqual(offsets, [0, 2, 3, 3, 6, 6]);
  await server.serve(T.CLUNK);
});

for (const dialect of DIALECTS) {
  test(
    `a watch of a parameter returns every value in ${dialect}`,
    { skip: settingsMissing },
    async (t) => {
      const client = await connect(await serveSettings(t), { dialect });
      t.after(() => client.close());
      const values = client.watch('/params/pool/most', 'utf8');
      assert.deepEqual(await values.next(), { done: false, value: '10\n' });
      for (const value of ['20', '30']) {
        await client.writeFile('/params/pool/most', value);
        assert.deepEqual(await values.next(), { done: false, value: `${value}\n` });
      }
      await values.return();
    },
  );

  const linux = dialect === '9P2000.L';

  /**
   * Takes a request to open a file. Returns the request and its mode.
   * @param {FakeServer} server
   */
  const takeOpen = async (server) => {
    const request = await server.take(linux ? T.LOPEN : T.OPEN);
    request.fields.u32();
    return { request, mode: linux ? request.fields.u32() : request.fields.u8() };
  };

  /**
   * @param {FakeServer} server
   * @param {import('./fake_server.js').Request} request
   */
  const refuse = (server, request) =>
    server.send(linux ? T.LERROR : T.ERROR, request.tag, (w) => {
      if (!linux) w.text('Operation not permitted');
      if (dialect !== '9P2000') w.u32(1);
    });

  test(`a watch sets the append flag unless the server refuses it in ${dialect}`, async (t) => {
    const server = await FakeServer.start(t);
    const connecting = connect(server.address, { dialect });
    const [client] = await Promise.all([connecting, server.handshake({ version: dialect })]);
    t.after(() => client.close());
    const follow = linux ? 0o2000 : 0x80;
    for (const modes of [[follow], [follow, 0]]) {
      const watch = client.watch('/f', 'utf8');
      const next = watch.next();
      await server.serve(T.WALK, walked());
      for (const [index, expected] of modes.entries()) {
        const { request, mode } = await takeOpen(server);
        assert.equal(mode, expected);
        if (index === modes.length - 1) server.answer(request, opened);
        else refuse(server, request);
      }
      for (const text of ['one', '']) {
        await server.serve(T.READ, (w) => w.data(Buffer.from(text)));
      }
      assert.deepEqual(await next, { done: false, value: 'one' });
      await Promise.all([watch.return(), server.serve(T.CLUNK)]);
    }
    const failing = client.watch('/f').next();
    failing.catch(() => {});
    await server.serve(T.WALK, walked());
    for (const expected of [follow, 0]) {
      const { request, mode } = await takeOpen(server);
      assert.equal(mode, expected);
      refuse(server, request);
    }
    await server.serve(T.CLUNK);
    await assert.rejects(failing, { code: 'EPERM', path: '/f', syscall: 'watch' });
  });
}
