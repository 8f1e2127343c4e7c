//! The database as a file tree: `branch commits debug remotes snapshots trees`.
//!
//! A connection has a tree of its own: the branches that it made, its transactions and its remotes
//! are in no other. Files know what the rest of the database does, which knows no files.

mod author;
mod branch;
mod branch_table;
mod branches;
mod log;
mod quota;
mod remotes;
mod ro;
mod rw;
mod snapshots;
mod streams;
mod transaction;
mod transactions;
mod watch;

use datakit_core::vfs;

use self::quota::Quota;
use super::{Database, Id};
use datakit_server::inode_numbers;
use datakit_server::tree::{BoxFuture, Dir, Entry, OpenLeaf, ReadOnly, Tree};

/// The tree of one connection. `debug` is the directory of that name.
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

/// A hash that a client named.
fn id(name: vfs::Name<'_>) -> vfs::Result<Id> {
    Ok(Id::parse(name.as_bytes()).map_err(crate::Error::from)?)
}

/// A hash and a newline; only the newline for none.
fn line(id: Option<Id>) -> String {
    id.map_or_else(|| "\n".to_owned(), |id| format!("{id}\n"))
}

/// Keeps something for as long as a file is open.
struct Keeping<K> {
    open: Box<dyn OpenLeaf>,
    _kept: K,
}

impl<K: Send + Sync> OpenLeaf for Keeping<K> {
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        self.open.read(offset, buf)
    }

    fn may_block(&self) -> bool {
        self.open.may_block()
    }
}
