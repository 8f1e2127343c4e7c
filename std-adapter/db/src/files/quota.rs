//! Limits on the resources that one connection can use.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datakit_core::vfs::{Error, Result};

use crate::Database;
use datakit_server::budget::Budget;
use datakit_server::tree::{BoxFuture, OpenLeaf};

/// The maximum number of open transactions per connection.
const MAX_TRANSACTIONS: usize = 1024;

/// The maximum number of remotes per connection.
const MAX_REMOTES: usize = 256;

/// The maximum number of open streams per connection.
const MAX_WATCHES: usize = 4096;

/// A connection can use at most `1 / MEMORY_SHARE` of the memory that is available for uncommitted
/// changes. The rest remains available to other connections.
const MEMORY_SHARE: u64 = 4;

/// The limits on one connection and the resources that the connection currently uses.
pub(super) struct Quota {
    /// The memory budget for the connection's transactions and for text that the client writes.
    pub(super) memory: Arc<Budget>,
    pub(super) transactions: Limit,
    pub(super) remotes: Limit,
    pub(super) watches: Limit,
}

impl Quota {
    pub(super) fn new(database: &Database) -> Arc<Quota> {
        let memory = database.memory();
        Arc::new(Quota {
            memory: memory.child(memory.limit() / MEMORY_SHARE),
            transactions: Limit::new(MAX_TRANSACTIONS, "open transactions"),
            remotes: Limit::new(MAX_REMOTES, "remotes"),
            watches: Limit::new(MAX_WATCHES, "open streams"),
        })
    }
}

/// A semaphore whose [`acquire`](Limit::acquire) fails instead of waiting.
pub(super) struct Limit {
    limit: usize,
    what: &'static str,
    acquired: Arc<AtomicUsize>,
}

impl Limit {
    fn new(limit: usize, what: &'static str) -> Limit {
        Limit { limit, what, acquired: Arc::default() }
    }

    /// Acquires a permit. Dropping the permit releases it.
    ///
    /// # Errors
    /// Returns [`Error::NoSpace`] if the limit has been reached. The error message states the
    /// limit.
    pub(super) fn acquire(&self) -> Result<Permit> {
        let more = |acquired: usize| (acquired < self.limit).then_some(acquired.saturating_add(1));
        let Ok(_) = self.acquired.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) else {
            return Err(Error::NoSpace.with_message(format_args!(
                "a connection has at most {} {}",
                self.limit, self.what
            )));
        };
        Ok(Permit(self.acquired.clone()))
    }
}

/// A permit from a [`Limit`].
pub(super) struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An open file that holds a guard, such as a [`Permit`], until the file is closed.
pub(super) struct Guarded<G> {
    pub(super) open: Box<dyn OpenLeaf>,
    pub(super) _guard: G,
}

impl<G: Send + Sync> OpenLeaf for Guarded<G> {
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        self.open.read(offset, buf)
    }

    fn may_block(&self) -> bool {
        self.open.may_block()
    }
}
