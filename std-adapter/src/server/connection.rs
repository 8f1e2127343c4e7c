//! One connection: a crew of workers that grows while all of them wait inside files.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use datakit_core::serve::{Ends, Lane, Line, Stop};
use datakit_core::session::{self, Session};
use datakit_core::vfs::Vfs;
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::buffers::{Batch, Frame, Held};
use super::fids::FidMap;
use super::stats::{Peer, Stats};
use super::transport::{Rx, Tx};
use super::{GRACE, HANG_UP, Limits};

type Worker<'l> = Pin<Box<dyn Future<Output = Result<Infallible, Stop<io::Error>>> + 'l>>;

/// Why a connection ended.
pub(super) enum End {
    /// The line did.
    Line(Stop<io::Error>),
    /// It never attached.
    Silent,
    /// The server shuts down, and nothing is left to answer.
    Shutdown,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Line(Stop::Transport(error)) => write!(f, "{error}"),
            End::Line(stop) => write!(f, "{stop}"),
            End::Silent => f.write_str("did not attach in time"),
            End::Shutdown => f.write_str("the server shuts down"),
        }
    }
}

/// Serves one connection until it ends. Dropping the future drops its requests, fids and streams.
pub(super) async fn serve<V: Vfs>(
    vfs: &V,
    (rx, tx): (Rx, Tx),
    limits: &Limits,
    stats: &Arc<Stats>,
    peer: &Peer,
    shutdown: &CancellationToken,
) -> End {
    let granted = session::Limits { msize: limits.msize, iounit: 0 };
    let session = Session::new(vfs, FidMap::new(limits.fids), granted).observed(&**stats);
    let lanes: Box<[Lane]> = (0..limits.requests.max(2)).map(|_| Lane::new()).collect();
    let end = {
        let held = Held::default();
        let mut ends = Ends::new(rx, tx, Batch::new(&held), Batch::new(&held));
        let line = Line::new(&session, &mut ends, &lanes);
        let mut crew: Vec<Worker<'_>> = vec![Box::pin(line.worker(0, Frame::new(&held)))];
        let mut shutdown = pin!(shutdown.cancelled());
        let mut silent = Some(Box::pin(sleep(limits.attach_timeout)));
        let mut grace: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| {
            let look = || line.set_full(held.bytes() > limits.buffered);
            if let Poll::Ready(stop) = walk(&line, &held, look, &mut crew, cx) {
                return Poll::Ready(End::Line(stop));
            }
            peer.show(session.dialect(), session.msize(), session.fids(), line.in_flight());
            if session.attached() {
                silent = None;
            } else if silent.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(End::Silent);
            }
            if grace.is_none() && shutdown.as_mut().poll(cx).is_ready() {
                grace = Some(Box::pin(sleep(GRACE)));
            }
            let over = grace.as_mut().is_some_and(|timer| line.is_idle() || timer.as_mut().poll(cx).is_ready());
            if over { Poll::Ready(End::Shutdown) } else { Poll::Pending }
        })
        .await
    };
    // Dropped halfway, the session closes the rest.
    let _ = timeout(HANG_UP, session.hang_up()).await;
    end
}

/// Polls every worker, and takes one more on when nobody is left to read; `look` is asked before each whether there is memory left
/// for one more that waits.
fn walk<'l, 'a, 'h, V: Vfs>(
    line: &'l Line<'a, V, FidMap<V>, Rx, Tx, Batch<'h>, Batch<'h>>,
    held: &'h Held,
    look: impl Fn(),
    crew: &mut Vec<Worker<'l>>,
    cx: &mut Context<'_>,
) -> Poll<Stop<io::Error>> {
    let mut fresh = 0;
    loop {
        look();
        for worker in crew.iter_mut().skip(fresh) {
            if let Poll::Ready(Err(stop)) = worker.as_mut().poll(cx) {
                return Poll::Ready(stop);
            }
        }
        fresh = crew.len();
        if line.in_flight() < fresh || fresh == line.most() {
            return Poll::Pending;
        }
        crew.push(Box::pin(line.worker(fresh, Frame::new(held))));
    }
}
