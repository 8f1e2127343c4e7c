//! What the database counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of one database, read by whoever shows them.
#[derive(Debug, Default)]
pub struct DbCounters {
    /// Transactions that are open now.
    pub transactions: AtomicU64,
    /// Commits that landed on a branch.
    pub commits: AtomicU64,
    /// Commits that were refused because of a conflict.
    pub conflicts: AtomicU64,
    /// Times that a commit had to look again because the branch had moved meanwhile.
    pub retries: AtomicU64,
    /// Open streams: `head.live`, `reflog`, `tree.live`, of remotes `head`.
    pub watches: AtomicU64,
    /// Remotes of all connections.
    pub remotes: AtomicU64,
}

/// One more of something for as long as this is there.
#[derive(Debug)]
pub(crate) struct Counted {
    counters: Arc<DbCounters>,
    of: fn(&DbCounters) -> &AtomicU64,
}

impl Counted {
    pub(crate) fn new(counters: Arc<DbCounters>, of: fn(&DbCounters) -> &AtomicU64) -> Counted {
        of(&counters).fetch_add(1, Relaxed);
        Counted { counters, of }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.of)(&self.counters).fetch_sub(1, Relaxed);
    }
}
