//! The counters of a database.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// The counters of one database.
#[derive(Debug, Default)]
pub struct DbCounters {
    /// The number of open transactions.
    pub transactions: Gauge,
    /// The number of successful commits.
    pub commits: Counter,
    /// The number of commits that failed because of a conflict.
    pub conflicts: Counter,
    /// The number of compare-and-swap operations that were retried because another program moved a
    /// branch during a commit.
    pub retries: Counter,
    /// The number of open streams that watch branches, paths and remotes.
    pub watches: Gauge,
    /// The total number of remotes across all connections.
    pub remotes: Gauge,
}

/// A counter that only increases.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Returns the count.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A counter that can increase and decrease.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds one.
    pub fn up(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Subtracts one.
    pub fn down(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// Returns the current value.
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// A guard that increments a gauge when created and decrements it when dropped.
#[derive(Debug)]
pub(crate) struct GaugeGuard {
    counters: Arc<DbCounters>,
    of: fn(&DbCounters) -> &Gauge,
}

impl GaugeGuard {
    pub(crate) fn new(counters: Arc<DbCounters>, of: fn(&DbCounters) -> &Gauge) -> GaugeGuard {
        of(&counters).up();
        GaugeGuard { counters, of }
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        (self.of)(&self.counters).down();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_grow_and_shrink() {
        let counters = DbCounters::default();
        counters.watches.up();
        counters.watches.up();
        counters.watches.down();
        counters.commits.count();
        assert_eq!(
            (counters.watches.value(), counters.commits.value(), counters.retries.value()),
            (1, 1, 0)
        );
    }
}
