//! `rw/`: the tree of a transaction, to be changed.
//!
//! An open file is a file, not a name: what is removed or replaced lives on, unseen, for as long as
//! somebody holds it, and what is made in its place is another file. A tree that replaces this one,
//! by a reset or a merge, gives files new content; those that are in it no more are removed ones.

mod dir;
mod file;
mod inodes;

use parking_lot::Mutex;
use std::sync::{Arc, Weak};

use datakit_core::vfs::{Error, Result, Time};

use self::dir::RwDir;
use self::file::RwFile;
use self::inodes::{Inode, InodeTable, UnlinkedInode};
use super::ro::time_of;
use crate::model::identity::Authorship;
use crate::model::object::EntryMode;
use crate::model::tree::{Tree, TreeNode};
use crate::transaction::{FileAt, Transaction};
use crate::{Database, Id};
use datakit_server::clock::now;
use datakit_server::tree::Entry;

/// The tree of a transaction with its inodes.
pub(super) struct RwTree {
    database: Database,
    transaction: Arc<Transaction>,
    /// Locked before the transaction's own lock.
    names: Mutex<InodeTable>,
    me: Weak<RwTree>,
}

impl RwTree {
    /// The tree of a transaction that began at `head`.
    pub(super) fn new(
        database: &Database,
        transaction: Arc<Transaction>,
        head: Option<Id>,
    ) -> Arc<RwTree> {
        let since = head
            .and_then(|head| database.objects().commit(head).ok())
            .map_or_else(now, |commit| time_of(&commit));
        Arc::new_cyclic(|me| RwTree {
            database: database.clone(),
            transaction,
            names: Mutex::new(InodeTable::new(since)),
            me: me.clone(),
        })
    }

    /// All of it.
    pub(super) fn top(&self) -> Entry {
        let top = self.names.lock().top(&self.me);
        entry(&top)
    }

    /// As [`Transaction::reset`].
    pub(super) fn reset(&self, to: Id) -> crate::Result<()> {
        // Not read while others wait.
        self.database.objects().named_commit(to)?;
        self.replace(|transaction| transaction.reset(to))
    }

    /// As [`Transaction::merge`].
    pub(super) fn merge(
        &self,
        theirs: Id,
        parents: &[Id],
        message: &[u8],
        by: &Authorship,
    ) -> crate::Result<()> {
        let merged = self.transaction.prepare_merge(theirs, parents, message, by)?;
        self.replace(|_| merged.apply())
    }

    fn replace(
        &self,
        replace: impl FnOnce(&Transaction) -> crate::Result<()>,
    ) -> crate::Result<()> {
        let objects = self.database.objects();
        let mut names = self.names.lock();
        let before = self.transaction.tree()?;
        replace(&self.transaction)?;
        let after = self.transaction.tree()?;
        let stays = |path: &[u8], is_dir: bool| {
            path.is_empty()
                || after
                    .get(objects, path)
                    .is_ok_and(|node| is_dir == matches!(node, TreeNode::Dir(_)))
        };
        let lost = names.replace(now(), stays);
        self.bury(&names, &before, lost);
        Ok(())
    }

    /// What is `lost` has no name any more; files have the content still that they had in `tree`.
    fn bury(&self, names: &InodeTable, tree: &Tree, lost: Vec<UnlinkedInode>) {
        for lost in lost {
            if let Ok(TreeNode::File(file)) = tree.get(self.database.objects(), &lost.path) {
                self.transaction.detach(lost.inode.number, file);
            }
            names.bury(&lost);
        }
    }

    fn remove(&self, names: &mut InodeTable, path: &[u8]) -> Result<()> {
        let node = self.transaction.remove(path)?;
        self.removed(names, path, node);
        Ok(())
    }

    /// `node` is no more at `path`.
    fn removed(&self, names: &mut InodeTable, path: &[u8], node: TreeNode) {
        let lost = names.remove(path, now());
        match node {
            TreeNode::Dir(dir) => self.bury(names, &Tree::of(dir), lost),
            TreeNode::File(file) => {
                for lost in lost {
                    self.transaction.detach(lost.inode.number, file.clone());
                    names.bury(&lost);
                }
            }
            TreeNode::Submodule(_) => {}
        }
    }

    /// Nobody holds the file without a name any more.
    fn forget(&self, number: u64) {
        self.transaction.forget(number);
    }

    /// Does `work` with what is open of the file, wherever it is, while nothing moves.
    fn with_file<R>(
        &self,
        inode: &Inode,
        work: impl FnOnce(&mut InodeTable, FileAt<'_>) -> Result<R>,
    ) -> Result<R> {
        let mut names = self.names.lock();
        if inode.gone().is_some() {
            return work(&mut names, FileAt::Detached(inode.number));
        }
        let path = inode.path()?;
        work(&mut names, FileAt::Path(&path))
    }

    fn changed(&self, inode: &Inode) -> Option<Time> {
        let names = self.names.lock();
        inode.gone().or_else(|| Some(names.changed(&inode.path().ok()?)))
    }
}

/// What the tree shows of an inode.
fn entry(inode: &Arc<Inode>) -> Entry {
    inode.entry(|| {
        let (name, number) = (inode.name(), inode.number);
        match inode.is_dir {
            true => Entry::dir_with_ino(name, number, RwDir(inode.clone())),
            false => Entry::file_with_ino(name, number, RwFile(inode.clone())),
        }
    })
}

fn file_mode(mode: u32) -> EntryMode {
    if mode & 0o100 == 0 { EntryMode::Normal } else { EntryMode::Exec }
}

fn gone() -> Error {
    Error::NotFound
}
