//! A store backed by a Git repository.

mod config;
mod discover;
mod file_policy;
mod fsync;
mod handle;
mod lock_file;
mod loose_writer;
mod object_lookup;
mod packed_refs;
mod quarantine;
mod ref_update;
mod reflog;
mod refs;
mod remote_refs;
mod repository;
mod server_lock;
#[cfg(test)]
mod tests;
mod watch;
mod work_trees;

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;
use gix_object::{Find, FindHeader};

pub use fsync::Fsync;

use super::{CommitGraph, RefChanges, RefUpdate, Store, WatchGuard};
use crate::model::identity::Identity;
use crate::model::object::{Object, ObjectKind, id_of, object_id};
use crate::remote::{CancelFlag, FetchError, FetchLimits};
use crate::{BranchName, Error, Id, Result};
use discover::MainWorkTree;
use file_policy::FilePolicy;
use handle::{HandlePool, PooledHandle};
use object_lookup::ExistenceCache;
use packed_refs::PackedRefsCache;
use reflog::ReflogReason;
use refs::{RefTarget, Refs};
use repository::{Repository, open_error};
use server_lock::ServerLock;

/// A Git repository, bare or with work trees.
///
/// If a branch is checked out in a work tree, the index and files of that work tree are updated
/// along with the branch. If local changes would be overwritten, the branch is not updated.
///
/// Other programs may use the repository at the same time, including `git gc`. When a method
/// returns, its changes are as durable as [`Fsync`] specifies. Each file is written under a
/// temporary name, synced and renamed, and then the file's directory is synced.
///
/// Only one `GitStore` can have a repository open at a time. [`GitStore::open`] fails while another
/// `GitStore` for the same repository exists in this or another process. Opening a repository
/// removes branch locks left behind by a killed server.
pub struct GitStore {
    handles: HandlePool,
    policy: FilePolicy,
    packed_refs: PackedRefsCache,
    existence: ExistenceCache,
    work_tree: MainWorkTree,
    fetch_limits: FetchLimits,
    identity: Identity,
    lock: Option<ServerLock>,
}

impl fmt::Debug for GitStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitStore").field("dir", &self.dir()).finish_non_exhaustive()
    }
}

impl GitStore {
    /// Opens the repository at `path`, creating it if it does not exist. The repository is in
    /// `path/.git`, in the directory that the `path/.git` file points to, or in `path` itself. For
    /// a linked work tree, opens the repository to which the work tree belongs.
    ///
    /// Removing abandoned branch locks can take up to one second.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the path or the repository cannot be used, or if another server
    /// has opened the repository. Returns [`Error::Io`] if the repository cannot be created.
    pub fn open(path: &Path) -> Result<GitStore> {
        let found = match discover::discover(path)? {
            Some(found) => found,
            None => {
                repository::create(&path.join(".git"))?;
                let created = discover::discover(path)?;
                created.ok_or_else(|| open_error(path, "the new repository was removed"))?
            }
        };
        let dir = found.dir.clone();
        discover::check_format(&dir)?;
        let repository = Repository::open(&dir)?;
        let shared = repository.config().string("core.sharedRepository");
        let shared = shared.as_ref().map(|shared| shared.to_str_lossy());
        let policy = FilePolicy::new(&dir, shared.as_deref())?;
        let git = GitStore {
            lock: ServerLock::acquire(&dir, &policy)?,
            work_tree: found.main_work_tree(repository.config()),
            handles: HandlePool::new(repository),
            policy,
            packed_refs: PackedRefsCache::default(),
            existence: ExistenceCache::default(),
            fetch_limits: FetchLimits::default(),
            identity: Identity::default(),
        };
        if git.is_partial_clone() {
            tracing::warn!(
                "{}: reading fails for the objects that this partial clone lacks; \
                 `git fetch --refetch --no-filter` fetches them",
                dir.display()
            );
        }
        if git.lock.is_some()
            && let Err(error) = git.remove_stale()
        {
            tracing::warn!("cannot remove what a killed server left: {error}");
        }
        Ok(git)
    }

    /// Returns whether the repository is a partial clone. In a partial clone, some objects are
    /// missing, and `git` fetches them on demand.
    fn is_partial_clone(&self) -> bool {
        let handle = self.handles.get();
        let is_promisor = |entry: io::Result<fs::DirEntry>| {
            entry.is_ok_and(|entry| {
                entry.path().extension().is_some_and(|extension| extension == "promisor")
            })
        };
        let packs = fs::read_dir(handle.objects_dir().join("pack"));
        handle.config().string("extensions.partialClone").is_some()
            || packs.is_ok_and(|mut packs| packs.any(is_promisor))
    }

    /// Removes remotes and incomplete objects left behind by killed servers.
    fn remove_stale(&self) -> Result<()> {
        let handle = self.handles.get();
        self.refs(&handle).forget_stale_remotes()?;
        let objects = handle.objects_dir();
        loose_writer::remove_stale_staging(objects)
            .map_err(|error| Error::io(objects.display(), error))
    }

    /// Sets which files and directories are synced to disk. The default is [`Fsync::All`].
    #[must_use]
    pub fn with_fsync(self, fsync: Fsync) -> GitStore {
        GitStore { policy: self.policy.with_fsync(fsync), ..self }
    }

    /// Sets the limits on each [fetch](Store::fetch).
    #[must_use]
    pub fn with_fetch_limits(self, fetch_limits: FetchLimits) -> GitStore {
        GitStore { fetch_limits, ..self }
    }

    /// Sets the identity to record in the reflog when an update to a branch does not write a
    /// commit.
    #[must_use]
    pub fn with_identity(self, identity: Identity) -> GitStore {
        GitStore { identity, ..self }
    }

    /// Returns the values of `user.name` and `user.email` from the repository's and the user's Git
    /// configuration.
    #[must_use]
    pub fn configured_identity(&self) -> Option<Identity> {
        let config = config::of_user(&self.dir()).ok()?;
        Identity::new(
            &config.string("user.name")?.to_str_lossy(),
            &config.string("user.email")?.to_str_lossy(),
        )
        .ok()
    }

    /// Returns the path of the directory that contains `objects` and `refs`.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.handles.get().dir().to_owned()
    }

    fn refs<'g>(&'g self, handle: &'g PooledHandle<'_>) -> Refs<'g> {
        Refs {
            repository: handle,
            policy: &self.policy,
            packed: &self.packed_refs,
            work_tree: &self.work_tree,
        }
    }
}

impl CommitGraph for gix_commitgraph::Graph {
    fn commit(&self, id: Id) -> Option<(i64, Vec<Id>)> {
        let commit = self.commit_by_id(object_id(id))?;
        let parent = |at: std::result::Result<_, _>| Some(id_of(self.id_at(at.ok()?)));
        let parents = commit.iter_parents().map(parent).collect::<Option<_>>()?;
        Some((i64::try_from(commit.committer_timestamp()).ok()?, parents))
    }
}

impl Store for GitStore {
    fn may_block(&self) -> bool {
        true
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn read(&self, id: Id) -> Result<Option<Object>> {
        self.handles.find(|objects| {
            let mut data = Vec::new();
            let found = objects.try_find(&object_id(id), &mut data).map_err(Error::store_cause)?;
            let kind = found.and_then(|object| ObjectKind::of_git(object.kind));
            Ok(kind.map(|kind| Object { kind, data: data.into() }))
        })
    }

    fn header(&self, id: Id) -> Result<Option<(ObjectKind, u64)>> {
        self.handles.find(|objects| {
            let header = objects.try_header(&object_id(id)).map_err(Error::store_cause)?;
            Ok(header.and_then(|header| Some((ObjectKind::of_git(header.kind)?, header.size))))
        })
    }

    fn exists(&self, id: Id) -> Result<bool> {
        let handle = self.handles.get();
        self.existence.exists(handle.objects_dir(), handle.loose(), id)
    }

    fn roots(&self) -> Result<Vec<Id>> {
        let refs = self.refs(&self.handles.get()).with_prefix(b"refs/")?;
        let mut roots: Vec<_> = refs
            .into_values()
            .filter_map(|target| match target {
                RefTarget::Object(id) => Some(id),
                RefTarget::Missing | RefTarget::Symbolic(_) => None,
            })
            .collect();
        roots.sort_unstable();
        roots.dedup();
        Ok(roots)
    }

    fn write(&self, objects: &[(Id, Object)]) -> Result<()> {
        self.handles.get().loose().write(&self.policy, objects, &[])
    }

    fn rewrite_missing(&self, objects: &[(Id, Object)]) -> Result<()> {
        self.handles.get().loose().rewrite_missing(&self.policy, objects)
    }

    fn head(&self, branch: &BranchName) -> Result<Option<Id>> {
        self.refs(&self.handles.get()).head(branch)
    }

    fn heads(&self) -> Result<Vec<(BranchName, Id)>> {
        self.refs(&self.handles.get()).heads()
    }

    fn conflicting_branch(&self, branch: &BranchName) -> Result<Option<String>> {
        self.refs(&self.handles.get()).conflicting_branch(branch)
    }

    fn update(&self, objects: &[(Id, Object)], updates: &[RefUpdate<'_>]) -> Result<bool> {
        let handle = self.handles.get();
        let reason = ReflogReason { objects, identity: &self.identity };
        let write = |files: &[fs::File]| handle.loose().write(&self.policy, objects, files);
        self.refs(&handle).update(updates, &reason, write)
    }

    fn rename(&self, old: &BranchName, new: &BranchName, head: Id) -> Result<bool> {
        let reason = ReflogReason { objects: &[], identity: &self.identity };
        self.refs(&self.handles.get()).rename(old, new, head, &reason)
    }

    fn shallow_commits(&self) -> Result<HashSet<Id>> {
        self.refs(&self.handles.get()).shallow_commits()
    }

    fn commit_graph(&self) -> Option<Box<dyn CommitGraph>> {
        match self.handles.get().commit_graph() {
            Ok(graph) => Some(Box::new(graph?)),
            Err(error) => {
                // Continue without the commit graph, because the commits contain the same
                // information.
                tracing::warn!("{}: commit-graph: {error}", self.dir().display());
                None
            }
        }
    }

    fn watch(
        &self,
        changed: Box<dyn Fn(&RefChanges) + Send + Sync>,
    ) -> Result<Option<Box<dyn WatchGuard>>> {
        Ok(Some(Box::new(watch::Watcher::new(&self.dir(), changed))))
    }

    fn fetch_cancellable(
        &self,
        remote: &str,
        url: &str,
        branch: &BranchName,
        cancel: &CancelFlag,
    ) -> std::result::Result<Id, FetchError> {
        let handle = self.handles.get();
        let refs = self.refs(&handle);
        let remote = refs.free_remote_name(remote, branch)?;
        quarantine::fetch(&refs, &remote, url, branch, self.fetch_limits, cancel)
    }

    fn forget_remote(&self, remote: &str) -> Result<()> {
        self.refs(&self.handles.get()).forget_remote(remote)
    }
}
