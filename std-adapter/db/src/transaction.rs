//! Transactions. A transaction is a private tree that can be changed and then committed to a
//! branch.

mod edit;
mod state;

use parking_lot::{Mutex, MutexGuard};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use self::state::TransactionState;
use crate::branch::Branch;
use crate::database::MAX_INLINE_BYTES;
use crate::integrate::{MergePolicy, check_start, integrate, store_commit};
use crate::model::commit::Commit;
use crate::model::connected;
use crate::model::identity::Authorship;
use crate::model::merge;
use crate::model::object::NewObjects;
use crate::model::object_cache::ObjectCache;
use crate::model::tree::{Tree, TreeDir, TreeFile, TreeNode, no_space};
use crate::{Database, Error, Id, Result};
use datakit_server::budget::{Budget, Reservation};
use datakit_server::memory;

/// The commit message used if the client does not set one.
const NO_MESSAGE: &[u8] = b"(no commit message)";

/// A transaction on one branch. The transaction ends when it is committed,
/// [closed](Transaction::close) or dropped. While a commit or merge is in progress, the transaction
/// can be read, but changes fail with [`Error::Busy`].
pub struct Transaction {
    database: Database,
    /// The budget for memory used by uncommitted changes.
    space: Arc<Budget>,
    state: Mutex<TransactionState>,
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("is_open", &self.is_open()).finish_non_exhaustive()
    }
}

impl Drop for Transaction {
    /// Drops a large tree on another thread, so that other connections do not have to wait.
    fn drop(&mut self) {
        if self.space.used() > MAX_INLINE_BYTES {
            let state = self.state.get_mut();
            memory::drop_in_background((
                std::mem::replace(&mut state.rw, Tree::of(TreeDir::empty())),
                std::mem::take(&mut state.detached),
            ));
        }
    }
}

/// A guard that marks the transaction as busy until the guard is dropped.
struct BusyGuard<'t>(&'t Transaction);

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        self.0.state.lock().busy = false;
    }
}

/// The location of a file in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileAt<'a> {
    /// The file at this path.
    Path(&'a [u8]),
    /// The [detached](Transaction::detach) file with this number.
    Detached(u64),
}

/// A [prepared](Transaction::prepare_merge) merge. The transaction remains busy until the merge is
/// applied or dropped.
pub(crate) struct Prepared<'t> {
    busy: BusyGuard<'t>,
    rw: Tree,
    conflicts: HashSet<Vec<u8>>,
    sides: MergeInputs,
    kept: NewObjects,
}

/// The three trees combined by the last merge.
#[derive(Debug, Clone)]
pub(crate) struct MergeInputs {
    /// The transaction's tree before the merge.
    pub(crate) ours: Tree,
    /// The tree of the merged commit.
    pub(crate) theirs: Tree,
    /// The tree of the common ancestor, or the empty tree if there is none.
    pub(crate) base: Tree,
}

/// The result of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// The head of the branch after the commit. If the branch has moved, the head can be a merge
    /// commit.
    pub head: Option<Id>,
}

/// The options for a commit. By default, the changes are merged if the branch has moved. A commit
/// is created even if the tree has not changed.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct CommitOptions {
    /// Whether to merge the changes if the branch has moved.
    pub policy: MergePolicy,
    /// Whether to skip the commit if its tree is identical to its first parent's tree.
    pub if_changed: bool,
}

impl CommitOptions {
    /// Sets whether to merge the changes if the branch has moved.
    #[must_use]
    pub fn policy(self, policy: MergePolicy) -> CommitOptions {
        CommitOptions { policy, ..self }
    }

    /// Sets whether to skip the commit if its tree is identical to its first parent's tree.
    #[must_use]
    pub fn if_changed(self, if_changed: bool) -> CommitOptions {
        CommitOptions { if_changed, ..self }
    }
}

impl Transaction {
    /// Begins a transaction. The transaction starts with the tree of commit `head`, or with the
    /// empty tree if `head` is `None`.
    ///
    /// # Errors
    /// Returns [`Error::Broken`] if `head` is missing or cannot be read.
    pub fn begin(database: &Database, head: Option<Id>) -> Result<Transaction> {
        Transaction::begin_in(database, head, database.memory())
    }

    /// Begins a transaction that charges its memory to `space`.
    pub(super) fn begin_in(
        database: &Database,
        head: Option<Id>,
        space: &Arc<Budget>,
    ) -> Result<Transaction> {
        let space = space.child(space.limit());
        let rw = Tree::of_commit(database.objects(), head)?;
        let counted = Some(database.count(|counters| &counters.transactions));
        let state = TransactionState {
            rw,
            names: space.empty_reservation(),
            start: head,
            detached: HashMap::new(),
            conflicts: HashSet::new(),
            refused: None,
            merged: None,
            kept: Arc::default(),
            busy: false,
            counted,
        };
        Ok(Transaction { database: database.clone(), space, state: Mutex::new(state) })
    }

    /// Returns whether the transaction is still open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open().is_ok()
    }

    /// Ends the transaction and discards uncommitted changes. Does not stop a commit that is in
    /// progress.
    pub fn close(&self) {
        self.state.lock().discard();
    }

    fn open(&self) -> Result<MutexGuard<'_, TransactionState>> {
        let state = self.state.lock();
        if state.counted.is_some() { Ok(state) } else { Err(Error::NotFound) }
    }

    /// Locks the transaction's state for modification.
    fn open_mut(&self) -> Result<MutexGuard<'_, TransactionState>> {
        let state = self.open()?;
        if state.busy { Err(Error::Busy) } else { Ok(state) }
    }

    /// Marks the transaction as busy and returns its tree. The state is not locked while a commit
    /// or merge uses the tree, so that other requests do not have to wait.
    fn work(&self) -> Result<(BusyGuard<'_>, Tree)> {
        let mut state = self.open_mut()?;
        if !state.conflicts.is_empty() {
            return Err(Error::OpenConflicts);
        }
        state.busy = true;
        Ok((BusyGuard(self), state.rw.clone()))
    }

    fn objects(&self) -> &ObjectCache {
        self.database.objects()
    }

    /// Returns the approximate number of bytes that a commit must write.
    pub(super) fn weight(&self) -> u64 {
        let used = self.space.used();
        // A hole in a file takes up no memory, but a commit must write its zeros. Therefore, a
        // commit may write many bytes even if the transaction uses little memory.
        if used > MAX_INLINE_BYTES {
            used
        } else {
            self.tree().map_or(used, |tree| tree.top().weight().1.max(used))
        }
    }

    /// Returns the budget to which the transaction's files are charged.
    pub(super) fn space(&self) -> &Arc<Budget> {
        &self.space
    }

    /// Returns the current tree.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the transaction has ended.
    pub(crate) fn tree(&self) -> Result<Tree> {
        Ok(self.open()?.rw.clone())
    }

    /// Returns the node at `path`.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the node does not exist or the transaction has ended. Returns
    /// [`Error::NotDirectory`] if a parent of `path` is a file. Returns [`Error::Broken`] if a
    /// directory cannot be read.
    pub(crate) fn get(&self, path: &[u8]) -> Result<TreeNode> {
        // Use a clone of the tree, because the store must not be read while the state is locked.
        self.tree()?.get(self.objects(), path)
    }

    /// Returns the content of the file, or the target of the symbolic link, at `path`.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the node does not exist or the transaction has ended. Returns
    /// [`Error::IsDirectory`] if the node is a directory. Returns [`Error::Broken`] if the blob
    /// cannot be read.
    pub fn read(&self, path: &[u8]) -> Result<Arc<[u8]>> {
        self.file(FileAt::Path(path))?.content.bytes(self.objects())
    }

    /// Returns a file.
    ///
    /// # Errors
    /// Returns [`Error::IsDirectory`] if the node is not a file. Otherwise, returns the same errors
    /// as [`get`](Transaction::get).
    pub(crate) fn file(&self, at: FileAt<'_>) -> Result<TreeFile> {
        match at {
            FileAt::Path(path) => match self.get(path)? {
                TreeNode::File(file) => Ok(file),
                TreeNode::Dir(_) | TreeNode::Submodule(_) => Err(Error::IsDirectory),
            },
            FileAt::Detached(number) => {
                self.open()?.detached.get(&number).cloned().ok_or(Error::NotFound)
            }
        }
    }

    /// Keeps a removed file while a client still has it open. The file is identified by `number`,
    /// is not visible, and is never committed. The file is kept until it is
    /// [forgotten](Transaction::forget) or until the transaction ends.
    pub(crate) fn detach(&self, number: u64, file: TreeFile) {
        let mut state = self.state.lock();
        if state.counted.is_some() {
            state.detached.insert(number, file);
        }
    }

    /// Discards a [detached](Transaction::detach) file.
    pub(crate) fn forget(&self, number: u64) {
        let file = self.state.lock().detached.remove(&number);
        drop(file);
    }

    /// Replaces the transaction's tree with the tree of commit `to`.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if commit `to` does not exist or the transaction has ended.
    /// Returns [`Error::Busy`] if a commit or merge is in progress.
    pub fn reset(&self, to: Id) -> Result<()> {
        let tree = Tree::stored(self.objects().named_commit(to)?.tree);
        let mut state = self.open_mut()?;
        state.rw = tree;
        state.names = self.space.empty_reservation();
        state.start = Some(to);
        state.refused = None;
        state.conflicts.clear();
        Ok(())
    }

    /// Returns the sorted paths of the unresolved conflicts from the last merge and the last
    /// attempt to commit. Returns `None` if there has been no merge and no commit has failed
    /// because of a conflict.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the transaction has ended.
    pub fn conflicts(&self) -> Result<Option<Vec<Vec<u8>>>> {
        let state = self.open()?;
        if state.merged.is_none() && state.refused.is_none() {
            return Ok(None);
        }
        let mut paths: Vec<_> = state.conflicts.iter().cloned().collect();
        if let Some(refused) = &state.refused {
            paths.extend(refused.iter().cloned());
        }
        paths.sort();
        paths.dedup();
        Ok(Some(paths))
    }

    /// Returns the inputs of the last merge, or `None` if there has been no merge.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the transaction has ended.
    pub(crate) fn merged(&self) -> Result<Option<MergeInputs>> {
        Ok(self.open()?.merged.clone())
    }

    /// Merges commit `theirs` into the transaction's tree. The merge treats the transaction as a
    /// commit with the given `parents` and `message`. When the transaction is committed, the caller
    /// must add `theirs` to the parents. Conflicts are marked in the tree and must be resolved
    /// before the transaction is committed.
    ///
    /// # Errors
    /// If the merge fails, the transaction is unchanged. Returns [`Error::OpenConflicts`] if
    /// conflicts from an earlier merge are unresolved. Returns [`Error::Busy`] if a commit or merge
    /// is in progress. Returns [`Error::NotFound`] if commit `theirs` does not exist or the
    /// transaction has ended.
    pub fn merge(&self, theirs: Id, parents: &[Id], message: &[u8], by: &Authorship) -> Result<()> {
        self.prepare_merge(theirs, parents, message, by)?.apply()
    }

    /// Computes the result of a [`merge`](Transaction::merge) without changing the tree. To change
    /// the tree, call [`apply`](Prepared::apply) on the result. That call is fast.
    ///
    /// # Errors
    /// Returns the same errors as [`merge`](Transaction::merge).
    pub(crate) fn prepare_merge(
        &self,
        theirs: Id,
        parents: &[Id],
        message: &[u8],
        by: &Authorship,
    ) -> Result<Prepared<'_>> {
        let objects = self.objects();
        let (busy, before) = self.work()?;
        let theirs_tree = Tree::stored(objects.named_commit(theirs)?.tree);
        let _aside = self.set_aside(&before)?;
        let mut batch = NewObjects::new();
        let ours_tree = before.write(&mut batch)?;
        let (ours, commit) = Commit::encode_by(ours_tree, parents, message, by)?;
        let kept = batch.clone();
        store_commit(objects, batch, ours, commit)?;
        let ours_tree = Tree::stored(ours_tree);
        let base = merge::base_tree(objects, ours, theirs)?.unwrap_or(Tree::stored(Id::EMPTY_TREE));
        let merged = merge::merge(objects, &base, &ours_tree, &theirs_tree)?;
        let mut rw = merged.tree;
        for dir in before.empty_dirs() {
            // The merge used the stored form of the transaction's tree, which contains no empty
            // directories. Recreate the empty directories and any of their parents that the merge
            // removed.
            rw.make_dirs(objects, &dir)?;
        }
        let conflicts = merged.conflicts.into_iter().map(|conflict| conflict.path).collect();
        let sides = MergeInputs { ours: ours_tree, theirs: theirs_tree, base };
        Ok(Prepared { busy, rw, conflicts, sides, kept })
    }

    /// Commits the tree to `branch` and ends the transaction.
    ///
    /// # Errors
    /// If the commit fails, the transaction remains open and unchanged.
    ///
    /// - Returns [`Error::OpenConflicts`] if conflicts from a merge are unresolved.
    /// - Returns [`Error::Busy`] if another commit or merge is in progress.
    /// - Returns [`Error::NotFound`] if a parent does not exist.
    /// - Returns [`Error::Conflict`] if the changes conflict with changes on the branch.
    /// - Returns [`Error::NotFastForward`] if the branch has moved and `options` does not allow a
    ///   merge.
    /// - Returns [`Error::Removed`] if the branch was removed.
    /// - Returns [`Error::NoMemory`] if there is not enough memory to encode the objects,
    ///   [`Error::Io`] if a system call fails, or [`Error::Store`] if the store fails for another
    ///   reason.
    pub fn commit(
        &self,
        branch: &Branch,
        parents: &[Id],
        message: &[u8],
        by: &Authorship,
        options: CommitOptions,
    ) -> Result<Committed> {
        let _in_flight = self.database.in_flight();
        let (_working, rw) = self.work()?;
        let (start, kept) = {
            let mut state = self.open()?;
            state.refused = None;
            (state.start, state.kept.clone())
        };
        let made = Made { rw: &rw, kept: &kept, parents, message, by };
        let committed = self.bring(branch, start, &made, options);
        match &committed {
            Ok(_) => self.close(),
            Err(Error::Conflict(refused)) => {
                // The transaction may have been closed during the commit.
                if let Ok(mut state) = self.open() {
                    state.refused = Some(
                        refused.conflicts.iter().map(|conflict| conflict.path.clone()).collect(),
                    );
                }
            }
            Err(_) => {}
        }
        committed
    }

    fn bring(
        &self,
        branch: &Branch,
        start: Option<Id>,
        made: &Made<'_>,
        options: CommitOptions,
    ) -> Result<Committed> {
        let Made { rw, kept, parents, message, by } = *made;
        for parent in parents {
            self.objects().named_commit(*parent)?;
        }
        let _aside = self.set_aside(rw)?;
        let mut batch = NewObjects::new();
        let tree = rw.write(&mut batch)?;
        if options.if_changed && self.is_tree_of(parents.first(), tree)? {
            if options.policy == MergePolicy::FastForward {
                check_start(branch, start)?;
                return Ok(Committed { head: start });
            }
            return Ok(Committed { head: branch.head()? });
        }
        let message = if message.is_empty() { NO_MESSAGE } else { message };
        let gathered =
            connected::gather(self.objects(), branch.head()?, parents, tree, &batch, kept)?;
        batch.splice(0..0, gathered);
        batch.push(Commit::encode_by(tree, parents, message, by)?);
        let head = integrate(&self.database, branch, start, parents, &batch, by, options.policy)?;
        Ok(Committed { head: Some(head) })
    }

    /// Reserves memory for the contiguous copies that are needed to hash and write the new files.
    /// The reservation is not charged to the connection's budget, because a client must be able to
    /// commit everything that it has written.
    fn set_aside(&self, tree: &Tree) -> Result<Reservation> {
        let mut aside = self.database.memory().empty_reservation();
        aside.resize(tree.top().weight().1).map_err(no_space)?;
        Ok(aside)
    }

    fn is_tree_of(&self, parent: Option<&Id>, tree: Id) -> Result<bool> {
        let before = match parent {
            Some(parent) => self.objects().named_commit(*parent)?.tree,
            None => Id::EMPTY_TREE,
        };
        Ok(before == tree)
    }
}

/// The data needed to create a commit.
struct Made<'m> {
    rw: &'m Tree,
    kept: &'m NewObjects,
    parents: &'m [Id],
    message: &'m [u8],
    by: &'m Authorship,
}

impl Prepared<'_> {
    /// Replaces the transaction's tree with the merged tree.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the transaction has ended. Returns [`Error::NoMemory`] if the
    /// merged tree exceeds the memory limit.
    pub(crate) fn apply(self) -> Result<()> {
        let Prepared { busy, rw, conflicts, sides, kept } = self;
        let mut state = busy.0.open()?;
        state.names.resize(rw.top().weight().0).map_err(no_space)?;
        state.rw = rw;
        state.refused = None;
        state.conflicts = conflicts;
        state.merged = Some(sides);
        Arc::make_mut(&mut state.kept).extend(kept);
        drop(state);
        drop(busy);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
