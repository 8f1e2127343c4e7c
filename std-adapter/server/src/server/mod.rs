//! The tokio server, with one thread per core and one task per connection.
//!
//! A connection stays on one thread, so its session needs no lock. A tree shared by multiple
//! connections must be `Send + Sync`. The server calls a function to obtain the tree for each
//! connection. The function can return a clone of a shared tree, or create a private tree for each
//! connection.

mod buffer_pool;
mod connection;
mod fids;
mod limits;
mod listen;
mod stats;
mod time_slice;
mod transport;
mod workers;

use std::future::Future;
use std::io;
use std::sync::Arc;

use connection::{ConnectionEntry, SHUTDOWN_GRACE, ServerState};
use datakit_core::vfs::Vfs;
pub use limits::{Limits, MSIZE, PeerLimiter, PeerPermit};
use listen::AcceptedSocket;
pub use listen::{Listener, enable_keep_alive, listen_error};
pub use stats::{Durations, Histogram, Peer, Stats};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use transport::Stream;
use workers::{ConnectionFuture, WorkerThreads, serve_connection};

use crate::scratch::Scratch;
use crate::tree::Tree;
use crate::url::Url;

/// A 9P server with its listening sockets, limits and counters.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use datakit_server::{Limits, Scratch, Server};
///
/// let server = Server::bind(&["localhost:5640".parse().unwrap()], Limits::default()).await?;
/// server.serve_scratch(Scratch::new(), std::future::pending()).await
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Listener>,
    limits: Limits,
    stats: Arc<Stats>,
}

impl Server {
    /// Creates a server without listeners. To use the server, add listeners with
    /// [`with_listener`](Server::with_listener), or serve streams with
    /// [`serve_stream`](Server::serve_stream).
    #[must_use]
    pub fn new(limits: Limits) -> Server {
        Server { listeners: Vec::new(), limits, stats: Arc::default() }
    }

    /// Creates a server that listens on the given endpoints.
    ///
    /// # Errors
    /// Returns an [`io::Error`] if an endpoint cannot be bound. The message names the endpoint and,
    /// in some cases, suggests a remedy. The error's source is the system's error. The error's kind
    /// is [`io::ErrorKind::Unsupported`] if the operating system does not support this type of
    /// endpoint.
    pub async fn bind(urls: &[Url], limits: Limits) -> io::Result<Server> {
        let mut server = Server::new(limits);
        for url in urls {
            server.listeners.push(Listener::bind(url).await?);
        }
        Ok(server)
    }

    /// Adds a listening socket: a `TcpListener` or `UnixListener` from the standard library or
    /// tokio.
    ///
    /// ```no_run
    /// # async fn example() -> std::io::Result<()> {
    /// use datakit_server::{Limits, Server};
    ///
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let server = Server::new(Limits::default()).with_listener(listener)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns the system's error if the socket cannot be registered with the runtime.
    ///
    /// # Panics
    /// Panics if called outside a tokio runtime with I/O enabled.
    pub fn with_listener<L>(mut self, listener: L) -> io::Result<Server>
    where
        L: TryInto<Listener, Error = io::Error>,
    {
        self.listeners.push(listener.try_into()?);
        Ok(self)
    }

    /// Returns the listeners' endpoints. If a listener was bound to port 0, its endpoint contains
    /// the port that the system chose.
    #[must_use]
    pub fn urls(&self) -> Vec<Url> {
        self.listeners.iter().map(|listener| listener.url().clone()).collect()
    }

    /// Returns this server's counters.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        self.stats.clone()
    }

    /// Accepts and serves connections until `stop` completes. The server then stops accepting
    /// connections, gives requests in flight one second to finish, and removes its Unix socket
    /// files.
    ///
    /// `tree` is called for each connection and returns the tree to serve. Connections are served
    /// on the server's own threads, not on the caller's runtime.
    ///
    /// The crate that calls this function compiles its own copy of the code that serves `V`. For
    /// the trees of this crate, [`serve_tree`](Server::serve_tree) and
    /// [`serve_scratch`](Server::serve_scratch) do the same without compiling a copy, so the
    /// caller's crate builds faster.
    ///
    /// # Errors
    /// Returns the system's error if a thread cannot be created. An error on a connection closes
    /// only that connection.
    ///
    /// # Cancel safety
    /// Dropping the future shuts down the server without waiting for the shutdown to complete.
    pub async fn serve<V, M>(self, tree: M, stop: impl Future<Output = ()>) -> io::Result<()>
    where
        V: Vfs + 'static,
        M: Fn(&Peer) -> V + Clone + Send + 'static,
    {
        let serve = move |entry: ConnectionEntry, stream, permit| {
            let tree = tree(&entry.peer);
            serve_connection(entry, stream, tree, permit)
        };
        self.run(serve, stop).await
    }

    /// Like [`serve`](Server::serve), but serves a [`Tree`] and uses code that is compiled in this
    /// crate.
    ///
    /// # Errors
    /// See [`serve`](Server::serve).
    ///
    /// # Cancel safety
    /// See [`serve`](Server::serve).
    pub async fn serve_tree<M>(self, tree: M, stop: impl Future<Output = ()>) -> io::Result<()>
    where
        M: Fn(&Peer) -> Tree + Clone + Send + 'static,
    {
        let serve = move |entry: ConnectionEntry, stream, permit| {
            let tree = tree(&entry.peer);
            workers::serve_tree(entry, stream, tree, permit)
        };
        self.run(serve, stop).await
    }

    /// Like [`serve`](Server::serve), but serves the same [`Scratch`] tree to all connections and
    /// uses code that is compiled in this crate.
    ///
    /// # Errors
    /// See [`serve`](Server::serve).
    ///
    /// # Cancel safety
    /// See [`serve`](Server::serve).
    pub async fn serve_scratch(
        self,
        tree: Scratch,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let serve = move |entry, stream, permit| {
            workers::serve_scratch(entry, stream, tree.clone(), permit)
        };
        self.run(serve, stop).await
    }

    /// Starts the worker threads, which call `serve` for each connection, and accepts connections
    /// until `stop` completes.
    async fn run<S>(self, serve: S, stop: impl Future<Output = ()>) -> io::Result<()>
    where
        S: Fn(ConnectionEntry, Stream, Permit) -> ConnectionFuture + Clone + Send + 'static,
    {
        let Server { listeners, mut limits, stats } = self;
        let threads = match limits.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        };
        let wanted = limits.connections;
        let (threads, connections) = limits::fit_descriptors(&limits, threads);
        limits.connections = connections;
        if connections < wanted {
            // The reduced limit is not logged as a warning, because most servers have far fewer
            // connections than the default limit allows.
            info!(wanted, connections, "the limit on open files allows fewer connections");
        }
        let shutdown = CancellationToken::new();
        let _shuts_down_when_dropped = shutdown.clone().drop_guard();
        let state = Arc::new(ServerState { limits, stats, shutdown: shutdown.clone() });
        // Each worker thread holds a receiver until the thread exits.
        let running = watch::Sender::new(());
        let workers = Arc::new(WorkerThreads::spawn(threads, &serve, &state, &running)?);
        let admission = Arc::new(Admission::new(connections));
        let mut accepting = JoinSet::new();
        for listener in listeners {
            let (state, workers, admission) = (state.clone(), workers.clone(), admission.clone());
            accepting.spawn(accept(listener, state, workers, admission));
        }
        let result = tokio::select! {
            () = stop => Ok(()),
            Some(result) = accepting.join_next() => result.map_err(io::Error::other),
        };
        shutdown.cancel();
        while accepting.join_next().await.is_some() {}
        drop(workers);
        // Every connection closes within the grace period, and each thread exits when its last
        // connection closes. The timeout is needed only if a thread is blocked.
        let _ = tokio::time::timeout(SHUTDOWN_GRACE * 2, running.closed()).await;
        result
    }

    /// Serves a single connection over a byte stream until the peer closes the stream. The
    /// connection is served on the caller's runtime. The stream may be, for example, an accepted
    /// socket, a TLS stream, or standard input and output.
    ///
    /// `name` identifies the peer in [`Stats`] and in the log. Connection limits do not apply to
    /// streams served by this method. The future is not [`Send`], so await it directly or spawn it
    /// with [`spawn_local`](tokio::task::spawn_local).
    ///
    /// ```no_run
    /// # async fn example() -> std::io::Result<()> {
    /// use datakit_server::{Limits, Scratch, Server};
    /// use tokio::io::{join, stdin, stdout};
    ///
    /// let server = Server::new(Limits::default());
    /// server.serve_stream(join(stdin(), stdout()), "stdio", &Scratch::new()).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// - Returns [`io::ErrorKind::UnexpectedEof`] if the peer closes the stream in the middle of a
    ///   message.
    /// - Returns [`io::ErrorKind::InvalidData`] if a message is shorter than 7 bytes or longer than
    ///   msize.
    /// - Returns [`io::ErrorKind::TimedOut`] if one of the timeouts in [`Limits`] expires.
    /// - Returns the stream's error if reading or writing fails.
    ///
    /// # Cancel safety
    /// Dropping the future drops the requests in flight and closes the stream.
    pub async fn serve_stream<S, V>(&self, stream: S, name: &str, tree: &V) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
        V: Vfs,
    {
        let (limits, stats) = (self.limits.clone(), self.stats.clone());
        let state = Arc::new(ServerState { limits, stats, shutdown: CancellationToken::new() });
        let entry = ConnectionEntry::new(state, name.to_owned());
        let mut stream = Stream::Other(Box::new(stream));
        entry.serve(&mut stream, tree).await.into_result()
    }
}

/// Passes the connections of one listener to the worker threads until the server shuts down.
async fn accept(
    listener: Listener,
    state: Arc<ServerState>,
    workers: Arc<WorkerThreads>,
    admission: Arc<Admission>,
) {
    loop {
        let socket = tokio::select! {
            socket = listener.accept() => socket,
            () = state.shutdown.cancelled() => return,
        };
        if let Some(socket) = socket
            && let Some(permit) = admission.admit(&socket, &state)
        {
            workers.send(socket, permit);
        }
    }
}

/// Limits the number of connections, both in total and per peer.
struct Admission {
    total: Arc<Semaphore>,
    peers: Arc<PeerLimiter>,
}

/// A permit for one connection. The permit is dropped when the connection closes.
type Permit = (OwnedSemaphorePermit, PeerPermit);

impl Admission {
    fn new(connections: usize) -> Admission {
        let total = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        Admission { total, peers: Arc::default() }
    }

    /// Returns a permit for the connection. If a limit has been reached, counts and logs the
    /// refused connection and returns `None`.
    fn admit(&self, socket: &AcceptedSocket, state: &ServerState) -> Option<Permit> {
        let limit = state.limits.connections;
        let Ok(permit) = self.total.clone().try_acquire_owned() else {
            state.stats.count_refused_connection();
            warn!(peer = socket.peer_name(), limit, "too many connections, closing this one");
            return None;
        };
        let limit = state.limits.connections_per_peer;
        let Some(peer_permit) = self.peers.try_acquire(socket.peer_address(), limit) else {
            state.stats.count_refused_connection();
            warn!(
                peer = socket.peer_name(),
                limit, "too many connections of one peer, closing this one"
            );
            return None;
        };
        Some((permit, peer_permit))
    }
}
