//! Serves a single connection until it must be closed.

use core::cell::Cell;
use core::fmt;
use core::pin::pin;

use datakit_core::serve::{Disconnect, serve_until};
use datakit_core::session::{Limits, Session};
use datakit_core::vfs::Client;
use embassy_futures::select::{Either, select};
use embassy_net::tcp::{self, TcpSocket};
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::{ErrorType, Read, Write};

use crate::memory::SlotMemory;
use crate::{Config, Connections, OpenQuota, QuotaTree, SharedTree};

/// The reason that a connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EndReason {
    /// The peer closed the connection, the connection was lost, or a message was invalid.
    Disconnect(Disconnect<tcp::Error>),
    /// The peer was idle for too long.
    IdleTimeout,
    /// The connection was closed by [`Connections::kick`].
    Kicked,
    /// The connection was closed by [`Connections::shut_down`].
    Shutdown,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndReason::Disconnect(reason) => write!(f, "{reason}"),
            EndReason::IdleTimeout => f.write_str("idle for too long"),
            EndReason::Kicked => f.write_str("closed by a command"),
            EndReason::Shutdown => f.write_str("the server shuts down"),
        }
    }
}

impl core::error::Error for EndReason {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            EndReason::Disconnect(reason) => reason.source(),
            _ => None,
        }
    }
}

/// The parts of a server that all of its connections share.
pub(crate) struct ServerContext<T: SharedTree + 'static, const CLIENTS: usize> {
    pub(crate) tree: &'static T,
    pub(crate) connections: &'static Connections<CLIENTS>,
    pub(crate) config: &'static Config,
    pub(crate) limits: Limits,
    pub(crate) quota: OpenQuota<CLIENTS>,
}

/// A client slot in a server.
pub(crate) struct ClientSlot<T: SharedTree + 'static, const CLIENTS: usize> {
    pub(crate) context: &'static ServerContext<T, CLIENTS>,
    pub(crate) number: usize,
}

impl<T: SharedTree + 'static, const CLIENTS: usize> ClientSlot<T, CLIENTS> {
    /// Serves one client until it disconnects, is idle for too long or is kicked, or until the
    /// server shuts down.
    pub(crate) async fn serve<const WORKERS: usize, const FRAME: usize, const FIDS: usize>(
        &self,
        socket: &mut TcpSocket<'static>,
        client: Client,
        memory: &mut SlotMemory<T, CLIENTS, WORKERS, FRAME, FIDS>,
    ) -> EndReason {
        let ServerContext { tree, connections, config, limits, quota } = self.context;
        let idle = (config.idle_timeout)();
        socket.set_nagle_enabled((config.nagle)());
        // Three probes are sent before the connection times out. Without probes, the timeout would
        // also disconnect a client that is waiting for an event.
        socket.set_keep_alive(config.keep_alive.then_some(idle / 4));
        socket.set_timeout(config.keep_alive.then_some(idle));
        let tree = QuotaTree::new(*tree, quota, self.number, client);
        let session = Session::new(&tree, &mut memory.fids, *limits);
        let (rx, tx) = socket.split();
        let activity = Activity { connections, slot: self.number };
        let reason = Cell::new(EndReason::IdleTimeout);
        let until = async |in_flight: &dyn Fn() -> usize| {
            let closing = pin!(connections.closing(self.number));
            match select(pin!(activity.idle_timeout(idle, in_flight)), closing).await {
                Either::First(()) => {}
                Either::Second(other) => reason.set(other),
            }
        };
        let (rx, tx) = (Tracked { io: rx, activity }, Tracked { io: tx, activity });
        let end = serve_until(&session, rx, tx, &mut memory.frames, until).await;
        session.close().await;
        end.map_or(reason.get(), EndReason::Disconnect)
    }
}

/// The time of a connection's last transfer.
#[derive(Clone, Copy)]
struct Activity<const CLIENTS: usize> {
    connections: &'static Connections<CLIENTS>,
    slot: usize,
}

impl<const CLIENTS: usize> Activity<CLIENTS> {
    fn record(&self) {
        self.connections.touch(self.slot);
    }

    /// Waits until the connection has had no request in flight and has transferred no data for the
    /// duration `idle`.
    async fn idle_timeout(&self, idle: Duration, in_flight: &dyn Fn() -> usize) {
        let mut busy = Instant::MIN;
        loop {
            let end = self.connections.last_active(self.slot).max(busy) + idle;
            if end <= Instant::now() {
                return;
            }
            Timer::at(end).await;
            if in_flight() > 0 {
                busy = Instant::now();
            }
        }
    }
}

/// Wraps one half of a socket and records the time of each transfer. Sending a reply counts as
/// activity, because a client that is waiting for a reply is not idle.
struct Tracked<S, const CLIENTS: usize> {
    io: S,
    activity: Activity<CLIENTS>,
}

impl<S: ErrorType, const CLIENTS: usize> ErrorType for Tracked<S, CLIENTS> {
    type Error = S::Error;
}

impl<S: Read, const CLIENTS: usize> Read for Tracked<S, CLIENTS> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, S::Error> {
        let count = self.io.read(buf).await?;
        self.activity.record();
        Ok(count)
    }
}

impl<S: Write, const CLIENTS: usize> Write for Tracked<S, CLIENTS> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, S::Error> {
        self.activity.record();
        self.io.write(buf).await
    }

    async fn flush(&mut self) -> Result<(), S::Error> {
        self.io.flush().await
    }
}
