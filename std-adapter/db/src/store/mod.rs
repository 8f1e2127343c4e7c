//! Where the database keeps its objects and branches.

mod git;
mod memory;
mod transfer;

pub use git::{Fsync, Git};
pub use memory::{Memory, clear_left};

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::object::{Object, ObjectKind};
use super::{BranchName, Error, Id, Result};

/// Bytes that are taken of another repository in one fetch, where nobody says otherwise.
pub const REMOTE_LIMIT: u64 = 4 << 30;

/// Parents and times of commits, kept apart from the commits: `commit-graph(5)` of Git.
pub trait CommitGraph: Send + Sync {
    /// The committer's time and the parents of a commit; `None` if it is not in the graph.
    fn commit(&self, id: Id) -> Option<(i64, Vec<Id>)>;
}

/// Objects by their hash, and branches with compare-and-swap: all that the database asks of what is
/// below it.
///
/// Calls may wait for a disk ([`waits`](Store::waits)), so that tasks make them on a thread of
/// their own. A store is used by many threads at a time.
pub trait Store: Send + Sync + 'static {
    /// Whether calls may wait for a disk; calls that do not are made where they are needed.
    /// [`fetch`](Store::fetch) always waits, for a network.
    fn waits(&self) -> bool;

    /// An object; `None` if there is none of that name, or of a kind that the database does not
    /// know.
    ///
    /// # Errors
    /// [`Error::Store`] for an object that is there and cannot be read.
    fn read(&self, id: Id) -> Result<Option<Object>>;

    /// Kind and length in bytes of an object.
    ///
    /// # Errors
    /// Those of [`read`](Store::read).
    fn header(&self, id: Id) -> Result<Option<(ObjectKind, u64)>>;

    /// Whether other programs may remove objects.
    fn is_shared(&self) -> bool {
        false
    }

    /// Whether an object is there now, whatever was read before.
    ///
    /// # Errors
    /// Those of [`read`](Store::read).
    fn holds(&self, id: Id) -> Result<bool> {
        Ok(self.header(id)?.is_some())
    }

    /// What keeps objects from being removed: the heads of all branches, and of whatever else leads
    /// to commits.
    ///
    /// # Errors
    /// [`Error::Store`].
    fn roots(&self) -> Result<Vec<Id>> {
        Ok(self.heads()?.into_iter().map(|(_, head)| head).collect())
    }

    /// Keeps objects, each under its name. What they refer to is kept already, or comes before
    /// them. When this returns they are as durable as the store makes anything: a branch that is
    /// moved to one of them afterwards never leads to nothing.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::ReadOnly`], [`Error::Store`]; some of the objects may be kept
    /// then.
    fn write(&self, objects: &[(Id, Object)]) -> Result<()>;

    /// Writes again what another program has dropped since [`write`](Store::write) kept it. Where
    /// there are no others, nothing is to be done.
    ///
    /// # Errors
    /// Those of [`write`](Store::write).
    fn rewrite_missing(&self, objects: &[(Id, Object)]) -> Result<()> {
        let _ = objects;
        Ok(())
    }

    /// The commit that a branch is at.
    ///
    /// # Errors
    /// [`Error::Store`].
    fn head(&self, branch: &BranchName) -> Result<Option<Id>>;

    /// All branches that have a commit, by name.
    ///
    /// # Errors
    /// [`Error::Store`].
    fn heads(&self) -> Result<Vec<(BranchName, Id)>>;

    /// Keeps objects as [`write`](Store::write) does, and then moves branches, all or none, each
    /// only if it still is where it is thought to be. False: one of them is not, and the objects
    /// may be kept or not. In one call, because a disk is waited for less often than in two.
    ///
    /// # Errors
    /// [`Error::InTheWay`], [`Error::Refused`], [`Error::NoSpace`], [`Error::ReadOnly`],
    /// [`Error::Store`]. A branch is where it was, or where it was to go.
    fn update(&self, objects: &[(Id, Object)], moves: &[Move<'_>]) -> Result<bool>;

    /// The branch that keeps `branch` from being made: `a` and `a/b` are never there both.
    ///
    /// # Errors
    /// [`Error::Store`].
    fn in_the_way(&self, branch: &BranchName) -> Result<Option<String>> {
        let _ = branch;
        Ok(None)
    }

    /// Gives the branch `old`, if it is at `head`, the name `new`, if there is none: in one step,
    /// so that nobody sees both or neither. False: the one is not there, or the other is.
    ///
    /// # Errors
    /// Those of [`update`](Store::update).
    fn rename(&self, old: &BranchName, new: &BranchName, head: Id) -> Result<bool> {
        let [gone, made] = [(old, Some(head), None), (new, None, Some(head))];
        let moves = [gone, made].map(|(branch, from, to)| Move { branch, from, to });
        self.update(&[], &moves)
    }

    /// Commits at which the history ends although they have parents: those of a shallow clone.
    ///
    /// # Errors
    /// [`Error::Store`].
    fn shallow(&self) -> Result<HashSet<Id>> {
        Ok(HashSet::new())
    }

    /// What the store knows of commits without reading them; `None` if it knows of none.
    fn commit_graph(&self) -> Option<Box<dyn CommitGraph>> {
        None
    }

    /// Has `changed` called, from one thread at a time, soon after another program may have moved a
    /// branch, until what is returned is dropped. `None` where there are no others.
    ///
    /// # Errors
    /// [`Error::Store`] when branches cannot be watched.
    fn watch(
        &self,
        changed: Box<dyn Fn(&Seen) + Send + Sync>,
    ) -> Result<Option<Box<dyn WatchGuard>>> {
        let _ = changed;
        Ok(None)
    }

    /// Brings the branch `branch` of the repository at `url` here: objects are kept for as long as
    /// the remote is not [forgotten](Store::forget), no branch moves. It takes as long as it takes,
    /// but a repository that says nothing is given up after a time.
    ///
    /// # Errors
    /// [`FetchError`].
    fn fetch(
        &self,
        remote: &str,
        url: &str,
        branch: &BranchName,
    ) -> std::result::Result<Id, FetchError>;

    /// [`fetch`](Store::fetch) until nobody wants it any more.
    ///
    /// # Errors
    /// [`FetchError`].
    fn fetch_unless(
        &self,
        remote: &str,
        url: &str,
        branch: &BranchName,
        stop: &Stop,
    ) -> std::result::Result<Id, FetchError> {
        let _ = stop;
        self.fetch(remote, url, branch)
    }

    /// What was fetched as `remote` need not be kept any longer.
    ///
    /// # Errors
    /// [`Error::Store`].
    fn forget(&self, remote: &str) -> Result<()> {
        let _ = remote;
        Ok(())
    }
}

/// Tells work on another thread that nobody wants it any more. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether that is so.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// One branch to be moved.
#[derive(Debug, Clone, Copy)]
pub struct Move<'a> {
    /// Which.
    pub branch: &'a BranchName,
    /// Where it must be; `None`: it must not be there.
    pub from: Option<Id>,
    /// Where it goes; `None` removes it.
    pub to: Option<Id>,
}

/// What was seen of other programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// They may have moved the branches of these names, and those below them: `a/b` is below `a`.
    Named(BTreeSet<BranchName>),
    /// They may have moved any branch.
    Any,
    /// Nothing, but something may have been missed.
    Nothing,
}

impl Seen {
    /// Whether the branch is to be looked at.
    pub(super) fn concerns(&self, branch: &BranchName) -> bool {
        let Seen::Named(names) = self else { return true };
        let bytes = branch.as_bytes();
        names.contains(branch)
            || names.iter().any(|name| {
                bytes.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
            })
    }
}

/// Branches are watched until this is dropped.
pub trait WatchGuard: Send + Sync {}

/// Why nothing was fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The remote has no such branch.
    #[error("no head to fetch")]
    NoHead,
    /// It could not be reached, or sent nonsense.
    #[error("cannot fetch: {0}")]
    Failed(String),
    /// It sent more bytes than are taken.
    #[error("cannot fetch: more than {0} bytes (--remote-limit)")]
    TooMuch(u64),
    /// It said nothing for so long.
    #[error("cannot fetch: no sign of life for {0:?}")]
    Silent(Duration),
    /// It came, but could not be kept.
    #[error(transparent)]
    Store(#[from] Error),
}
