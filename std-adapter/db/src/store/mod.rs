//! Storage for objects and branches, either in memory or in a Git repository.

mod git;
mod memory;
mod transfer;

pub use git::{Fsync, GitStore};
pub use memory::{MemoryStore, remove_stale_fetch_dirs};

use std::collections::HashSet;

use super::object::{Object, ObjectKind};
use super::remote::{CancelFlag, FetchError};
use super::{BranchName, Id, Result};

/// An index of the parents and committer times of commits, as described in `git-commit-graph(1)`.
/// The index is stored separately from the commits themselves.
pub trait CommitGraph: Send + Sync {
    /// Returns the committer time and the parents of a commit, or `None` if the commit is not in
    /// the graph.
    fn commit(&self, id: Id) -> Option<(i64, Vec<Id>)>;
}

/// Storage for objects and branches. Objects are looked up by their hash. Branches are updated with
/// compare-and-swap operations.
///
/// A store can be used by many threads at the same time. If [`may_block`](Store::may_block) returns
/// `true`, async tasks must call the store's methods on a blocking thread.
pub trait Store: Send + Sync + 'static {
    /// Returns whether the store's methods can block on disk access. Even if the result is `false`,
    /// [`fetch`](Store::fetch) can block on network access.
    fn may_block(&self) -> bool;

    /// Reads an object. Returns `None` if the object does not exist or if the database does not
    /// support objects of its kind.
    ///
    /// # Errors
    /// Returns [`Error::Store`](crate::Error::Store) if the object exists but cannot be read.
    fn read(&self, id: Id) -> Result<Option<Object>>;

    /// Returns the kind of an object and its length in bytes, without reading its content.
    ///
    /// # Errors
    /// Returns [`Error::Store`](crate::Error::Store) if the object exists but cannot be read.
    fn header(&self, id: Id) -> Result<Option<(ObjectKind, u64)>>;

    /// Returns whether other programs can remove objects.
    fn is_shared(&self) -> bool {
        false
    }

    /// Returns whether an object currently exists. The check is repeated on every call, because
    /// another program may have removed the object since an earlier call.
    ///
    /// # Errors
    /// Returns [`Error::Store`](crate::Error::Store) if the object cannot be looked up.
    fn exists(&self, id: Id) -> Result<bool> {
        Ok(self.header(id)?.is_some())
    }

    /// Returns the roots for garbage collection, which are the heads of all branches and the
    /// targets of all other refs.
    ///
    /// # Errors
    /// Returns [`Error::Store`](crate::Error::Store) if the refs cannot be read.
    fn roots(&self) -> Result<Vec<Id>> {
        Ok(self.heads()?.into_iter().map(|(_, head)| head).collect())
    }

    /// Writes objects. An object must come after the objects that it refers to, unless those
    /// objects are already stored.
    ///
    /// When this method returns, the objects are as durable as the store can make them, and a
    /// branch can be set to any commit among them.
    ///
    /// # Errors
    /// Returns [`Error::Io`](crate::Error::Io) if a system call fails. Returns
    /// [`Error::Store`](crate::Error::Store) if writing the objects fails for another reason. Even
    /// if an error is returned, some of the objects may have been written.
    fn write(&self, objects: &[(Id, Object)]) -> Result<()>;

    /// Writes objects again if another program has removed them since the call to
    /// [`write`](Store::write). Does nothing if no other programs can remove objects.
    ///
    /// # Errors
    /// Returns the same errors as [`write`](Store::write).
    fn rewrite_missing(&self, objects: &[(Id, Object)]) -> Result<()> {
        let _ = objects;
        Ok(())
    }

    /// Returns the head of a branch.
    ///
    /// # Errors
    /// Returns [`Error::Store`](crate::Error::Store) if the branch cannot be read.
    fn head(&self, branch: &BranchName) -> Result<Option<Id>>;

    /// Returns the names and heads of all branches that have at least one commit, sorted by name.
    ///
    /// # Errors
    /// Returns [`Error::Store`](crate::Error::Store) if the branches cannot be read.
    fn heads(&self) -> Result<Vec<(BranchName, Id)>>;

    /// Like [`write`](Store::write), but then also applies either all of the updates or none of
    /// them. Returns `false` and leaves all branches unchanged if any branch is not at its expected
    /// commit. Even if no branch is updated, the objects may have been written.
    ///
    /// Combining both steps in one call reduces the time spent waiting for the disk.
    ///
    /// # Errors
    /// Returns [`Error::BranchConflict`](crate::Error::BranchConflict) if the name of a new branch
    /// conflicts with an existing branch. Returns [`Error::Refused`](crate::Error::Refused) if the
    /// store does not allow the update. Returns [`Error::Io`](crate::Error::Io) if a system call
    /// fails. Returns [`Error::Store`](crate::Error::Store) if the update fails for another reason.
    /// If an error is returned, each branch is at either its old head or its new head.
    fn update(&self, objects: &[(Id, Object)], updates: &[RefUpdate<'_>]) -> Result<bool>;

    /// Returns an existing branch that prevents the creation of `branch`. For example, a branch `a`
    /// prevents the creation of `a/b`.
    ///
    /// # Errors
    /// Returns [`Error::Store`](crate::Error::Store) if the branches cannot be read.
    fn conflicting_branch(&self, branch: &BranchName) -> Result<Option<String>> {
        let _ = branch;
        Ok(None)
    }

    /// Renames a branch atomically. Returns `false` if `old` is not at `head` or if `new` already
    /// exists.
    ///
    /// # Errors
    /// Returns the same errors as [`update`](Store::update).
    fn rename(&self, old: &BranchName, new: &BranchName, head: Id) -> Result<bool> {
        let remove = RefUpdate { branch: old, from: Some(head), to: None };
        let create = RefUpdate { branch: new, from: None, to: Some(head) };
        self.update(&[], &[remove, create])
    }

    /// Returns the commits whose parents are missing because the repository is a shallow clone.
    ///
    /// # Errors
    /// Returns [`Error::Store`](crate::Error::Store) if the list cannot be read.
    fn shallow_commits(&self) -> Result<HashSet<Id>> {
        Ok(HashSet::new())
    }

    /// Opens the commit graph. Returns `None` if the store has no commit graph.
    fn commit_graph(&self) -> Option<Box<dyn CommitGraph>> {
        None
    }

    /// Watches the branches and calls `changed` shortly after another program may have changed a
    /// branch. All calls come from the same thread. Dropping the returned guard stops the calls.
    /// Returns `None` if other programs cannot change branches.
    ///
    /// # Errors
    /// Returns [`Error::Store`](crate::Error::Store) if the branches cannot be watched.
    fn watch(
        &self,
        changed: Box<dyn Fn(&RefChanges) + Send + Sync>,
    ) -> Result<Option<Box<dyn WatchGuard>>> {
        let _ = changed;
        Ok(None)
    }

    /// Fetches a branch from the repository at `url` and returns its head. The fetched objects are
    /// kept until [`forget_remote`](Store::forget_remote) is called with the same `remote`. The
    /// store's branches do not change.
    ///
    /// Blocks until the fetch completes, is cancelled through `cancel`, or times out because it
    /// makes no progress.
    ///
    /// # Errors
    /// Returns a [`FetchError`] if the fetch fails.
    fn fetch_cancellable(
        &self,
        remote: &str,
        url: &str,
        branch: &BranchName,
        cancel: &CancelFlag,
    ) -> std::result::Result<Id, FetchError>;

    /// Calls [`fetch_cancellable`](Store::fetch_cancellable) with a flag that is never set.
    ///
    /// # Errors
    /// Returns a [`FetchError`] if the fetch fails.
    fn fetch(
        &self,
        remote: &str,
        url: &str,
        branch: &BranchName,
    ) -> std::result::Result<Id, FetchError> {
        self.fetch_cancellable(remote, url, branch, &CancelFlag::default())
    }

    /// Allows the removal of objects that were fetched under the name `remote`.
    ///
    /// # Errors
    /// Returns the same errors as [`update`](Store::update).
    fn forget_remote(&self, remote: &str) -> Result<()> {
        let _ = remote;
        Ok(())
    }
}

/// A compare-and-swap operation on a branch.
#[derive(Debug, Clone, Copy)]
pub struct RefUpdate<'a> {
    /// The branch.
    pub branch: &'a BranchName,
    /// The expected head, or `None` if the branch must not exist.
    pub from: Option<Id>,
    /// The new head, or `None` to remove the branch.
    pub to: Option<Id>,
}

/// A set of branches that another program may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefChanges {
    /// The branches with these names, and all branches below them. For example, `a/b` is below `a`.
    Named(HashSet<BranchName>),
    /// Any branch.
    Any,
    /// All branches. The watch reports this value periodically, because the system may not have
    /// reported some changes.
    Poll,
}

impl RefChanges {
    /// Returns whether `branch` may have changed.
    pub(super) fn affects(&self, branch: &BranchName) -> bool {
        let RefChanges::Named(names) = self else { return true };
        let bytes = branch.as_bytes();
        names.contains(branch)
            || names.iter().any(|name| {
                bytes.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
            })
    }
}

/// A guard returned by [`Store::watch`]. Dropping it stops the watch.
pub trait WatchGuard: Send + Sync {}
