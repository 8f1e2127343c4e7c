//! What a server knows of itself: connections, requests, errors. Shared by all threads; reading it
//! disturbs nobody.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use datakit_core::wire::Dialect;

use super::durations::Durations;
use crate::tree::Queue;

/// Events kept for readers that are behind.
const EVENTS: usize = 1024;

/// Counters of a whole server.
#[derive(Debug)]
pub struct Stats {
    started: Instant,
    next: AtomicU64,
    peers: Mutex<BTreeMap<u64, Arc<Peer>>>,
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

/// One connection, as others may see it.
#[derive(Debug)]
pub struct Peer {
    /// Who it is: address or path.
    pub name: String,
    since: Instant,
    dialect: AtomicU8,
    msize: AtomicU32,
    fids: AtomicU32,
    in_flight: AtomicU32,
}

impl Peer {
    /// How long it has been connected.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// What was negotiated, as its version string; `-` before that.
    pub fn dialect(&self) -> &'static str {
        match self.dialect.load(Relaxed) {
            1 => Dialect::Legacy.version(),
            2 => Dialect::Unix.version(),
            3 => Dialect::Linux.version(),
            _ => "-",
        }
    }

    /// The largest message, in bytes.
    pub fn msize(&self) -> u32 {
        self.msize.load(Relaxed)
    }

    /// Fids in use.
    pub fn fids(&self) -> u32 {
        self.fids.load(Relaxed)
    }

    /// Requests being answered, those that wait in files included.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub(super) fn show(&self, dialect: Option<Dialect>, msize: u32, fids: usize, in_flight: usize) {
        let dialect = match dialect {
            None => 0,
            Some(Dialect::Legacy) => 1,
            Some(Dialect::Unix) => 2,
            Some(Dialect::Linux) => 3,
        };
        self.dialect.store(dialect, Relaxed);
        self.msize.store(msize, Relaxed);
        self.fids.store(u32::try_from(fids).unwrap_or(u32::MAX), Relaxed);
        self.in_flight.store(u32::try_from(in_flight).unwrap_or(u32::MAX), Relaxed);
    }
}

impl Default for Stats {
    fn default() -> Stats {
        Stats {
            started: Instant::now(),
            next: AtomicU64::new(0),
            peers: Mutex::default(),
            requests: std::array::from_fn(|_| Count::default()),
            refused_connections: AtomicU64::new(0),
            refused_frames: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            durations: OnceLock::new(),
            events: Queue::new(EVENTS),
        }
    }
}

impl Stats {
    /// How long the server has been up.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The connections there are, oldest first.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.lock().values().cloned().collect()
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.lock().len()
    }

    /// Message type, requests answered, errors among them; only types that were asked for.
    pub fn requests(&self) -> impl Iterator<Item = (u8, u64, u64)> + '_ {
        self.requests.iter().zip(0u8..).filter_map(|(count, half)| {
            let answered = count.answered.load(Relaxed);
            (answered > 0).then(|| (half.wrapping_mul(2), answered, count.errors.load(Relaxed)))
        })
    }

    /// Connections closed at once because there were too many.
    pub fn refused_connections(&self) -> u64 {
        self.refused_connections.load(Relaxed)
    }

    /// Messages whose size field was below 7 or above msize; each cost its connection.
    pub fn refused_frames(&self) -> u64 {
        self.refused_frames.load(Relaxed)
    }

    /// Bytes that clients have sent, those of broken messages included.
    pub fn received_bytes(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Bytes that clients were sent.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// How long requests took, measured since the first call of this: before it nobody looks at a
    /// clock.
    pub fn durations(&self) -> &Durations {
        self.durations.get_or_init(Durations::default)
    }

    pub(super) fn measured(&self) -> Option<&Durations> {
        self.durations.get()
    }

    pub(super) fn receive(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn send(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn refuse_connection(&self) {
        self.refused_connections.fetch_add(1, Relaxed);
    }

    pub(super) fn refuse_frame(&self) {
        self.refused_frames.fetch_add(1, Relaxed);
    }

    /// Who connects and who goes, a line each: `connected PEER`, `disconnected PEER REASON`.
    pub fn events(&self) -> &Queue {
        &self.events
    }

    /// Puts a connection into the list: its number there, and what is shown of it.
    pub(super) fn enter(&self, name: String) -> (u64, Arc<Peer>) {
        let peer = Arc::new(Peer {
            name,
            since: Instant::now(),
            dialect: AtomicU8::new(0),
            msize: AtomicU32::new(0),
            fids: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
        });
        let number = self.next.fetch_add(1, Relaxed);
        self.lock().insert(number, peer.clone());
        self.events.push(format!("connected {}\n", peer.name));
        (number, peer)
    }

    pub(super) fn leave(&self, number: u64) {
        self.lock().remove(&number);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Peer>>> {
        // The map is whole between any two statements: a panic elsewhere has not harmed it.
        self.peers.lock()
    }

    pub(super) fn answered(&self, kind: u8, error: bool) {
        if let Some(count) = self.requests.get(usize::from(kind / 2)) {
            count.answered.fetch_add(1, Relaxed);
            if error {
                count.errors.fetch_add(1, Relaxed);
            }
        }
    }
}
