//! A transaction: a tree that is changed in private and then committed to a branch.

mod edit;
mod state;

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use self::state::State;
use crate::branch::Branch;
use crate::database::MAX_INLINE_BYTES;
use crate::integrate::{MergePolicy, check_start, integrate, store_commit};
use crate::model::connected;
use crate::model::identity::Authorship;
use crate::model::merge;
use crate::model::object::Commit;
use crate::model::object_cache::ObjectCache;
use crate::model::tree::{NewObjects, Tree, TreeDir, TreeFile, TreeNode, no_space};
use crate::{Database, Error, Id, Result};
use datakit_server::budget::{Budget, Reservation};
use datakit_server::memory;

/// Said of a commit without a message.
const NO_MESSAGE: &[u8] = b"(no commit message)";

/// A transaction on one branch. It ends with a commit, when it is closed, or when it is dropped,
/// and then everything in it is gone. While it is committed it can be read and not changed
/// ([`Error::UnderWay`]).
pub struct Transaction {
    database: Database,
    /// The memory of all that is not committed.
    space: Arc<Budget>,
    state: Mutex<State>,
}

impl Drop for Transaction {
    /// A connection that ends has others beside it.
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

/// For as long as a commit or merge is under way.
struct BusyGuard<'t>(&'t Transaction);

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        self.0.state.lock().busy = false;
    }
}

/// A file of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAt<'a> {
    /// The one at this path.
    Path(&'a [u8]),
    /// The one that was [detached](Transaction::detach) with this number.
    Detached(u64),
}

/// A merge that is [prepared](Transaction::prepare_merge). Nothing else is done in the transaction
/// until it is applied or dropped.
pub struct Prepared<'t> {
    busy: BusyGuard<'t>,
    rw: Tree,
    conflicts: BTreeSet<Vec<u8>>,
    sides: MergeInputs,
    kept: NewObjects,
}

/// What the last merge was between.
#[derive(Debug, Clone)]
pub struct MergeInputs {
    /// The transaction before it.
    pub ours: Tree,
    /// The commit that was merged.
    pub theirs: Tree,
    /// What both came from; empty if nothing.
    pub base: Tree,
}

/// What a commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Where the branch is now: the new commit, or a merge of it.
    pub head: Option<Id>,
}

/// How to commit.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Whether the commit may be merged with what came meanwhile.
    pub policy: MergePolicy,
    /// Nothing is committed if the tree is that of the first parent.
    pub if_changed: bool,
}

impl Transaction {
    /// A transaction that starts from `head`, the tree of which is what its files are at first.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such commit.
    pub fn begin(database: &Database, head: Option<Id>) -> Result<Transaction> {
        Transaction::begin_in(database, head, database.memory())
    }

    /// The same with memory of `space`, of which it may take all.
    pub(super) fn begin_in(
        database: &Database,
        head: Option<Id>,
        space: &Arc<Budget>,
    ) -> Result<Transaction> {
        let space = space.child(space.limit());
        let rw = Tree::of_commit(database.objects(), head)?;
        let counted = Some(database.count(|counters| &counters.transactions));
        let state = State {
            rw,
            names: space.empty_reservation(),
            start: head,
            detached: HashMap::new(),
            conflicts: BTreeSet::new(),
            refused: None,
            merged: None,
            kept: Arc::default(),
            busy: false,
            counted,
        };
        Ok(Transaction { database: database.clone(), space, state: Mutex::new(state) })
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open().is_ok()
    }

    /// Drops all that was not committed. What is being committed is.
    pub fn close(&self) {
        self.state.lock().end();
    }

    fn open(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        if state.counted.is_some() { Ok(state) } else { Err(Error::NotFound) }
    }

    /// To be changed.
    fn open_mut(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.open()?;
        if state.busy { Err(Error::UnderWay) } else { Ok(state) }
    }

    /// Keeps others from changing it: the tree as it is now. What takes its time is done without
    /// the lock, for which whole threads would wait.
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

    /// About how much a commit has to write, in bytes.
    pub(super) fn weight(&self) -> u64 {
        let used = self.space.used();
        // Few names then. A hole takes no memory, but has to be written.
        if used > MAX_INLINE_BYTES {
            used
        } else {
            self.tree().map_or(used, |tree| tree.top().weight().1.max(used))
        }
    }

    /// Memory for what a file of it is to have.
    pub(super) fn space(&self) -> &Arc<Budget> {
        &self.space
    }

    /// The tree as it is now.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the transaction has ended, here and below.
    pub fn tree(&self) -> Result<Tree> {
        Ok(self.open()?.rw.clone())
    }

    /// What is at `path`.
    ///
    /// # Errors
    /// Those of [`Tree::get`].
    pub fn get(&self, path: &[u8]) -> Result<TreeNode> {
        // A clone, so that the store is not read under the lock.
        self.tree()?.get(self.objects(), path)
    }

    /// A file.
    ///
    /// # Errors
    /// Those of [`Tree::get`]; [`Error::IsDirectory`] for something else.
    pub fn file(&self, at: FileAt<'_>) -> Result<TreeFile> {
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

    /// Keeps a file that has lost its path under `number`, unseen and never committed, until it is
    /// [forgotten](Transaction::forget) or the transaction ends.
    pub fn detach(&self, number: u64, file: TreeFile) {
        let mut state = self.state.lock();
        if state.counted.is_some() {
            state.detached.insert(number, file);
        }
    }

    /// Drops a file that was [detached](Transaction::detach).
    pub fn forget(&self, number: u64) {
        let file = self.state.lock().detached.remove(&number);
        drop(file);
    }

    /// Starts anew with the tree of a commit.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such commit.
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

    /// The paths that the last merge left to be resolved, or that were in the way of the last
    /// commit; `None` if nothing was merged and no commit was refused for its paths.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the transaction has ended.
    pub fn conflicts(&self) -> Result<Option<Vec<Vec<u8>>>> {
        let state = self.open()?;
        if state.merged.is_none() && state.refused.is_none() {
            return Ok(None);
        }
        let paths: BTreeSet<_> =
            state.conflicts.iter().chain(state.refused.iter().flatten()).cloned().collect();
        Ok(Some(paths.into_iter().collect()))
    }

    /// What the last merge was between; `None` before the first.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the transaction has ended.
    pub fn merged(&self) -> Result<Option<MergeInputs>> {
        Ok(self.open()?.merged.clone())
    }

    /// Merges the commit `theirs` into the tree, which `parents` and `message` would make a commit
    /// of: then `theirs` is one parent more. What cannot be merged is marked in the tree and has to
    /// be resolved before the commit.
    ///
    /// # Errors
    /// [`Error::OpenConflicts`]; [`Error::UnderWay`]; [`Error::NotFound`] for a commit that is not
    /// there. Nothing has changed then.
    pub fn merge(&self, theirs: Id, parents: &[Id], message: &[u8], by: &Authorship) -> Result<()> {
        self.prepare_merge(theirs, parents, message, by)?.apply()
    }

    /// Does all of a [`merge`](Transaction::merge) but for its last step, which takes no time.
    ///
    /// # Errors
    /// Those of [`merge`](Transaction::merge).
    pub fn prepare_merge(
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
            // Where a file came, or above it, there was no directory as far as the merge knows.
            rw.make_dirs(objects, &dir)?;
        }
        let conflicts = merged.conflicts.into_iter().map(|conflict| conflict.path).collect();
        let sides = MergeInputs { ours: ours_tree, theirs: theirs_tree, base };
        Ok(Prepared { busy, rw, conflicts, sides, kept })
    }

    /// Commits the tree and brings the commit to `branch`; then the transaction has ended.
    ///
    /// # Errors
    /// [`Error::OpenConflicts`], [`Error::UnderWay`], [`Error::NotFound`] for a parent that is not
    /// there, [`Error::Conflict`], [`Error::NotFastForward`], [`Error::Removed`], and those of the
    /// store. The transaction goes on as it was.
    pub fn commit(
        &self,
        branch: &Branch,
        parents: &[Id],
        message: &[u8],
        by: &Authorship,
        options: Options,
    ) -> Result<Committed> {
        let _landing = self.database.in_flight();
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
                // It may have been closed meanwhile.
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
        options: Options,
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

    /// Memory for the files of a tree in one piece each, which is how they are hashed and stored.
    /// It counts against the limit of the process only: what a connection may write it can commit.
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

/// What is to be committed.
struct Made<'m> {
    rw: &'m Tree,
    kept: &'m NewObjects,
    parents: &'m [Id],
    message: &'m [u8],
    by: &'m Authorship,
}

impl Prepared<'_> {
    /// Puts the merged tree in place of that of the transaction.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the transaction was closed meanwhile.
    pub fn apply(self) -> Result<()> {
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
