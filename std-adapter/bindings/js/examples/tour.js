/**
 * Commits a file to a branch, reads it and watches it for changes.
 *
 *     datakit serve &
 *     node examples/tour.js tcp://127.0.0.1:5640
 * @module
 */

import { Database } from 'datakit';

const database = await Database.connect(process.argv[2] ?? 'tcp://127.0.0.1:5640');
const master = await database.branch('master');

// The transaction is aborted if the function fails.
const head = await master.withTransaction(async (transaction) => {
  await transaction.makeDirs('etc/app');
  await transaction.createOrReplaceFile('etc/app/level', 'debug\n');
  return transaction.commit('Set the log level');
});
console.log(await head.message(), await head.tree.readDir('etc/app'));

// A watch first returns the current value. Leaving the loop ends the watch.
for await (const value of master.watchPath('etc/app/level')) {
  if (value?.kind !== 'file') continue;
  console.log(value.data.toString().trim());
  if (value.data.toString() === 'info\n') break;
  await master.commitFiles('Log less', { files: [{ path: 'etc/app/level', content: 'info\n' }] });
}

const newer = await master.head();
for (const { change, path } of (await newer?.diff(head)) ?? []) console.log(change, path);

// `database.client` has the methods of node:fs/promises.
console.log(await database.client.readFile('/branch/master/ro/etc/app/level', 'utf8'));
await database.close();
