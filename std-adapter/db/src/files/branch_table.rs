//! The branches that a connection uses, including newly created branches that have no commits yet.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Weak};

use datakit_core::vfs::{Error, Result};

use super::branch_handle::BranchHandle;
use super::open_transactions::OpenTransactions;
use super::quota::Quota;
use crate::branch::shrink;
use crate::{BranchName, Database};
use datakit_server::inode_numbers;

/// The maximum number of branches without commits that a connection can create.
const MAX_EMPTY_BRANCHES: usize = 4096;

/// The maximum number of `fast-forward` failures that a connection remembers.
const MAX_REFUSALS: usize = 64;

/// The maximum number of renamed or removed branches for which inode numbers are remembered.
const MAX_RETIRED_NUMBERS: usize = 1024;

/// The state that a connection keeps for branches in addition to the data in the store. Listing
/// branches does not add entries to the table, so branches that are merely listed use no memory.
pub(super) struct BranchTable {
    database: Database,
    quota: Arc<Quota>,
    state: Mutex<BranchTableState>,
}

struct BranchTableState {
    /// The branches in use, with their inode numbers.
    handles: HashMap<BranchName, (Weak<BranchHandle>, u64)>,
    /// The branches that are visible even if they have no commits.
    made: HashSet<BranchName>,
    /// Inode numbers for the names of renamed or removed branches. They ensure that a new branch
    /// does not reuse the inode number of an old branch with the same name. All other inode numbers
    /// are derived from the branch name and `origin`.
    numbers: HashMap<BranchName, u64>,
    origin: u64,
    /// Open transactions, keyed by the inode number of their branch. A transaction is kept even
    /// when no fid refers to its branch.
    transactions: HashMap<u64, Arc<OpenTransactions>>,
    /// The inode number of each branch whose last `fast-forward` failed, together with the reason
    /// for the failure. The reason is kept even when no fid refers to the branch.
    refusals: VecDeque<(u64, String)>,
}

impl BranchTableState {
    fn number(&self, name: &BranchName) -> u64 {
        let of_handle = self.handles.get(name).map(|(_, number)| *number);
        of_handle
            .or_else(|| self.numbers.get(name).copied())
            .unwrap_or_else(|| inode_numbers::hash_of_child(self.origin, b'B', name.as_bytes()))
    }

    fn set_number(&mut self, name: &BranchName, number: u64) {
        if self.numbers.len() >= MAX_RETIRED_NUMBERS {
            // Derive the inode numbers of all unused branches from a new origin, so that no old
            // number is reused.
            self.numbers.clear();
            self.origin = inode_numbers::next();
        }
        self.numbers.insert(name.clone(), number);
    }
}

impl BranchTable {
    pub(super) fn new(database: &Database, quota: &Arc<Quota>) -> Arc<BranchTable> {
        let state = BranchTableState {
            handles: HashMap::new(),
            made: HashSet::new(),
            numbers: HashMap::new(),
            origin: inode_numbers::next(),
            transactions: HashMap::new(),
            refusals: VecDeque::new(),
        };
        Arc::new(BranchTable {
            database: database.clone(),
            quota: quota.clone(),
            state: Mutex::new(state),
        })
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// Returns the handle that all files of a branch share.
    pub(super) fn handle(self: &Arc<BranchTable>, name: &BranchName) -> Arc<BranchHandle> {
        let state = &mut *self.state.lock();
        if let Some(handle) = state.handles.get(name).and_then(|(handle, _)| handle.upgrade()) {
            return handle;
        }
        let number = state.number(name);
        let handle = Arc::new(BranchHandle::new(
            &self.database,
            &self.quota,
            name.clone(),
            number,
            Arc::downgrade(self),
        ));
        state.handles.insert(name.clone(), (Arc::downgrade(&handle), number));
        handle
    }

    /// Returns the inode number of a branch's directory.
    pub(super) fn number(&self, name: &BranchName) -> u64 {
        self.state.lock().number(name)
    }

    /// Makes a branch visible even if it has no commits.
    pub(super) fn make(&self, name: &BranchName) -> Result<()> {
        let full = |state: &BranchTableState| {
            state.made.len() >= MAX_EMPTY_BRANCHES && !state.made.contains(name)
        };
        if full(&self.state.lock()) {
            // A branch that now has a commit no longer needs an entry in `made`.
            let heads = self.database.heads()?;
            let state = &mut *self.state.lock();
            heads.iter().for_each(|(name, _)| {
                state.made.remove(name);
            });
        }
        let state = &mut *self.state.lock();
        if full(state) {
            return Err(Error::NoSpace.with_message(format_args!(
                "{MAX_EMPTY_BRANCHES} branches of this connection have no commit"
            )));
        }
        state.made.insert(name.clone());
        Ok(())
    }

    pub(super) fn is_made(&self, name: &BranchName) -> bool {
        self.state.lock().made.contains(name)
    }

    pub(super) fn made(&self) -> Vec<BranchName> {
        self.state.lock().made.iter().cloned().collect()
    }

    /// Records that the branch to which `handle` refers was renamed to `new`.
    pub(super) fn renamed(&self, handle: &Arc<BranchHandle>, new: &BranchName) {
        let old = handle.name();
        handle.rename(new.clone());
        let state = &mut *self.state.lock();
        state.handles.remove(&old);
        state.handles.insert(new.clone(), (Arc::downgrade(handle), handle.number));
        if state.made.remove(&old) {
            state.made.insert(new.clone());
        }
        state.set_number(&old, inode_numbers::next());
        state.set_number(new, handle.number);
    }

    /// Records that a branch was removed. A later branch with the same name has a different inode
    /// number.
    pub(super) fn removed(&self, name: &BranchName) {
        let state = &mut *self.state.lock();
        state.handles.remove(name);
        state.made.remove(name);
        state.set_number(name, inode_numbers::next());
    }

    /// Removes a handle that is no longer in use.
    pub(super) fn forget(&self, handle: &BranchHandle) {
        let (name, state) = (handle.name(), &mut *self.state.lock());
        // The table may already contain a new handle for the same name.
        if state.handles.get(&name).is_some_and(|(found, _)| std::ptr::eq(found.as_ptr(), handle)) {
            state.handles.remove(&name);
            shrink(&mut state.handles);
        }
    }

    /// Returns the reason that the last `fast-forward` of a branch failed.
    pub(super) fn refusal(&self, number: u64) -> Option<String> {
        let state = self.state.lock();
        state.refusals.iter().find(|(of, _)| *of == number).map(|(_, text)| text.clone())
    }

    /// Records the reason that a `fast-forward` failed, or removes the recorded reason if `text` is
    /// `None`.
    pub(super) fn set_refusal(&self, number: u64, text: Option<String>) {
        let state = &mut *self.state.lock();
        state.refusals.retain(|(of, _)| *of != number);
        state.refusals.extend(text.map(|text| (number, text)));
        if state.refusals.len() > MAX_REFUSALS {
            state.refusals.pop_front();
        }
    }

    /// Returns the open transactions on a branch.
    pub(super) fn transactions(&self, number: u64) -> Option<Arc<OpenTransactions>> {
        self.state.lock().transactions.get(&number).cloned()
    }

    /// Keeps the open transactions on a branch, even if no fid refers to the branch.
    pub(super) fn keep_transactions(&self, number: u64, table: &Arc<OpenTransactions>) {
        self.state.lock().transactions.entry(number).or_insert_with(|| table.clone());
    }

    /// Drops the table's reference to the transactions on a branch.
    pub(super) fn drop_transactions(&self, number: u64) {
        // Drop the transactions after releasing the lock, because dropping a transaction can drop a
        // branch handle, which acquires the same lock.
        let _table = self.state.lock().transactions.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn table() -> Arc<BranchTable> {
        let database = Database::new(Arc::new(MemoryStore::new())).unwrap();
        BranchTable::new(&database, &Quota::new(&database))
    }

    fn name(name: impl AsRef<[u8]>) -> BranchName {
        BranchName::new(name).unwrap()
    }

    #[test]
    fn number_of_branches_without_commit_is_limited() {
        let table = table();
        (0..MAX_EMPTY_BRANCHES).for_each(|n| table.make(&name(format!("b{n}"))).unwrap());
        table.make(&name("b0")).unwrap();
        assert_eq!(table.make(&name("more")).unwrap_err().errno(), Error::NoSpace.errno());
        table.removed(&name("b0"));
        table.make(&name("more")).unwrap();
    }

    #[test]
    fn branch_has_one_handle_and_a_retired_name_a_new_number() {
        let table = table();
        let (old, new) = (name("old"), name("new"));
        let before = table.number(&old);
        let handle = table.handle(&old);
        assert!(Arc::ptr_eq(&handle, &table.handle(&old)));
        table.renamed(&handle, &new);
        assert!(Arc::ptr_eq(&handle, &table.handle(&new)));
        drop(handle);
        assert_eq!(table.number(&new), before);
        assert_ne!(table.number(&old), before);
        assert!(table.state.lock().handles.is_empty());
        // The name is never assigned its old inode number again, no matter how many other branches
        // are removed.
        (0..=MAX_RETIRED_NUMBERS).for_each(|n| table.removed(&name(format!("b{n}"))));
        assert_ne!(table.number(&old), before);
        assert!(table.state.lock().numbers.len() <= MAX_RETIRED_NUMBERS);
    }
}
