//! How long requests take: the clock is looked at only when somebody wants to know.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use datakit_core::session::Observe;

use super::stats::Stats;

/// Upper bounds, inclusive: from a value in memory to a stream that has nothing to say for a while.
const BOUNDS: [Duration; 15] = [
    Duration::from_micros(1),
    Duration::from_micros(5),
    Duration::from_micros(10),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// How long the requests of each type took, counted in buckets. A request that waits inside a file
/// takes as long as it waits; one that was cancelled is not counted.
#[derive(Debug)]
pub struct Durations(Box<[Buckets; 128]>);

#[derive(Debug, Default)]
struct Buckets {
    /// One for each bound, and one for all above.
    counts: [AtomicU64; BOUNDS.len() + 1],
    /// In nanoseconds: enough for 584 years of waiting.
    sum: AtomicU64,
}

/// The durations of one type's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// The message type.
    pub kind: u8,
    /// All of them, added.
    pub sum: Duration,
    /// The longest duration of each bucket, and the requests in it alone; no bound for the last
    /// one.
    pub buckets: Vec<(Option<Duration>, u64)>,
}

impl Default for Durations {
    fn default() -> Durations {
        Durations(Box::new(std::array::from_fn(|_| Buckets::default())))
    }
}

impl Durations {
    /// Each type that was answered.
    pub fn iter(&self) -> impl Iterator<Item = Histogram> + '_ {
        let all =
            self.0.iter().zip(0u8..).map(|(buckets, half)| buckets.histogram(half.wrapping_mul(2)));
        all.filter(|found| found.buckets.iter().any(|(_, count)| *count > 0))
    }

    fn observe(&self, kind: u8, took: Duration) {
        let Some(buckets) = self.0.get(usize::from(kind / 2)) else { return };
        let bucket = BOUNDS.partition_point(|bound| *bound < took);
        if let Some(count) = buckets.counts.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        buckets.sum.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
}

impl Buckets {
    fn histogram(&self, kind: u8) -> Histogram {
        let bounds = BOUNDS.into_iter().map(Some).chain([None]);
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        let sum = Duration::from_nanos(self.sum.load(Relaxed));
        Histogram { kind, sum, buckets: bounds.zip(counts).collect() }
    }
}

/// What one connection tells the counters of the server. Its workers are polled one after the
/// other: a request ends in a turn of the worker in whose turn it began.
pub(super) struct Watch<'s> {
    stats: &'s Stats,
    turn: Cell<usize>,
    /// When the request of each worker began.
    began: RefCell<Vec<Option<Instant>>>,
}

impl<'s> Watch<'s> {
    pub(super) fn new(stats: &'s Stats) -> Watch<'s> {
        Watch { stats, turn: Cell::new(0), began: RefCell::default() }
    }

    /// The worker that is about to be polled.
    pub(super) fn turn(&self, worker: usize) {
        self.turn.set(worker);
    }
}

impl Observe for Watch<'_> {
    fn started(&self) {
        if self.stats.measured().is_none() {
            return;
        }
        let (mut began, turn) = (self.began.borrow_mut(), self.turn.get());
        if began.len() <= turn {
            began.resize(turn.saturating_add(1), None);
        }
        if let Some(began) = began.get_mut(turn) {
            *began = Some(Instant::now());
        }
    }

    fn answered(&self, kind: u8, error: bool) {
        self.stats.answered(kind, error);
        let Some(durations) = self.stats.measured() else { return };
        let began = self.began.borrow_mut().get_mut(self.turn.get()).and_then(Option::take);
        if let Some(began) = began {
            durations.observe(kind, began.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_in_its_own_bucket() {
        let durations = Durations::default();
        for nanoseconds in [0, 1_000, 1_001, 10_000_000_001] {
            durations.observe(110, Duration::from_nanos(nanoseconds));
        }
        let all: Vec<Histogram> = durations.iter().collect();
        assert_eq!(
            (all.len(), all[0].kind, all[0].sum),
            (1, 110, Duration::from_nanos(10_000_002_002))
        );
        let counts: Vec<u64> = all[0].buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn requests_of_several_workers_overlap() {
        let stats = Stats::default();
        let watch = Watch::new(&stats);
        watch.started();
        watch.answered(110, false);
        assert_eq!(watch.began.borrow().len(), 0, "nobody has asked yet");
        let durations = stats.durations();
        watch.turn(1);
        watch.started();
        watch.turn(0);
        watch.started();
        watch.answered(116, false);
        watch.turn(1);
        watch.answered(116, true);
        watch.answered(116, true);
        let counted: u64 =
            durations.iter().flat_map(|found| found.buckets).map(|(_, count)| count).sum();
        assert_eq!(counted, 2);
        assert_eq!(stats.requests().collect::<Vec<_>>(), [(110, 1, 0), (116, 3, 2)]);
    }
}
