//! A store that is a Git repository.

mod checkout;
mod files;
mod form;
mod fsync;
mod lock;
mod loose;
mod moves;
mod owner;
mod packed;
mod presence;
mod quarantine;
mod reflog;
mod refs;
mod repacked;
#[cfg(test)]
mod tests;
mod watch;

use parking_lot::{Mutex, RwLock};
use std::collections::HashSet;
use std::fs;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use gix::bstr::ByteSlice;
use gix::objs::Find;
use gix::{Repository, ThreadSafeRepository};

pub use fsync::Fsync;

use super::{CommitGraph, RefChanges, RefUpdate, Store, WatchGuard};
use crate::model::identity::Identity;
use crate::model::object::{Object, ObjectKind, id_of, object_id};
use crate::remote::{CancelFlag, FetchError, FetchLimits};
use crate::{BranchName, Error, Id, Result};
use files::Files;
use reflog::Reason;
use refs::{PackedRefs, Refs};

/// Packs that may be there, also while others repack.
const PACKS: u16 = 4096;

/// A Git repository, bare or with work trees. Index and files of one follow when a branch that is
/// checked out there moves; where that would overwrite something the branch does not move.
///
/// Other programs may use it at the same time, `git gc` included. What was written is on the disk
/// when a call returns, as far as [`Fsync`] says: files are written under another name, synced and
/// renamed, and then their directories are synced.
///
/// One of these at a time: of another one on the same repository, also in another process,
/// [`Git::open`] fails. So the locks of branches that a killed server leaves behind are known to be
/// nobody's, and are removed when the repository is opened.
pub struct Git {
    repository: RwLock<ThreadSafeRepository>,
    files: Files,
    packed: PackedRefs,
    presence: presence::Presence,
    work: form::Work,
    fetch_limits: FetchLimits,
    owner: Option<owner::Owner>,
    identity: Identity,
    /// Handles that nobody uses now: what they have found out is not found out again.
    idle: Mutex<Vec<Open>>,
    /// Times that the repository was opened again.
    generation: AtomicU64,
}

impl Git {
    /// The repository at `path`: in `path/.git`, where a file `.git` leads to, or `path` itself. It
    /// is made where there is none. A linked work tree serves all of its repository.
    ///
    /// Locks of branches that nobody gives up are removed, for which this waits a few seconds where
    /// there are some.
    ///
    /// # Errors
    /// What is wrong with the path, or with the repository there; that it is open already.
    pub fn open(path: &Path) -> Result<Git> {
        let found = match form::find(path)? {
            Some(found) => found,
            None => {
                create(path)?;
                form::find(path)?.ok_or_else(|| failed(path, &"the new repository is gone"))?
            }
        };
        let dir = found.dir.clone();
        form::check(&dir)?;
        let repository = ThreadSafeRepository::open_opts(&dir, options())
            .map_err(|error| failed(&dir, &error))?;
        let common = repository.refs.common_dir().unwrap_or(repository.refs.git_dir());
        let shared = repository.to_thread_local().config_snapshot().string("core.sharedRepository");
        let files =
            Files::of(common, shared.as_ref().map(|shared| shared.to_str_lossy()).as_deref())?;
        let owner = owner::Owner::of(&dir, common, &files)?;
        let (packed, presence, idle) =
            (PackedRefs::default(), presence::Presence::default(), Mutex::default());
        let (identity, work) = (Identity::default(), found.work(&repository.to_thread_local()));
        let (repository, generation) = (RwLock::new(repository), AtomicU64::new(0));
        let git = Git {
            repository,
            files,
            packed,
            presence,
            work,
            fetch_limits: FetchLimits::default(),
            owner,
            identity,
            idle,
            generation,
        };
        if git.is_partial() {
            tracing::warn!(
                "{}: a partial clone: the objects that it lacks are not fetched, and reading them fails; \
                 `git fetch --refetch --no-filter` completes it",
                dir.display()
            );
        }
        if git.owner.is_some()
            && let Err(error) = git.clear()
        {
            tracing::warn!("what a killed server left stays: {error}");
        }
        Ok(git)
    }

    /// Whether it was cloned without some of the objects, which `git` would fetch when they are
    /// needed.
    fn is_partial(&self) -> bool {
        let handle = self.handle();
        let promisor = |entry: io::Result<fs::DirEntry>| {
            entry.is_ok_and(|entry| {
                entry.path().extension().is_some_and(|extension| extension == "promisor")
            })
        };
        let packs = fs::read_dir(handle.objects.store_ref().path().join("pack"));
        handle.config_snapshot().string("extensions.partialClone").is_some()
            || packs.is_ok_and(|mut packs| packs.any(promisor))
    }

    /// Removes what a killed server left: what it had fetched, and objects that it was writing.
    fn clear(&self) -> Result<()> {
        let handle = self.handle();
        handle.refs().forget_left()?;
        let objects = handle.objects.store_ref().path();
        loose::clear(objects).map_err(|error| Error::io(objects.display(), &error))
    }

    /// The same, but waiting for more or less of what is written. [`Fsync::All`] unless this is
    /// called.
    #[must_use]
    pub fn with_fsync(self, sync: Fsync) -> Git {
        Git { files: self.files.with_sync(sync), ..self }
    }

    /// Sets the limits of each [fetch](Store::fetch).
    #[must_use]
    pub fn with_fetch_limits(self, fetch_limits: FetchLimits) -> Git {
        Git { fetch_limits, ..self }
    }

    /// The same with who moves branches in its reflogs, where no commit says who.
    #[must_use]
    pub fn with_identity(self, identity: Identity) -> Git {
        Git { identity, ..self }
    }

    /// `user.name` and `user.email` as Git's configuration has them, that of the repository and
    /// that of the user.
    #[must_use]
    pub fn configured_identity(&self) -> Option<Identity> {
        let all = gix::open::Options::default().with(gix::sec::Trust::Full);
        let repository = gix::open_opts(self.dir(), all).ok()?;
        let config = repository.config_snapshot();
        Identity::new(
            &config.string("user.name")?.to_str_lossy(),
            &config.string("user.email")?.to_str_lossy(),
        )
        .ok()
    }

    /// Where it is: the directory with `objects` and `refs`.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.handle().common_dir().to_owned()
    }

    fn handle(&self) -> Handle<'_> {
        let idle = self.idle.lock().pop();
        Handle { git: self, open: Some(idle.unwrap_or_else(|| self.open_handle())) }
    }

    fn open_handle(&self) -> Open {
        // Read first: a handle of the old store with the new number would be kept.
        let generation = self.generation.load(Ordering::Acquire);
        Open::new(&self.repository.read(), generation)
    }

    /// What `look` finds, also while another program repacks.
    fn find<T>(&self, look: impl Fn(&gix::odb::Handle) -> Result<Option<T>>) -> Result<Option<T>> {
        let handle = self.handle();
        if let Ok(Some(found)) = look(&handle.objects) {
            return Ok(Some(found));
        }
        let found = repacked::look(handle.objects.store_ref().path(), look)?;
        if found.is_some() {
            self.open_again(handle.git_dir());
        }
        Ok(found)
    }

    /// Leaves a store that does not find what is there.
    fn open_again(&self, dir: &Path) {
        match ThreadSafeRepository::open_opts(dir, options()) {
            Ok(repository) => {
                *self.repository.write() = repository;
                self.generation.fetch_add(1, Ordering::Release);
                self.idle.lock().clear();
            }
            // The old one stays in use: it is slower, not wrong.
            Err(error) => tracing::warn!("{}: {error}", dir.display()),
        }
    }
}

fn failed(dir: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Store(format!("{}: {error}", dir.display()))
}

/// Nothing of the user's or the system's settings: a server is the same wherever it runs.
fn options() -> gix::open::Options {
    gix::open::Options::isolated()
        .with(gix::sec::Trust::Full)
        .object_store_slots(gix::odb::store::init::Slots::Given(PACKS))
        .config_overrides(["init.defaultBranch=master"])
}

/// Makes an empty one in `path/.git`, that every `git` accepts. It is bare: nobody works in files
/// beside it.
fn create(path: &Path) -> Result<()> {
    let dir = path.join(".git");
    fs::create_dir_all(&dir).map_err(|error| Error::io(dir.display(), &error))?;
    ThreadSafeRepository::init_opts(
        &dir,
        gix::create::Kind::Bare,
        gix::create::Options::default(),
        options(),
    )
    .map_err(|error| failed(&dir, &error))?;
    Ok(())
}

/// What one thread uses at a time.
struct Open {
    generation: u64,
    repository: Repository,
    loose: loose::Loose,
}

impl Open {
    fn new(repository: &ThreadSafeRepository, generation: u64) -> Open {
        let repository = repository.to_thread_local();
        let loose = loose::Loose::new(repository.objects.store_ref().path());
        Open { generation, repository, loose }
    }
}

/// A handle in use.
struct Handle<'g> {
    git: &'g Git,
    open: Option<Open>,
}

impl Handle<'_> {
    #[allow(clippy::expect_used, reason = "it is there until the handle is dropped")]
    fn open(&self) -> &Open {
        self.open.as_ref().expect("until it is dropped")
    }

    fn loose(&self) -> &loose::Loose {
        &self.open().loose
    }

    fn refs(&self) -> Refs<'_> {
        Refs {
            repository: self,
            files: &self.git.files,
            packed: &self.git.packed,
            work: &self.git.work,
        }
    }
}

impl Deref for Handle<'_> {
    type Target = Repository;

    fn deref(&self) -> &Repository {
        &self.open().repository
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        let current = self.git.generation.load(Ordering::Acquire);
        let open = self.open.take().filter(|open| open.generation == current);
        self.git.idle.lock().extend(open);
    }
}

impl CommitGraph for gix::commitgraph::Graph {
    fn commit(&self, id: Id) -> Option<(i64, Vec<Id>)> {
        let commit = self.commit_by_id(object_id(id))?;
        let parent = |at: std::result::Result<_, _>| Some(id_of(self.id_at(at.ok()?)));
        let parents = commit.iter_parents().map(parent).collect::<Option<_>>()?;
        Some((i64::try_from(commit.committer_timestamp()).ok()?, parents))
    }
}

impl Store for Git {
    fn may_block(&self) -> bool {
        true
    }

    fn read(&self, id: Id) -> Result<Option<Object>> {
        self.find(|objects| {
            let mut data = Vec::new();
            let found = objects.try_find(&object_id(id), &mut data);
            let kind = found
                .map(|found| found.map(|object| object.kind))
                .map_err(|error| Error::Store(error.to_string()))?;
            Ok(kind.and_then(ObjectKind::of_git).map(|kind| Object { kind, data: data.into() }))
        })
    }

    fn header(&self, id: Id) -> Result<Option<(ObjectKind, u64)>> {
        use gix::objs::FindHeader;
        self.find(|objects| {
            let header = objects
                .try_header(&object_id(id))
                .map_err(|error| Error::Store(error.to_string()))?;
            Ok(header.and_then(|header| Some((ObjectKind::of_git(header.kind)?, header.size))))
        })
    }

    fn write(&self, objects: &[(Id, Object)]) -> Result<()> {
        self.handle().loose().write(&self.files, objects, &[])
    }

    fn rewrite_missing(&self, objects: &[(Id, Object)]) -> Result<()> {
        self.handle().loose().rewrite_missing(&self.files, objects)
    }

    fn head(&self, branch: &BranchName) -> Result<Option<Id>> {
        self.handle().refs().head(branch)
    }

    fn heads(&self) -> Result<Vec<(BranchName, Id)>> {
        self.handle().refs().heads()
    }

    fn conflicting_branch(&self, branch: &BranchName) -> Result<Option<String>> {
        self.handle().refs().blocker(branch)
    }

    fn update(&self, objects: &[(Id, Object)], moves: &[RefUpdate<'_>]) -> Result<bool> {
        let handle = self.handle();
        let reason = Reason { objects, identity: &self.identity };
        handle
            .refs()
            .update(moves, &reason, |locks| handle.loose().write(&self.files, objects, locks))
    }

    fn rename(&self, old: &BranchName, new: &BranchName, head: Id) -> Result<bool> {
        self.handle().refs().rename(
            old,
            new,
            head,
            &Reason { objects: &[], identity: &self.identity },
        )
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn exists(&self, id: Id) -> Result<bool> {
        let handle = self.handle();
        self.presence.holds(handle.objects.store_ref().path(), handle.loose(), id)
    }

    fn roots(&self) -> Result<Vec<Id>> {
        let handle = self.handle();
        let refs = handle.refs().below(b"refs/")?;
        let mut roots: Vec<_> = refs
            .into_values()
            .filter_map(|value| match value {
                refs::Value::At(id) => Some(id),
                refs::Value::Missing | refs::Value::Symbolic(_) => None,
            })
            .collect();
        roots.sort_unstable();
        roots.dedup();
        Ok(roots)
    }

    fn shallow_commits(&self) -> Result<HashSet<Id>> {
        let commits = self
            .handle()
            .shallow_commits()
            .map_err(|error| Error::Store(format!("shallow: {error}")))?;
        Ok(commits.iter().flat_map(|commits| commits.iter()).map(|id| id_of(id)).collect())
    }

    fn commit_graph(&self) -> Option<Box<dyn CommitGraph>> {
        match self.handle().commit_graph_if_enabled() {
            Ok(graph) => Some(Box::new(graph?)),
            Err(error) => {
                // The commits themselves say the same.
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
        let handle = self.handle();
        let remote = handle.refs().free_remote(remote, branch)?;
        quarantine::fetch(&handle.refs(), &remote, url, branch, self.fetch_limits, cancel)
    }

    fn forget_remote(&self, remote: &str) -> Result<()> {
        self.handle().refs().forget_remote(remote)
    }
}

/// Waits until the names in a directory are on the disk.
fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}
