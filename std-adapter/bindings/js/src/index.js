/**
 * A client for 9P servers and for the DataKit database.
 *
 * `connect` connects to any 9P server and returns a client with the methods of `node:fs/promises`.
 * `Database.connect` connects to a DataKit server and returns its database: branches, commits,
 * transactions and watches.
 * @module
 */

/** @typedef {import('./connect.js').ConnectOptions} ConnectOptions */
/** @typedef {import('./errors.js').ErrorKind} ErrorKind */
/** @typedef {import('./file_handle.js').Content} Content */
/** @typedef {import('./messages.js').Dialect} Dialect */
/** @typedef {import('./open_file.js').OpenFlags} OpenFlags */
/** @typedef {import('./paths.js').Path} Path */
/** @typedef {import('./wire.js').Qid} Qid */
/** @typedef {import('./db/branch.js').NewFile} NewFile */
/** @typedef {import('./db/branch.js').PathValue} PathValue */
/** @typedef {import('./db/commit.js').Change} Change */
/** @typedef {import('./db/commit.js').CommitDetails} CommitDetails */
/** @typedef {import('./db/transaction.js').MergeResult} MergeResult */
/** @typedef {import('./db/tree.js').Kind} Kind */
/** @typedef {import('./db/tree.js').TreeContent} TreeContent */

export { Client, connect } from './client.js';
export { Branch } from './db/branch.js';
export { Commit } from './db/commit.js';
export { Database } from './db/database.js';
export { Transaction } from './db/transaction.js';
export { Tree } from './db/tree.js';
export {
  AbortError,
  ConnectionLostError,
  DatakitError,
  InvalidArgumentError,
  ProtocolError,
  ServerError,
} from './errors.js';
export { FileHandle } from './file_handle.js';
export { Dirent, Stats } from './stats.js';
export { Watch } from './watch.js';
