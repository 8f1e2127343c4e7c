//! A pool of handles to one repository.

use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::loose_writer::LooseWriter;
use super::object_lookup::retry_while_repacking;
use super::repository::Repository;
use crate::Result;

/// A pool from which threads take handles to a repository. An idle handle keeps the data that it
/// has read from disk, so the next thread does not have to read the data again.
pub(super) struct HandlePool {
    repository: Mutex<Repository>,
    idle: Mutex<Vec<IdleHandle>>,
    /// The number of times that the repository has been reopened.
    generation: AtomicU64,
}

struct IdleHandle {
    generation: u64,
    repository: Repository,
    loose: LooseWriter,
}

/// A handle that a thread has taken from the pool. Dropping the `PooledHandle` returns it to the
/// pool.
pub(super) struct PooledHandle<'p> {
    pool: &'p HandlePool,
    inner: Option<IdleHandle>,
}

impl HandlePool {
    pub(super) fn new(repository: Repository) -> HandlePool {
        HandlePool {
            repository: Mutex::new(repository),
            idle: Mutex::default(),
            generation: AtomicU64::new(0),
        }
    }

    pub(super) fn get(&self) -> PooledHandle<'_> {
        let idle = self.idle.lock().pop();
        PooledHandle { pool: self, inner: Some(idle.unwrap_or_else(|| self.create())) }
    }

    fn create(&self) -> IdleHandle {
        // Read the generation before cloning the repository. Otherwise, a handle to the old
        // repository could be tagged with the new generation and stay in the pool.
        let generation = self.generation.load(Ordering::Acquire);
        let repository = self.repository.lock().clone();
        let loose = LooseWriter::new(repository.objects_dir());
        IdleHandle { generation, repository, loose }
    }

    /// Calls `lookup` and returns its result. Existing objects are found even if another program is
    /// repacking the repository.
    pub(super) fn find<T>(
        &self,
        lookup: impl Fn(&gix_odb::Handle) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let handle = self.get();
        if let Ok(Some(found)) = lookup(handle.objects()) {
            return Ok(Some(found));
        }
        let found = retry_while_repacking(handle.objects_dir(), lookup)?;
        if found.is_some() {
            self.reopen(handle.dir());
        }
        Ok(found)
    }

    /// Reopens the repository after the object store has failed to find an object that exists.
    fn reopen(&self, dir: &Path) {
        match Repository::open(dir) {
            Ok(repository) => {
                *self.repository.lock() = repository;
                self.generation.fetch_add(1, Ordering::Release);
                self.idle.lock().clear();
            }
            // Keep using the old object store. Every lookup that finds nothing in the old store is
            // repeated with a new store.
            Err(error) => tracing::warn!("cannot open {} again: {error}", dir.display()),
        }
    }
}

impl PooledHandle<'_> {
    #[allow(clippy::expect_used, reason = "only `drop` takes it")]
    fn inner(&self) -> &IdleHandle {
        self.inner.as_ref().expect("present until drop")
    }

    pub(super) fn loose(&self) -> &LooseWriter {
        &self.inner().loose
    }
}

impl Deref for PooledHandle<'_> {
    type Target = Repository;

    fn deref(&self) -> &Repository {
        &self.inner().repository
    }
}

impl Drop for PooledHandle<'_> {
    fn drop(&mut self) {
        let current = self.pool.generation.load(Ordering::Acquire);
        let inner = self.inner.take().filter(|inner| inner.generation == current);
        self.pool.idle.lock().extend(inner);
    }
}
