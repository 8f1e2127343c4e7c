//! The file tree that gives clients access to the database. The top-level directories are `branch`,
//! `commits`, `debug`, `remotes`, `snapshots` and `trees`.
//!
//! Each connection has its own tree. A connection cannot see the transactions or remotes of other
//! connections, or branches that other connections have created but not yet committed to. The rest
//! of the crate does not depend on this module.

mod author;
mod branch;
mod branch_handle;
mod branch_table;
mod branches;
mod diff_dir;
mod hash_text;
mod log;
mod open_transactions;
mod quota;
mod remotes;
mod ro;
mod rw;
mod snapshots;
mod stored_listing;
mod streams;
mod transaction;
mod transactions;
mod watch;

use self::quota::Quota;
use crate::Database;
use datakit_server::inode_numbers;
use datakit_server::tree::{Dir, Entry, ReadOnly, Tree};

/// Returns the file tree for one connection. The `debug` entry becomes the tree's `debug`
/// directory.
#[must_use]
pub fn tree(database: &Database, debug: Entry) -> Tree {
    let top = |name: &str, entry: Entry| entry.with_ino(inode_numbers::hash_of(("root", name)));
    let quota = Quota::new(database);
    let root: Dir = [
        top("branch", Entry::dir("branch", branches::Branches::new(database, &quota))),
        top("commits", Entry::dir("commits", snapshots::Commits::new(database))),
        debug,
        top("remotes", Entry::dir("remotes", remotes::Remotes::new(database, &quota))),
        top("snapshots", Entry::dir("snapshots", snapshots::Snapshots::new(database))),
        top("trees", Entry::dir("trees", snapshots::Trees::new(database))),
    ]
    .into_iter()
    .collect();
    Tree::with_root(top("/", Entry::dir("/", ReadOnly(root))))
}
