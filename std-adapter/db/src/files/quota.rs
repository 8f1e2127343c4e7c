//! What one connection may have of the database at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datakit_core::vfs::{Error, Result};

use crate::Database;
use datakit_server::budget::Budget;
use datakit_server::tree::{BoxFuture, OpenLeaf};

/// Open transactions.
const TRANSACTIONS: usize = 1024;

/// Remotes.
const REMOTES: usize = 256;

/// Open streams: of branches, paths and remotes.
const WATCHES: usize = 4096;

/// A connection may take this part of the memory for what is not committed: one that takes all it
/// may leaves some to others.
const PART: u64 = 4;

/// The limits of one connection, and what it has.
pub(super) struct Quota {
    /// For all of its transactions together, and for the texts that it writes.
    pub(super) memory: Arc<Budget>,
    pub(super) transactions: Limit,
    pub(super) remotes: Limit,
    pub(super) watches: Limit,
}

impl Quota {
    pub(super) fn new(database: &Database) -> Arc<Quota> {
        let memory = database.memory();
        Arc::new(Quota {
            memory: memory.child(memory.limit() / PART),
            transactions: Limit::new(TRANSACTIONS, "open transactions"),
            remotes: Limit::new(REMOTES, "remotes"),
            watches: Limit::new(WATCHES, "open streams"),
        })
    }
}

/// How many there may be of something, and how many there are.
pub(super) struct Limit {
    most: usize,
    what: &'static str,
    taken: Arc<AtomicUsize>,
}

impl Limit {
    fn new(most: usize, what: &'static str) -> Limit {
        Limit { most, what, taken: Arc::default() }
    }

    /// One more, until it is dropped.
    ///
    /// # Errors
    /// [`Error::NoSpace`], which says what there are too many of.
    pub(super) fn acquire(&self) -> Result<Permit> {
        let more = |taken: usize| (taken < self.most).then_some(taken.saturating_add(1));
        let Ok(_) = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) else {
            return Err(Error::NoSpace.with_message(format_args!(
                "a connection has at most {} {}",
                self.most, self.what
            )));
        };
        Ok(Permit(self.taken.clone()))
    }
}

/// One of those that a [`Limit`] counts.
pub(super) struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An open file that holds a guard, such as a [`Permit`], until it is closed.
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
