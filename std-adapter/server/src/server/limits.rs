//! A server's limits, and a limiter that counts each peer's connections.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

/// The default value of [`Limits::msize`]. The default leaves room for 1 MiB of data, which is the
/// most that any known client requests. At half this size, additional wake-ups would cost more than
/// the additional L2 cache hits would save.
pub const MSIZE: u32 = 1024 * 1024 + 24;

/// Defines [`Limits`] and a setter for each of its fields.
macro_rules! limits {
    ($($(#[doc = $doc:literal])* $name:ident: $type:ty = $default:expr,)*) => {
        /// The resources that a server grants to its clients.
        ///
        /// ```
        /// use datakit_server::Limits;
        ///
        /// let limits = Limits::default().connections(100).requests(16);
        /// assert_eq!(limits.connections, 100);
        /// ```
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub struct Limits {
            $($(#[doc = $doc])* pub $name: $type,)*
        }

        impl Default for Limits {
            fn default() -> Limits {
                Limits { $($name: $default,)* }
            }
        }

        impl Limits {
            $(
                #[doc = concat!("Sets the limit `", stringify!($name), "`.")]
                #[must_use]
                pub fn $name(self, $name: $type) -> Limits {
                    Limits { $name, ..self }
                }
            )*
        }
    };
}

limits! {
    /// The maximum number of concurrent connections. Further connections are closed immediately.
    /// The server reduces this number if the limit on open descriptors (`RLIMIT_NOFILE`) is too
    /// low.
    connections: usize = 4096,
    /// The maximum number of concurrent connections from one IPv4 address or one IPv6 /64 network.
    /// This limit does not apply to clients on Unix sockets.
    connections_per_peer: usize = 1024,
    /// The maximum number of fids that a connection may use.
    fids: usize = 65536,
    /// The maximum number of requests that a connection may have in flight. Values below 2 are
    /// treated as 2. All but one of these requests may block on files.
    requests: usize = 64,
    /// The maximum message size, in bytes, that the server negotiates.
    msize: u32 = MSIZE,
    /// The number of bytes that a connection may buffer. While a connection exceeds this limit, the
    /// server refuses requests that would block on a file. The limit should leave room for a batch
    /// of requests, a batch of replies, and all blocked requests.
    buffered: usize = 4 << 20,
    /// The maximum time between accepting a connection and its first attach.
    attach_timeout: Duration = Duration::from_secs(30),
    /// The maximum time that an attached connection may remain without a request in flight, or
    /// `None` for no limit.
    idle_timeout: Option<Duration> = None,
    /// How long the server waits for a peer to accept data before closing the connection.
    write_timeout: Duration = Duration::from_secs(60),
    /// The number of threads that serve connections. 0 means one thread per core.
    threads: usize = 0,
}

/// The number of descriptors reserved for purposes other than connections, such as repositories,
/// `git` processes, metrics and standard output.
const RESERVED_DESCRIPTORS: u64 = 128;

/// The number of descriptors that each serving thread uses for its reactor.
const DESCRIPTORS_PER_THREAD: u64 = 4;

/// The maximum number of serving threads.
const MAX_THREADS: usize = 256;

/// Returns the number of threads and the maximum number of connections. Both numbers are reduced if
/// they would exceed the process's limit on open descriptors.
pub(super) fn fit_descriptors(limits: &Limits, threads: usize) -> (usize, usize) {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // Reserve at most a quarter of the descriptors, so that even a low limit leaves at least half
    // of them for connections.
    let free = descriptors.saturating_sub(RESERVED_DESCRIPTORS.min(descriptors / 4));
    let max_threads =
        usize::try_from(free / 4 / DESCRIPTORS_PER_THREAD).unwrap_or(usize::MAX).min(MAX_THREADS);
    let threads = threads.clamp(1, max_threads.max(1));
    let free = free.saturating_sub((threads as u64).saturating_mul(DESCRIPTORS_PER_THREAD));
    (threads, limits.connections.min(usize::try_from(free).unwrap_or(usize::MAX)))
}

/// A limiter that counts each peer's connections and refuses any connections above a limit.
#[derive(Debug, Default)]
pub struct PeerLimiter(Mutex<HashMap<IpAddr, usize>>);

/// A permit for one connection from a peer. Dropping this value releases the permit.
#[derive(Debug)]
pub struct PeerPermit {
    limiter: Arc<PeerLimiter>,
    /// The peer's address, or `None` for a client on a Unix socket.
    address: Option<IpAddr>,
}

impl PeerLimiter {
    /// Returns a permit, or `None` if the peer already has `limit` connections. A connection
    /// without an address always gets a permit.
    pub fn try_acquire(
        self: &Arc<PeerLimiter>,
        address: Option<IpAddr>,
        limit: usize,
    ) -> Option<PeerPermit> {
        let address = address.map(peer_address);
        if let Some(address) = address {
            let mut counts = self.0.lock();
            let count = counts.entry(address).or_default();
            if *count >= limit {
                return None;
            }
            *count = count.saturating_add(1);
        }
        Some(PeerPermit { limiter: self.clone(), address })
    }
}

impl Drop for PeerPermit {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut counts = self.limiter.0.lock();
        let left = counts.get(&address).copied().unwrap_or_default().saturating_sub(1);
        if left > 0 {
            counts.insert(address, left)
        } else {
            counts.remove(&address)
        };
    }
}

/// Maps all of a peer's addresses to a single address. The last 64 bits of an IPv6 address are
/// cleared, because a host is usually assigned an entire /64 network.
fn peer_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_gets_no_more_permits_than_its_limit() {
        let limiter = Arc::new(PeerLimiter::default());
        let acquire = |address: &str| limiter.try_acquire(Some(address.parse().unwrap()), 2);
        let permits = [
            acquire("192.0.2.1"),
            acquire("::ffff:192.0.2.1"),
            acquire("2001:db8::1"),
            acquire("2001:db8::2:1"),
        ];
        assert!(permits.iter().all(Option::is_some));
        assert!(acquire("192.0.2.1").is_none() && acquire("2001:db8::3").is_none());
        assert!(acquire("192.0.2.2").is_some() && acquire("2001:db8:0:1::1").is_some());
        drop(permits);
        assert!(acquire("192.0.2.1").is_some() && limiter.0.lock().is_empty());
        assert!((0..3).all(|_| limiter.try_acquire(None, 0).is_some()));
    }

    #[test]
    fn threads_leave_descriptors_for_connections() {
        let limits = Limits::default().connections(usize::MAX);
        let (threads, connections) = fit_descriptors(&limits, 5000);
        assert!((1..=MAX_THREADS).contains(&threads) && connections > 0);
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert!(connections as u64 + threads as u64 * DESCRIPTORS_PER_THREAD <= descriptors);
        assert_eq!(fit_descriptors(&Limits::default(), 0).0, 1);
    }
}
