//! The state of an open transaction.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{FileAt, MergeInputs};
use crate::counters::GaugeGuard;
use crate::model::object::NewObjects;
use crate::model::object_cache::ObjectCache;
use crate::model::tree::{Tree, TreeDir, TreeFile, no_space};
use crate::{Error, Id, Result};
use datakit_server::budget::Reservation;

pub(super) struct TransactionState {
    pub(super) rw: Tree,
    /// The memory reserved for names.
    pub(super) names: Reservation,
    /// The head of the branch at the beginning of the transaction, or the commit to which the
    /// transaction was last reset.
    pub(super) start: Option<Id>,
    /// Removed files that clients still have open, keyed by file number.
    pub(super) detached: HashMap<u64, TreeFile>,
    /// The paths of unresolved conflicts from a merge.
    pub(super) conflicts: HashSet<Vec<u8>>,
    /// The paths that conflicted in the most recent failed commit, except for paths that have
    /// changed since. The value is `None` if no commit has failed with a conflict.
    pub(super) refused: Option<HashSet<Vec<u8>>>,
    pub(super) merged: Option<MergeInputs>,
    /// Objects that were written by merges and are not reachable from any branch yet. Other
    /// programs may prune these objects before the transaction is committed.
    pub(super) kept: Arc<NewObjects>,
    /// Whether a commit or merge is in progress. The tree must not change during the operation,
    /// because the operation works on a copy of the tree.
    pub(super) busy: bool,
    /// A guard that counts the transaction as open until the transaction ends.
    pub(super) counted: Option<GaugeGuard>,
}

impl TransactionState {
    /// Reserves memory for a change at `path` that adds `new` bytes.
    pub(super) fn reserve(&mut self, objects: &ObjectCache, path: &[u8], new: u64) -> Result<()> {
        let growth = self.rw.growth(objects, path)?.saturating_add(new);
        self.names.resize(self.names.bytes().saturating_add(growth)).map_err(no_space)
    }

    /// Releases memory reserved for names.
    pub(super) fn release(&mut self, bytes: u64) {
        // Ignore the result, because shrinking a reservation always succeeds.
        let _ = self.names.resize(self.names.bytes().saturating_sub(bytes));
    }

    pub(super) fn file_mut(
        &mut self,
        objects: &ObjectCache,
        at: FileAt<'_>,
    ) -> Result<&mut TreeFile> {
        match at {
            FileAt::Path(path) => {
                self.reserve(objects, path, 0)?;
                self.rw.file_mut(objects, path)
            }
            FileAt::Detached(number) => self.detached.get_mut(&number).ok_or(Error::NotFound),
        }
    }

    pub(super) fn discard(&mut self) {
        self.detached.clear();
        self.release(u64::MAX);
        self.counted = None;
        self.rw = Tree::of(TreeDir::empty());
        self.conflicts.clear();
        self.refused = None;
        self.merged = None;
        self.kept = Arc::default();
    }

    pub(super) fn lists(&mut self) -> impl Iterator<Item = &mut HashSet<Vec<u8>>> {
        [Some(&mut self.conflicts), self.refused.as_mut()].into_iter().flatten()
    }

    /// Removes `path` from the lists of conflicts after the node at `path` has changed.
    pub(super) fn resolved(&mut self, path: &[u8]) {
        for list in self.lists() {
            list.remove(path);
        }
    }

    pub(super) fn retain_conflicts(&mut self, stays: impl Fn(&[u8]) -> bool) {
        self.lists().for_each(|list| list.retain(|path| stays(path)));
    }

    pub(super) fn move_conflicts(&mut self, from: &[u8], to: &[u8]) {
        self.retain_conflicts(|conflict| !is_at_or_below(conflict, to));
        for list in self.lists() {
            let moved: Vec<_> =
                list.iter().filter(|conflict| is_at_or_below(conflict, from)).cloned().collect();
            for path in moved {
                list.remove(&path);
                let rest = path.get(from.len()..).unwrap_or_default();
                list.insert([to, rest].concat());
            }
        }
    }
}

/// Returns whether `path` equals `top` or is below it.
pub(super) fn is_at_or_below(path: &[u8], top: &[u8]) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
