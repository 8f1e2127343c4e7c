// A TypeScript program that uses the installed package. Compiling it checks the types. The compiler
// translates `await using` into code that Node 20 can run.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

import { Database, ServerError, type Commit, type PathValue } from 'datakit';

const args = ['serve', '--quiet', '--listen-9p', 'tcp://127.0.0.1:0'];
const server = spawn(process.env.DATAKIT ?? 'datakit', args, {
  stdio: ['ignore', 'pipe', 'inherit'],
});

async function use(address: string): Promise<void> {
  await using database = await Database.connect(address);
  const master = await database.branch('master');

  const head: Commit = await master.commitFiles('First', { files: [{ path: 'a', content: '1' }] });
  const text: string = await head.tree.readFile('a', 'utf8');
  const bytes: Buffer = await head.tree.readFile('a');
  if (text !== '1' || !bytes.equals(Buffer.from('1'))) throw new Error('the file differs');

  {
    await using transaction = await master.transaction();
    await transaction.createFile('b', '2');
  }
  if ((await master.head())?.hash !== head.hash) throw new Error('the transaction was not aborted');

  await using values = master.watchPath('a');
  for await (const value of values) {
    const first: PathValue | null = value;
    if (first?.kind !== 'file') throw new Error('the value is not a file');
    break;
  }

  const missing: unknown = await database.client.readFile('/nope').catch((error) => error);
  if (!(missing instanceof ServerError) || missing.code !== 'ENOENT') throw missing;
}

try {
  const [line] = (await once(createInterface(server.stdout), 'line')) as [string];
  await use(line.replace('listening on ', ''));
} finally {
  server.kill();
}
