//! The `rw` directory, which contains a transaction's modifiable tree.
//!
//! An open file refers to an inode, not to a name. A file that was removed or replaced continues to
//! exist without a name while a client has it open. A new file with the same name is a different
//! file. When a reset or a merge replaces the tree, the content of each existing file is replaced
//! with its content in the new tree. A file that does not exist in the new tree is removed.

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
use crate::model::tree::{Tree, TreeNode};
use crate::model::tree_entry::EntryMode;
use crate::transaction::{FileAt, Transaction};
use crate::{Database, Id};
use datakit_server::clock::now;
use datakit_server::tree::Entry;

/// A transaction's tree and the inodes in that tree.
pub(super) struct RwTree {
    database: Database,
    transaction: Arc<Transaction>,
    /// The inode table, which must be locked before the transaction.
    names: Mutex<InodeTable>,
    me: Weak<RwTree>,
}

impl RwTree {
    /// Creates the tree of a transaction that starts from commit `head`.
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

    /// Returns the root directory.
    pub(super) fn top(&self) -> Entry {
        let top = self.names.lock().top(&self.me);
        entry(&top)
    }

    /// Resets the tree, as [`Transaction::reset`] does, and updates the inodes.
    pub(super) fn reset(&self, to: Id) -> crate::Result<()> {
        // Read the commit before acquiring the lock, so that the lock is not held while the store
        // is read.
        self.database.objects().named_commit(to)?;
        self.replace(|transaction| transaction.reset(to))
    }

    /// Merges a commit into the tree, as [`Transaction::merge`] does, and updates the inodes.
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
        self.detach(&names, &before, lost);
        Ok(())
    }

    /// Marks inodes as removed. Each removed file keeps the content that it had in `tree`.
    fn detach(&self, names: &InodeTable, tree: &Tree, lost: Vec<UnlinkedInode>) {
        for lost in lost {
            if let Ok(TreeNode::File(file)) = tree.get(self.database.objects(), &lost.path) {
                self.transaction.detach(lost.inode.number, file);
            }
            names.mark_removed(&lost);
        }
    }

    fn remove(&self, names: &mut InodeTable, path: &[u8]) -> Result<()> {
        let node = self.transaction.take_node(path)?;
        self.removed(names, path, node);
        Ok(())
    }

    /// Records that `node`, which was at `path`, has been removed from the tree.
    fn removed(&self, names: &mut InodeTable, path: &[u8], node: TreeNode) {
        let lost = names.remove(path, now());
        match node {
            TreeNode::Dir(dir) => self.detach(names, &Tree::of(dir), lost),
            TreeNode::File(file) => {
                for lost in lost {
                    self.transaction.detach(lost.inode.number, file.clone());
                    names.mark_removed(&lost);
                }
            }
            TreeNode::Submodule(_) => {}
        }
    }

    /// Discards a removed file after the last client has closed it.
    fn forget(&self, number: u64) {
        self.transaction.forget(number);
    }

    /// Calls `work` with the current location of a file while holding the lock on the inode table.
    fn with_file<R>(
        &self,
        inode: &Inode,
        work: impl FnOnce(&mut InodeTable, FileAt<'_>) -> Result<R>,
    ) -> Result<R> {
        let mut names = self.names.lock();
        if inode.removed_at().is_some() {
            return work(&mut names, FileAt::Detached(inode.number));
        }
        let path = inode.path()?;
        work(&mut names, FileAt::Path(&path))
    }

    fn changed(&self, inode: &Inode) -> Option<Time> {
        let names = self.names.lock();
        inode.removed_at().or_else(|| Some(names.changed(&inode.path().ok()?)))
    }
}

/// Returns the entry for an inode.
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

fn remove(inode: &Inode) -> Result<()> {
    let rw = inode.rw.upgrade().ok_or_else(gone)?;
    let mut names = rw.names.lock();
    let path = inode.path()?;
    if !path.is_empty() {
        return rw.remove(&mut names, &path);
    }
    // Remove only the entries in the root directory, not the directory itself.
    let objects = rw.database.objects();
    for (name, _) in rw.transaction.tree()?.top().list(objects)? {
        rw.remove(&mut names, &name)?;
    }
    Ok(())
}

fn home(inode: &Inode) -> Option<Entry> {
    inode.parent().map(|parent| entry(&parent))
}
