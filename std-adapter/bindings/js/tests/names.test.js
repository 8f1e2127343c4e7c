/**
 * Tests for names, addresses and encodings that need no server.
 * @module
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { parseAddress } from '../src/address.js';
import { branchFromFileName, branchToFileName, sortByBytes, treeNames } from '../src/db/names.js';
import { Frames } from '../src/frames.js';
import { split, splitLast } from '../src/paths.js';
import { Pool } from '../src/pool.js';
import { Reader, Writer } from '../src/wire.js';

test('parses addresses', () => {
  assert.deepEqual(parseAddress('localhost'), { host: 'localhost', port: 5640 });
  assert.deepEqual(parseAddress('tcp://10.0.0.1:564'), { host: '10.0.0.1', port: 564 });
  assert.deepEqual(parseAddress('[::1]:1'), { host: '::1', port: 1 });
  assert.deepEqual(parseAddress('tcp://[fe80::1%25eth0]'), { host: 'fe80::1%25eth0', port: 5640 });
  assert.deepEqual(parseAddress('::1'), { host: '::1', port: 5640 });
  assert.deepEqual(parseAddress('unix:///run/datakit'), { path: '/run/datakit' });
  assert.deepEqual(parseAddress('./socket'), { path: './socket' });
  assert.deepEqual(parseAddress('\\\\.\\pipe\\datakit'), { path: '\\\\.\\pipe\\datakit' });
  for (const wrong of ['', 'http://x', 'a:b', 'a:0', 'a:65536', '[::1', 'a:1:2', 'fd://3']) {
    assert.throws(() => parseAddress(wrong), { code: 'EINVAL', message: /^address / }, wrong);
  }
});

test('splits paths of the client', () => {
  assert.deepEqual(split('/a//b/./c/'), ['a', 'b', 'c']);
  assert.deepEqual(split('../a'), ['..', 'a']);
  assert.deepEqual(split('/'), []);
  assert.deepEqual(split(Buffer.from([0x2f, 0xff, 0x2f, 0x61])).map(Buffer.from), [
    Buffer.from([0xff]),
    Buffer.from('a'),
  ]);
  assert.deepEqual(splitLast('/a/b/'), { dir: ['a'], name: 'b' });
});

test('checks paths of the database', () => {
  assert.deepEqual(treeNames(''), []);
  assert.deepEqual(treeNames('a/b c'), ['a', 'b c']);
  for (const wrong of ['/a', 'a/', 'a//b', '.', 'a/..', 'a\0b']) {
    assert.throws(() => treeNames(wrong), { kind: 'invalid_path', code: 'EINVAL' }, wrong);
  }
});

test('accepts and refuses the same branch names as git', () => {
  for (const good of ['master', 'a/b', 'v1.0_x-y', 'ä', '@', 'a@b', 'a.lock.b', '50%2F']) {
    assert.equal(branchFromFileName(branchToFileName(good)), good);
  }
  assert.equal(branchToFileName('a/50%'), 'a%2F50%25');
  const bad = [
    'a b',
    'x..y',
    '',
    'a/',
    '/a',
    'a//b',
    '.a',
    'a.lock',
    'a~',
    '-a',
    'a\0',
    '@{',
    'a^',
  ];
  for (const name of [...bad, 'HEAD', 'a.', 'b/.a', 'a\x7f', 'x'.repeat(251)]) {
    assert.throws(() => branchToFileName(name), { kind: 'invalid_branch' }, JSON.stringify(name));
  }
});

test('sorts names by their bytes', () => {
  // In UTF-16, U+1D11E comes before U+FF5E.
  assert.deepEqual(sortByBytes(['\u{1d11e}', '\uff5e', 'a', 'Z']), [
    'Z',
    'a',
    '\uff5e',
    '\u{1d11e}',
  ]);
});

test('encodes and decodes 64-bit numbers', () => {
  for (const value of [0, 1, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER]) {
    const writer = new Writer();
    writer.u64(value);
    writer.u64(BigInt(value));
    const reader = new Reader(writer.finish(0, 0), 7);
    assert.equal(reader.number(), value);
    assert.equal(reader.u64(), BigInt(value));
    reader.end();
    assert.throws(() => reader.u8(), { code: 'EPROTO' });
  }
});

test('finds messages at any chunk boundaries', () => {
  const messages = [7, 11, 300, 8].map((size) => {
    const message = Buffer.alloc(size, size);
    message.writeUInt32LE(size);
    return message;
  });
  const all = Buffer.concat(messages);
  for (let step = 1; step < 40; step++) {
    const frames = new Frames(300);
    const found = [];
    for (let at = 0; at < all.length; at += step) {
      for (const frame of frames.push(all.subarray(at, at + step))) found.push(Buffer.from(frame));
    }
    assert.deepEqual(found, messages);
  }
  assert.throws(() => [...new Frames(300).push(Buffer.from([45, 1, 0, 0]))], /301 bytes/);
});

test('a pool serves its callers in order', async () => {
  const pool = new Pool(2, 10);
  const order = /** @type {unknown[]} */ ([]);
  const [first, second] = [await pool.acquire(), await pool.acquire()];
  assert.deepEqual([first, second, pool.tryAcquire()], [10, 11, undefined]);
  const both = pool.acquireAll(2).then((numbers) => order.push(numbers.sort()));
  const abort = new AbortController();
  const aborted = pool.acquire(abort.signal);
  const last = pool.acquire().then((number) => order.push(number));
  pool.release(first);
  assert.equal(pool.tryAcquire(), undefined);
  abort.abort();
  await assert.rejects(aborted, { name: 'AbortError' });
  pool.release(second);
  await both;
  pool.release(second);
  await last;
  assert.deepEqual(order, [[10, 11], 11]);
  pool.close(() => new Error('closed'));
  await assert.rejects(pool.acquire(), /closed/);
});
