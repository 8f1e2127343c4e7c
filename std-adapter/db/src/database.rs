//! A database of objects and branches, with notifications when branches change.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::sync::broadcast::{Receiver, Sender};
use tokio::sync::watch;

use crate::branch::{ActiveBranches, Branch};
use crate::counters::{DbCounters, Gauge, GaugeGuard};
use crate::model::identity::AuthorPolicy;
use crate::model::object_cache::ObjectCache;
use crate::remote::Schemes;
use crate::store::{RefChanges, Store, WatchGuard};
use crate::{BranchName, Error, Id, Result};
use datakit_server::budget::Budget;

/// A database of branches in a [`Store`]. Clones share the same database.
#[derive(Clone)]
pub struct Database(Arc<DatabaseInner>);

struct DatabaseInner {
    objects: ObjectCache,
    /// Limits the total memory that uncommitted changes can use.
    memory: Arc<Budget>,
    branches: Arc<ActiveBranches>,
    counters: Arc<DbCounters>,
    /// Sends the name of each branch that changes, or `None` if another program may have changed
    /// any of the branches.
    moved: Sender<Option<BranchName>>,
    watch_guard: OnceLock<Box<dyn WatchGuard>>,
    /// Tracks the commits in flight. Each commit holds a receiver until the commit is complete.
    in_flight: watch::Sender<()>,
    authors: OnceLock<AuthorPolicy>,
    schemes: OnceLock<Schemes>,
    /// Limits the number of concurrent calls to [`run_remote`](Database::run_remote).
    fetch_permits: Arc<Semaphore>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("counters", &self.0.counters).finish_non_exhaustive()
    }
}

/// The maximum number of bytes that a task may copy or hash on a runtime thread. Processing this
/// many bytes takes about half a millisecond, during which the thread cannot serve any connection.
pub(super) const MAX_INLINE_BYTES: u64 = 256 << 10;

/// The maximum number of bytes that a task may unpack on a runtime thread. Unpacking is slower than
/// copying or hashing.
const MAX_INLINE_UNPACK: u64 = 64 << 10;

/// The default limit, in bytes, on the total memory used by uncommitted changes.
pub const TRANSACTION_MEMORY: u64 = 1 << 30;

/// The maximum number of concurrent fetches.
const MAX_FETCHES: usize = 16;

/// The maximum number of updates by which a receiver of [`Database::moves`] may lag behind.
const MOVES_CAPACITY: usize = 4096;

impl Database {
    /// Opens the database in `store` and watches for changes by other programs.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the store cannot watch its branches.
    pub fn new(store: Arc<dyn Store>) -> Result<Database> {
        Database::with_memory(store, TRANSACTION_MEMORY)
    }

    /// Opens a database that allows uncommitted changes to use at most `memory` bytes in total.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the store cannot watch its branches.
    pub fn with_memory(store: Arc<dyn Store>, memory: u64) -> Result<Database> {
        let shared = Arc::new(DatabaseInner {
            objects: ObjectCache::new(store.clone()),
            memory: Budget::new(memory),
            branches: Arc::default(),
            counters: Arc::default(),
            moved: Sender::new(MOVES_CAPACITY),
            watch_guard: OnceLock::new(),
            fetch_permits: Arc::new(Semaphore::new(MAX_FETCHES)),
            in_flight: watch::Sender::new(()),
            authors: OnceLock::new(),
            schemes: OnceLock::new(),
        });
        let weak = Arc::downgrade(&shared);
        let watch_guard = store.watch(Box::new(move |changes| {
            if let Some(shared) = weak.upgrade() {
                Database(shared).refresh_branches(changes);
            }
        }))?;
        if let Some(watch_guard) = watch_guard {
            // Setting the cell cannot fail, because no other code has access to the state yet.
            let _ = shared.watch_guard.set(watch_guard);
        }
        Ok(Database(shared))
    }

    /// Sets the policy for attributing commits. Only the first call has an effect.
    #[must_use]
    pub fn with_authors(self, authors: AuthorPolicy) -> Database {
        let _ = self.0.authors.set(authors);
        self
    }

    /// Returns the policy for attributing commits.
    #[must_use]
    pub fn authors(&self) -> &AuthorPolicy {
        self.0.authors.get_or_init(AuthorPolicy::default)
    }

    /// Sets the URL schemes that remotes may use. Only the first call has an effect.
    #[must_use]
    pub fn with_schemes(self, schemes: Schemes) -> Database {
        let _ = self.0.schemes.set(schemes);
        self
    }

    /// Returns the URL schemes that remotes may use.
    #[must_use]
    pub fn schemes(&self) -> &Schemes {
        self.0.schemes.get_or_init(Schemes::default)
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        self.objects().store()
    }

    /// Returns the cache of decoded objects.
    pub(crate) fn objects(&self) -> &ObjectCache {
        &self.0.objects
    }

    /// Returns the budget for uncommitted changes.
    pub(super) fn memory(&self) -> &Arc<Budget> {
        &self.0.memory
    }

    /// Returns the counters.
    #[must_use]
    pub fn counters(&self) -> &Arc<DbCounters> {
        &self.0.counters
    }

    pub(super) fn count(&self, of: fn(&DbCounters) -> &Gauge) -> GaugeGuard {
        GaugeGuard::new(self.0.counters.clone(), of)
    }

    /// Marks a commit as in flight until the returned receiver is dropped.
    /// [`drain`](Database::drain) waits until all receivers returned by this method have been
    /// dropped.
    pub(super) fn in_flight(&self) -> watch::Receiver<()> {
        self.0.in_flight.subscribe()
    }

    /// Waits until no commit or fetch is in flight. The process can then exit without leaving any
    /// work unfinished.
    pub async fn drain(&self) {
        self.0.in_flight.closed().await;
    }

    /// Returns the branch with this name, even if it has no commits. All users of a branch share
    /// one [`Branch`].
    #[must_use]
    pub fn branch(&self, name: &BranchName) -> Arc<Branch> {
        let table = &self.0.branches;
        let mut branches = table.0.lock();
        if let Some(branch) = branches.get(name).and_then(Weak::upgrade) {
            return branch;
        }
        let store = self.0.objects.store().clone();
        let branch =
            Arc::new(Branch::new(store, name.clone(), self.0.moved.clone(), Arc::downgrade(table)));
        branches.insert(name.clone(), Arc::downgrade(&branch));
        branch
    }

    /// Returns the names and heads of all branches that have commits, sorted by name.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if a system call fails, or [`Error::Store`] if the store cannot read
    /// the branches for another reason.
    pub fn heads(&self) -> Result<Vec<(BranchName, Id)>> {
        self.0.objects.store().heads()
    }

    /// Subscribes to branch updates. The receiver yields the name of each updated branch, in the
    /// order of the updates. It yields `None` if another program may have updated any of the
    /// branches, and `RecvError::Lagged` if the receiver falls too far behind.
    #[must_use]
    pub fn moves(&self) -> Receiver<Option<BranchName>> {
        self.0.moved.subscribe()
    }

    /// Renames `old` to `new` atomically.
    ///
    /// # Errors
    /// Returns [`Error::IsDirectory`] if `new` has commits. Returns [`Error::BranchConflict`] if
    /// the new name conflicts with that of another branch. Returns [`Error::Refused`] if Git would
    /// reject the new name for another reason. Returns [`Error::Io`] if a system call fails, or
    /// [`Error::Store`] if the store fails for another reason.
    pub fn rename(&self, old: &Branch, new: &Branch) -> Result<()> {
        loop {
            if new.head()?.is_some() {
                return Err(Error::IsDirectory);
            }
            let Some(head) = old.head()? else { return Ok(()) };
            // Lock the branches in name order, so that two concurrent renames cannot deadlock.
            let (first, second) = if old.name() < new.name() { (old, new) } else { (new, old) };
            let (_first, _second) = (first.lock(), second.lock());
            if self.0.objects.store().rename(old.name(), new.name(), head)? {
                old.notify_moved(None);
                new.notify_moved(Some(head));
                return Ok(());
            }
        }
    }

    /// Reads the heads of all watched branches that `changes` may affect, and notifies the watchers
    /// of each branch that has moved. Does not read the heads of any other branches.
    pub fn refresh_branches(&self, changes: &RefChanges) {
        for branch in self.0.branches.watched() {
            if changes.affects(branch.name())
                && let Err(error) = branch.refresh()
            {
                tracing::warn!("branch {}: {error}", branch.name());
            }
        }
        if *changes != RefChanges::Poll {
            // Branches without watchers may also have moved.
            let _ = self.0.moved.send(None);
        }
    }

    /// Runs `work`, which accesses the store. The closure runs on a blocking thread if the store
    /// may block, and on the current thread otherwise.
    ///
    /// # Errors
    /// Returns any error from `work`, or [`Error::Store`] if `work` panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if !self.0.objects.store().may_block() {
            return work(self);
        }
        self.run_blocking(work).await
    }

    /// Runs `work`, which accesses the store and hashes about `bytes` bytes. The closure runs on a
    /// blocking thread if the store may block or `bytes` is large, and on the current thread
    /// otherwise.
    ///
    /// # Errors
    /// Returns any error from `work`, or [`Error::Store`] if `work` panics.
    pub(crate) async fn run_sized<T: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce(&Database) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if bytes > MAX_INLINE_BYTES { self.run_blocking(work).await } else { self.run(work).await }
    }

    /// Returns the content of a blob. Large blobs are unpacked on a blocking thread.
    ///
    /// # Errors
    /// Returns [`Error::Broken`] if the blob is missing or cannot be read.
    pub(super) async fn blob(&self, id: Id) -> Result<Arc<[u8]>> {
        let objects = self.objects();
        if !objects.store().may_block() || objects.blob_length(id)? <= MAX_INLINE_UNPACK {
            return objects.blob(id);
        }
        self.run_blocking(move |database| database.objects().blob(id)).await
    }

    /// Runs `work`, which waits for another host, on a blocking thread. A limit on concurrent calls
    /// keeps slow remotes from occupying all the threads that commits need.
    ///
    /// # Errors
    /// Returns any error from `work`, or [`Error::Store`] if `work` panics.
    pub(crate) async fn run_remote<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = self.0.fetch_permits.clone().acquire_owned().await;
        let work = move |database: &Database| {
            // Hold the permit until the work is finished, even if the caller is cancelled.
            let _permit = permit;
            work(database)
        };
        self.run_blocking(work).await
    }

    /// Runs `work` on a blocking thread.
    ///
    /// # Errors
    /// Returns any error from `work`, or [`Error::Store`] if `work` panics.
    pub(crate) async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run_boxed(Box::new(work)).await
    }

    async fn run_boxed<T: Send + 'static>(&self, work: BoxedWork<T>) -> Result<T> {
        let (database, result) = (self.clone(), Arc::new(Mutex::new(None)));
        let slot = result.clone();
        spawn_boxed(Box::new(move || *slot.lock() = Some(work(&database)))).await?;
        let result = result.lock().take();
        result.unwrap_or_else(|| Err(Error::store("a worker task returned no result")))
    }
}

/// A closure for [`Database::run_boxed`].
type BoxedWork<T> = Box<dyn FnOnce(&Database) -> Result<T> + Send>;

/// Runs `work` on a blocking thread and waits for it to finish. The closure is boxed because tokio
/// would otherwise monomorphize its task code for each closure.
async fn spawn_boxed(work: Box<dyn FnOnce() + Send>) -> Result<()> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::store_from("a worker task failed", error))
}

#[cfg(test)]
mod tests;
