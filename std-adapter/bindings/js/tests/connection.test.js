/**
 * Tests for tags, fids, Tflush and the order of requests.
 * @module
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';

import { connect } from 'datakit';

import * as messages from '../src/messages.js';
import { FakeServer, T, opened, walked, writeQid } from './fake_server.js';
import { serve } from './server.js';

/**
 * @param {import('node:test').TestContext} t
 * @param {import('datakit').ConnectOptions} [options]
 */
async function connected(t, options) {
  const server = await FakeServer.start(t);
  const [client] = await Promise.all([connect(server.address, options), server.handshake()]);
  t.after(() => client.close());
  return { server, client };
}

/**
 * Aborts a Tstat on a connection that allows only one request in flight.
 * @param {import('node:test').TestContext} t
 */
async function abortedStat(t) {
  const { server, client } = await connected(t, { maxRequests: 1 });
  const abort = new AbortController();
  const stat = client.stat('/a', { signal: abort.signal });
  await server.serve(T.WALK, walked());
  const request = await server.take(T.STAT);
  abort.abort(new Error('enough'));
  await assert.rejects(stat, (/** @type {any} */ error) => {
    assert.deepEqual([error.name, error.code], ['AbortError', 'ABORT_ERR']);
    assert.equal(error.cause.message, 'enough');
    return true;
  });
  const flush = await server.take(T.FLUSH);
  assert.equal(flush.fields.u16(), request.tag);
  assert.notEqual(flush.tag, request.tag);
  return { server, client, request, flush };
}

test('aborting a request sends Tflush, and its tag is reused after Rflush', async (t) => {
  const { server, client, request, flush } = await abortedStat(t);
  const next = client.stat('/b').catch(() => {});
  server.answer(flush);
  const clunk = await server.serve(T.CLUNK);
  assert.equal(clunk.tag, request.tag);
  const walk = await server.take(T.WALK);
  assert.equal(walk.tag, request.tag);
  await client.close();
  await next;
});

test('the tag of an aborted request is not reused before Rflush', async (t) => {
  const { server, client } = await abortedStat(t);
  const next = client.stat('/b').catch(() => {});
  await setImmediate();
  const ended = once(/** @type {net.Socket} */ (server.socket), 'end');
  const closed = client.close();
  await ended;
  assert.equal(server.queued, 0);
  await Promise.all([closed, next]);
});

test('a late reply to an aborted request does not free its tag before Rflush', async (t) => {
  const { server, client, request } = await abortedStat(t);
  server.send(T.ERROR, request.tag, (w) => (w.text('too late'), w.u32(5)));
  const next = client.stat('/b').catch(() => {});
  // A request for a stream file takes its tag from a different pool. Its reply shows that the
  // client has received the error.
  const toStream = /** @type {any} */ (messages.clunk(99));
  const reply = client.root.connection.call(toStream, { stream: true });
  await server.serve(T.CLUNK);
  await reply;
  await setImmediate();
  const ended = once(/** @type {net.Socket} */ (server.socket), 'end');
  const closed = client.close();
  await ended;
  assert.equal(server.queued, 0);
  await Promise.all([closed, next]);
});

test('if an aborted walk succeeds before Rflush, the client clunks the new fid', async (t) => {
  const { server, client } = await connected(t, { maxFids: 3 });
  const abort = new AbortController();
  const stat = client.stat('/a', { signal: abort.signal });
  const walk = await server.take(T.WALK);
  walk.fields.u32();
  const newfid = walk.fields.u32();
  abort.abort();
  await assert.rejects(stat, { name: 'AbortError' });
  const flush = await server.take(T.FLUSH);
  server.answer(walk, walked());
  server.answer(flush);
  const clunk = await server.serve(T.CLUNK);
  assert.equal(clunk.fields.u32(), newfid);
});

test('if an aborted walk has no reply before Rflush, the client frees the fid number', async (t) => {
  const { server, client } = await connected(t);
  const abort = new AbortController();
  const stat = client.stat('/a', { signal: abort.signal });
  await server.take(T.WALK);
  abort.abort();
  await assert.rejects(stat, { name: 'AbortError' });
  const { fids } = client.root.connection;
  assert.equal(fids.used, 2);
  await server.serve(T.FLUSH);
  // The reply to a later request shows that the client has received Rflush.
  const missing = client.stat('/b').catch(() => {});
  await server.serve(T.WALK, (w) => w.u16(0));
  await missing;
  assert.equal(fids.used, 1);
});

test('a call with an aborted signal sends no request', async (t) => {
  const { server, client } = await connected(t);
  await assert.rejects(client.stat('/a', { signal: AbortSignal.abort() }), { code: 'ABORT_ERR' });
  const stat = client.stat('/b').catch(() => {});
  const walk = await server.take(T.WALK);
  assert.equal(walk.fields.u32(), 0);
  assert.equal(server.queued, 0);
  await client.close();
  await stat;
});

test('requests beyond maxRequests wait, and aborting a waiting request sends nothing', async (t) => {
  const { server, client } = await connected(t, { maxRequests: 2 });
  const first = [client.stat('/1'), client.stat('/2')].map((stat) => stat.catch(() => {}));
  const abort = new AbortController();
  const waiting = client.stat('/3', { signal: abort.signal });
  const last = client.stat('/4').catch(() => {});
  const walks = [await server.take(T.WALK), await server.take(T.WALK)];
  abort.abort();
  await assert.rejects(waiting, { code: 'ABORT_ERR' });
  assert.equal(server.queued, 0);

  server.answer(walks[0], walked());
  const next = await server.take(T.WALK);
  next.fields.u32();
  next.fields.u32();
  next.fields.u16();
  assert.equal(next.fields.text().toString(), '4');
  await client.close();
  await Promise.all([...first, last]);
});

test('a watch that waits for data does not count towards maxRequests', async (t) => {
  const { server, client } = await connected(t, { maxRequests: 1 });
  const watch = client.watch('/stream', 'utf8');
  const value = watch.next();
  await server.serve(T.WALK, walked());
  await server.serve(T.OPEN, opened);
  const read = await server.take(T.READ);

  const stat = client.stat('/a').catch((error) => error);
  const walk = await server.take(T.WALK);
  server.send(T.ERROR, walk.tag, (w) => (w.text('No such file or directory'), w.u32(2)));
  assert.equal((await stat).code, 'ENOENT');

  server.answer(read, (w) => w.data(Buffer.from('news\n')));
  await server.serve(T.READ, (w) => w.data(Buffer.alloc(0)));
  assert.deepEqual(await value, { done: false, value: 'news\n' });
});

test('calls beyond maxFids wait until a file is closed', async (t) => {
  const address = await serve(t, '--scratch');
  const client = await connect(address, { maxFids: 3 });
  t.after(() => client.close());
  await client.writeFile('/a', 'hello');
  const files = [await client.open('/a'), await client.open('/a')];
  const waiting = client.readFile('/a', 'utf8');
  const winner = await Promise.race([waiting, files[0].stat().then(() => 'stat')]);
  assert.equal(winner, 'stat');
  await files[0].close();
  assert.equal(await waiting, 'hello');
  await files[1].close();

  // A rename in 9P2000.L needs two fids at the same time. Many concurrent renames must not
  // deadlock.
  const linux = await connect(address, { maxFids: 3, dialect: '9P2000.L' });
  t.after(() => linux.close());
  await linux.mkdir('/d');
  const names = Array.from({ length: 20 }, (_, number) => `f${number}`);
  await Promise.all(names.map((name) => linux.writeFile(`/${name}`, name)));
  await Promise.all(names.map((name) => linux.rename(`/${name}`, `/d/${name}`)));
  assert.equal((await linux.readdir('/d')).length, 20);
});

test('walks of more than 16 names are split', async (t) => {
  const { server, client } = await connected(t);
  const path = Array.from({ length: 40 }, (_, number) => `d${number}`);
  const stat = client.stat(path.join('/'));
  const counts = [];
  let fid = 0;
  for (let left = 40; left > 0; left -= 16) {
    const walk = await server.take(T.WALK);
    assert.equal(walk.fields.u32(), fid);
    fid = walk.fields.u32();
    const count = walk.fields.u16();
    counts.push(count);
    // The last reply has fewer qids than names.
    const qids = left <= 16 ? 0 : count;
    server.answer(walk, (w) => {
      w.u16(qids);
      for (let at = 0; at < qids; at++) writeQid(w, 0x80);
    });
  }
  assert.deepEqual(counts, [16, 16, 8]);
  await assert.rejects(stat, { code: 'ENOENT', path: path.join('/') });
  const clunk = await server.serve(T.CLUNK);
  assert.equal(clunk.fields.u32(), fid);
});

test('requests of one turn of the event loop are written together', async (t) => {
  const { server, client } = await connected(t);
  let chunks = 0;
  server.socket?.on('data', () => chunks++);
  const stats = Array.from({ length: 30 }, (_, n) => client.stat(`/${n}`).catch(() => {}));
  for (let count = 0; count < 30; count++) await server.take(T.WALK);
  assert.equal(chunks, 1);
  await client.close();
  await Promise.all(stats);
});

test('callers wait while 1 MiB is queued for writing', async (t) => {
  const { server, client } = await connected(t, { maxRequests: 4000 });
  const opening = client.open('/f', 'r+');
  await server.serve(T.WALK, walked());
  await server.serve(T.OPEN, opened);
  const file = await opening;
  server.socket?.pause();
  const data = Buffer.alloc(8000);
  const writes = Array.from({ length: 4000 }, () => file.write(data).catch(() => {}));
  const limit = (1 << 20) + 10_000;
  const queued = () => client.root.connection.queued;
  // Without a limit, all writes would be queued now.
  await setImmediate();
  assert(queued() < limit, `${queued()} bytes`);

  // When the server reads again, the waiting callers resume together. The limit must apply to these
  // callers, too.
  let peak = 0;
  server.socket?.resume();
  for (let count = 0; count < writes.length; count++) {
    await server.serve(T.WRITE, (w) => w.u32(data.length));
    peak = Math.max(peak, queued());
  }
  assert(peak < limit, `${peak} bytes`);
  await Promise.all(writes);
});

test('a closed client refuses calls and can be closed again', async (t) => {
  const client = await connect(await serve(t, '--scratch'));
  await client.close();
  await client.close();
  await assert.rejects(client.stat('/'), /connection lost: the client closed the connection/);
});

test('all calls fail if the connection is lost', async (t) => {
  const { server, client } = await connected(t, { maxRequests: 2 });
  const calls = Array.from({ length: 5 }, (_, number) => client.stat(`/${number}`));
  const watch = client.watch('/stream').next();
  await server.take(T.WALK);
  server.socket?.destroy();
  for (const result of await Promise.allSettled([...calls, watch])) {
    assert.equal(result.status, 'rejected');
    assert.equal(result.reason.name, 'ConnectionLostError');
    assert.equal(result.reason.code, 'ECONNRESET');
  }
  await assert.rejects(client.readFile('/x'), { name: 'ConnectionLostError' });
});
