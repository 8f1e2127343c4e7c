//! Who may connect: so many in all, so many of one peer, and no more than there are descriptors
//! for.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use rustix::process::{Resource, getrlimit};

use super::Limits;

/// Descriptors that are left for all but connections: repositories, programs that fetch and push,
/// metrics, standard output.
const RESERVE: u64 = 128;

/// Descriptors that a serving thread takes: those of its reactor.
const OF_THREAD: u64 = 4;

/// Threads that serve, at most: more than any machine has use for.
const THREADS: usize = 256;

/// Connections of each address.
#[derive(Default)]
pub struct PeerLimiter(Mutex<HashMap<IpAddr, usize>>);

/// One connection among those of its peer, until it is dropped.
pub struct PeerPermit {
    seats: Arc<PeerLimiter>,
    /// None for a Unix socket, whose clients have no address.
    address: Option<IpAddr>,
}

impl PeerLimiter {
    /// A seat, unless the peer has `most` already.
    pub fn try_acquire(
        self: &Arc<PeerLimiter>,
        address: Option<IpAddr>,
        most: usize,
    ) -> Option<PeerPermit> {
        let address = address.map(group);
        if let Some(address) = address {
            let mut taken = self.0.lock();
            let count = taken.entry(address).or_default();
            if *count >= most {
                return None;
            }
            *count = count.saturating_add(1);
        }
        Some(PeerPermit { seats: self.clone(), address })
    }
}

impl Drop for PeerPermit {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut taken = self.seats.0.lock();
        let left = taken.get(&address).copied().unwrap_or_default().saturating_sub(1);
        if left > 0 {
            taken.insert(address, left)
        } else {
            taken.remove(&address)
        };
    }
}

/// The addresses of one peer: a host with IPv6 has a whole network of 64 bits.
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
    }
}

/// Threads and connections for which there are descriptors: at most what `limits` say.
pub(super) fn possible(limits: &Limits, threads: usize) -> (usize, usize) {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // Half of them at least are for connections, however few there are.
    let free = files.saturating_sub(RESERVE.min(files / 4));
    let most = usize::try_from(free / 4 / OF_THREAD).unwrap_or(usize::MAX).min(THREADS);
    let threads = threads.clamp(1, most.max(1));
    let free = free.saturating_sub((threads as u64).saturating_mul(OF_THREAD));
    (threads, limits.connections.min(usize::try_from(free).unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_seats_and_no_more() {
        let seats = Arc::new(PeerLimiter::default());
        let take = |address: &str| seats.try_acquire(Some(address.parse().unwrap()), 2);
        let taken = [
            take("192.0.2.1"),
            take("::ffff:192.0.2.1"),
            take("2001:db8::1"),
            take("2001:db8::2:1"),
        ];
        assert!(taken.iter().all(Option::is_some));
        assert!(take("192.0.2.1").is_none() && take("2001:db8::3").is_none());
        assert!(take("192.0.2.2").is_some() && take("2001:db8:0:1::1").is_some());
        drop(taken);
        assert!(take("192.0.2.1").is_some() && seats.0.lock().is_empty());
        assert!((0..3).all(|_| seats.try_acquire(None, 0).is_some()));
    }

    #[test]
    fn threads_leave_descriptors_for_connections() {
        let limits = Limits { connections: usize::MAX, ..Limits::default() };
        let (threads, connections) = possible(&limits, 5000);
        assert!((1..=THREADS).contains(&threads) && connections > 0);
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert!(connections as u64 + threads as u64 * OF_THREAD <= files);
        assert_eq!(possible(&Limits::default(), 0).0, 1);
    }
}
