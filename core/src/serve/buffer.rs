//! The buffers between the transport and the workers. They hold bytes that have been read but not
//! yet consumed, and replies that have been encoded but not yet written.

// The functions return `impl Future`, because the future of an `async fn` would contain the
// arguments twice.
#![allow(clippy::manual_async_fn)]

use core::future::Future;
use core::task::{Context, Poll};

use embedded_io_async::{Read, Write};

use super::Disconnect;

/// The size, in bytes, above which frames and replies bypass the shared buffers. Bypassing the
/// buffers saves a copy but costs a system call.
const DIRECT_MIN: usize = 32 * 1024;
/// The size, in bytes, to request for the shared buffers. Buffers of this size have room for a
/// batch of 32 requests of 4 KiB each. Embedded boards use smaller buffers.
const BATCH_SIZE: usize = 136 * 1024;

/// The cost, in units of [`TransportRead::poll_budget`], of a request that is answered in place.
pub(super) const COST_IN_PLACE: u32 = 1;
/// The cost, in units of [`TransportRead::poll_budget`], of a request that is not answered in
/// place.
pub(super) const COST_OTHER: u32 = 4;

/// The receiving half of a transport. Every type that implements [`Read`] also implements this
/// trait.
///
/// A transport that can wait without a buffer, or that shares its thread with other connections,
/// implements this trait instead of [`Read`].
pub trait TransportRead {
    /// The error returned by a failed read.
    type Error: embedded_io_async::Error;

    /// Whether the connection shares its thread with other connections and must stay within a
    /// budget. If this constant is `false`, [`poll_budget`](TransportRead::poll_budget) is never
    /// called.
    const COOPERATIVE: bool = false;

    /// Waits until at least one byte has arrived, copies what has arrived to `buf`, and returns the
    /// number of bytes copied. Returns 0 if the peer has closed the connection or if `buf` is
    /// empty.
    ///
    /// # Errors
    /// Returns an error if the transport fails. The connection is then closed.
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error>;

    /// Waits until there is data to read. The connection holds no input buffer during the wait.
    /// Returns immediately if the transport needs a buffer in order to wait.
    async fn readable(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Returns `Ready` if the connection has enough budget left for a request of the given cost. A
    /// short read of an in-memory file costs one unit.
    ///
    /// While the result is `Pending`, the connection accepts no requests. A transport can return
    /// `Pending` to yield to other connections on the same thread. A transport that yields must
    /// make sure that the task of `cx` is woken after the other connections have run.
    fn poll_budget(&mut self, cost: u32, cx: &mut Context<'_>) -> Poll<()> {
        let _ = (cost, cx);
        Poll::Ready(())
    }
}

impl<R: Read> TransportRead for R {
    type Error = R::Error;

    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, R::Error> {
        Read::read(self, buf).await
    }
}

/// Memory for one or more frames. A buffer can be a fixed array, or it can be borrowed from a pool
/// and grow on demand.
pub trait Buffer {
    /// Whether [`reserve`](Buffer::reserve) may enlarge the buffer.
    const GROWS: bool = true;

    /// Returns at least `n` bytes, or the whole buffer if it cannot grow that large. The first
    /// `keep` bytes are preserved.
    fn reserve(&mut self, n: usize, keep: usize) -> &mut [u8];

    /// Releases the memory and discards its contents.
    fn release(&mut self) {}
}

impl<const N: usize> Buffer for [u8; N] {
    const GROWS: bool = false;

    fn reserve(&mut self, _: usize, _: usize) -> &mut [u8] {
        self
    }
}

impl<B: Buffer + ?Sized> Buffer for &mut B {
    const GROWS: bool = B::GROWS;

    fn reserve(&mut self, n: usize, keep: usize) -> &mut [u8] {
        (**self).reserve(n, keep)
    }

    fn release(&mut self) {
        (**self).release();
    }
}

/// The size of a received request, and how much of it is in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// The number of message bytes in the buffer.
    pub(super) held: usize,
    /// The length of the message according to its size field.
    pub(super) size: usize,
}

/// The value of an invalid size field, which is less than 7 or greater than msize.
pub(super) struct InvalidSize(u32);

impl<R, W> From<InvalidSize> for Disconnect<R, W> {
    fn from(InvalidSize(size): InvalidSize) -> Self {
        Disconnect::InvalidSize(size)
    }
}

/// The input side of a connection. This type splits the bytes from the transport into frames.
pub(super) struct Requests<R, B> {
    io: R,
    buf: B,
    head: usize,
    tail: usize,
}

impl<R: TransportRead, B: Buffer> Requests<R, B> {
    pub(super) fn new(io: R, buf: B) -> Self {
        Requests { io, buf, head: 0, tail: 0 }
    }

    /// Returns the value of the first frame's size field, or `None` if the field has not arrived
    /// yet.
    fn size(&mut self) -> Option<u32> {
        self.bytes().first_chunk().map(|size| u32::from_le_bytes(*size))
    }

    fn bytes(&mut self) -> &[u8] {
        let (head, tail) = (self.head, self.tail);
        // The first `tail` bytes are already in the buffer, so reserving and preserving them
        // neither grows nor moves the buffer.
        if head == tail {
            &[]
        } else {
            self.buf.reserve(tail, tail).get(head..tail).unwrap_or_default()
        }
    }

    /// Returns the first frame if it is complete. The frame stays in the buffer until
    /// [`consume`](Requests::consume) is called.
    pub(super) fn peek_frame(&mut self, msize: u32) -> Result<Option<&[u8]>, InvalidSize> {
        match self.size() {
            Some(size) if size < 7 || size > msize => Err(InvalidSize(size)),
            Some(size) => Ok(self.bytes().get(..size as usize)),
            None => Ok(None),
        }
    }

    /// Removes the first `size` bytes.
    pub(super) fn consume(&mut self, size: usize) {
        self.head = self.head.saturating_add(size).min(self.tail);
    }

    /// Moves the first frame to `own` if the frame is complete. Never waits.
    pub(super) fn take_frame(
        &mut self,
        own: &mut impl Buffer,
        msize: u32,
    ) -> Result<Option<Frame>, InvalidSize> {
        let Some(frame) = self.peek_frame(msize)? else { return Ok(None) };
        let size = frame.len();
        let held = copy(frame, own.reserve(size, 0));
        self.consume(size);
        Ok(Some(Frame { held, size }))
    }

    /// See [`TransportRead::poll_budget`].
    pub(super) fn poll_budget(&mut self, cost: u32, cx: &mut Context<'_>) -> Poll<()> {
        self.io.poll_budget(cost, cx)
    }

    /// Reads once from the transport. Call this method after [`peek_frame`](Requests::peek_frame)
    /// has found no complete frame.
    ///
    /// A frame that is large or does not fit into the shared buffer is read directly into `own` and
    /// returned. Bytes that do not fit into `own` are read and discarded, so that the next read
    /// starts with a new frame.
    pub(super) fn read_more<E>(
        &mut self,
        own: &mut impl Buffer,
    ) -> impl Future<Output = Result<Option<Frame>, Disconnect<R::Error, E>>> {
        async move {
            if self.head == self.tail {
                (self.head, self.tail) = (0, 0);
                self.buf.release();
                self.io.readable().await.map_err(Disconnect::Read)?;
            }
            let size = self.size().unwrap_or(0) as usize;
            let buf = self.buf.reserve(BATCH_SIZE, self.tail);
            if self.head > 0 {
                buf.copy_within(self.head..self.tail, 0);
                (self.head, self.tail) = (0, self.tail - self.head);
            }
            let mut had = self.tail;
            // The size of the frame that is read into `own`, or 0.
            let large = if size > buf.len() || size > DIRECT_MIN { size } else { 0 };
            if large > 0 {
                copy(buf.get(..had).unwrap_or_default(), own.reserve(large, 0));
            }
            // The slices are looked up again for each read, because slices held across an await
            // would be stored in the `Future`.
            loop {
                let (buf, frame) = (self.buf.reserve(0, had), own.reserve(0, had));
                let end = large.min(frame.len());
                let free = if large == 0 {
                    buf.get_mut(had..)
                } else if had < end {
                    frame.get_mut(had..end)
                } else {
                    let rest = large.saturating_sub(had).min(buf.len());
                    buf.get_mut(..rest)
                };
                match self.io.read(free.unwrap_or_default()).await.map_err(Disconnect::Read)? {
                    0 if had == 0 => return Err(Disconnect::Closed),
                    0 => return Err(Disconnect::Truncated),
                    n => had = had.saturating_add(n),
                }
                self.tail = if large > 0 { 0 } else { had };
                if large == 0 {
                    return Ok(None);
                }
                if had >= large {
                    let held = large.min(own.reserve(0, large).len());
                    return Ok(Some(Frame { held, size: large }));
                }
            }
        }
    }
}

/// The output side of a connection. This type gathers replies before it writes them.
pub(super) struct Replies<W, B> {
    io: W,
    buf: B,
    filled: usize,
}

impl<W: Write, B: Buffer> Replies<W, B> {
    /// Whether replies are gathered. Gathering requires a buffer with nonzero capacity.
    pub(super) const GATHERS: bool = size_of::<B>() > 0;

    pub(super) fn new(io: W, buf: B) -> Self {
        Replies { io, buf, filled: 0 }
    }

    /// Adds a reply. The gathered replies are written first if the new reply does not fit into the
    /// buffer. A large reply is written immediately. If `now` is `true`, all replies are written
    /// immediately.
    ///
    /// Never calls the transport's `flush` method, because on some transports this method waits for
    /// the peer's acknowledgement.
    pub(super) fn push_reply<E>(
        &mut self,
        mut reply: &[u8],
        now: bool,
    ) -> impl Future<Output = Result<(), Disconnect<E, W::Error>>> {
        async move {
            loop {
                if !reply.is_empty() && self.gather(reply) {
                    reply = &[];
                }
                if reply.is_empty() && !now {
                    return Ok(());
                }
                let mut out = match self.is_empty() {
                    true => core::mem::take(&mut reply),
                    false => self
                        .buf
                        .reserve(self.filled, self.filled)
                        .get(..self.filled)
                        .unwrap_or_default(),
                };
                if out.is_empty() {
                    self.buf.release();
                    return Ok(());
                }
                // `write_all` is not called, because its future would contain the arguments twice.
                while !out.is_empty() {
                    match self.io.write(out).await.map_err(Disconnect::Write)? {
                        0 => return Err(Disconnect::Closed),
                        n => out = out.get(n..).unwrap_or_default(),
                    }
                }
                self.filled = 0;
            }
        }
    }

    /// Copies a reply to the buffer. Returns `false` if there is not enough room for the reply.
    fn gather(&mut self, reply: &[u8]) -> bool {
        let free = self.free_space();
        let fits = reply.len() <= free.len() && reply.len() <= DIRECT_MIN;
        if fits {
            let n = copy(reply, free);
            self.advance(n);
        }
        fits
    }

    /// Returns `true` if the buffer contains no replies.
    pub(super) fn is_empty(&self) -> bool {
        !Self::GATHERS || self.filled == 0
    }

    /// Returns the free part of the buffer, where a reply can be encoded in place. Call
    /// [`advance`](Replies::advance) afterwards.
    pub(super) fn free_space(&mut self) -> &mut [u8] {
        let filled = self.filled;
        self.buf.reserve(BATCH_SIZE, filled).get_mut(filled..).unwrap_or_default()
    }

    pub(super) fn advance(&mut self, n: usize) {
        self.filled = self.filled.saturating_add(n);
    }
}

/// Copies as many bytes as fit and returns the number of bytes copied.
fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let n = from.len().min(to.len());
    if let (Some(to), Some(from)) = (to.get_mut(..n), from.get(..n)) {
        to.copy_from_slice(from);
    }
    n
}
