/**
 * Tests for replies that violate the protocol and for servers that do not reply as expected.
 * @module
 */

import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';

import { connect } from 'datakit';

import { FakeServer, T, opened, walked, writeQid } from './fake_server.js';

/** @typedef {import('../src/wire.js').Writer} Writer */

/**
 * @param {import('node:test').TestContext} t
 * @param {{ msize?: number, version?: string }} [agreed]
 */
async function connected(t, agreed) {
  const server = await FakeServer.start(t);
  const [client] = await Promise.all([connect(server.address), server.handshake(agreed)]);
  t.after(() => client.close());
  return { server, client };
}

/** @type {[string, RegExp, (server: FakeServer, tag: number) => void][]} */
const VIOLATIONS = [
  [
    'a size below the header',
    /a reply has 6 bytes, but must have 7 to 8192/,
    (s) => raw(s, [6, 0, 0, 0]),
  ],
  ['a size above the msize', /a reply has 8193 bytes/, (s) => raw(s, [1, 32, 0, 0])],
  ['an unknown tag', /the tag 77, which no request has/, (s) => s.send(T.CLUNK + 1, 77)],
  ['the tag of Tversion', /the tag 65535/, (s) => s.send(T.CLUNK + 1, 0xffff)],
  ['a wrong type', /type 117 to a request of type 110/, (s, tag) => s.send(T.READ + 1, tag)],
  ['Rlerror in 9P2000.u', /type 7 to/, (s, tag) => s.send(7, tag, (w) => w.u32(2))],
  ['a reply that ends early', /is longer/, (s, tag) => s.send(T.WALK + 1, tag)],
  ['more qids than bytes', /is longer/, (s, tag) => s.send(111, tag, (w) => w.u16(9))],
  ['bytes after the fields', /1 bytes are left/, (s, tag) => s.send(111, tag, extra)],
  [
    'a string that is longer than the reply',
    /9 bytes is longer/,
    (s, tag) => s.send(107, tag, longText),
  ],
];

/** @param {Writer} w */
const extra = (w) => (walked()(w), w.u8(0));

/** @param {Writer} w */
const longText = (w) => (w.u16(9), w.u8(0));

/**
 * @param {FakeServer} server
 * @param {number[]} bytes
 */
const raw = (server, bytes) => server.socket?.write(Buffer.from(bytes));

for (const [what, message, violate] of VIOLATIONS) {
  test(`${what} ends the connection`, async (t) => {
    const { server, client } = await connected(t);
    const stat = client.stat('/a');
    const walk = await server.take(T.WALK);
    violate(server, walk.tag);
    await assert.rejects(stat, (/** @type {any} */ error) => {
      assert.match(error.message, message);
      assert.equal(error.name, 'ConnectionLostError');
      assert.deepEqual([error.code, error.cause.name], ['EPROTO', 'ProtocolError']);
      return true;
    });
    await assert.rejects(client.stat('/b'), { code: 'EPROTO' });
  });
}

test('accepts replies that arrive one byte at a time', async (t) => {
  const { server, client } = await connected(t);
  const socket = /** @type {net.Socket} */ (server.socket);
  const { write } = socket;
  socket.write = /** @type {any} */ (
    (/** @type {Buffer} */ frame) => {
      for (const byte of frame) write.call(socket, Buffer.from([byte]));
      return true;
    }
  );
  socket.setNoDelay(true);
  const content = client.readFile('/a', 'utf8');
  await server.serve(T.WALK, walked());
  await server.serve(T.OPEN, opened);
  await server.serve(T.READ, (w) => w.data(Buffer.from('hello')));
  await server.serve(T.READ, (w) => w.data(Buffer.alloc(0)));
  assert.equal(await content, 'hello');
});

/**
 * Lists a directory. The test sends the pages of the directory listing.
 * @param {import('node:test').TestContext} t
 * @param {((writer: Writer) => void)[]} pages
 */
async function list(t, pages) {
  const { server, client } = await connected(t, { version: '9P2000.L' });
  const names = client.readdir('/d');
  names.catch(() => {});
  await server.serve(T.WALK, walked(0x80));
  await server.serve(12, (w) => (writeQid(w, 0x80), w.u32(0)));
  for (const page of pages) await server.serve(40, page);
  return names;
}

/**
 * Returns a function that writes a page with one entry.
 * @param {string} name
 * @param {number} next
 */
const page = (name, next) => (/** @type {Writer} */ w) => {
  w.u32(24 + name.length);
  writeQid(w, 0);
  w.u64(next);
  w.u8(8);
  w.text(name);
};

test('a listing skips . and .. and follows the offsets of the server', async (t) => {
  const end = (/** @type {Writer} */ w) => w.u32(0);
  assert.deepEqual(await list(t, [page('.', 5), page('..', 3), page('a', 9), end]), ['a']);
});

test('refuses a listing that repeats an offset', async (t) => {
  const names = list(t, [page('a', 5), page('b', 3), page('c', 5)]);
  await assert.rejects(names, { code: 'EPROTO', message: /does not end/ });
});

for (const name of ['', 'a/b', 'a\0']) {
  test(`refuses a listing with the name ${JSON.stringify(name)}`, async (t) => {
    await assert.rejects(list(t, [page(name, 1)]), { code: 'EPROTO', message: /slash/ });
  });
}

test('refuses a reply with more data than requested', async (t) => {
  const { server, client } = await connected(t);
  const file = client.open('/a');
  await server.serve(T.WALK, walked());
  await server.serve(T.OPEN, opened);
  const read = (await file).read(Buffer.alloc(3));
  await server.serve(T.READ, (w) => w.data(Buffer.from('four')));
  await assert.rejects(read, { code: 'EPROTO', message: /4 bytes instead of 3/ });
});

test('readFile fails if the file exceeds the limit', async (t) => {
  const { server, client } = await connected(t);
  const content = client.readFile('/a', { limit: 10 });
  await server.serve(T.WALK, walked());
  await server.serve(T.OPEN, opened);
  await server.serve(T.READ, (w) => w.data(Buffer.alloc(6)));
  await server.serve(T.READ, (w) => w.data(Buffer.alloc(6)));
  await assert.rejects(content, { code: 'EFBIG', message: /more than 10 bytes/ });
});

test('does not send a request that is longer than the msize', async (t) => {
  const { server, client } = await connected(t, { msize: 256 });
  await assert.rejects(client.stat('x'.repeat(300)), { code: 'EMSGSIZE', message: /at most 256/ });
  await assert.rejects(client.stat('x'.repeat(70000)), { code: 'ENAMETOOLONG' });
  assert.equal(client.root.connection.fids.used, 1);
  assert.equal(client.root.connection.requests, 0);
  assert.equal(server.queued, 0);
});

test('offers the next dialect if the server replies `unknown`', async (t) => {
  const server = await FakeServer.start(t);
  const connecting = connect(server.address);
  const offers = [];
  for (const version of ['unknown', '9P2000.L']) {
    const offer = await server.serve(T.VERSION, (w) => (w.u32(8192), w.text(version)));
    offer.fields.u32();
    offers.push(offer.fields.text().toString());
  }
  await server.serve(T.ATTACH, (w) => writeQid(w, 0x80));
  const client = await connecting;
  assert.deepEqual(offers, ['9P2000.u', '9P2000.L']);
  assert.deepEqual([client.dialect, client.msize], ['9P2000.L', 8192]);
  await client.close();
});

test('refuses a dialect that the options do not allow', async (t) => {
  const server = await FakeServer.start(t);
  const connecting = connect(server.address, { dialect: '9P2000.L' });
  server.serve(T.VERSION, (w) => (w.u32(8192), w.text('9P2000')));
  await assert.rejects(connecting, { code: 'EOPNOTSUPP', message: /supports only 9P2000, not/ });
});

for (const msize of [255, 1 << 30]) {
  test(`refuses the msize ${msize} of a server`, async (t) => {
    const server = await FakeServer.start(t);
    const connecting = connect(server.address);
    server.serve(T.VERSION, (w) => (w.u32(msize), w.text('9P2000.u')));
    await assert.rejects(connecting, { code: 'EPROTO', message: /from 256 to 131096/ });
  });
}

test('connecting fails after the timeout if the server does not reply', async (t) => {
  const server = await FakeServer.start(t);
  const connecting = connect(server.address, { timeout: 50 });
  await assert.rejects(connecting, { code: 'ETIMEDOUT', message: /within 50 ms/ });
});

test('connecting can be aborted', async (t) => {
  const server = await FakeServer.start(t);
  const abort = new AbortController();
  const connecting = connect(server.address, { signal: abort.signal });
  server.take(T.VERSION).then(() => abort.abort());
  await assert.rejects(connecting, { name: 'AbortError' });
});

test('an error of the operating system keeps its code', async () => {
  const listener = net.createServer();
  await new Promise((resolve) => listener.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {net.AddressInfo} */ (listener.address());
  await new Promise((resolve) => listener.close(resolve));
  await assert.rejects(connect(`127.0.0.1:${port}`), {
    name: 'ConnectionLostError',
    code: 'ECONNREFUSED',
  });
});

test('refuses invalid options', async () => {
  for (const options of [{ msize: 255 }, { maxRequests: 0 }, { maxFids: 1.5 }]) {
    await assert.rejects(connect('localhost', options), {
      code: 'EINVAL',
      message: /integer from/,
    });
  }
});
