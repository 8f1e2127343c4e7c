//! One connection: a crew of workers that grows while all of them wait inside files.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::iter::once;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use datakit_core::serve::{self, Disconnect, Io};
use datakit_core::session::{self, Session};
use datakit_core::vfs::Vfs;
use tokio::time::{Duration, Instant, Sleep, sleep, timeout};

use super::buffers::{Batch, Frame, Held};
use super::durations::Watch;
use super::fids::FidMap;
use super::lanes::Lanes;
use super::transport::{Rx, Stream, Tx};
use super::turn::{Neighbours, Turn};
use super::{GRACE, Guest, HANG_UP};

type Worker<'l> = Pin<Box<dyn Future<Output = Result<Infallible, Disconnect<io::Error>>> + 'l>>;

/// Why a connection ended.
pub(super) enum End {
    /// The line did.
    Line(Disconnect<io::Error>),
    /// It never attached.
    Silent,
    /// It attached, and had nothing in flight for so long.
    Idle(Duration),
    /// The server shuts down, and nothing is left to answer.
    Shutdown,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Line(Disconnect::Transport(error)) => write!(f, "{error}"),
            End::Line(stop) => write!(f, "{stop}"),
            End::Silent => f.write_str("did not attach in time"),
            End::Idle(long) => write!(f, "idle for {long:?}"),
            End::Shutdown => f.write_str("the server shuts down"),
        }
    }
}

/// Serves one connection until it ends. Dropping the future drops its requests, fids and streams.
///
/// A thousand connections that do nothing are a thousand of these futures. So what only some need
/// is made when they need it, and what comes from here is captured: an async function would hold
/// its arguments twice.
pub(super) fn serve<'c, V: Vfs>(
    stream: &'c mut Stream,
    vfs: &'c V,
    guest: &'c Guest,
    neighbours: Rc<Neighbours>,
) -> impl Future<Output = End> + use<'c, V> {
    let all = &guest.all;
    let granted = session::Limits::new(all.limits.msize);
    let session = Session::new(vfs, FidMap::new(all.limits.fids), granted);
    let (lanes, watch) = (Lanes::new(all.limits.requests), Watch::new(&all.stats));
    let turn = Turn::new(neighbours);
    async move {
        let session = session.with_observer(&watch);
        let end = {
            let (all, held) = (&guest.all, Held::default());
            let (rx, tx) = stream.halves(&all.limits.write_timeout, &all.stats, &turn);
            let mut io = Io::new(rx, tx, Batch::new(&held), Batch::new(&held));
            let line = Line::new(&session, &mut io, &lanes);
            let mut shutdown = pin!(all.closing.cancelled());
            let mut crew = Crew::new(&line, &held, &watch);
            let mut silent = Some(Box::pin(sleep(all.limits.attach_timeout)));
            let mut grace: Option<Pin<Box<Sleep>>> = None;
            let mut idle = all.limits.idle_timeout.map(|most| Box::new(Idle::new(most)));
            let session = &session;
            let turn = &turn;
            poll_fn(move |cx| {
                turn.begin();
                if let Poll::Ready(stop) = crew.walk(guest.all.limits.buffered, cx) {
                    return Poll::Ready(End::Line(stop));
                }
                let line = crew.line;
                guest.peer.show(
                    session.dialect(),
                    session.msize(),
                    session.fids(),
                    line.in_flight(),
                );
                if session.attached() {
                    silent = None;
                } else if silent.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
                    return Poll::Ready(End::Silent);
                }
                if let Some(idle) = &mut idle
                    && session.attached()
                    && idle.poll(line.in_flight(), turn.requests(), cx).is_ready()
                {
                    return Poll::Ready(End::Idle(idle.most));
                }
                if grace.is_none() && shutdown.as_mut().poll(cx).is_ready() {
                    grace = Some(Box::pin(sleep(GRACE)));
                }
                let over = grace
                    .as_mut()
                    .is_some_and(|timer| line.is_idle() || timer.as_mut().poll(cx).is_ready());
                if over { Poll::Ready(End::Shutdown) } else { Poll::Pending }
            })
            .await
        };
        turn.leave();
        // The peer need not wait for the files that go with the connection.
        stream.end().await;
        // Dropped halfway, the session closes the rest.
        let _ = Box::pin(timeout(HANG_UP, session.close())).await;
        end
    }
}

/// How long nothing was asked.
struct Idle {
    most: Duration,
    timer: Pin<Box<Sleep>>,
    /// Requests until then.
    requests: u64,
    since: Instant,
}

impl Idle {
    fn new(most: Duration) -> Idle {
        Idle { most, timer: Box::pin(sleep(most)), requests: 0, since: Instant::now() }
    }

    /// Ready when it was too long. A request that waits in a stream is in flight.
    fn poll(&mut self, in_flight: usize, requests: u64, cx: &mut Context<'_>) -> Poll<()> {
        if in_flight > 0 || requests != self.requests {
            (self.requests, self.since) = (requests, Instant::now());
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.since.elapsed() >= self.most {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.since + self.most);
        }
        Poll::Pending
    }
}

type Line<'a, 's, 'h, V> =
    serve::Connection<'a, V, FidMap<V>, Rx<'s>, Tx<'s>, Batch<'h>, Batch<'h>, Lanes>;

/// The workers of one line.
struct Crew<'l, 'a, 's, 'h, V: Vfs> {
    line: &'l Line<'a, 's, 'h, V>,
    held: &'h Held,
    watch: &'l Watch<'l>,
    first: Worker<'l>,
    /// Those that came because all others waited inside files.
    others: Vec<Worker<'l>>,
}

impl<'l, 'a, 's, 'h, V: Vfs> Crew<'l, 'a, 's, 'h, V> {
    fn new(line: &'l Line<'a, 's, 'h, V>, held: &'h Held, watch: &'l Watch<'l>) -> Self {
        Crew {
            line,
            held,
            watch,
            first: Box::pin(line.worker(0, Frame::new(held))),
            others: Vec::new(),
        }
    }

    /// Polls every worker, and takes one more on when nobody is left to read. No further request
    /// may wait while more than `buffered` bytes are held.
    fn walk(&mut self, buffered: usize, cx: &mut Context<'_>) -> Poll<Disconnect<io::Error>> {
        let Crew { line, held, watch, first, others } = self;
        let mut polled = 0;
        loop {
            line.set_full(held.bytes() > buffered);
            for (number, worker) in
                once(&mut *first).chain(others.iter_mut()).enumerate().skip(polled)
            {
                watch.turn(number);
                if let Poll::Ready(Err(stop)) = worker.as_mut().poll(cx) {
                    return Poll::Ready(stop);
                }
            }
            polled = 1 + others.len();
            if line.in_flight() < polled || polled == line.max_requests() {
                return Poll::Pending;
            }
            others.push(Box::pin(line.worker(polled, Frame::new(held))));
        }
    }
}
