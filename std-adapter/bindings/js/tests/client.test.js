/**
 * Tests the client's methods against a real server in all dialects.
 * @module
 */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';

import { connect } from 'datakit';

import { serve } from './server.js';

/** @typedef {import('datakit').Client} Client */

/** @type {import('datakit').Dialect[]} */
const DIALECTS = ['9P2000', '9P2000.u', '9P2000.L'];

/**
 * Declares a test for each dialect. Each test starts its own server.
 * @param {string} name
 * @param {(client: Client, t: import('node:test').TestContext) => Promise<void>} f
 * @param {import('datakit').Dialect[]} [dialects]
 */
function inDialects(name, f, dialects = DIALECTS) {
  describe(name, () => {
    for (const dialect of dialects) {
      test(dialect, async (t) => {
        const client = await connect(await serve(t, '--scratch'), { dialect });
        t.after(() => client.close());
        assert.equal(client.dialect, dialect);
        await f(client, t);
        await noLeaks(client);
      });
    }
  });
}

/**
 * Checks that all fids except the root's are free.
 * @param {Client} client
 */
async function noLeaks(client) {
  const { connection } = client.root;
  while (connection.requests > 0) await setImmediate();
  assert.equal(connection.fids.used, 1);
}

inDialects('writes, reads and replaces files', async (client) => {
  await client.writeFile('/a', 'hello\n');
  assert.equal(await client.readFile('/a', 'utf8'), 'hello\n');
  assert.deepEqual(await client.readFile('a'), Buffer.from('hello\n'));
  await client.writeFile('/a', new Uint8Array([1, 2]));
  assert.equal(await client.readFile('/a', { encoding: 'hex' }), '0102');
  await client.writeFile('/a', '');
  assert.equal((await client.readFile('/a')).length, 0);
  await client.writeFile('/a', '0103', 'hex');
  assert.deepEqual([...(await client.readFile('/a'))], [1, 3]);
  await client.writeFile('/a', ['one ', Buffer.from('two')]);
  await client.writeFile(
    '/b',
    (async function* () {
      yield 'three ';
      yield 'four';
    })(),
  );
  assert.equal(await client.readFile('/a', 'utf8'), 'one two');
  assert.equal(await client.readFile('/b', 'utf8'), 'three four');
  const stats = await client.stat('/b');
  assert(stats.isFile() && !stats.isDirectory() && stats.size === 10);
  assert(Math.abs(Date.now() - stats.mtimeMs) < 3_600_000 && stats.mtime instanceof Date);
});

inDialects('transfers large files in pieces', async (client) => {
  const content = Buffer.alloc(3_000_000);
  for (let at = 0; at < content.length; at += 4) content.writeUInt32LE(at, at);
  await client.writeFile('/large', content);
  assert.equal((await client.stat('/large')).size, content.length);
  assert(content.equals(await client.readFile('/large')));
  await client.truncate('/large', 2_000_001);
  assert(content.subarray(0, 2_000_001).equals(await client.readFile('/large')));
});

inDialects('creates, lists and removes directories', async (client) => {
  assert.equal(await client.mkdir('/d'), undefined);
  await assert.rejects(client.mkdir('/d'), { code: 'EEXIST', path: '/d', syscall: 'mkdir' });
  await assert.rejects(client.mkdir('/x/y'), { code: 'ENOENT' });
  assert.equal(await client.mkdir('/d/e/f', { recursive: true }), '/d/e');
  assert.equal(await client.mkdir('/d/e/f', { recursive: true }), undefined);
  await client.writeFile('/d/g', '1');
  await assert.rejects(client.mkdir('/d/g', { recursive: true }), { code: 'EEXIST' });
  await assert.rejects(client.mkdir('/d/g/h', { recursive: true }), { code: 'ENOTDIR' });

  assert.deepEqual((await client.readdir('/d')).sort(), ['e', 'g']);
  const entries = await client.readdir('/d', { withFileTypes: true });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  assert.deepEqual(
    entries.map((entry) => [entry.name, entry.isDirectory(), entry.isFile()]),
    [
      ['e', true, false],
      ['g', false, true],
    ],
  );
  assert.equal(entries[0].parentPath, '/d');
  await assert.rejects(client.readdir('/d/g'), { code: 'ENOTDIR' });
  await assert.rejects(client.readFile('/d'), { code: 'EISDIR' });

  await assert.rejects(client.rm('/d'), { code: 'EISDIR' });
  await assert.rejects(client.rmdir('/d/g'), { code: 'ENOTDIR' });
  await assert.rejects(client.rmdir('/d'), { code: 'ENOTEMPTY' });
  await client.rmdir('/d/e/f');
  await client.rm('/d', { recursive: true });
  assert.deepEqual(await client.readdir('/'), []);
  await assert.rejects(client.rm('/d', { recursive: true }), { code: 'ENOENT' });
  await client.rm('/d', { force: true });
  await client.rm('/d', { force: true, recursive: true });
});

inDialects('removes a large tree', async (client) => {
  for (const dir of ['a', 'b/c', 'b/d']) {
    await client.mkdir(`/t/${dir}`, { recursive: true });
    const names = Array.from({ length: 100 }, (_, number) => `/t/${dir}/${number}`);
    await Promise.all(names.map((name) => client.writeFile(name, name)));
  }
  assert.equal((await client.readdir('/t/b/c')).length, 100);
  await client.rm('/t', { recursive: true });
  await assert.rejects(client.access('/t'), { code: 'ENOENT', syscall: 'access' });
});

inDialects('renames files', async (client) => {
  await client.writeFile('/a', '1');
  await client.mkdir('/d');
  await client.rename('/a', '/b');
  assert.deepEqual((await client.readdir('/')).sort(), ['b', 'd']);
  await assert.rejects(client.rename('/a', '/c'), { code: 'ENOENT', path: '/a' });
  if (client.dialect === '9P2000.L') {
    await client.rename('/b', '/d/b');
    assert.equal(await client.readFile('/d/b', 'utf8'), '1');
  } else {
    await assert.rejects(client.rename('/b', '/d/b'), { code: 'EXDEV' });
  }
});

inDialects(
  'creates and reads symbolic links',
  async (client) => {
    await client.symlink('../é', '/l');
    assert.equal(await client.readlink('/l'), '../é');
    assert.deepEqual(await client.readlink('/l', { encoding: 'buffer' }), Buffer.from('../é'));
    assert((await client.stat('/l')).isSymbolicLink() && (await client.lstat('/l')).size === 5);
    const [entry] = await client.readdir('/', { withFileTypes: true });
    assert(entry.isSymbolicLink());
    await client.writeFile('/f', '');
    await assert.rejects(client.readlink('/f'), { code: 'EINVAL' });
    await client.unlink('/l');
    assert.deepEqual(await client.readdir('/'), ['f']);
  },
  ['9P2000.u', '9P2000.L'],
);

inDialects(
  'refuses symbolic links',
  async (client) => {
    await assert.rejects(client.symlink('a', '/l'), { code: 'EOPNOTSUPP', syscall: 'symlink' });
    await client.writeFile('/f', '');
    await assert.rejects(client.readlink('/f'), { code: 'EOPNOTSUPP' });
  },
  ['9P2000'],
);

inDialects('sets permission bits', async (client) => {
  await client.writeFile('/f', '1', { mode: 0o640 });
  assert.equal((await client.stat('/f')).mode & 0o7777, 0o640);
  await client.chmod('/f', 0o755);
  assert.equal((await client.stat('/f')).mode & 0o7777, 0o755);
  await client.mkdir('/d', { mode: 0o700 });
  await client.chmod('/d', 0o750);
  const stats = await client.stat('/d');
  assert(stats.isDirectory() && (stats.mode & 0o777) === 0o750);
});

inDialects('accepts long names and names that are not UTF-8', async (client) => {
  const name = Buffer.from([0x66, 0xff, 0x67]);
  const path = Buffer.concat([Buffer.from('/d/'), name]);
  await client.mkdir('/d');
  await client.writeFile(path, 'bytes');
  assert.deepEqual(await client.readdir('/d', { encoding: 'buffer' }), [name]);
  assert.deepEqual(await client.readdir('/d'), ['f\ufffdg']);
  assert.equal(await client.readFile(path, 'utf8'), 'bytes');
  await client.rm('/d', { recursive: true });
  await client.writeFile(`/${'x'.repeat(255)}`, '1');
  await assert.rejects(client.writeFile(`/${'x'.repeat(256)}`, '1'), { code: 'ENAMETOOLONG' });
  await assert.rejects(client.writeFile('/\ud800', '1'), { code: 'EINVAL' });
});

inDialects('an error has the code, the method and the path', async (client) => {
  await client.writeFile('/f', '1');
  await assert.rejects(client.readFile('/nope'), {
    name: 'ServerError',
    message: "ENOENT: No such file or directory, readFile '/nope'",
    code: 'ENOENT',
    errno: 2,
    syscall: 'readFile',
    path: '/nope',
    kind: 'does_not_exist',
  });
  const error = await client.stat('/f/x').catch((reason) => reason);
  assert.equal(error.code, 'ENOTDIR');
  assert.match(error.stack, /^ServerError: ENOTDIR: .*, stat '\/f\/x'\n(.*\n)*.*client\.test\.js/);
  await assert.rejects(client.writeFile('/nope/x', ''), { code: 'ENOENT' });
  await assert.rejects(client.writeFile('/', ''), { code: 'EISDIR' });
  await assert.rejects(client.rm('/'), { code: 'EINVAL' });
  await assert.rejects(client.rename('/f', '/d/..'), { code: 'EINVAL' });
  await assert.rejects(client.open('/f', /** @type {any} */ ('a')), { code: 'EINVAL' });
});

inDialects('many calls share a signal without a warning', async (client) => {
  const warnings = /** @type {Error[]} */ ([]);
  const warned = (/** @type {Error} */ warning) => warnings.push(warning);
  process.on('warning', warned);
  const { signal } = new AbortController();
  await client.writeFile('/large', Buffer.alloc(3_000_000), { signal });
  const paths = Array.from({ length: 100 }, () => '/large');
  await Promise.all(paths.map((path) => client.stat(path, { signal })));
  await Promise.all(paths.slice(90).map((path) => client.readFile(path, { signal })));
  await setImmediate();
  process.off('warning', warned);
  assert.deepEqual(warnings, []);
});

inDialects('an aborted transfer frees its fid', async (client) => {
  await client.writeFile('/large', Buffer.alloc(4_000_000));
  for (const delay of [0, 1, 5]) {
    const signal = AbortSignal.timeout(delay);
    const results = [
      client.readFile('/large', { signal }),
      client.writeFile('/copy', Buffer.alloc(4_000_000), { signal }),
      client.readdir('/', { signal }),
      client.rm('/nope', { recursive: true, force: true, signal }),
    ];
    for (const result of await Promise.allSettled(results)) {
      if (result.status === 'rejected') assert.equal(result.reason.code, 'ABORT_ERR');
    }
  }
  assert.equal((await client.readFile('/large')).length, 4_000_000);
});
