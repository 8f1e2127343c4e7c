//! Bytes on their way: what was read and not yet taken, what was answered and not yet written.

use core::task::{Context, Poll};

use embedded_io_async::{Read, Write};

use super::Stop;

/// Frames and replies above this size go past the shared buffers: one copy less, for a system call
/// more.
const DIRECT: usize = 32 * 1024;
/// What the shared buffers are asked to hold: a batch of 32 requests of 4 KiB. A board has less.
const BATCH: usize = 136 * 1024;

/// Cost of a request that is answered in place, in the same unit.
pub(super) const IN_PLACE: u32 = 1;
/// Cost of any other request.
pub(super) const WHOLE: u32 = 4;

/// The receiving half of a transport.
pub trait Input: Read {
    /// Whether it shares its thread with others; only then is it asked for its turn.
    const SHARES: bool = false;

    /// Waits until there is something to read, holding no buffer. A transport that cannot tell
    /// returns at once.
    async fn readable(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Asked before a request is taken, with about what it costs in short reads of memory; none is
    /// taken while this is pending. A transport that shares its thread with others ends the turn of
    /// its connection here, and wakes `cx` when the others had theirs.
    fn poll_turn(&mut self, cost: u32, cx: &mut Context<'_>) -> Poll<()> {
        let _ = (cost, cx);
        Poll::Ready(())
    }
}

/// Memory for a frame or a batch of them. An array is what it is; a desktop grows and gives back.
pub trait Buffer {
    /// Asked for more room, it may have more.
    const GROWS: bool = true;

    /// At least `n` bytes if they can be had, all there are otherwise. The first `keep` bytes stay
    /// as they are.
    fn room(&mut self, n: usize, keep: usize) -> &mut [u8];

    /// Nothing in it is needed any more.
    fn rest(&mut self) {}
}

impl<const N: usize> Buffer for [u8; N] {
    const GROWS: bool = false;

    fn room(&mut self, _: usize, _: usize) -> &mut [u8] {
        self
    }
}

impl<B: Buffer + ?Sized> Buffer for &mut B {
    const GROWS: bool = B::GROWS;

    fn room(&mut self, n: usize, keep: usize) -> &mut [u8] {
        (**self).room(n, keep)
    }

    fn rest(&mut self) {
        (**self).rest();
    }
}

/// A request that has arrived: its length, and how much of it the buffer could hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Bytes in the buffer.
    pub held: usize,
    /// Bytes of the message, as its size field says.
    pub size: usize,
}

/// What came from the transport, frame by frame.
pub(super) struct Requests<R, B> {
    io: R,
    buf: B,
    head: usize,
    tail: usize,
}

impl<R: Input, B: Buffer> Requests<R, B> {
    pub(super) fn new(io: R, buf: B) -> Self {
        Requests { io, buf, head: 0, tail: 0 }
    }

    /// What the size field of the frame at the front says; `None` while it has not arrived.
    fn size(&mut self) -> Option<u32> {
        self.bytes().first_chunk().map(|size| u32::from_le_bytes(*size))
    }

    fn bytes(&mut self) -> &[u8] {
        let (head, tail) = (self.head, self.tail);
        // Asking for `tail` bytes while keeping them neither grows nor moves the buffer.
        if head == tail {
            &[]
        } else {
            self.buf.room(tail, tail).get(head..tail).unwrap_or_default()
        }
    }

    /// The complete frame at the front, if there is one. Stays until [`taken`](Requests::taken).
    pub(super) fn first(&mut self, msize: u32) -> Result<Option<&[u8]>, Stop<R::Error>> {
        match self.size() {
            Some(size) if size < 7 || size > msize => Err(Stop::Size(size)),
            Some(size) => Ok(self.bytes().get(..size as usize)),
            None => Ok(None),
        }
    }

    /// Takes `size` bytes off the front.
    pub(super) fn taken(&mut self, size: usize) {
        self.head = self.head.saturating_add(size).min(self.tail);
    }

    /// Copies the complete frame at the front to `own`; never waits.
    pub(super) fn next(
        &mut self,
        own: &mut impl Buffer,
        msize: u32,
    ) -> Result<Option<Frame>, Stop<R::Error>> {
        let Some(frame) = self.first(msize)? else { return Ok(None) };
        let size = frame.len();
        let held = copy(frame, own.room(size, 0));
        self.taken(size);
        Ok(Some(Frame { held, size }))
    }

    /// As [`Input::poll_turn`].
    pub(super) fn poll_turn(&mut self, cost: u32, cx: &mut Context<'_>) -> Poll<()> {
        self.io.poll_turn(cost, cx)
    }

    /// One read, where [`first`](Requests::first) found no complete frame. One that the buffer
    /// cannot hold, or a large one, goes straight to `own` and is returned; what `own` cannot hold
    /// is read and dropped, so that the stream stays in step.
    pub(super) async fn more(
        &mut self,
        own: &mut impl Buffer,
    ) -> Result<Option<Frame>, Stop<R::Error>> {
        if self.head == self.tail {
            (self.head, self.tail) = (0, 0);
            self.buf.rest();
            self.io.readable().await.map_err(Stop::Transport)?;
        }
        let size = self.size().map(|size| size as usize);
        let buf = self.buf.room(BATCH, self.tail);
        if self.head > 0 {
            buf.copy_within(self.head..self.tail, 0);
            (self.head, self.tail) = (0, self.tail - self.head);
        }
        let large = size.filter(|size| *size > buf.len() || *size > DIRECT);
        let own = large.map(|size| own.room(size, 0)).unwrap_or_default();
        let mut had = self.tail;
        copy(buf.get(..had).unwrap_or_default(), own);
        loop {
            let free = match large {
                None => buf.get_mut(had..),
                Some(size) if had < own.len() => own.get_mut(had..size.min(own.len())),
                Some(size) => buf.get_mut(..size.saturating_sub(had).min(buf.len())),
            };
            match self.io.read(free.unwrap_or_default()).await.map_err(Stop::Transport)? {
                0 if had == 0 => return Err(Stop::Closed),
                0 => return Err(Stop::Truncated),
                n => had = had.saturating_add(n),
            }
            self.tail = if large.is_some() { 0 } else { had };
            match large {
                Some(size) if had < size => {}
                _ => return Ok(large.map(|size| Frame { held: size.min(own.len()), size })),
            }
        }
    }
}

/// Replies on their way to the transport, gathered.
pub(super) struct Replies<W, B> {
    io: W,
    buf: B,
    filled: usize,
}

impl<W: Write, B: Buffer> Replies<W, B> {
    /// A buffer of no bytes has nothing to send later.
    pub(super) const GATHERS: bool = size_of::<B>() > 0;

    pub(super) fn new(io: W, buf: B) -> Self {
        Replies { io, buf, filled: 0 }
    }

    /// Adds a reply. What was gathered is written when there is no room for it, a large one is
    /// written at once after that; with `now`, all is handed to the transport. Never calls the
    /// transport's own `flush`, which on some waits for the peer.
    pub(super) async fn push(&mut self, mut reply: &[u8], now: bool) -> Result<(), Stop<W::Error>> {
        loop {
            if !reply.is_empty() && self.gather(reply) {
                reply = &[];
            }
            if reply.is_empty() && !now {
                return Ok(());
            }
            let out = match self.is_empty() {
                true => core::mem::take(&mut reply),
                false => {
                    self.buf.room(self.filled, self.filled).get(..self.filled).unwrap_or_default()
                }
            };
            if out.is_empty() {
                self.buf.rest();
                return Ok(());
            }
            self.io.write_all(out).await.map_err(Stop::Transport)?;
            self.filled = 0;
        }
    }

    /// Whether there was room for it.
    fn gather(&mut self, reply: &[u8]) -> bool {
        let free = self.free();
        let fits = reply.len() <= free.len() && reply.len() <= DIRECT;
        if fits {
            let n = copy(reply, free);
            self.pushed(n);
        }
        fits
    }

    /// Nothing is gathered.
    pub(super) fn is_empty(&self) -> bool {
        !Self::GATHERS || self.filled == 0
    }

    /// Where the next reply can be made in place; [`pushed`](Replies::pushed) then counts it.
    pub(super) fn free(&mut self) -> &mut [u8] {
        let filled = self.filled;
        self.buf.room(BATCH, filled).get_mut(filled..).unwrap_or_default()
    }

    pub(super) fn pushed(&mut self, n: usize) {
        self.filled = self.filled.saturating_add(n);
    }
}

/// Copies what fits: how many bytes.
fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let n = from.len().min(to.len());
    if let (Some(to), Some(from)) = (to.get_mut(..n), from.get(..n)) {
        to.copy_from_slice(from);
    }
    n
}
