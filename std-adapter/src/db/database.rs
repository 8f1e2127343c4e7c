//! The database as a whole: its objects, its branches, and what changed in them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use tokio::sync::Semaphore;
use tokio::sync::broadcast::{Receiver, Sender};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::branch::Branch;
use super::counters::{Counted, DbCounters, Gauge};
use super::objects::Objects;
use super::store::{Store, Watching};
use super::{BranchName, Error, Id, Result};
use crate::locked;

/// A database. Clones are the same one.
#[derive(Clone)]
pub struct Database(Arc<Shared>);

struct Shared {
    objects: Objects,
    /// Those that somebody looks at. A branch is moved under the lock of its one [`Branch`], so that everybody sees every move.
    branches: Mutex<HashMap<BranchName, Weak<Branch>>>,
    counters: Arc<DbCounters>,
    /// Told of every branch that moves, whoever moved it; of `None` when others may have moved.
    moved: Sender<Option<BranchName>>,
    watching: OnceLock<Box<dyn Watching>>,
    /// Commits on their way to a branch.
    landing: TaskTracker,
    /// Turns of those who [wait for others](Database::run_remote).
    remote: Arc<Semaphore>,
}

/// Fetches at a time.
const REMOTE: usize = 16;

/// Moves that a slow reader of [`Database::moves`] may be behind.
const MOVES: usize = 4096;

impl Database {
    /// The database in `store`. Branches that other programs move are followed from now on.
    ///
    /// # Errors
    /// [`Error::Store`] when the branches of the store cannot be watched.
    pub fn new(store: Arc<dyn Store>) -> Result<Database> {
        let shared = Arc::new(Shared {
            objects: Objects::new(store.clone()),
            branches: Mutex::default(),
            counters: Arc::default(),
            moved: Sender::new(MOVES),
            watching: OnceLock::new(),
            remote: Arc::new(Semaphore::new(REMOTE)),
            landing: TaskTracker::new(),
        });
        let weak = Arc::downgrade(&shared);
        let watching = store.watch(Box::new(move || {
            if let Some(shared) = weak.upgrade() {
                Database(shared).look_again();
            }
        }))?;
        if let Some(watching) = watching {
            // Nobody else can have set it.
            let _ = shared.watching.set(watching);
        }
        Ok(Database(shared))
    }

    /// Its objects.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        &self.0.objects
    }

    /// Its counters.
    #[must_use]
    pub fn counters(&self) -> &Arc<DbCounters> {
        &self.0.counters
    }

    pub(super) fn count(&self, of: fn(&DbCounters) -> &Gauge) -> Counted {
        Counted::new(self.0.counters.clone(), of)
    }

    /// For as long as a commit is on its way to a branch: [`settled`](Database::settled) waits for it.
    pub(super) fn landing(&self) -> TaskTrackerToken {
        self.0.landing.token()
    }

    /// Waits until no commit is on its way to a branch. A process that ends then has done all of each, or nothing.
    pub async fn settled(&self) {
        self.0.landing.close();
        self.0.landing.wait().await;
    }

    /// A branch, whether it has commits or not. While somebody holds it there is one of it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn branch(&self, name: &BranchName) -> Result<Arc<Branch>> {
        let mut branches = locked::lock(&self.0.branches);
        if let Some(branch) = branches.get(name).and_then(Weak::upgrade) {
            return Ok(branch);
        }
        let head = self.0.objects.store().head(name)?;
        let branch = Arc::new(Branch::new(self.0.objects.store().clone(), name.clone(), head, self.0.moved.clone()));
        // Those that nobody looks at any more go when the table would grow.
        if branches.len() == branches.capacity() {
            branches.retain(|_, branch| branch.strong_count() > 0);
        }
        branches.insert(name.clone(), Arc::downgrade(&branch));
        Ok(branch)
    }

    /// The branches that have commits, by name, with their heads.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn heads(&self) -> Result<Vec<(BranchName, Id)>> {
        self.0.objects.store().heads()
    }

    /// The names of branches that move from now on, in order; `None` when another program may have moved any. Who lags behind for too
    /// long is told so.
    #[must_use]
    pub fn moves(&self) -> Receiver<Option<BranchName>> {
        self.0.moved.subscribe()
    }

    /// Gives `new` the head of `old`, which is no branch any more: both or neither.
    ///
    /// # Errors
    /// [`Error::IsDirectory`] when `new` has commits. [`Error::Store`] and its like.
    pub fn rename(&self, old: &Branch, new: &Branch) -> Result<()> {
        loop {
            if new.head()?.is_some() {
                return Err(Error::IsDirectory);
            }
            let Some(head) = old.head()? else { return Ok(()) };
            // In the order of their names: two renames at once do not wait for each other.
            let (first, second) = if old.name() < new.name() { (old, new) } else { (new, old) };
            let (_first, _second) = (first.hold(), second.hold());
            let moves = [old.motion(Some(head), None), new.motion(None, Some(head))];
            if self.0.objects.store().update(&[], &moves)? {
                old.show(None);
                new.show(Some(head));
                return Ok(());
            }
        }
    }

    /// Looks where the branches are that somebody follows, and tells of those that moved.
    pub fn look_again(&self) {
        let branches: Vec<_> = locked::lock(&self.0.branches).values().filter_map(Weak::upgrade).collect();
        for branch in branches {
            if let Err(error) = branch.look() {
                tracing::warn!("branch {}: {error}", branch.name());
            }
        }
        // Those that nobody looks at may have moved as well.
        let _ = self.0.moved.send(None);
    }

    /// Does work that may wait for the store: on a thread of its own if it does.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if !self.0.objects.store().waits() {
            return work(self);
        }
        self.run_apart(work).await
    }

    /// Does work that may wait for others for long, as a fetch from a server that says little: only some of it at a time, so that it does
    /// not take the threads of those who commit.
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
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::db::store::Memory;

    #[tokio::test]
    async fn some_that_hang_are_not_more() {
        let database = Database::new(Arc::new(Memory::new())).unwrap();
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let (tasks, ends): (Vec<_>, Vec<_>) = (0..=REMOTE)
            .map(|_| {
                let (database, begun, (end, ended)) = (database.clone(), begun.clone(), channel::<()>());
                let work = move |_: &Database| {
                    begun.send(()).unwrap();
                    ended.recv().map_err(|_| Error::NotFound)
                };
                (tokio::spawn(async move { database.run_remote(work).await }), end)
            })
            .unzip();
        for _ in 0..REMOTE {
            begins.recv().await.unwrap();
        }
        assert!(begins.try_recv().is_err());
        // Others are not kept from their work.
        assert_eq!(database.run_apart(|_| Ok(1)).await, Ok(1));
        for end in ends {
            // The one that has not begun takes it later.
            end.send(()).unwrap();
        }
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        begins.recv().await.unwrap();
    }
}
