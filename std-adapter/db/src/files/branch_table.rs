//! The branches of one connection: those that fids, streams and transactions use, and those that
//! were made and have no commit yet.

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Weak};

use datakit_core::vfs::{Error, Result};

use super::branch_handle::BranchHandle;
use super::open_transactions::OpenTransactions;
use super::quota::Quota;
use crate::{BranchName, Database};
use datakit_server::inode_numbers;

/// Branches without a commit that one connection may make.
const MAX_EMPTY_BRANCHES: usize = 4096;

/// Reasons that are kept, the last ones.
const MAX_REFUSALS: usize = 64;

/// Names that were given up and keep their own inode number.
const MAX_RETIRED_NUMBERS: usize = 1024;

/// What one connection knows of branches beside what the store says. What nobody uses is not in it:
/// a listing adds nothing.
pub(super) struct BranchTable {
    database: Database,
    quota: Arc<Quota>,
    state: Mutex<State>,
}

struct State {
    /// The branches in use, with their numbers.
    handles: BTreeMap<BranchName, (Weak<BranchHandle>, u64)>,
    /// Those that are there also without a commit.
    made: BTreeSet<BranchName>,
    /// Inode numbers of names that were renamed or removed, which the next branch of that name must
    /// not have; all other numbers follow from the name and from `origin`.
    numbers: BTreeMap<BranchName, u64>,
    origin: u64,
    /// Open transactions by the number of their branch: they stay when no fid is left.
    transactions: BTreeMap<u64, Arc<OpenTransactions>>,
    /// Why the last `fast-forward` of a branch failed, by its number: the file is read when no fid
    /// of the branch is left.
    refusals: VecDeque<(u64, String)>,
}

impl State {
    fn number(&self, name: &BranchName) -> u64 {
        let of_handle = self.handles.get(name).map(|(_, number)| *number);
        of_handle
            .or_else(|| self.numbers.get(name).copied())
            .unwrap_or_else(|| inode_numbers::hash_of_child(self.origin, b'B', name.as_bytes()))
    }

    fn set_number(&mut self, name: &BranchName, number: u64) {
        if self.numbers.len() >= MAX_RETIRED_NUMBERS {
            // All numbers but those of branches in use are new from now on.
            self.numbers.clear();
            self.origin = inode_numbers::next();
        }
        self.numbers.insert(name.clone(), number);
    }
}

impl BranchTable {
    pub(super) fn new(database: &Database, quota: &Arc<Quota>) -> Arc<BranchTable> {
        let state = State {
            handles: BTreeMap::new(),
            made: BTreeSet::new(),
            numbers: BTreeMap::new(),
            origin: inode_numbers::next(),
            transactions: BTreeMap::new(),
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

    /// What all files about a branch share.
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

    /// The inode number of the directory of a branch.
    pub(super) fn number(&self, name: &BranchName) -> u64 {
        self.state.lock().number(name)
    }

    /// Shows a branch from now on also while it has no commit.
    pub(super) fn make(&self, name: &BranchName) -> Result<()> {
        let full =
            |state: &State| state.made.len() >= MAX_EMPTY_BRANCHES && !state.made.contains(name);
        if full(&self.state.lock()) {
            // Those that have commits by now are shown for that.
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

    /// The branch of `handle` is called `new` now.
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

    /// The directory of this branch was removed: the next one of that name is another.
    pub(super) fn removed(&self, name: &BranchName) {
        let state = &mut *self.state.lock();
        state.handles.remove(name);
        state.made.remove(name);
        state.set_number(name, inode_numbers::next());
    }

    /// Takes out a slot whose last user has gone.
    pub(super) fn forget(&self, handle: &BranchHandle) {
        let (name, state) = (handle.name(), &mut *self.state.lock());
        // The name may be in use again already, by another slot.
        if state.handles.get(&name).is_some_and(|(found, _)| std::ptr::eq(found.as_ptr(), handle)) {
            state.handles.remove(&name);
        }
    }

    /// Why the last `fast-forward` of the branch of this number failed.
    pub(super) fn refusal(&self, number: u64) -> Option<String> {
        let state = self.state.lock();
        state.refusals.iter().find(|(of, _)| *of == number).map(|(_, text)| text.clone())
    }

    /// A `fast-forward` failed, or began or succeeded.
    pub(super) fn set_refusal(&self, number: u64, text: Option<String>) {
        let state = &mut *self.state.lock();
        state.refusals.retain(|(of, _)| *of != number);
        state.refusals.extend(text.map(|text| (number, text)));
        if state.refusals.len() > MAX_REFUSALS {
            state.refusals.pop_front();
        }
    }

    /// The open transactions on the branch of this number.
    pub(super) fn transactions(&self, number: u64) -> Option<Arc<OpenTransactions>> {
        self.state.lock().transactions.get(&number).cloned()
    }

    /// Keeps a table of transactions for as long as there are any.
    pub(super) fn keep_transactions(&self, number: u64, table: &Arc<OpenTransactions>) {
        self.state.lock().transactions.entry(number).or_insert_with(|| table.clone());
    }

    /// There are none any more.
    pub(super) fn drop_transactions(&self, number: u64) {
        // Dropped after the lock: its transactions use slots.
        let _table = self.state.lock().transactions.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    fn table() -> Arc<BranchTable> {
        let database = Database::new(Arc::new(Memory::new())).unwrap();
        BranchTable::new(&database, &Quota::new(&database))
    }

    fn name(name: impl AsRef<[u8]>) -> BranchName {
        BranchName::new(name).unwrap()
    }

    #[test]
    fn branches_without_a_commit_have_a_limit() {
        let table = table();
        (0..MAX_EMPTY_BRANCHES).for_each(|n| table.make(&name(format!("b{n}"))).unwrap());
        table.make(&name("b0")).unwrap();
        assert_eq!(table.make(&name("more")).unwrap_err().errno(), Error::NoSpace.errno());
        table.removed(&name("b0"));
        table.make(&name("more")).unwrap();
    }

    #[test]
    fn a_branch_in_use_has_one_slot_and_a_name_that_was_given_up_another_number() {
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
        // However many names are given up, no number is used for two of them.
        (0..=MAX_RETIRED_NUMBERS).for_each(|n| table.removed(&name(format!("b{n}"))));
        assert_ne!(table.number(&old), before);
        assert!(table.state.lock().numbers.len() <= MAX_RETIRED_NUMBERS);
    }
}
