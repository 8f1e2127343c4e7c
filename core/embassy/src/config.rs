//! Server settings.

use datakit_core::session::Limits;
use embassy_time::Duration;

use crate::{ConnectionInfo, EndReason, Peer};

/// The settings of a [`Server`](crate::Server). They can be stored in a `static`.
///
/// Settings that may change at run time are functions, for example closures without captured
/// variables. The server calls these functions once for each new connection, so a change does not
/// affect existing connections.
///
/// ```
/// use datakit_embassy::Config;
/// use embassy_time::Duration;
///
/// static CONFIG: Config = Config::new().idle_timeout(|| Duration::from_secs(20)).reserved_files(2);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Config {
    pub(crate) port: u16,
    pub(crate) limits: Option<Limits>,
    pub(crate) reserved_files: usize,
    pub(crate) idle_timeout: fn() -> Duration,
    pub(crate) keep_alive: bool,
    pub(crate) nagle: fn() -> bool,
    pub(crate) slot_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) connected: fn(&ConnectionInfo),
    pub(crate) disconnected: fn(&ConnectionInfo, EndReason),
    pub(crate) refused: fn(Peer),
}

impl Config {
    /// Creates the default settings. The documentation of each method states the default.
    #[must_use]
    pub const fn new() -> Config {
        Config {
            port: 564,
            limits: None,
            reserved_files: 4,
            idle_timeout: || Duration::from_secs(60),
            keep_alive: true,
            nagle: || false,
            slot_timeout: Duration::from_millis(750),
            close_timeout: Duration::from_millis(300),
            connected: |_| {},
            disconnected: |_, _| {},
            refused: |_| {},
        }
    }

    /// Sets the TCP port. The default is 564, the port for 9P.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Config {
        self.port = port;
        self
    }

    /// Sets the msize and the iounit. By default, the msize is the size of a frame, but at least
    /// 4096 bytes, because a Linux mount requires that much. The default iounit is the frame size
    /// minus 24 bytes for the header.
    ///
    /// A request that does not fit into a frame receives an error reply.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Config {
        self.limits = Some(limits);
        self
    }

    /// Sets the number of open files that are reserved for each client. The clients share the
    /// tree's remaining open files. The default is 4. If the tree does not have room for that many
    /// reserved files, its open files are divided equally among the clients.
    #[must_use]
    pub const fn reserved_files(mut self, files: usize) -> Config {
        self.reserved_files = files;
        self
    }

    /// Sets the function that returns the idle timeout. The server closes a connection that has had
    /// no request in flight and has transferred no data for this long. A client that is waiting for
    /// an event has a request in flight, so it does not time out. The default is 60 seconds.
    #[must_use]
    pub const fn idle_timeout(mut self, timeout: fn() -> Duration) -> Config {
        self.idle_timeout = timeout;
        self
    }

    /// Sets whether the server sends TCP keep-alive probes, four per idle timeout. If the peer
    /// sends no packets for the duration of the idle timeout, the server closes the connection. The
    /// default is `true`. If this setting is `false`, a client that disappears while waiting for an
    /// event keeps its slot forever.
    #[must_use]
    pub const fn keep_alive(mut self, enabled: bool) -> Config {
        self.keep_alive = enabled;
        self
    }

    /// Sets the function that returns whether small segments are coalesced (Nagle's algorithm). The
    /// default is `false`, because coalescing delays replies.
    #[must_use]
    pub const fn nagle(mut self, nagle: fn() -> bool) -> Config {
        self.nagle = nagle;
        self
    }

    /// Sets how long a client may wait for a slot. After this time, the server closes the client's
    /// connection. The default is 750 milliseconds.
    #[must_use]
    pub const fn slot_timeout(mut self, timeout: Duration) -> Config {
        self.slot_timeout = timeout;
        self
    }

    /// Sets how long the server waits for a client to acknowledge the end of its connection during
    /// a [shutdown](crate::Connections::shut_down). The default is 300 milliseconds.
    #[must_use]
    pub const fn close_timeout(mut self, timeout: Duration) -> Config {
        self.close_timeout = timeout;
        self
    }

    /// Sets the function that is called when a client is assigned a slot.
    #[must_use]
    pub const fn connected(mut self, hook: fn(&ConnectionInfo)) -> Config {
        self.connected = hook;
        self
    }

    /// Sets the function that is called after a connection that had a slot has been closed. Each
    /// such connection has previously been passed to the [`connected`](Config::connected) function.
    #[must_use]
    pub const fn disconnected(mut self, hook: fn(&ConnectionInfo, EndReason)) -> Config {
        self.disconnected = hook;
        self
    }

    /// Sets the function that is called when a client's connection is closed because no slot became
    /// free in time.
    #[must_use]
    pub const fn refused(mut self, hook: fn(Peer)) -> Config {
        self.refused = hook;
        self
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}
