//! The straight line from transport to transport, walked by a crew of workers.
//!
//! A worker takes the reader, takes one frame, gives the reader back, has the session answer it in
//! place, and hands the reply to the writer. While it waits inside a file another worker reads on.
//! There is no queue, no spawn and no allocation: on a board the crew is an array of futures in one
//! task ([`serve`]), on a desktop it grows on demand ([`Line`]).
//!
//! Replies gather and are sent by whoever is about to wait for more requests: a client that
//! pipelines costs one read and one write a batch.

mod baton;
mod buffer;
mod lane;
#[cfg(test)]
mod tests;

use core::cell::Cell;
use core::convert::Infallible;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};

use embassy_futures::select::{Either, select, select_array};
use embedded_io_async::Write;

use baton::Baton;
pub use buffer::{Buffer, Frame, Input};
use buffer::{IN_PLACE, Replies, Requests, WHOLE};
use lane::Lanes;
pub use lane::{Lane, Lend};

use crate::Decimal;
use crate::session::{Fids, Session};
use crate::vfs::{Error, TreeKind, Vfs};
use crate::wire;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Stop<E> {
    /// The peer closed it between two messages.
    Closed,
    /// It ended in the middle of a message.
    Truncated,
    /// A message claimed this size, which is below 7 or above msize: the stream cannot be followed
    /// any further.
    Size(u32),
    /// The transport failed.
    Transport(E),
}

impl<E: fmt::Debug> fmt::Display for Stop<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Closed => f.write_str("closed by the peer"),
            Stop::Truncated => f.write_str("closed by the peer in the middle of a message"),
            Stop::Size(size) => write!(f, "message size {size} is below 7 or above msize"),
            Stop::Transport(error) => write!(f, "transport: {error:?}"),
        }
    }
}

/// The memory of one connection of a board: `WORKERS` requests in flight, each in a frame of
/// `FRAME` bytes.
#[derive(Debug)]
pub struct Memory<const WORKERS: usize, const FRAME: usize> {
    lanes: [Lane; WORKERS],
    frames: [[u8; FRAME]; WORKERS],
    input: [u8; 64],
}

impl<const WORKERS: usize, const FRAME: usize> Memory<WORKERS, FRAME> {
    /// All of it, empty.
    #[must_use]
    pub const fn new() -> Self {
        Memory {
            lanes: [const { Lane::new() }; WORKERS],
            frames: [[0; FRAME]; WORKERS],
            input: [0; 64],
        }
    }
}

impl<const WORKERS: usize, const FRAME: usize> Default for Memory<WORKERS, FRAME> {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves one connection until it ends, and tells why it did. `WORKERS - 1` requests may wait
/// inside files at a time.
///
/// Dropping the future drops every request in flight; the fids go with the session.
pub async fn serve<V, F, R, W, const WORKERS: usize, const FRAME: usize>(
    session: &Session<'_, V, F>,
    rx: R,
    tx: W,
    memory: &mut Memory<WORKERS, FRAME>,
) -> Stop<R::Error>
where
    V: Vfs,
    F: Fids<V>,
    R: Input,
    W: Write<Error = R::Error>,
{
    let Memory { lanes, frames, input } = memory;
    let mut ends = Ends::new(rx, tx, input, [0; 0]);
    let line = Line::new(session, &mut ends, lanes.as_slice());
    let (stop, _) = crew(&line, frames).await;
    match stop {
        Err(stop) => stop,
    }
}

/// As [`serve`], but ends when `until` does, with `None`: a limit for silent clients, a restart.
/// `until` is given a function that tells how many requests are in flight.
pub async fn serve_until<V, F, R, W, const WORKERS: usize, const FRAME: usize>(
    session: &Session<'_, V, F>,
    rx: R,
    tx: W,
    memory: &mut Memory<WORKERS, FRAME>,
    until: impl AsyncFnOnce(&dyn Fn() -> usize),
) -> Option<Stop<R::Error>>
where
    V: Vfs,
    F: Fids<V>,
    R: Input,
    W: Write<Error = R::Error>,
{
    let Memory { lanes, frames, input } = memory;
    let mut ends = Ends::new(rx, tx, input, [0; 0]);
    let line = Line::new(session, &mut ends, lanes.as_slice());
    let in_flight = || line.in_flight();
    match select(crew(&line, frames), until(&in_flight)).await {
        Either::First((Err(stop), _)) => Some(stop),
        Either::Second(()) => None,
    }
}

/// The crew of a board. The frames are lent: an async function that owned its frame would hold it
/// twice. Not inlined: what is moved while the crew is made is not to stay on the stack of the one
/// who polls it.
#[inline(never)]
fn crew<
    'l,
    'a,
    V: Vfs,
    F: Fids<V>,
    R: Input,
    W: Write<Error = R::Error>,
    I: Buffer,
    O: Buffer,
    const N: usize,
    const FRAME: usize,
>(
    line: &'l Line<'a, V, F, R, W, I, O>,
    frames: &'l mut [[u8; FRAME]; N],
) -> impl Future<Output = (Result<Infallible, Stop<R::Error>>, usize)>
+ use<'l, 'a, V, F, R, W, I, O, N, FRAME> {
    let mut next = 0usize;
    select_array(frames.each_mut().map(|frame| {
        let lane = next;
        next = next.saturating_add(1);
        line.worker(lane, frame)
    }))
}

/// The two halves of a transport, and what has come or is to go: where a line begins and ends.
pub struct Ends<R, W, I, O> {
    rx: Requests<R, I>,
    tx: Replies<W, O>,
}

impl<R: Input, W: Write<Error = R::Error>, I: Buffer, O: Buffer> Ends<R, W, I, O> {
    /// `input` and `output` are what the crew shares, and an `output` of no bytes sends every reply
    /// at once.
    pub fn new(rx: R, tx: W, input: I, output: O) -> Self {
        Ends { rx: Requests::new(rx, input), tx: Replies::new(tx, output) }
    }
}

/// One connection: everything that its workers share.
pub struct Line<
    'a,
    V: Vfs,
    F: Fids<V>,
    R: Input,
    W: Write,
    I: Buffer,
    O: Buffer,
    L: Lend + ?Sized = [Lane],
> {
    session: &'a Session<'a, V, F>,
    rx: Baton<&'a mut Requests<R, I>>,
    tx: Baton<&'a mut Replies<W, O>>,
    lanes: Lanes<'a, L>,
    /// The reader sleeps: a reply that is ready now must be sent by who made it.
    waiting: Cell<bool>,
}

impl<'a, V, F, R, W, I, O, L> Line<'a, V, F, R, W, I, O, L>
where
    V: Vfs,
    F: Fids<V>,
    R: Input,
    W: Write<Error = R::Error>,
    I: Buffer,
    O: Buffer,
    L: Lend + ?Sized,
{
    /// A line between the two ends. `lanes` bounds the crew.
    pub fn new(
        session: &'a Session<'a, V, F>,
        ends: &'a mut Ends<R, W, I, O>,
        lanes: &'a L,
    ) -> Self {
        Line {
            session,
            rx: Baton::new(&mut ends.rx),
            tx: Baton::new(&mut ends.tx),
            lanes: Lanes::new(lanes),
            waiting: Cell::new(false),
        }
    }

    /// Requests in flight now. When that is the size of the crew, nobody reads: time for one more,
    /// if there is a lane for it.
    pub fn in_flight(&self) -> usize {
        self.lanes.busy()
    }

    /// Whether nothing is in flight and every reply has been handed to the transport: time to end,
    /// if it is to end.
    pub fn is_idle(&self) -> bool {
        self.lanes.busy() == 0 && self.tx.with(|tx| tx.is_empty()).unwrap_or(false)
    }

    /// One worker, in the lane of this number. Ends when the connection does.
    ///
    /// Never drop one worker and keep the others: it may hold half a request or half a reply. All
    /// workers of a line are polled by one task with one waker.
    ///
    /// # Errors
    /// Why the connection ended; there is no other way out. A lane that does not exist ends the
    /// connection as closed.
    pub async fn worker<B: Buffer>(
        &self,
        lane: usize,
        mut buf: B,
    ) -> Result<Infallible, Stop<R::Error>> {
        let lane = self.lanes.lane(lane).ok_or(Stop::Closed)?;
        loop {
            let request = self.request(lane, &mut buf).await?; // transport -> frame
            let held = request.frame.held;
            let room = match buf.room(0, held).get(..held) {
                Some(request) if B::GROWS => self.session.room(request),
                _ => held,
            };
            let buf = buf.room(room, held);
            let len = self.answer(lane, buf, request).await; // decode -> fid -> inode -> encode
            let tx = self.tx.take().await;
            // Who has waited for that gets the writer after this reply.
            self.lanes.leave(lane);
            tx.push(buf.get(..len).unwrap_or_default(), self.waiting.get()).await?; // -> transport
            self.tx.give(tx);
        }
    }

    /// The next request. Requests on memory are answered on the way, without a worker of their own.
    async fn request<B: Buffer>(
        &self,
        lane: &Lane,
        buf: &mut B,
    ) -> Result<Request, Stop<R::Error>> {
        if B::GROWS && self.rx.is_taken() {
            buf.rest(); // somebody else reads, perhaps for hours
        }
        let rx = self.rx.take().await;
        let frame = loop {
            let msize = self.session.msize();
            if V::TreeKind::HAS_FAST_PATH && !R::SHARES {
                self.at_once(rx, msize, |_| true)?;
            }
            poll_fn(|cx| if R::SHARES { self.turn(rx, msize, cx) } else { Poll::Ready(Ok(())) })
                .await?;
            if let Some(frame) = rx.next(buf, msize)? {
                break frame;
            }
            self.flush().await?; // whoever is about to wait sends first
            buf.rest();
            self.waiting.set(true);
            let more = rx.more(buf).await;
            // When the reader is gone for good, who still answers must send.
            self.waiting.set(more.is_err());
            if let Some(frame) = more? {
                break frame;
            }
        };
        let message = buf.room(0, frame.held).get(..frame.held).unwrap_or_default();
        let fresh = self.lanes.enter(lane, wire::tag(message));
        if fresh && frame.held == frame.size {
            // With the reader in hand: what follows a Tflush or Tversion is read when that is over,
            // and nothing cancels it.
            self.lanes.abort(lane, self.session.aborts(message)).await;
        }
        self.rx.give(rx);
        Ok(Request { frame, fresh })
    }

    /// Sends what was gathered.
    async fn flush(&self) -> Result<(), Stop<R::Error>> {
        let mut flush = pin!(async {
            let tx = self.tx.take().await;
            tx.push(&[], true).await?;
            self.tx.give(tx);
            Ok(())
        });
        // What an async function awaits is compiled, needed or not; this is not, where nothing is
        // gathered.
        poll_fn(|cx| {
            if Replies::<W, O>::GATHERS { flush.as_mut().poll(cx) } else { Poll::Ready(Ok(())) }
        })
        .await
    }

    /// Answers what can be answered [at once](Line::at_once), and waits for the turn of this
    /// connection between two requests.
    fn turn(
        &self,
        rx: &mut Requests<R, I>,
        msize: u32,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Stop<R::Error>>> {
        if V::TreeKind::HAS_FAST_PATH
            && self.at_once(rx, msize, |rx| rx.poll_turn(IN_PLACE, cx).is_ready())?
        {
            return Poll::Pending;
        }
        let pending = rx.first(msize)?.is_some() && rx.poll_turn(WHOLE, cx).is_pending();
        if pending { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// Answers reads and writes of memory from the input buffer into the output buffer, until one
    /// is none of these, or `goes_on` ends it: whether that was so.
    fn at_once(
        &self,
        rx: &mut Requests<R, I>,
        msize: u32,
        mut goes_on: impl FnMut(&mut Requests<R, I>) -> bool,
    ) -> Result<bool, Stop<R::Error>> {
        let answer = |tx: &mut &mut Replies<W, O>| {
            while let Some(frame) = rx.first(msize)? {
                if self.lanes.holds(wire::tag(frame)) {
                    break;
                }
                let Some(len) = self.session.now(frame, tx.free()) else { break };
                let size = frame.len();
                tx.pushed(len);
                rx.taken(size);
                if !goes_on(rx) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        // While somebody writes, they take the way of all others.
        self.tx.with(answer).unwrap_or(Ok(false))
    }

    /// Has the session answer: the reply's length, 0 for none. No reply if the request is
    /// cancelled, an error if it would wait where it must not.
    async fn answer(&self, lane: &Lane, buf: &mut [u8], request: Request) -> usize {
        let mut refused = request.refused(buf);
        let len = {
            let mut answer = pin!(self.session.answer(buf, request.frame.held));
            poll_fn(|cx| {
                if refused.is_some() || self.lanes.cancelled(lane) {
                    return Poll::Ready(0);
                }
                match answer.as_mut().poll(cx) {
                    Poll::Pending if self.lanes.wait(lane) => Poll::Pending,
                    Poll::Pending => {
                        refused = Some(Error::TooManyWaiting);
                        Poll::Ready(0)
                    }
                    ready => {
                        if self.session.polls_again() {
                            cx.waker().wake_by_ref();
                        }
                        ready
                    }
                }
            })
            .await
        };
        self.lanes.go_on(lane);
        refused.map_or(len, |error| self.session.refuse(buf, &error))
    }

    /// While `full`, a request that would wait is refused like one for which no lane is left: the
    /// owner of the memory has lent all that it wants to lend to requests that wait.
    pub fn set_full(&self, full: bool) {
        self.lanes.set_full(full);
    }

    /// How many requests may be in flight.
    pub fn most(&self) -> usize {
        self.lanes.len()
    }
}

/// A request in its worker's buffer.
struct Request {
    frame: Frame,
    /// Its tag was free.
    fresh: bool,
}

impl Request {
    /// Why it is not to be answered.
    fn refused(&self, buf: &[u8]) -> Option<Error> {
        let Request { frame: Frame { held, size }, fresh } = *self;
        if !fresh {
            Some(
                Error::Invalid.with_message(format_args!(
                    "tag {} is in use",
                    Decimal::from(wire::tag(buf).0)
                )),
            )
        } else if held < size {
            Some(Error::TooLarge.with_message(format_args!(
                "message of {} bytes, room for {}",
                Decimal::from(size),
                Decimal::from(held)
            )))
        } else {
            None
        }
    }
}
