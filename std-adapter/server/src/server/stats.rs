//! The server's counters for connections, requests, errors and durations. All threads share the
//! counters.

use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use datakit_core::session::Observe;
use datakit_core::wire::Dialect;

use crate::tree::Queue;

/// The maximum number of events kept for slow readers.
const EVENTS_CAPACITY: usize = 1024;

/// A server's counters.
#[derive(Debug)]
pub struct Stats {
    started: Instant,
    next_connection: AtomicU64,
    /// The open connections and their numbers, sorted by number.
    peers: Mutex<Vec<(u64, Arc<Peer>)>>,
    requests: [Count; 128],
    refused_connections: AtomicU64,
    refused_frames: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    durations: OnceLock<Durations>,
    events: Queue,
}

#[derive(Debug, Default)]
struct Count {
    answered: AtomicU64,
    errors: AtomicU64,
}

/// The statistics of one connection.
#[derive(Debug)]
pub struct Peer {
    /// The peer's name: its address, or the path of the Unix socket to which it connected.
    pub name: String,
    since: Instant,
    dialect: AtomicU8,
    msize: AtomicU32,
    fids: AtomicU32,
    in_flight: AtomicU32,
}

impl Peer {
    /// Returns the time elapsed since the connection was accepted.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Returns the version string of the negotiated dialect, or `-` before Tversion.
    pub fn dialect(&self) -> &'static str {
        match self.dialect.load(Relaxed) {
            1 => Dialect::Legacy.version(),
            2 => Dialect::Unix.version(),
            3 => Dialect::Linux.version(),
            _ => "-",
        }
    }

    /// Returns the negotiated maximum message size in bytes, including the header.
    pub fn msize(&self) -> u32 {
        self.msize.load(Relaxed)
    }

    /// Returns the number of fids in use.
    pub fn fids(&self) -> u32 {
        self.fids.load(Relaxed)
    }

    /// Returns the number of requests in flight, including requests blocked on a file.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Updates the connection's statistics. Returns `true` if the dialect has changed.
    pub(super) fn update(
        &self,
        dialect: Option<Dialect>,
        msize: u32,
        fids: usize,
        in_flight: usize,
    ) -> bool {
        let dialect = match dialect {
            None => 0,
            Some(Dialect::Legacy) => 1,
            Some(Dialect::Unix) => 2,
            Some(Dialect::Linux) => 3,
        };
        self.msize.store(msize, Relaxed);
        self.fids.store(u32::try_from(fids).unwrap_or(u32::MAX), Relaxed);
        self.in_flight.store(u32::try_from(in_flight).unwrap_or(u32::MAX), Relaxed);
        let changed = self.dialect.load(Relaxed) != dialect;
        self.dialect.store(dialect, Relaxed);
        changed
    }
}

impl Default for Stats {
    fn default() -> Stats {
        Stats {
            started: Instant::now(),
            next_connection: AtomicU64::new(0),
            peers: Mutex::default(),
            requests: std::array::from_fn(|_| Count::default()),
            refused_connections: AtomicU64::new(0),
            refused_frames: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            durations: OnceLock::new(),
            events: Queue::new(EVENTS_CAPACITY),
        }
    }
}

impl Stats {
    /// Returns the time elapsed since the server was created.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the open connections, from oldest to newest.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.peers.lock().iter().map(|(_, peer)| peer.clone()).collect()
    }

    /// Returns the number of open connections.
    pub fn connections(&self) -> usize {
        self.peers.lock().len()
    }

    /// Returns the message type, the number of answered requests and the number of failed requests
    /// for each request type with at least one answered request.
    pub fn requests(&self) -> impl Iterator<Item = (u8, u64, u64)> + '_ {
        self.requests.iter().zip(0u8..).filter_map(|(count, half)| {
            let answered = count.answered.load(Relaxed);
            (answered > 0).then(|| (half.wrapping_mul(2), answered, count.errors.load(Relaxed)))
        })
    }

    /// Returns the number of connections refused because of a connection limit.
    pub fn refused_connections(&self) -> u64 {
        self.refused_connections.load(Relaxed)
    }

    /// Returns the number of messages that were shorter than 7 bytes or longer than msize. The
    /// server closes a connection after a malformed message.
    pub fn refused_frames(&self) -> u64 {
        self.refused_frames.load(Relaxed)
    }

    /// Returns the number of bytes received, including malformed messages.
    pub fn received_bytes(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Returns the number of bytes sent.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Returns the request durations. To avoid reading the clock unnecessarily, the server does not
    /// measure durations until this method has been called.
    pub fn durations(&self) -> &Durations {
        self.durations.get_or_init(Durations::default)
    }

    pub(super) fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn count_refused_connection(&self) {
        self.refused_connections.fetch_add(1, Relaxed);
    }

    pub(super) fn count_refused_frame(&self) {
        self.refused_frames.fetch_add(1, Relaxed);
    }

    /// Returns a queue of event lines, which have the form `connected PEER` or `disconnected PEER
    /// REASON`.
    pub fn events(&self) -> &Queue {
        &self.events
    }

    /// Adds a connection to the list and returns the connection's number and statistics.
    pub(super) fn add_connection(&self, name: String) -> (u64, Arc<Peer>) {
        let peer = Arc::new(Peer {
            name,
            since: Instant::now(),
            dialect: AtomicU8::new(0),
            msize: AtomicU32::new(0),
            fids: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
        });
        let mut peers = self.peers.lock();
        // The numbers are in order, because they are assigned while the list is locked.
        let number = self.next_connection.fetch_add(1, Relaxed);
        peers.push((number, peer.clone()));
        drop(peers);
        self.events.push(format!("connected {}\n", peer.name));
        (number, peer)
    }

    pub(super) fn remove_connection(&self, number: u64) {
        let mut peers = self.peers.lock();
        if let Ok(position) = peers.binary_search_by_key(&number, |(number, _)| *number) {
            peers.remove(position);
        }
    }

    fn count_answered(&self, kind: u8, error: bool) {
        if let Some(count) = self.requests.get(usize::from(kind / 2)) {
            count.answered.fetch_add(1, Relaxed);
            if error {
                count.errors.fetch_add(1, Relaxed);
            }
        }
    }
}

/// The inclusive upper bounds of the histogram buckets. The bounds range from the duration of a
/// fast read from memory to the duration of a read that blocks on a stream with rare events.
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

/// Histograms of request durations by message type.
///
/// A duration includes the time during which the request is blocked on a file. Cancelled requests
/// are not counted.
#[derive(Debug)]
pub struct Durations(Box<[Buckets; 128]>);

#[derive(Debug, Default)]
struct Buckets {
    /// The number of durations in each bucket. The last bucket counts the durations above the last
    /// bound.
    counts: [AtomicU64; BOUNDS.len() + 1],
    /// The sum of all durations in nanoseconds. The counter overflows only after 584 years.
    sum: AtomicU64,
}

/// The histogram of durations for one request type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// The message type.
    pub kind: u8,
    /// The sum of all durations.
    pub sum: Duration,
    /// The inclusive upper bound of each bucket and the number of requests in it. The counts are
    /// not cumulative. The last bucket has no upper bound.
    pub buckets: Vec<(Option<Duration>, u64)>,
}

impl Default for Durations {
    fn default() -> Durations {
        Durations(Box::new(std::array::from_fn(|_| Buckets::default())))
    }
}

impl Durations {
    /// Returns a histogram for each request type with at least one answered request.
    pub fn iter(&self) -> impl Iterator<Item = Histogram> + '_ {
        let all =
            self.0.iter().zip(0u8..).map(|(buckets, half)| buckets.histogram(half.wrapping_mul(2)));
        all.filter(|found| found.buckets.iter().any(|(_, count)| *count > 0))
    }

    fn record(&self, kind: u8, took: Duration) {
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

/// An observer that counts and times the requests of one connection.
///
/// Each worker processes one request at a time, from start to finish, and only one worker is polled
/// at a time. The worker index therefore identifies the request.
pub(super) struct RequestObserver<'s> {
    stats: &'s Stats,
    worker: Cell<usize>,
    /// The time at which each worker's current request started.
    started: RefCell<Vec<Option<Instant>>>,
}

impl<'s> RequestObserver<'s> {
    pub(super) fn new(stats: &'s Stats) -> RequestObserver<'s> {
        RequestObserver { stats, worker: Cell::new(0), started: RefCell::default() }
    }

    /// Sets the index of the worker that is about to be polled.
    pub(super) fn set_worker(&self, worker: usize) {
        self.worker.set(worker);
    }
}

impl Observe for RequestObserver<'_> {
    fn started(&self) {
        if self.stats.durations.get().is_none() {
            return;
        }
        let (mut started, worker) = (self.started.borrow_mut(), self.worker.get());
        if started.len() <= worker {
            started.resize(worker.saturating_add(1), None);
        }
        if let Some(started) = started.get_mut(worker) {
            *started = Some(Instant::now());
        }
    }

    fn answered(&self, kind: u8, error: bool) {
        self.stats.count_answered(kind, error);
        let Some(durations) = self.stats.durations.get() else { return };
        let started = self.started.borrow_mut().get_mut(self.worker.get()).and_then(Option::take);
        if let Some(started) = started {
            durations.record(kind, started.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_equal_to_a_bound_counts_in_its_bucket() {
        let durations = Durations::default();
        for nanoseconds in [0, 1_000, 1_001, 10_000_000_001] {
            durations.record(110, Duration::from_nanos(nanoseconds));
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
    fn durations_of_overlapping_requests_are_measured_apart() {
        let stats = Stats::default();
        let observer = RequestObserver::new(&stats);
        observer.started();
        observer.answered(110, false);
        assert_eq!(observer.started.borrow().len(), 0, "measured before `durations` was called");
        let durations = stats.durations();
        observer.set_worker(1);
        observer.started();
        observer.set_worker(0);
        observer.started();
        observer.answered(116, false);
        observer.set_worker(1);
        observer.answered(116, true);
        observer.answered(116, true);
        let counted: u64 =
            durations.iter().flat_map(|found| found.buckets).map(|(_, count)| count).sum();
        assert_eq!(counted, 2);
        assert_eq!(stats.requests().collect::<Vec<_>>(), [(110, 1, 0), (116, 3, 2)]);
    }
}
