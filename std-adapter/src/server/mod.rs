//! Serves file trees over TCP and Unix sockets: a thread per core, a task per connection.
//!
//! A connection stays on one thread, so its session needs no lock; a tree that several connections share is `Send + Sync`. Each
//! connection asks for its tree anew: a server of one shared tree gives out clones, one with private parts makes them there.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use datakit::scratch::Scratch;
//! use datakit::server::{Limits, Server};
//!
//! let server = Server::bind(&["tcp://127.0.0.1:0".parse().unwrap()], Limits::default()).await?;
//! println!("listening on {}", server.urls()[0]);
//! let tree = Scratch::new();
//! server.serve(move |_peer| tree.clone(), std::future::pending()).await
//! # }
//! ```

mod buffers;
mod connection;
mod fids;
mod listen;
mod stats;
mod transport;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use connection::End;
use datakit_core::serve::Stop;
use datakit_core::vfs::Vfs;
use listen::{Listener, Socket};
pub use stats::{Peer, Stats};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{LocalPoolHandle, TaskTracker};
use tracing::{debug, info, warn};

use crate::url::Url;

/// How long requests that are being answered may go on after the server was told to stop.
const GRACE: Duration = Duration::from_secs(1);

/// What one server grants its clients.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time; further ones are closed at once.
    pub connections: usize,
    /// Fids of one connection.
    pub fids: usize,
    /// Requests of one connection at a time; all but one may wait inside files.
    pub requests: usize,
    /// The largest message, in bytes. Twice this is the most that is buffered for a connection beside its requests.
    pub msize: u32,
    /// How long a connection may take to attach.
    pub attach_timeout: Duration,
    /// How long a peer may take none of its replies.
    pub write_timeout: Duration,
    /// Threads that serve; 0: one for each core.
    pub threads: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 4096,
            fids: 65536,
            requests: 64,
            msize: 128 * 1024 + 24,
            attach_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            threads: 0,
        }
    }
}

/// Sockets that listen, and the counters of what comes in over them.
pub struct Server {
    listeners: Vec<Listener>,
    limits: Limits,
    stats: Arc<Stats>,
}

impl Server {
    /// Listens on every endpoint.
    ///
    /// # Errors
    /// Names the endpoint and what to do about it, for a port in use, a name that cannot be resolved, an endpoint of another system.
    pub async fn bind(urls: &[Url], limits: Limits) -> io::Result<Server> {
        let mut listeners = Vec::new();
        for url in urls {
            listeners.push(Listener::bind(url).await?);
        }
        Ok(Server { listeners, limits, stats: Arc::new(Stats::default()) })
    }

    /// Where it listens, with the ports that were chosen.
    #[must_use]
    pub fn urls(&self) -> Vec<Url> {
        self.listeners.iter().map(|listener| listener.url().clone()).collect()
    }

    /// The counters of this server, which a tree may show.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        self.stats.clone()
    }

    /// Accepts and serves until `stop` is ready: then no new connection is accepted, requests that are being answered get a
    /// second to end, and the socket files are removed. Dropping the future ends everything at once.
    ///
    /// # Errors
    /// A listener that failed; a single connection that fails ends only that connection.
    pub async fn serve<V, M>(self, tree: M, stop: impl Future<Output = ()>) -> io::Result<()>
    where
        V: Vfs + 'static,
        M: Fn(&Peer) -> V + Clone + Send + 'static,
    {
        let Server { listeners, limits, stats } = self;
        let threads = match limits.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        };
        let pool = LocalPoolHandle::new(threads);
        let (closing, running) = (CancellationToken::new(), TaskTracker::new());
        let limits = Arc::new(limits);
        let mut accepting = JoinSet::new();
        for listener in listeners {
            let (pool, limits, stats, tree) = (pool.clone(), limits.clone(), stats.clone(), tree.clone());
            let (closing, running) = (closing.clone(), running.clone());
            accepting.spawn(async move {
                loop {
                    let socket = tokio::select! {
                        socket = listener.accept() => socket?,
                        () = closing.cancelled() => return Ok(()),
                    };
                    let Some(socket) = socket else { continue };
                    if running.len() >= limits.connections {
                        warn!(
                            peer = socket.peer(),
                            limit = limits.connections,
                            "too many connections, closing this one"
                        );
                        continue;
                    }
                    let (limits, stats, tree, closing) = (limits.clone(), stats.clone(), tree.clone(), closing.clone());
                    let token = running.token();
                    pool.spawn_pinned(move || async move {
                        let _token = token;
                        one(socket, tree, &limits, &stats, closing).await;
                    });
                }
            });
        }
        let ended: io::Result<()> = tokio::select! {
            () = stop => Ok(()),
            Some(ended) = accepting.join_next() => ended.unwrap_or_else(|panic| Err(io::Error::other(panic))),
        };
        closing.cancel();
        while accepting.join_next().await.is_some() {}
        running.close();
        // Every connection ends by itself within the grace; the bound is for one whose thread is stuck.
        let _ = tokio::time::timeout(GRACE * 2, running.wait()).await;
        ended
    }
}

/// One connection, from its first byte to the line about its end.
async fn one<V: Vfs>(
    socket: Socket,
    tree: impl Fn(&Peer) -> V,
    limits: &Limits,
    stats: &Arc<Stats>,
    closing: CancellationToken,
) {
    let entered = stats.enter(socket.peer().to_owned());
    let peer = &entered.peer;
    let halves = match socket.halves(limits.write_timeout) {
        Ok(halves) => halves,
        Err(error) => return warn!(peer = peer.name, %error, "cannot use this socket"),
    };
    info!(peer = peer.name, "connected");
    let vfs = tree(peer);
    match connection::serve(&vfs, halves, limits, stats, peer, closing).await {
        End::Line(Stop::Closed) => info!(peer = peer.name, "disconnected"),
        End::Line(stop @ Stop::Size(_)) => warn!(peer = peer.name, msize = peer.msize(), "closing: {stop}"),
        End::Line(stop) => info!(peer = peer.name, "disconnected: {stop}"),
        End::Silent => info!(peer = peer.name, timeout = ?limits.attach_timeout, "closing: did not attach in time"),
        End::Shutdown => debug!(peer = peer.name, "closing: shutting down"),
    }
}
