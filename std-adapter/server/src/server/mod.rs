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

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use connection::{ConnectionEntry, SHUTDOWN_GRACE, ServerState};
use datakit_core::vfs::Vfs;
pub use limits::{Limits, MSIZE, PeerLimiter, PeerPermit};
use listen::AcceptedSocket;
pub use listen::{Listener, enable_keep_alive, listen_error};
pub use stats::{Durations, Histogram, Peer, Stats};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinSet, LocalSet, spawn_local};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use transport::Stream;

use crate::url::Url;

/// A 9P server with its listening sockets, limits and counters.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use datakit_server::{Limits, Scratch, Server};
///
/// let server = Server::bind(&["localhost:5640".parse().unwrap()], Limits::default()).await?;
/// let tree = Scratch::new();
/// server.serve(move |_peer| tree.clone(), std::future::pending()).await
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
        let senders = (0..threads)
            .map(|_| spawn_worker(tree.clone(), state.clone(), running.subscribe()))
            .collect::<io::Result<Vec<_>>>()?;
        let workers = Arc::new(WorkerThreads { senders, next: AtomicUsize::new(0) });
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

/// The threads that serve connections.
struct WorkerThreads {
    senders: Vec<UnboundedSender<(AcceptedSocket, Permit)>>,
    next: AtomicUsize,
}

impl WorkerThreads {
    /// Passes a connection to the next thread.
    fn send(&self, socket: AcceptedSocket, permit: Permit) {
        let index = self.next.fetch_add(1, Relaxed) % self.senders.len();
        if let Some(sender) = self.senders.get(index) {
            // Sending cannot fail, because each thread keeps its receiver until the sender is
            // dropped.
            let _ = sender.send((socket, permit));
        }
    }
}

/// Spawns a thread that has its own reactor and serves the connections sent to it. Once the sender
/// has been dropped, the thread exits as soon as its last connection closes. The thread drops
/// `running` last, after the tree.
fn spawn_worker<V, M>(
    tree: M,
    state: Arc<ServerState>,
    running: watch::Receiver<()>,
) -> io::Result<UnboundedSender<(AcceptedSocket, Permit)>>
where
    V: Vfs + 'static,
    M: Fn(&Peer) -> V + Clone + Send + 'static,
{
    let (sender, receiver) = unbounded_channel();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("datakit-serve".into()).spawn(move || {
        let _running = running;
        let (tasks, tree) = (LocalSet::new(), Rc::new(tree));
        let serve = |socket, permit| -> ConnectionFuture {
            Box::pin(serve_connection(socket, permit, tree.clone(), state.clone()))
        };
        runtime.block_on(tasks.run_until(spawn_connections(receiver, &serve)));
        runtime.block_on(tasks);
    })?;
    Ok(sender)
}

/// Serves one connection. The future is boxed so that tokio's code is compiled for only one type of
/// connection, although each kind of tree has its own.
type ConnectionFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Spawns a task for each connection, until the sender is dropped.
async fn spawn_connections(
    mut receiver: UnboundedReceiver<(AcceptedSocket, Permit)>,
    serve: &dyn Fn(AcceptedSocket, Permit) -> ConnectionFuture,
) {
    while let Some((socket, permit)) = receiver.recv().await {
        spawn_local(serve(socket, permit));
    }
}

/// Serves an accepted connection until it closes.
fn serve_connection<V: Vfs, M: Fn(&Peer) -> V>(
    socket: AcceptedSocket,
    permit: Permit,
    tree: Rc<M>,
    state: Arc<ServerState>,
) -> impl Future<Output = ()> {
    let entry = ConnectionEntry::new(state, socket.peer_name());
    let mut stream = socket.register();
    async move {
        match &mut stream {
            Ok(stream) => {
                let tree = tree(&entry.peer);
                entry.serve(stream, &tree).await;
            }
            Err(error) => warn!(peer = entry.peer.name, %error, "cannot use this socket"),
        }
        drop(permit);
    }
}
