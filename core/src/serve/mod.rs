//! Serves one connection with a fixed or growing number of workers.
//!
//! A worker acquires the reader, takes one frame and releases the reader. The worker then lets the
//! session answer the frame in place, acquires the writer and sends the reply. While one worker's
//! request waits for a file, another worker reads the next frame. The server needs no queues, no
//! memory allocation, and no separate task for each request. On an embedded board, the workers are
//! an array of futures in one task (see [`serve`]). A desktop server adds workers when all existing
//! workers are waiting.
//!
//! Replies are gathered and then sent by the worker that is about to wait for more requests. A
//! batch of pipelined requests therefore costs only one read and one write.
//!
//! To serve a transport, implement [`embedded_io_async::Read`] for its receiving half and
//! [`embedded_io_async::Write`] for its sending half, and call [`serve`].

mod buffer;
mod connection;
mod request_slots;
#[cfg(test)]
mod tests;

use core::convert::Infallible;
use core::fmt;
use core::future::Future;

use embassy_futures::select::{Either, select, select_array};
use embedded_io_async::{ErrorType, Write};

pub use buffer::TransportRead;
// These items are public because datakit-server uses them to add workers on demand. The hidden
// items are not part of the stable API.
#[doc(hidden)]
pub use buffer::Buffer;
#[doc(hidden)]
pub use connection::{Connection, Io};
#[doc(hidden)]
pub use request_slots::{RequestSlot, SlotStorage};

use crate::session::{FidTable, Session};
use crate::vfs::Vfs;

/// The reason that a connection was closed. `R` is the error of the transport's receiving half, and
/// `W` is the error of its sending half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Disconnect<R, W = R> {
    /// The peer closed the connection between two messages.
    Closed,
    /// The peer closed the connection in the middle of a message.
    Truncated,
    /// The size field of a message contains this value, which is invalid because it is less than 7
    /// or greater than msize. The connection cannot continue, because the start of the next message
    /// is unknown.
    InvalidSize(u32),
    /// Reading from the transport failed.
    Read(R),
    /// Writing to the transport failed.
    Write(W),
}

/// The reason that a connection with these two halves was closed.
type DisconnectOf<R, W> = Disconnect<<R as TransportRead>::Error, <W as ErrorType>::Error>;

impl<R: fmt::Debug, W: fmt::Debug> fmt::Display for Disconnect<R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disconnect::Closed => f.write_str("closed by the peer"),
            Disconnect::Truncated => f.write_str("closed by the peer in the middle of a message"),
            Disconnect::InvalidSize(size) => {
                write!(f, "message size {size} is below 7 or above msize")
            }
            Disconnect::Read(error) => write!(f, "receive: {error:?}"),
            Disconnect::Write(error) => write!(f, "send: {error:?}"),
        }
    }
}

impl<R, W> core::error::Error for Disconnect<R, W>
where
    R: core::error::Error + 'static,
    W: core::error::Error + 'static,
{
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Disconnect::Read(error) => Some(error),
            Disconnect::Write(error) => Some(error),
            _ => None,
        }
    }
}

/// The memory for one connection on an embedded board. The memory has room for `WORKERS` requests
/// in flight, each in a frame of `FRAME` bytes.
#[derive(Debug)]
pub struct Memory<const WORKERS: usize, const FRAME: usize> {
    slots: [RequestSlot; WORKERS],
    frames: [[u8; FRAME]; WORKERS],
    input: [u8; 64],
}

impl<const WORKERS: usize, const FRAME: usize> Memory<WORKERS, FRAME> {
    /// Creates the memory for a connection. The memory can be reused for later connections.
    #[must_use]
    pub const fn new() -> Self {
        Memory {
            slots: [const { RequestSlot::new() }; WORKERS],
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

/// Serves one connection until it is closed and returns the reason for closing it.
/// Up to `WORKERS - 1` requests can wait for files at the same time.
///
/// # Cancel safety
/// Dropping the future drops every request in flight. The fids stay in the session and are closed
/// when the session is dropped.
// This is not an `async fn`, because its future would contain the arguments twice.
pub fn serve<V, F, R, W, const WORKERS: usize, const FRAME: usize>(
    session: &Session<'_, V, F>,
    rx: R,
    tx: W,
    memory: &mut Memory<WORKERS, FRAME>,
) -> impl Future<Output = Disconnect<R::Error, W::Error>>
where
    V: Vfs,
    F: FidTable<V>,
    R: TransportRead,
    W: Write,
{
    let Memory { slots, frames, input } = memory;
    let mut io = Io::new(rx, tx, input, [0; 0]);
    async move {
        let connection = Connection::new(session, &mut io, slots.as_slice());
        let (end, _) = workers(&connection, frames).await;
        match end {
            Err(end) => end,
        }
    }
}

/// Like [`serve`], but returns `None` when the future returned by `until` completes. For example,
/// the future can wait for an idle timeout or for a request to restart the device.
///
/// `until` receives a function that returns the number of requests in flight.
pub async fn serve_until<V, F, R, W, const WORKERS: usize, const FRAME: usize>(
    session: &Session<'_, V, F>,
    rx: R,
    tx: W,
    memory: &mut Memory<WORKERS, FRAME>,
    until: impl AsyncFnOnce(&dyn Fn() -> usize),
) -> Option<Disconnect<R::Error, W::Error>>
where
    V: Vfs,
    F: FidTable<V>,
    R: TransportRead,
    W: Write,
{
    let Memory { slots, frames, input } = memory;
    let mut io = Io::new(rx, tx, input, [0; 0]);
    let connection = Connection::new(session, &mut io, slots.as_slice());
    let in_flight = || connection.in_flight();
    match select(workers(&connection, frames), until(&in_flight)).await {
        Either::First((Err(end), _)) => Some(end),
        Either::Second(()) => None,
    }
}

/// Returns a future that runs one worker per frame. The frames are borrowed, because an async
/// function that owned its frame would store the frame twice. This function is not inlined, so that
/// its temporaries do not stay on the caller's stack while the future is polled.
#[inline(never)]
fn workers<
    'l,
    'a,
    V: Vfs,
    F: FidTable<V>,
    R: TransportRead,
    W: Write,
    I: Buffer,
    O: Buffer,
    const N: usize,
    const FRAME: usize,
>(
    connection: &'l Connection<'a, V, F, R, W, I, O>,
    frames: &'l mut [[u8; FRAME]; N],
) -> impl Future<Output = (Result<Infallible, DisconnectOf<R, W>>, usize)>
+ use<'l, 'a, V, F, R, W, I, O, N, FRAME> {
    let mut next = 0usize;
    select_array(frames.each_mut().map(|frame| {
        let slot = next;
        next = next.saturating_add(1);
        connection.worker(slot, frame)
    }))
}
