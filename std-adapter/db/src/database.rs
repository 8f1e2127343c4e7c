//! The database as a whole: its objects, its branches, and what changed in them.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

use tokio::sync::Semaphore;
use tokio::sync::broadcast::{Receiver, Sender};
use tokio::sync::watch;

use crate::branch::Branch;
use crate::counters::{DbCounters, Gauge, GaugeGuard};
use crate::model::identity::AuthorPolicy;
use crate::model::object_cache::ObjectCache;
use crate::remote::Schemes;
use crate::store::{RefChanges, Store, WatchGuard};
use crate::{BranchName, Error, Id, Result};
use datakit_server::budget::Budget;

/// A database. Clones are the same one.
#[derive(Clone)]
pub struct Database(Arc<DatabaseState>);

struct DatabaseState {
    objects: ObjectCache,
    /// Of all that is not committed yet.
    memory: Arc<Budget>,
    branches: Arc<Branches>,
    counters: Arc<DbCounters>,
    /// Told of every branch that moves, whoever moved it; of `None` when others may have moved.
    moved: Sender<Option<BranchName>>,
    watching: OnceLock<Box<dyn WatchGuard>>,
    /// Each commit on its way to a branch holds a receiver.
    in_flight: watch::Sender<()>,
    authors: OnceLock<AuthorPolicy>,
    schemes: OnceLock<Schemes>,
    /// Turns of those who [wait for others](Database::run_remote).
    remote: Arc<Semaphore>,
}

/// The branches in use. A branch is moved under the lock of its one [`Branch`], so that everybody
/// sees every move.
#[derive(Default)]
pub(super) struct Branches(Mutex<HashMap<BranchName, Weak<Branch>>>);

impl Branches {
    /// Takes out a branch whose last user has gone.
    pub(super) fn forget(&self, branch: &Branch) {
        let mut table = self.0.lock();
        // Somebody may use the branch again already, by another entry.
        if table.get(branch.name()).is_some_and(|found| std::ptr::eq(found.as_ptr(), branch)) {
            table.remove(branch.name());
        }
        // After many were in use at a time.
        let used = table.len();
        if used.saturating_mul(8) < table.capacity() {
            table.shrink_to(used.saturating_mul(2));
        }
    }

    fn followed(&self) -> Vec<Arc<Branch>> {
        let used: Vec<_> = self.0.lock().values().filter_map(Weak::upgrade).collect();
        // Without the lock: if the last user of one goes meanwhile, dropping it here takes it out
        // of the table.
        used.into_iter().filter(|branch| branch.is_watched()).collect()
    }
}

/// Bytes that one task may unpack, copy or hash on the thread of a connection, which has others to
/// serve: about half a millisecond.
pub(super) const MAX_INLINE_BYTES: u64 = 256 << 10;

/// The same of unpacking, which is slower.
const MAX_INLINE_UNPACK: u64 = 64 << 10;

/// Bytes of all that is not committed yet, unless something else is said.
pub const TRANSACTION_MEMORY: u64 = 1 << 30;

/// Fetches at a time.
const MAX_FETCHES: usize = 16;

/// Moves that a slow reader of [`Database::moves`] may be behind.
const MOVES_CAPACITY: usize = 4096;

impl Database {
    /// The database in `store`. Branches that other programs move are followed from now on.
    ///
    /// # Errors
    /// [`Error::Store`] when the branches of the store cannot be watched.
    pub fn new(store: Arc<dyn Store>) -> Result<Database> {
        Database::with_memory(store, TRANSACTION_MEMORY)
    }

    /// The same where all that is not committed yet takes at most `memory` bytes.
    ///
    /// # Errors
    /// Those of [`new`](Database::new).
    pub fn with_memory(store: Arc<dyn Store>, memory: u64) -> Result<Database> {
        let shared = Arc::new(DatabaseState {
            objects: ObjectCache::new(store.clone()),
            memory: Budget::new(memory),
            branches: Arc::default(),
            counters: Arc::default(),
            moved: Sender::new(MOVES_CAPACITY),
            watching: OnceLock::new(),
            remote: Arc::new(Semaphore::new(MAX_FETCHES)),
            in_flight: watch::Sender::new(()),
            authors: OnceLock::new(),
            schemes: OnceLock::new(),
        });
        let weak = Arc::downgrade(&shared);
        let watching = store.watch(Box::new(move |seen| {
            if let Some(shared) = weak.upgrade() {
                Database(shared).refresh_branches(seen);
            }
        }))?;
        if let Some(watching) = watching {
            // Nobody else can have set it.
            let _ = shared.watching.set(watching);
        }
        Ok(Database(shared))
    }

    /// The same with these authors of commits; they are set once.
    #[must_use]
    pub fn with_authors(self, authors: AuthorPolicy) -> Database {
        // A second time is a mistake of the program, and the first one stays.
        let _ = self.0.authors.set(authors);
        self
    }

    /// Who commits are by.
    #[must_use]
    pub fn authors(&self) -> &AuthorPolicy {
        self.0.authors.get_or_init(AuthorPolicy::default)
    }

    /// The same with these ways to other repositories; they are set once.
    #[must_use]
    pub fn with_schemes(self, schemes: Schemes) -> Database {
        let _ = self.0.schemes.set(schemes);
        self
    }

    /// The ways to other repositories.
    #[must_use]
    pub fn schemes(&self) -> &Schemes {
        self.0.schemes.get_or_init(Schemes::default)
    }

    /// Its objects.
    #[must_use]
    pub fn objects(&self) -> &ObjectCache {
        &self.0.objects
    }

    /// The memory of all that is not committed yet.
    pub(super) fn memory(&self) -> &Arc<Budget> {
        &self.0.memory
    }

    /// Its counters.
    #[must_use]
    pub fn counters(&self) -> &Arc<DbCounters> {
        &self.0.counters
    }

    pub(super) fn count(&self, of: fn(&DbCounters) -> &Gauge) -> GaugeGuard {
        GaugeGuard::new(self.0.counters.clone(), of)
    }

    /// For as long as a commit is on its way to a branch: [`drain`](Database::drain) waits for
    /// it.
    pub(super) fn in_flight(&self) -> watch::Receiver<()> {
        self.0.in_flight.subscribe()
    }

    /// Waits until no commit is on its way to a branch. A process that ends then has done all of
    /// each, or nothing.
    pub async fn drain(&self) {
        self.0.in_flight.closed().await;
    }

    /// A branch, whether it has commits or not. While somebody uses it there is one of it.
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

    /// The branches that have commits, by name, with their heads.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn heads(&self) -> Result<Vec<(BranchName, Id)>> {
        self.0.objects.store().heads()
    }

    /// The names of branches that move from now on, in order; `None` when another program may have
    /// moved any. Who lags behind for too long is told so.
    #[must_use]
    pub fn moves(&self) -> Receiver<Option<BranchName>> {
        self.0.moved.subscribe()
    }

    /// Gives `new` the head of `old`, which is no branch any more: both or neither.
    ///
    /// # Errors
    /// [`Error::IsDirectory`] when `new` has commits. [`Error::InTheWay`], [`Error::Refused`],
    /// [`Error::Store`] and its like.
    pub fn rename(&self, old: &Branch, new: &Branch) -> Result<()> {
        loop {
            if new.head()?.is_some() {
                return Err(Error::IsDirectory);
            }
            let Some(head) = old.head()? else { return Ok(()) };
            // In the order of their names: two renames at once do not wait for each other.
            let (first, second) = if old.name() < new.name() { (old, new) } else { (new, old) };
            let (_first, _second) = (first.lock(), second.lock());
            if self.0.objects.store().rename(old.name(), new.name(), head)? {
                old.moved(None);
                new.moved(Some(head));
                return Ok(());
            }
        }
    }

    /// Looks where the branches are that somebody follows, as far as another program may have moved
    /// them, and tells of those that moved. What nobody follows is not looked at.
    pub fn refresh_branches(&self, seen: &RefChanges) {
        for branch in self.0.branches.followed() {
            if seen.affects(branch.name())
                && let Err(error) = branch.refresh()
            {
                tracing::warn!("branch {}: {error}", branch.name());
            }
        }
        if *seen != RefChanges::Poll {
            // Branches that nobody follows may have moved as well.
            let _ = self.0.moved.send(None);
        }
    }

    /// Does work that may wait for the store: on a thread of its own if it does.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if !self.0.objects.store().may_block() {
            return work(self);
        }
        self.run_apart(work).await
    }

    /// Does work that may wait for the store, or that takes about as long as hashing so many bytes:
    /// on a thread of its own if it does, or if that is long.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn run_sized<T: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce(&Database) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if bytes > MAX_INLINE_BYTES { self.run_apart(work).await } else { self.run(work).await }
    }

    /// The content of a blob. A large one is unpacked on a thread of its own.
    ///
    /// # Errors
    /// Those of [`ObjectCache::blob`].
    pub(super) async fn blob(&self, id: Id) -> Result<Arc<[u8]>> {
        let objects = self.objects();
        if !objects.store().may_block() || objects.blob_length(id)? <= MAX_INLINE_UNPACK {
            return objects.blob(id);
        }
        self.run_apart(move |database| database.objects().blob(id)).await
    }

    /// Does work that may wait for others for long, as a fetch from a server that says little: only
    /// some of it at a time, so that it does not take the threads of those who commit.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn run_remote<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = self.0.remote.clone().acquire_owned().await;
        let work = move |database: &Database| {
            // For as long as it takes: who asked for it may be gone.
            let _turn = turn;
            work(database)
        };
        self.run_apart(work).await
    }

    /// Does work that waits for more than the store: always on a thread of its own.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn run_apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let database = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&database)).await;
        done.unwrap_or_else(|error| Err(Error::Store(format!("a task failed: {error}"))))
    }
}

#[cfg(test)]
mod tests;
