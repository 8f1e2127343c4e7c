//! Counts the work of an engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts the work of an engine. Clones share the counters.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<CountersInner>);

#[derive(Debug, Default)]
struct CountersInner {
    evaluations: AtomicU64,
    metadata_updates: AtomicU64,
    status_updates: AtomicU64,
}

impl Counters {
    /// Returns the number of job evaluations.
    #[must_use]
    pub fn evaluations(&self) -> u64 {
        self.0.evaluations.load(Relaxed)
    }

    /// Returns the number of metadata branch commits that the engine has read.
    #[must_use]
    pub fn metadata_updates(&self) -> u64 {
        self.0.metadata_updates.load(Relaxed)
    }

    /// Returns the number of statuses that the engine has written.
    #[must_use]
    pub fn status_updates(&self) -> u64 {
        self.0.status_updates.load(Relaxed)
    }

    pub(super) fn add_evaluations(&self, count: usize) {
        self.0.evaluations.fetch_add(count as u64, Relaxed);
    }

    pub(super) fn add_metadata_update(&self) {
        self.0.metadata_updates.fetch_add(1, Relaxed);
    }

    pub(super) fn add_status_updates(&self, count: usize) {
        self.0.status_updates.fetch_add(count as u64, Relaxed);
    }
}
