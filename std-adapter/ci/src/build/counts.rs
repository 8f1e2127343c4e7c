//! Counts the builds of a cache.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The build counts since the cache was created.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BuildCounts {
    /// The name of the builder.
    pub name: String,
    /// The builds that were started.
    pub started: u64,
    /// The builds that succeeded.
    pub succeeded: u64,
    /// The builds that failed.
    pub failed: u64,
    /// The builds that ended without a result because no job needed them any longer or the database
    /// returned an error.
    pub ended_without_result: u64,
    /// The builds that are running.
    pub running: u64,
    /// The total duration of all builds that have ended.
    pub time: Duration,
}

/// A build that is being counted. If the value is dropped before a result is set, the build is
/// counted as having ended without a result.
pub(super) struct Counted<'c> {
    counts: &'c Mutex<BuildCounts>,
    began: Instant,
    result: Option<bool>,
}

impl<'c> Counted<'c> {
    pub(super) fn start(counts: &'c Mutex<BuildCounts>) -> Counted<'c> {
        {
            let mut counts = counts.lock();
            counts.started += 1;
            counts.running += 1;
        }
        Counted { counts, began: Instant::now(), result: None }
    }

    pub(super) fn end(mut self, succeeded: bool) {
        self.result = Some(succeeded);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        counts.running = counts.running.saturating_sub(1);
        counts.time = counts.time.saturating_add(self.began.elapsed());
        match self.result {
            Some(true) => counts.succeeded += 1,
            Some(false) => counts.failed += 1,
            None => counts.ended_without_result += 1,
        }
    }
}
