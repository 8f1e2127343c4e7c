//! Serves a single connection: runs its workers, enforces its timeouts and shuts it down.

use std::cell::OnceCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::iter::once;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{error, fmt};

use datakit_core::serve::{self, Disconnect, Io, RequestSlot, SlotStorage};
use datakit_core::session::{self, Session};
use datakit_core::vfs::Vfs;
use datakit_core::wire::Dialect;
use tokio::time::{Duration, Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::field::{Empty, display};
use tracing::{Instrument, Span, info, info_span, warn};

use super::buffer_pool::{BatchBuffer, BufferedBytes, FrameBuffer};
use super::fids::FidMap;
use super::limits::Limits;
use super::stats::{Peer, RequestObserver, Stats};
use super::time_slice::TimeSlice;
use super::transport::{Rx, Stream, Tx};
use crate::memory;

/// How long requests in flight may take to complete once a shutdown has begun.
pub(super) const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// The time limit for removing remove-on-close files when a connection closes. When the limit
/// expires, the remaining files are closed but not removed.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

type Worker<'l> = Pin<Box<dyn Future<Output = Result<Infallible, Disconnect<io::Error>>> + 'l>>;

/// The reason why a connection closed.
#[derive(Debug)]
pub(super) enum EndReason {
    /// The peer closed the connection, the transport failed, or a message was invalid.
    Disconnect(Disconnect<io::Error>),
    /// The peer did not attach in time.
    AttachTimeout,
    /// The peer attached but then had no requests in flight for the given duration.
    IdleTimeout(Duration),
    /// The server is shutting down.
    Shutdown,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndReason::Disconnect(Disconnect::Read(error) | Disconnect::Write(error)) => {
                write!(f, "{error}")
            }
            EndReason::Disconnect(reason) => write!(f, "{reason}"),
            EndReason::AttachTimeout => f.write_str("did not attach in time"),
            EndReason::IdleTimeout(time) => write!(f, "idle for {time:?}"),
            EndReason::Shutdown => f.write_str("the server shuts down"),
        }
    }
}

impl error::Error for EndReason {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            EndReason::Disconnect(Disconnect::Read(error) | Disconnect::Write(error)) => {
                error.source()
            }
            _ => None,
        }
    }
}

impl EndReason {
    /// Returns `Ok` if the peer closed the connection between two messages, or if the server is
    /// shutting down.
    pub(super) fn into_result(self) -> io::Result<()> {
        let kind = match self {
            EndReason::Disconnect(Disconnect::Closed) | EndReason::Shutdown => return Ok(()),
            EndReason::Disconnect(Disconnect::Read(error) | Disconnect::Write(error)) => {
                return Err(error);
            }
            EndReason::Disconnect(Disconnect::Truncated) => io::ErrorKind::UnexpectedEof,
            EndReason::Disconnect(_) => io::ErrorKind::InvalidData,
            EndReason::AttachTimeout | EndReason::IdleTimeout(_) => io::ErrorKind::TimedOut,
        };
        Err(io::Error::new(kind, self))
    }
}

/// The server state shared by all threads.
#[derive(Debug)]
pub(super) struct ServerState {
    pub(super) limits: Limits,
    pub(super) stats: Arc<Stats>,
    pub(super) shutdown: CancellationToken,
}

/// A connection's entry in the list kept by [`Stats`]. Dropping it removes the connection from the
/// list.
pub(super) struct ConnectionEntry {
    state: Arc<ServerState>,
    number: u64,
    pub(super) peer: Arc<Peer>,
    /// The tracing span that is active while the connection is polled. Events logged by the tree
    /// are recorded in this span.
    span: Span,
}

impl ConnectionEntry {
    pub(super) fn new(state: Arc<ServerState>, name: String) -> ConnectionEntry {
        let (number, peer) = state.stats.add_connection(name);
        let span = info_span!("connection", peer = peer.name, dialect = Empty);
        ConnectionEntry { state, number, peer, span }
    }

    /// Serves the connection until it closes, and logs when it opens and when it closes.
    pub(super) async fn serve<V: Vfs>(&self, stream: &mut Stream, tree: &V) -> EndReason {
        let (peer, stats) = (&self.peer, &self.state.stats);
        info!(peer = peer.name, "connected");
        let reason = serve(stream, tree, self).instrument(self.span.clone()).await;
        stats.events().push(format!("disconnected {} {reason}\n", peer.name));
        let (dialect, msize) = (peer.dialect(), peer.msize());
        match reason {
            EndReason::Disconnect(Disconnect::InvalidSize(_)) => {
                stats.count_refused_frame();
                warn!(peer = peer.name, dialect, msize, %reason, "disconnected");
            }
            _ => info!(peer = peer.name, dialect, %reason, "disconnected"),
        }
        reason
    }

    /// Updates the connection's state in [`Stats`].
    fn update(&self, dialect: Option<Dialect>, msize: u32, fids: usize, in_flight: usize) {
        if self.peer.update(dialect, msize, fids, in_flight) {
            self.span.record("dialect", display(self.peer.dialect()));
        }
    }
}

impl Drop for ConnectionEntry {
    fn drop(&mut self) {
        memory::report_freed(memory::CONNECTION_BYTES);
        self.state.stats.remove_connection(self.number);
    }
}

/// Serves a connection until it closes. Dropping the future drops the connection's requests, fids
/// and streams.
///
/// A server may hold thousands of these futures, and most of them are idle. Rarely needed state is
/// therefore allocated on demand. The function returns an async block because an async function
/// would store its arguments twice.
fn serve<'c, V: Vfs>(
    stream: &'c mut Stream,
    tree: &'c V,
    entry: &'c ConnectionEntry,
) -> impl Future<Output = EndReason> + use<'c, V> {
    let state = &entry.state;
    let limits = session::Limits::new(state.limits.msize);
    let session = Session::new(tree, FidMap::new(state.limits.fids), limits);
    let slots = GrowingSlots::new(state.limits.requests);
    let observer = RequestObserver::new(&state.stats);
    let time_slice = TimeSlice::new();
    async move {
        let session = session.with_observer(&observer);
        let end = {
            let (state, buffered) = (&entry.state, BufferedBytes::default());
            let (rx, tx) = stream.split(&state.limits.write_timeout, &state.stats, &time_slice);
            let mut io = Io::new(rx, tx, BatchBuffer::new(&buffered), BatchBuffer::new(&buffered));
            let connection = Connection::new(&session, &mut io, &slots);
            let mut workers = Workers::new(&connection, &buffered, &observer);
            let mut shutdown = pin!(state.shutdown.cancelled());
            let mut attach_timer = Some(Box::pin(sleep(state.limits.attach_timeout)));
            let mut grace_timer: Option<Pin<Box<Sleep>>> = None;
            let mut idle_timer = state.limits.idle_timeout.map(|max| Box::new(IdleTimer::new(max)));
            let (session, time_slice) = (&session, &time_slice);
            poll_fn(move |cx| {
                time_slice.start();
                if let Poll::Ready(reason) = workers.poll(entry.state.limits.buffered, cx) {
                    return Poll::Ready(EndReason::Disconnect(reason));
                }
                let connection = workers.connection;
                let in_flight = connection.in_flight();
                entry.update(session.dialect(), session.msize(), session.fids(), in_flight);
                if session.attached() {
                    attach_timer = None;
                    if let Some(timer) = &mut idle_timer
                        && timer.poll(in_flight, time_slice.requests(), cx).is_ready()
                    {
                        return Poll::Ready(EndReason::IdleTimeout(timer.timeout));
                    }
                } else if let Some(timer) = &mut attach_timer
                    && timer.as_mut().poll(cx).is_ready()
                {
                    return Poll::Ready(EndReason::AttachTimeout);
                }
                if grace_timer.is_none() && shutdown.as_mut().poll(cx).is_ready() {
                    grace_timer = Some(Box::pin(sleep(SHUTDOWN_GRACE)));
                }
                if let Some(timer) = &mut grace_timer
                    && (connection.is_idle() || timer.as_mut().poll(cx).is_ready())
                {
                    return Poll::Ready(EndReason::Shutdown);
                }
                Poll::Pending
            })
            .await
        };
        time_slice.leave_queue();
        // Shut down the stream before closing the session so that the peer does not have to wait
        // for files to be removed.
        stream.shutdown().await;
        // If `close` does not complete in time, dropping the session closes the remaining files.
        let _ = Box::pin(timeout(CLOSE_TIMEOUT, session.close())).await;
        end
    }
}

/// A timer that measures how long the connection has had no requests in flight.
struct IdleTimer {
    timeout: Duration,
    timer: Pin<Box<Sleep>>,
    /// The total number of requests at time `since`.
    requests: u64,
    since: Instant,
}

impl IdleTimer {
    fn new(timeout: Duration) -> IdleTimer {
        let timer = Box::pin(sleep(timeout));
        IdleTimer { timeout, timer, requests: 0, since: Instant::now() }
    }

    /// Returns `Ready` once the timeout has expired. A blocked read from a stream counts as a
    /// request in flight, so it keeps the connection open.
    fn poll(&mut self, in_flight: usize, requests: u64, cx: &mut Context<'_>) -> Poll<()> {
        if in_flight > 0 || requests != self.requests {
            (self.requests, self.since) = (requests, Instant::now());
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.since.elapsed() >= self.timeout {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.since + self.timeout);
        }
        Poll::Pending
    }
}

type Connection<'a, 's, 'b, V> = serve::Connection<
    'a,
    V,
    FidMap<V>,
    Rx<'s>,
    Tx<'s>,
    BatchBuffer<'b>,
    BatchBuffer<'b>,
    GrowingSlots,
>;

/// A connection's workers. A worker is added when all existing workers are busy.
struct Workers<'l, 'a, 's, 'b, V: Vfs> {
    connection: &'l Connection<'a, 's, 'b, V>,
    buffered: &'b BufferedBytes,
    observer: &'l RequestObserver<'l>,
    first: Worker<'l>,
    others: Vec<Worker<'l>>,
}

impl<'l, 'a, 's, 'b, V: Vfs> Workers<'l, 'a, 's, 'b, V> {
    fn new(
        connection: &'l Connection<'a, 's, 'b, V>,
        buffered: &'b BufferedBytes,
        observer: &'l RequestObserver<'l>,
    ) -> Self {
        let first = Box::pin(connection.worker(0, FrameBuffer::new(buffered)));
        Workers { connection, buffered, observer, first, others: Vec::new() }
    }

    /// Polls all workers and adds another worker if all of them are busy. While more than
    /// `max_buffered` bytes are buffered, further requests that would block on a file are refused.
    fn poll(&mut self, max_buffered: usize, cx: &mut Context<'_>) -> Poll<Disconnect<io::Error>> {
        let Workers { connection, buffered, observer, first, others } = self;
        let mut polled = 0;
        loop {
            connection.set_full(buffered.get() > max_buffered);
            for (number, worker) in
                once(&mut *first).chain(others.iter_mut()).enumerate().skip(polled)
            {
                observer.set_worker(number);
                if let Poll::Ready(Err(reason)) = worker.as_mut().poll(cx) {
                    return Poll::Ready(reason);
                }
            }
            polled = 1 + others.len();
            if connection.in_flight() < polled || polled == connection.max_requests() {
                return Poll::Pending;
            }
            others.push(Box::pin(connection.worker(polled, FrameBuffer::new(buffered))));
        }
    }
}

/// A list of request slots. The first slot is stored inline, because most connections never have a
/// second worker. The other slots are allocated together once a second slot is needed.
struct GrowingSlots {
    first: RequestSlot,
    others: OnceCell<Box<[RequestSlot]>>,
    max: u32,
}

impl GrowingSlots {
    /// Creates a list of up to `max` slots, or up to two slots if `max` is less than two. The
    /// second slot is needed for the request that follows a blocked request.
    fn new(max: usize) -> GrowingSlots {
        GrowingSlots {
            first: RequestSlot::new(),
            others: OnceCell::new(),
            max: u32::try_from(max).unwrap_or(u32::MAX).max(2),
        }
    }
}

impl SlotStorage for GrowingSlots {
    fn capacity(&self) -> usize {
        self.max as usize
    }

    fn slot(&self, index: usize) -> Option<&RequestSlot> {
        let Some(index) = index.checked_sub(1) else { return Some(&self.first) };
        self.others.get_or_init(|| (1..self.max).map(|_| RequestSlot::new()).collect()).get(index)
    }

    fn first(&self, count: usize) -> impl Iterator<Item = &RequestSlot> {
        once(&self.first).chain(self.others.get().into_iter().flatten()).take(count)
    }
}
