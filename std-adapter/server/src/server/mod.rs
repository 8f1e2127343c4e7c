//! Serves file trees over TCP and Unix sockets: a thread per core, a task per connection.
//!
//! A connection stays on one thread, so its session needs no lock; a tree that several connections
//! share is `Send + Sync`. Each connection asks for its tree anew: a server of one shared tree
//! gives out clones, one with private parts makes them there.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use datakit_server::scratch::Scratch;
//! use datakit_server::{Limits, Server};
//!
//! let server = Server::bind(&["tcp://127.0.0.1:0".parse().unwrap()], Limits::default()).await?;
//! println!("listening on {}", server.urls()[0]);
//! let tree = Scratch::new();
//! server.serve(move |_peer| tree.clone(), std::future::pending()).await
//! # }
//! ```

mod buffers;
mod connection;
mod durations;
mod fids;
mod inherited;
mod lanes;
mod listen;
mod seats;
mod stats;
mod transport;
mod turn;

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use connection::End;
use datakit_core::serve::Disconnect;
use datakit_core::vfs::Vfs;
pub use durations::{Durations, Histogram};
pub use listen::listen_error;
use listen::{Listener, Socket};
pub use seats::{PeerLimiter, PeerPermit};
pub use stats::{Peer, Stats};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinSet, LocalSet, spawn_local};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use turn::Neighbours;

use crate::memory;
use crate::url::Url;

/// How long requests that are being answered may go on after the server was told to stop.
const GRACE: Duration = Duration::from_secs(1);
/// How long a tree may take to remove what is to go with a connection; then the rest is only
/// closed.
const HANG_UP: Duration = Duration::from_millis(500);

/// What one server grants its clients.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time; further ones are closed at once. At most as many as there are
    /// descriptors for.
    pub connections: usize,
    /// Connections at a time from one address, or one network of 64 bits; those over Unix sockets
    /// have none.
    pub connections_per_peer: usize,
    /// Fids of one connection.
    pub fids: usize,
    /// Requests of one connection at a time; all but one may wait inside files.
    pub requests: usize,
    /// The largest message, in bytes.
    pub msize: u32,
    /// Bytes that may be buffered for one connection; above that no further request of it may wait
    /// inside a file. At least a few messages: a batch of requests, their replies, and each request
    /// that waits.
    pub buffered: usize,
    /// How long a connection may take to attach.
    pub attach_timeout: Duration,
    /// How long a connection that attached may have no request in flight and send none; without
    /// this, for ever.
    pub idle_timeout: Option<Duration>,
    /// How long a peer may take none of its replies.
    pub write_timeout: Duration,
    /// Threads that serve; 0: one for each core.
    pub threads: usize,
}

/// The largest message, if nothing else is said: a megabyte of data, as much as any client is known
/// to offer. Half as much pays for more wake-ups than it saves by staying in a core's second cache.
pub const MSIZE: u32 = 1024 * 1024 + 24;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 4096,
            connections_per_peer: 1024,
            fids: 65536,
            requests: 64,
            msize: MSIZE,
            buffered: 4 << 20,
            attach_timeout: Duration::from_secs(30),
            idle_timeout: None,
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
    /// Names the endpoint and what to do about it, for a port in use, a name that cannot be
    /// resolved, an endpoint of another system.
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

    /// Accepts and serves until `stop` is ready: then no new connection is accepted, requests that
    /// are being answered get a second to end, and the socket files are removed. Dropping the
    /// future does the same without waiting for it.
    ///
    /// # Errors
    /// A listener that failed; a single connection that fails ends only that connection.
    pub async fn serve<V, M>(self, tree: M, stop: impl Future<Output = ()>) -> io::Result<()>
    where
        V: Vfs + 'static,
        M: Fn(&Peer) -> V + Clone + Send + 'static,
    {
        let Server { listeners, mut limits, stats } = self;
        let threads = match limits.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        };
        let wanted = limits.connections;
        let (threads, connections) = seats::possible(&limits, threads);
        limits.connections = connections;
        if connections < wanted {
            // The default is a limit like any other, and most servers never come near it.
            info!(
                wanted,
                connections, "fewer connections than wanted: the system allows no more open files"
            );
        }
        let closing = CancellationToken::new();
        let free = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        // Each thread holds a receiver until it ends.
        let running_threads = watch::Sender::new(());
        let _closes_when_dropped = closing.clone().drop_guard();
        let all = Arc::new(Shared { limits, stats, closing: closing.clone() });
        let seats = Arc::<PeerLimiter>::default();
        let threads =
            (0..threads).map(|_| thread(tree.clone(), all.clone(), running_threads.subscribe()));
        let threads = threads.collect::<io::Result<Vec<_>>>()?;
        let (threads, next) = (Arc::new(threads), Arc::new(AtomicUsize::new(0)));
        let mut accepting = JoinSet::new();
        for listener in listeners {
            let (threads, next, free, all) =
                (threads.clone(), next.clone(), free.clone(), all.clone());
            let seats = seats.clone();
            accepting.spawn(async move {
                loop {
                    let socket = tokio::select! {
                        socket = listener.accept() => socket?,
                        () = all.closing.cancelled() => return Ok(()),
                    };
                    let Some(socket) = socket else { continue };
                    let Some(held) = all.seat(&socket, &free, &seats) else { continue };
                    let thread = next.fetch_add(1, Relaxed) % threads.len();
                    // A thread ends only after every sender has gone.
                    let _ = threads.get(thread).map(|thread| thread.send((socket, held)));
                }
            });
        }
        let ended: io::Result<()> = tokio::select! {
            () = stop => Ok(()),
            Some(ended) = accepting.join_next() => ended.unwrap_or_else(|panic| Err(io::Error::other(panic))),
        };
        closing.cancel();
        while accepting.join_next().await.is_some() {}
        drop(threads);
        // Every connection ends by itself within the grace, and with it its thread; the bound is
        // for one that is stuck.
        let _ = tokio::time::timeout(GRACE * 2, running_threads.closed()).await;
        ended
    }
}

/// What the connections of one thread need.
struct Work<M> {
    tree: M,
    all: Arc<Shared>,
    neighbours: Rc<Neighbours>,
}

/// What every connection needs.
struct Shared {
    limits: Limits,
    stats: Arc<Stats>,
    closing: CancellationToken,
}

impl Shared {
    /// Admits a connection, or closes it if there are too many.
    fn seat(
        &self,
        socket: &Socket,
        free: &Arc<Semaphore>,
        seats: &Arc<PeerLimiter>,
    ) -> Option<Held> {
        let (limit, per_peer) = (self.limits.connections, self.limits.connections_per_peer);
        let Ok(permit) = free.clone().try_acquire_owned() else {
            self.stats.refuse_connection();
            warn!(peer = socket.peer(), limit, "too many connections, closing this one");
            return None;
        };
        let Some(seat) = seats.try_acquire(socket.address(), per_peer) else {
            self.stats.refuse_connection();
            warn!(
                peer = socket.peer(),
                limit = per_peer,
                "too many connections of one peer, closing this one"
            );
            return None;
        };
        Some(Held { _seat: seat, _permit: permit })
    }
}

/// What a connection holds from its first to its last moment.
struct Held {
    _seat: PeerPermit,
    _permit: OwnedSemaphorePermit,
}

/// A thread with a reactor of its own. It serves what it is sent, and ends with the last connection
/// after the sender is dropped; the tree is dropped before `ended`.
fn thread<V, M>(
    tree: M,
    all: Arc<Shared>,
    ended: watch::Receiver<()>,
) -> io::Result<UnboundedSender<(Socket, Held)>>
where
    V: Vfs + 'static,
    M: Fn(&Peer) -> V + Clone + Send + 'static,
{
    let (sender, mut sockets) = unbounded_channel::<(Socket, Held)>();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("datakit-serve".into()).spawn(move || {
        let _ended = ended;
        let tasks = LocalSet::new();
        let work = Rc::new(Work { tree, all, neighbours: Rc::default() });
        runtime.block_on(tasks.run_until(async {
            while let Some((socket, held)) = sockets.recv().await {
                spawn_local(one(socket, held, work.clone()));
            }
        }));
        runtime.block_on(tasks);
    })?;
    Ok(sender)
}

/// A connection in the list, until it is dropped.
struct Guest {
    all: Arc<Shared>,
    number: u64,
    peer: Arc<Peer>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        memory::report_freed(memory::CONNECTION_BYTES);
        self.all.stats.leave(self.number);
    }
}

/// One connection, from its first byte to the line about its end.
fn one<V: Vfs, M: Fn(&Peer) -> V>(
    socket: Socket,
    held: Held,
    work: Rc<Work<M>>,
) -> impl Future<Output = ()> {
    let (mut stream, name) = socket.register();
    let (number, peer) = work.all.stats.enter(name);
    let guest = Guest { all: work.all.clone(), number, peer };
    async move {
        let end = match &mut stream {
            Ok(stream) => {
                info!(peer = guest.peer.name, "connected");
                connection::serve(
                    stream,
                    &(work.tree)(&guest.peer),
                    &guest,
                    work.neighbours.clone(),
                )
                .await
            }
            Err(error) => return warn!(peer = guest.peer.name, %error, "cannot use this socket"),
        };
        let (peer, stats) = (&guest.peer, &guest.all.stats);
        stats.events().push(format!("disconnected {} {end}\n", peer.name));
        match end {
            End::Line(Disconnect::InvalidSize(_)) => {
                stats.refuse_frame();
                warn!(peer = peer.name, msize = peer.msize(), "disconnected: {end}");
            }
            _ => info!(peer = peer.name, "disconnected: {end}"),
        }
        drop(held);
    }
}
