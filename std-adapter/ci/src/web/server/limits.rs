//! Web server limits.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};

/// Limits on the resources that the web server provides to clients.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// The maximum number of connections. Further connections wait. The server reduces this number
    /// if the limit on open descriptors (`RLIMIT_NOFILE`) is too low.
    pub connections: usize,
    /// The maximum number of connections from one IPv4 address or one IPv6 /64 network. Further
    /// connections are closed.
    pub connections_per_peer: usize,
    /// The maximum size of a request head, in bytes. Larger heads are rejected with status 431.
    pub header_bytes: usize,
    /// The maximum number of headers in a request.
    pub headers: usize,
    /// The time limit for receiving a request head. This also limits how long an idle connection
    /// stays open.
    pub header_time: Duration,
    /// The maximum size of a request body, in bytes. Larger bodies are rejected with status 413.
    pub body_bytes: usize,
    /// The time limit for receiving a request body.
    pub body_time: Duration,
    /// How long a client can go without accepting data before its connection is closed.
    pub write_time: Duration,
    /// The time limit for the TLS handshake.
    pub handshake_time: Duration,
    /// How long a shutdown waits for running requests.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 2048,
            connections_per_peer: 1024,
            header_bytes: 32 << 10,
            headers: 100,
            header_time: Duration::from_secs(15),
            body_bytes: 1 << 20,
            body_time: Duration::from_secs(30),
            write_time: Duration::from_secs(60),
            handshake_time: Duration::from_secs(10),
            drain: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// Returns the maximum number of connections that the descriptor limit allows. A quarter of the
    /// descriptors is reserved for other purposes.
    pub(super) fn connections_with_descriptors(&self) -> usize {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let available = descriptors / 4 * 3;
        self.connections.min(usize::try_from(available).unwrap_or(usize::MAX)).max(1)
    }
}
