//! Bytes on their way: what was read and not yet taken, what was answered and not yet written.

use embedded_io_async::{Read, Write};

use super::Stop;

/// Frames and replies above this size go past the shared buffers: one copy less, for a system call more.
const DIRECT: usize = 32 * 1024;
/// What the shared buffers are asked to hold: a batch of 32 requests of 4 KiB. A board has less.
const BATCH: usize = 136 * 1024;

/// The receiving half of a transport.
pub trait Input: Read {
    /// Waits until there is something to read, holding no buffer. A transport that cannot tell returns at once.
    async fn readable(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Memory for a frame or a batch of them. An array is what it is; a desktop grows and gives back.
pub trait Buffer {
    /// Asked for more room, it may have more.
    const GROWS: bool = true;

    /// At least `n` bytes if they can be had, all there are otherwise. The first `keep` bytes stay as they are.
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

    /// The size of the frame at the front, checked; `None` while its size field has not arrived.
    fn size(&mut self, msize: u32) -> Result<Option<usize>, Stop<R::Error>> {
        let Some([a, b, c, d]) = self.bytes().first_chunk() else { return Ok(None) };
        let size = u32::from_le_bytes([*a, *b, *c, *d]);
        if size < 7 || size > msize { Err(Stop::Size(size)) } else { Ok(Some(size as usize)) }
    }

    fn bytes(&mut self) -> &[u8] {
        let (head, tail) = (self.head, self.tail);
        // Asking for `tail` bytes while keeping them neither grows nor moves the buffer.
        if head == tail { &[] } else { self.buf.room(tail, tail).get(head..tail).unwrap_or_default() }
    }

    /// The complete frame at the front, if there is one. Stays until [`taken`](Requests::taken).
    pub(super) fn first(&mut self, msize: u32) -> Result<Option<&[u8]>, Stop<R::Error>> {
        let Some(size) = self.size(msize)? else { return Ok(None) };
        Ok(self.bytes().get(..size))
    }

    /// Takes `size` bytes off the front.
    pub(super) fn taken(&mut self, size: usize) {
        self.head = self.head.saturating_add(size).min(self.tail);
    }

    /// Copies the complete frame at the front to `own`; never waits.
    pub(super) fn next(&mut self, own: &mut impl Buffer, msize: u32) -> Result<Option<Frame>, Stop<R::Error>> {
        let Some(frame) = self.first(msize)? else { return Ok(None) };
        let size = frame.len();
        let held = copy(frame, own.room(size, 0));
        self.taken(size);
        Ok(Some(Frame { held, size }))
    }

    /// One read. A frame that the buffer cannot hold, or a large one, goes straight to `own` and is returned.
    pub(super) async fn more(&mut self, own: &mut impl Buffer, msize: u32) -> Result<Option<Frame>, Stop<R::Error>> {
        if self.head == self.tail {
            (self.head, self.tail) = (0, 0);
            self.buf.rest();
            self.io.readable().await.map_err(Stop::Transport)?;
        }
        let size = self.size(msize)?;
        let buf = self.buf.room(BATCH, self.tail);
        if self.head > 0 {
            buf.copy_within(self.head..self.tail, 0);
            (self.head, self.tail) = (0, self.tail - self.head);
        }
        if let Some(size) = size.filter(|size| *size > buf.len() || *size > DIRECT) {
            return self.direct(own, size).await.map(Some);
        }
        let free = buf.get_mut(self.tail..).unwrap_or_default();
        match self.io.read(free).await.map_err(Stop::Transport)? {
            0 if self.tail == 0 => Err(Stop::Closed),
            0 => Err(Stop::Truncated),
            n => {
                self.tail = self.tail.saturating_add(n);
                Ok(None)
            }
        }
    }

    /// Reads the rest of a frame into `own`; what `own` cannot hold is read and dropped, so that the stream stays in step.
    async fn direct(&mut self, own: &mut impl Buffer, size: usize) -> Result<Frame, Stop<R::Error>> {
        let room = own.room(size, 0);
        let room = match room.get_mut(..size) {
            Some(room) => room,
            None => own.room(size, 0),
        };
        let had = self.tail;
        let mut held = copy(self.bytes(), room);
        (self.head, self.tail) = (0, 0);
        let mut left = size.saturating_sub(had);
        while left > 0 {
            let mut spill = [0; 64];
            let to = match room.get_mut(held..) {
                Some(to) if !to.is_empty() => to,
                _ => spill.get_mut(..left.min(64)).unwrap_or_default(),
            };
            let want = to.len().min(left);
            let n = self.io.read(to.get_mut(..want).unwrap_or_default()).await.map_err(Stop::Transport)?;
            if n == 0 {
                return Err(Stop::Truncated);
            }
            left = left.saturating_sub(n);
            held = held.saturating_add(n).min(room.len());
        }
        Ok(Frame { held, size })
    }
}

/// Replies on their way to the transport, gathered.
pub(super) struct Replies<W, B> {
    io: W,
    buf: B,
    filled: usize,
}

impl<W: Write, B: Buffer> Replies<W, B> {
    pub(super) fn new(io: W, buf: B) -> Self {
        Replies { io, buf, filled: 0 }
    }

    /// Adds a reply; a large one is written at once, after what was gathered.
    pub(super) async fn push(&mut self, reply: &[u8]) -> Result<(), Stop<W::Error>> {
        if reply.len() > self.free().len() || reply.len() > DIRECT {
            self.flush().await?;
        }
        let free = self.free();
        if reply.len() > free.len() || reply.len() > DIRECT {
            return self.io.write_all(reply).await.map_err(Stop::Transport);
        }
        let n = copy(reply, free);
        self.pushed(n);
        Ok(())
    }

    /// Nothing is gathered; in a buffer of no bytes, nothing ever is.
    pub(super) fn is_empty(&self) -> bool {
        size_of::<B>() == 0 || self.filled == 0
    }

    /// Where the next reply can be made in place; [`pushed`](Replies::pushed) then counts it.
    pub(super) fn free(&mut self) -> &mut [u8] {
        let filled = self.filled;
        self.buf.room(BATCH, filled).get_mut(filled..).unwrap_or_default()
    }

    pub(super) fn pushed(&mut self, n: usize) {
        self.filled = self.filled.saturating_add(n);
    }

    /// Hands what was gathered to the transport. Never calls the transport's own `flush`, which on some waits for the peer.
    pub(super) async fn flush(&mut self) -> Result<(), Stop<W::Error>> {
        if !self.is_empty() {
            let filled = self.filled;
            let out = self.buf.room(filled, filled).get(..filled).unwrap_or_default();
            self.io.write_all(out).await.map_err(Stop::Transport)?;
            self.filled = 0;
        }
        self.buf.rest();
        Ok(())
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
