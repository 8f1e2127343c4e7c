//! Handles to the branches that a connection's files refer to.
//!
//! A handle and the [`BranchTable`] that creates it depend on each other: the table stores what
//! must outlive a handle, and a dropped handle removes itself from the table.

use parking_lot::{Mutex, RwLock};
use std::sync::{Arc, Weak};

use datakit_core::vfs::Time;

use super::branch_table::BranchTable;
use super::open_transactions::{OpenTransaction, OpenTransactions};
use super::quota::Quota;
use super::ro::time_of;
use crate::model::tree::Tree;
use crate::{Branch, BranchName, Database, Id};
use datakit_server::tree::{Entry, WeakEntry};

/// A handle to a branch. Renaming the branch redirects the handle to the new name. All files of a
/// branch on the same connection share one handle.
pub(super) struct BranchHandle {
    pub(super) database: Database,
    pub(super) quota: Arc<Quota>,
    name: RwLock<BranchName>,
    /// The inode number of the branch's directory.
    pub(super) number: u64,
    /// The branch's directory, if any fid uses it.
    dir: Mutex<Option<WeakEntry>>,
    table: Weak<BranchTable>,
}

impl BranchHandle {
    pub(super) fn new(
        database: &Database,
        quota: &Arc<Quota>,
        name: BranchName,
        number: u64,
        table: Weak<BranchTable>,
    ) -> BranchHandle {
        let (database, quota) = (database.clone(), quota.clone());
        let (name, dir) = (RwLock::new(name), Mutex::default());
        BranchHandle { database, quota, name, number, dir, table }
    }

    pub(super) fn name(&self) -> BranchName {
        self.name.read().clone()
    }

    pub(super) fn rename(&self, name: BranchName) {
        *self.name.write() = name;
    }

    pub(super) fn branch(&self) -> Arc<Branch> {
        self.database.branch(&self.name())
    }

    pub(super) fn head(&self) -> crate::Result<Option<Id>> {
        self.database.objects().store().head(&self.name())
    }

    /// Returns the head's tree, or the empty tree if the branch has no commits.
    pub(super) fn tree(&self) -> crate::Result<Tree> {
        Tree::of_commit(self.database.objects(), self.head()?)
    }

    /// Returns the [`tree`](BranchHandle::tree) and the commit time of the head.
    pub(super) fn tree_and_time(&self) -> crate::Result<(Tree, Option<Time>)> {
        let Some(head) = self.head()? else { return Ok((Tree::stored(Id::EMPTY_TREE), None)) };
        let commit = self.database.objects().commit(head)?;
        Ok((Tree::stored(commit.tree), Some(time_of(&commit))))
    }

    /// Returns the branch's directory. Calls `make` to create the directory if no fid uses it yet.
    pub(super) fn dir(self: &Arc<Self>, make: impl FnOnce(&Arc<Self>) -> Entry) -> Entry {
        let mut dir = self.dir.lock();
        dir.as_ref().and_then(WeakEntry::upgrade).unwrap_or_else(|| {
            let entry = make(self);
            *dir = entry.downgrade();
            entry
        })
    }

    /// Returns the reason that the last `fast-forward` failed, or `None` if it succeeded.
    pub(super) fn refusal(&self) -> Option<String> {
        self.table.upgrade()?.refusal(self.number)
    }

    pub(super) fn set_refusal(&self, text: Option<String>) {
        if let Some(table) = self.table.upgrade() {
            table.set_refusal(self.number, text);
        }
    }

    /// Returns the open transactions on the branch.
    pub(super) fn transactions(&self) -> Arc<OpenTransactions> {
        let kept = self.table.upgrade().and_then(|table| table.transactions(self.number));
        kept.unwrap_or_default()
    }

    /// Removes the transactions that have ended and then calls `work` with the remaining ones. The
    /// connection's [`BranchTable`] holds a reference to the list until the list is empty.
    pub(super) fn with_transactions<R>(
        &self,
        transactions: &Arc<OpenTransactions>,
        work: impl FnOnce(&mut Vec<OpenTransaction>) -> R,
    ) -> R {
        let mut open = transactions.0.lock();
        let was_empty = open.is_empty();
        open.retain(|open| open.transaction.is_open());
        let result = work(&mut open);
        if open.is_empty() != was_empty
            && let Some(table) = self.table.upgrade()
        {
            if was_empty {
                table.keep_transactions(self.number, transactions);
            } else {
                table.drop_transactions(self.number);
            }
        }
        result
    }
}

impl Drop for BranchHandle {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade() {
            table.forget(self);
        }
    }
}
