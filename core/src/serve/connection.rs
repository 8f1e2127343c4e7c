//! The worker loop of a connection. The workers share one reader and one writer, which only one
//! worker can use at a time.

// The functions return `impl Future`, because the future of an `async fn` would contain the
// arguments twice.
#![allow(clippy::manual_async_fn)]

use core::cell::Cell;
use core::convert::Infallible;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll};

use embedded_io_async::Write;
use pin_project_lite::pin_project;

use super::buffer::{Buffer, COST_IN_PLACE, COST_OTHER, Frame, Replies, Requests, TransportRead};
use super::request_slots::{RequestSlot, SlotStorage, Slots, WakerCell};
use super::{Disconnect, DisconnectOf};
use crate::session::{FidTable, Session, message_too_large};
use crate::vfs::{Error, TreeKind, Vfs};
use crate::wire;

/// The two halves of a transport and their buffers.
pub struct Io<R, W, I, O> {
    rx: Requests<R, I>,
    tx: Replies<W, O>,
}

impl<R: TransportRead, W: Write, I: Buffer, O: Buffer> Io<R, W, I, O> {
    /// Creates the I/O state of a connection. The workers share `input` and `output`. If `output`
    /// has no capacity, every reply is sent immediately.
    pub fn new(rx: R, tx: W, input: I, output: O) -> Self {
        Io { rx: Requests::new(rx, input), tx: Replies::new(tx, output) }
    }
}

impl<R, W, I, O> fmt::Debug for Io<R, W, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").finish_non_exhaustive()
    }
}

/// The state of one connection, shared by its workers.
pub struct Connection<
    'a,
    V: Vfs,
    F: FidTable<V>,
    R: TransportRead,
    W: Write,
    I: Buffer,
    O: Buffer,
    L: SlotStorage + ?Sized = [RequestSlot],
> {
    session: &'a Session<'a, V, F>,
    rx: Handoff<&'a mut Requests<R, I>>,
    tx: Handoff<&'a mut Replies<W, O>>,
    slots: Slots<'a, L>,
    /// Whether the reader is waiting for the transport. While the reader is waiting, a worker that
    /// completes a reply must flush it.
    reader_parked: Cell<bool>,
}

impl<V, F, R, W, I, O, L> fmt::Debug for Connection<'_, V, F, R, W, I, O, L>
where
    V: Vfs,
    F: FidTable<V>,
    R: TransportRead,
    W: Write,
    I: Buffer,
    O: Buffer,
    L: SlotStorage + ?Sized,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("session", &self.session).finish_non_exhaustive()
    }
}

impl<'a, V, F, R, W, I, O, L> Connection<'a, V, F, R, W, I, O, L>
where
    V: Vfs,
    F: FidTable<V>,
    R: TransportRead,
    W: Write,
    I: Buffer,
    O: Buffer,
    L: SlotStorage + ?Sized,
{
    /// Creates a connection over `io`. The capacity of `slots` limits the number of workers.
    pub fn new(session: &'a Session<'a, V, F>, io: &'a mut Io<R, W, I, O>, slots: &'a L) -> Self {
        Connection {
            session,
            rx: Handoff::new(&mut io.rx),
            tx: Handoff::new(&mut io.tx),
            slots: Slots::new(slots),
            reader_parked: Cell::new(false),
        }
    }

    /// Returns the number of requests in flight. When this number equals the number of workers, no
    /// worker is reading from the transport. The connection's owner may then add a worker, up to a
    /// total of [`max_requests`](Connection::max_requests).
    pub fn in_flight(&self) -> usize {
        self.slots.in_flight()
    }

    /// Returns `true` if no request is in flight and every reply has been passed to the transport.
    pub fn is_idle(&self) -> bool {
        self.slots.in_flight() == 0 && self.tx.try_with(|tx| tx.is_empty()).unwrap_or(false)
    }

    /// Runs one worker, using the slot at `index`, until the connection is closed.
    ///
    /// All workers of a connection must be polled by one task with one waker. If one worker is
    /// dropped, all of them must be dropped, because the dropped worker may have been processing a
    /// request or sending a reply.
    ///
    /// # Errors
    /// Always returns an error. The error is the reason that the connection was closed, or
    /// [`Disconnect::Closed`] if there is no slot at `index`.
    pub fn worker<B: Buffer>(
        &self,
        index: usize,
        mut buf: B,
    ) -> impl Future<Output = Result<Infallible, DisconnectOf<R, W>>> {
        let slot = self.slots.slot(index);
        async move {
            let slot = slot.ok_or(Disconnect::Closed)?;
            loop {
                let BufferedRequest { frame, fresh } = self.next_request(slot, &mut buf).await?; // transport -> frame
                let held = frame.held;
                let size = match buf.reserve(0, held).get(..held) {
                    Some(request) if B::GROWS => self.session.buffer_size(request),
                    _ => held,
                };
                // The slices of `buf` are looked up again after each wait, because slices held
                // across an await would be stored in the `Future`.
                let request = buf.reserve(size, held);
                let answered = match refusal(frame, fresh) {
                    None => {
                        let answer = self.session.answer(request, held); // decode -> fid -> inode -> encode
                        let answer =
                            poll_with(answer, |answer, cx| self.poll_answer(slot, answer, cx));
                        let answered = answer.await;
                        self.slots.resume(slot);
                        answered
                    }
                    Some(error) => Err(error),
                };
                let len = answered.unwrap_or_else(|error| {
                    self.session.refuse(buf.reserve(0, wire::HEADER), &error)
                });
                let tx = self.tx.acquire().await;
                // Free the slot first, so that the Rflush for a pending Tflush is written after
                // this reply.
                self.slots.finish_request(slot);
                let reply = buf.reserve(0, len).get(..len).unwrap_or_default();
                tx.push_reply(reply, self.reader_parked.get()).await?; // -> transport
                self.tx.release(tx);
            }
        }
    }

    /// Answers requests for in-memory files until a request arrives that needs a worker, then
    /// returns that request.
    fn next_request<B: Buffer>(
        &self,
        slot: &RequestSlot,
        buf: &mut B,
    ) -> impl Future<Output = Result<BufferedRequest, DisconnectOf<R, W>>> {
        async move {
            if B::GROWS && self.rx.is_acquired() {
                buf.release(); // another worker is reading, and may wait for hours
            }
            let rx = self.rx.acquire().await;
            let frame = loop {
                if V::TreeKind::HAS_FAST_PATH && !R::COOPERATIVE {
                    self.answer_in_place(rx, |_| true)?;
                }
                poll_fn(|cx| {
                    if R::COOPERATIVE { self.poll_budget(rx, cx) } else { Poll::Ready(Ok(())) }
                })
                .await?;
                if let Some(frame) = rx.take_frame(buf, self.session.msize())? {
                    break frame;
                }
                self.flush().await?; // the worker that is about to wait sends first
                buf.release();
                self.reader_parked.set(true);
                let more = rx.read_more(buf).await;
                // After a read error, no worker reads again, so workers that are still answering
                // requests must flush their replies.
                self.reader_parked.set(more.is_err());
                if let Some(frame) = more? {
                    break frame;
                }
            };
            let message = buf.reserve(0, frame.held).get(..frame.held).unwrap_or_default();
            let fresh = self.slots.start_request(slot, wire::tag(message));
            if fresh && frame.held == frame.size {
                // Hold the reader while waiting, so that the requests after a Tflush or Tversion
                // are not read until the aborted requests have finished. The wait cannot be
                // cancelled.
                self.slots.abort(slot, self.session.aborts(message)).await;
            }
            self.rx.release(rx);
            Ok(BufferedRequest { frame, fresh })
        }
    }

    /// Sends the gathered replies.
    fn flush(&self) -> impl Future<Output = Result<(), DisconnectOf<R, W>>> {
        let flush = async move {
            let tx = self.tx.acquire().await;
            tx.push_reply(&[], true).await?;
            self.tx.release(tx);
            Ok(())
        };
        // The condition is constant, so the compiler removes the flush if replies are never
        // gathered. The compiler cannot remove a flush that is awaited directly.
        poll_with(flush, |flush, cx| {
            if Replies::<W, O>::GATHERS { flush.poll(cx) } else { Poll::Ready(Ok(())) }
        })
    }

    /// Answers requests [in place](Connection::answer_in_place), then waits until the connection
    /// has budget left for the next request.
    fn poll_budget(
        &self,
        rx: &mut Requests<R, I>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), DisconnectOf<R, W>>> {
        let within_budget = |rx: &mut Requests<R, I>| rx.poll_budget(COST_IN_PLACE, cx).is_ready();
        if V::TreeKind::HAS_FAST_PATH && self.answer_in_place(rx, within_budget)? {
            return Poll::Pending;
        }
        let pending = rx.peek_frame(self.session.msize())?.is_some()
            && rx.poll_budget(COST_OTHER, cx).is_pending();
        if pending { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// Answers reads and writes of in-memory files. Requests are decoded in the input buffer, and
    /// replies are encoded in the output buffer. Stops when `go_on` returns `false`, or when the
    /// next request is not a read or write of an in-memory file. Returns `true` if `go_on` returned
    /// `false`.
    fn answer_in_place(
        &self,
        rx: &mut Requests<R, I>,
        mut go_on: impl FnMut(&mut Requests<R, I>) -> bool,
    ) -> Result<bool, Disconnect<R::Error, W::Error>> {
        let msize = self.session.msize();
        let answer = |tx: &mut &mut Replies<W, O>| {
            while let Some(frame) = rx.peek_frame(msize)? {
                if self.slots.is_in_flight(wire::tag(frame)) {
                    break;
                }
                let Some(len) = self.session.try_answer_now(frame, tx.free_space()) else { break };
                let size = frame.len();
                tx.advance(len);
                rx.consume(size);
                if !go_on(rx) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        // While another worker holds the writer, no requests are answered in place.
        self.tx.try_with(answer).unwrap_or(Ok(false))
    }

    /// Polls the future that answers a request. The output of the future is the length of the
    /// reply. If the request is cancelled, the length is 0 and no reply is sent. Returns the error
    /// to reply with if the request needs to wait but is not allowed to.
    fn poll_answer(
        &self,
        slot: &RequestSlot,
        answer: Pin<&mut impl Future<Output = usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Error>> {
        if self.slots.is_cancelled(slot) {
            return Poll::Ready(Ok(0));
        }
        match answer.poll(cx) {
            Poll::Pending if self.slots.may_wait(slot) => Poll::Pending,
            Poll::Pending => Poll::Ready(Err(Error::TooManyWaiting)),
            Poll::Ready(len) => {
                if self.session.take_repoll() {
                    cx.waker().wake_by_ref();
                }
                Poll::Ready(Ok(len))
            }
        }
    }

    /// Sets whether to refuse requests that need to wait. Even if `full` is `false`, requests that
    /// need to wait are refused while the requests in all other slots are waiting. The owner sets
    /// `full` to `true` while the waiting requests use all of the memory allowed for them.
    pub fn set_full(&self, full: bool) {
        self.slots.set_full(full);
    }

    /// Returns the maximum number of requests in flight.
    pub fn max_requests(&self) -> usize {
        self.slots.capacity()
    }
}

pin_project! {
    /// See [`poll_with`].
    struct PollWith<F, P> {
        #[pin]
        future: F,
        poll: P,
    }
}

/// Returns a future that polls `future` by calling `poll`.
fn poll_with<T, F, P>(future: F, poll: P) -> PollWith<F, P>
where
    P: FnMut(Pin<&mut F>, &mut Context<'_>) -> Poll<T>,
{
    PollWith { future, poll }
}

impl<T, F, P: FnMut(Pin<&mut F>, &mut Context<'_>) -> Poll<T>> Future for PollWith<F, P> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = self.project();
        (this.poll)(this.future, cx)
    }
}

/// A request that is stored in its worker's buffer.
struct BufferedRequest {
    frame: Frame,
    /// Whether the tag was unused when the request arrived.
    fresh: bool,
}

/// Returns an error if the request's tag is already in flight or if the request is too large for
/// the buffer.
fn refusal(Frame { held, size }: Frame, fresh: bool) -> Option<Error> {
    if !fresh {
        Some(Error::TagInUse)
    } else if held < size {
        Some(message_too_large(held))
    } else {
        None
    }
}

/// A value that only one worker can use at a time, such as the reader or the writer.
///
/// No guard is needed to return the value, because a worker that stops while holding it also
/// terminates the connection.
struct Handoff<T> {
    value: Cell<Option<T>>,
    waker: WakerCell,
}

impl<T> Handoff<T> {
    fn new(value: T) -> Self {
        Handoff { value: Cell::new(Some(value)), waker: WakerCell::default() }
    }

    /// Waits until no other worker holds the value, then takes it.
    fn acquire(&self) -> impl Future<Output = T> {
        poll_fn(|cx| {
            let value = self.value.take();
            if value.is_none() {
                self.waker.register(cx);
            }
            value.map_or(Poll::Pending, Poll::Ready)
        })
    }

    fn release(&self, value: T) {
        self.value.set(Some(value));
        self.waker.wake();
    }

    /// Calls `f` with the value, unless a worker holds it.
    fn try_with<X>(&self, f: impl FnOnce(&mut T) -> X) -> Option<X> {
        let mut value = self.value.take();
        let result = value.as_mut().map(f);
        self.value.set(value);
        result
    }

    fn is_acquired(&self) -> bool {
        self.try_with(|_| ()).is_none()
    }
}
