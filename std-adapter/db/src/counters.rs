//! What a database counts of itself. It owns the numbers, whoever shows them only reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// The numbers of one database.
#[derive(Debug, Default)]
pub struct DbCounters {
    /// Transactions that are open.
    pub transactions: Gauge,
    /// Commits that came to a branch.
    pub commits: Counter,
    /// Commits that were refused because of a conflict.
    pub conflicts: Counter,
    /// Commits tried again because their branch had moved meanwhile.
    pub retries: Counter,
    /// Streams that are open: of a branch, of a path, of a remote.
    pub watches: Gauge,
    /// Remotes of all connections.
    pub remotes: Gauge,
}

/// What only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// How many there were.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What comes and goes.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// One more.
    pub fn up(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// One less.
    pub fn down(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// How many there are.
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// One more of something for as long as this is there.
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
    fn a_gauge_goes_both_ways() {
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
