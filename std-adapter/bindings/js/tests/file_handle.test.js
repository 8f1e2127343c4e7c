/**
 * Tests for open files.
 * @module
 */

import assert from 'node:assert/strict';
import { pipeline } from 'node:stream/promises';
import { test } from 'node:test';

import { connect } from 'datakit';

import { serve } from './server.js';

/** @param {import('node:test').TestContext} t */
async function scratch(t) {
  const client = await connect(await serve(t, '--scratch'));
  t.after(() => client.close());
  return client;
}

test('reads and writes use the current position or an explicit position', async (t) => {
  const client = await scratch(t);
  const file = await client.open('/f', 'w+');
  assert.deepEqual(await file.write('hello'), { bytesWritten: 5, buffer: 'hello' });
  await file.write(Buffer.from('[, world]'), 1, 7);
  await file.write('4a', 0, 'hex');
  const buffer = Buffer.alloc(20, '.');
  const { bytesRead } = await file.read(buffer, 2, 5, 0);
  assert.equal(buffer.toString('utf8', 0, 10), '..Jello...');
  assert.equal(bytesRead, 5);
  assert.equal((await file.read(buffer, 0, 4, 100n)).bytesRead, 0);
  assert.equal((await file.read(buffer, { offset: 18, position: 3 })).bytesRead, 2);
  assert.equal(buffer.toString('utf8', 18), 'lo');
  const fresh = await file.read({ length: 3, position: 0 });
  assert.deepEqual([fresh.bytesRead, fresh.buffer.length], [3, 16384]);
  assert.equal((await file.read()).bytesRead, 0);
  await file.truncate(4);
  await file.chmod(0o600);
  await file.sync();
  await file.datasync();
  const stats = await file.stat();
  assert.deepEqual([stats.size, stats.mode & 0o777], [4, 0o600]);
  assert(file.fd >= 0 && file.unit > 1000 && file.qid.type === 0);
  await file.close();
  await file.close();
  assert.equal(file.fd, -1);
  await assert.rejects(file.stat(), { code: 'EBADF', path: '/f', syscall: 'stat' });

  const again = await client.open('/f');
  await again.read(buffer, 0, 1);
  assert.equal(await again.readFile('utf8'), 'ell');
  await again[Symbol.asyncDispose]();
});

test('the flags determine whether a file is created or replaced', async (t) => {
  const client = await scratch(t);
  await assert.rejects(client.open('/f'), { code: 'ENOENT', syscall: 'open' });
  await assert.rejects(client.open('/f', 'r+'), { code: 'ENOENT' });
  const file = await client.open('/f', 'wx', 0o600);
  await file.writeFile(['hel', 'lo']);
  await file.close();
  assert.equal((await client.stat('/f')).mode & 0o777, 0o600);
  await assert.rejects(client.open('/f', 'wx'), { code: 'EEXIST', kind: 'already_exists' });
  await assert.rejects(client.writeFile('/f', 'x', { flag: 'wx+' }), { code: 'EEXIST' });
  await client.writeFile('/f', 'J', { flag: 'r+' });
  assert.equal(await client.readFile('/f', 'utf8'), 'Jello');
  await (await client.open('/f', 'w')).close();
  assert.equal((await client.stat('/f')).size, 0);
  await client.mkdir('/d');
  await assert.rejects(client.open('/d', 'r'), { code: 'EISDIR' });
});

test('streams copy files', async (t) => {
  const client = await scratch(t);
  const content = Buffer.alloc(1_000_003, 'abcdefg');
  await client.writeFile('/from', content);
  const [from, to] = [await client.open('/from'), await client.open('/to', 'w')];
  await pipeline(from.createReadStream(), to.createWriteStream());
  assert.deepEqual([from.fd, to.fd], [-1, -1]);
  assert(content.equals(await client.readFile('/to')));

  const part = await client.open('/from');
  const pieces = [];
  for await (const piece of part.createReadStream({ start: 7, end: 20, encoding: 'utf8' })) {
    pieces.push(piece);
  }
  assert.equal(pieces.join(''), 'abcdefgabcdefg');

  await client.writeFile('/lines', 'one\ntwo\n');
  const lines = await client.open('/lines');
  const found = [];
  for await (const line of lines.readLines({ autoClose: false })) found.push(line);
  assert.deepEqual(found, ['one', 'two']);
  assert(lines.fd >= 0);
  await lines.close();
});

test('a write stream reports an error of the server', async (t) => {
  const client = await scratch(t);
  await client.writeFile('/f', '1');
  const file = await client.open('/f');
  await assert.rejects(pipeline([Buffer.from('x')], file.createWriteStream()), { code: 'EBADF' });
});

test('writes a command with one request and reads its reply', async (t) => {
  const client = await connect(await serve(t));
  t.after(() => client.close());
  await client.mkdir('/branch/master');
  await client.mkdir('/branch/master/transactions/t');
  await client.writeFile('/branch/master/transactions/t/rw/f', 'hello');
  const ctl = await client.open('/branch/master/transactions/t/ctl', 'r+');
  await ctl.write('commit id');
  const head = await ctl.readFile('utf8');
  await ctl.close();
  assert.equal(await client.readFile('/branch/master/head', 'utf8'), head);
  await assert.rejects(client.writeFile('/branch/master/fast-forward', 'nonsense'), {
    kind: 'invalid_hash',
  });
});
