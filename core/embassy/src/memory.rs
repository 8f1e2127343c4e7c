//! The memory for a server, which is usually a `static`.

use core::fmt;

use datakit_core::serve;
use datakit_core::session::{FidArray, MIN_MSIZE};

use crate::{QuotaTree, SharedTree};

/// The memory for a [`Server`](crate::Server). It initially contains only zeros, so a `static` of
/// this type takes up no flash.
///
/// | parameter | number of |
/// |---|---|
/// | `CLIENTS` | clients served at the same time, at most 254 |
/// | `WORKERS` | requests in flight per client, at most `WORKERS - 1` of which can wait |
/// | `FRAME` | bytes in a message, at least 256 |
/// | `FIDS` | fids per client |
/// | `RECEIVE`, `TRANSMIT` | bytes in each socket's buffers |
///
/// There is one more socket than there are clients, so that one socket is always listening.
pub struct Memory<
    T: SharedTree + 'static,
    const CLIENTS: usize,
    const WORKERS: usize,
    const FRAME: usize,
    const FIDS: usize,
    const RECEIVE: usize = 1460,
    const TRANSMIT: usize = 1460,
> {
    pub(crate) buffers: [SocketBuffers<RECEIVE, TRANSMIT>; CLIENTS],
    pub(crate) spare: SocketBuffers<RECEIVE, TRANSMIT>,
    pub(crate) slots: [SlotMemory<T, CLIENTS, WORKERS, FRAME, FIDS>; CLIENTS],
}

/// The buffers of a socket.
pub(crate) struct SocketBuffers<const RECEIVE: usize, const TRANSMIT: usize> {
    pub(crate) receive: [u8; RECEIVE],
    pub(crate) transmit: [u8; TRANSMIT],
}

/// The memory for a client slot.
pub(crate) struct SlotMemory<
    T: SharedTree + 'static,
    const CLIENTS: usize,
    const WORKERS: usize,
    const FRAME: usize,
    const FIDS: usize,
> {
    pub(crate) frames: serve::Memory<WORKERS, FRAME>,
    pub(crate) fids: FidArray<QuotaTree<'static, T, CLIENTS>, FIDS>,
}

impl<const RECEIVE: usize, const TRANSMIT: usize> SocketBuffers<RECEIVE, TRANSMIT> {
    const fn new() -> Self {
        SocketBuffers { receive: [0; RECEIVE], transmit: [0; TRANSMIT] }
    }
}

impl<
    T: SharedTree + 'static,
    const CLIENTS: usize,
    const WORKERS: usize,
    const FRAME: usize,
    const FIDS: usize,
    const RECEIVE: usize,
    const TRANSMIT: usize,
> Memory<T, CLIENTS, WORKERS, FRAME, FIDS, RECEIVE, TRANSMIT>
{
    /// Creates memory in which a server can be started.
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(FRAME >= MIN_MSIZE as usize, "FRAME must be at least 256 bytes");
            assert!(WORKERS >= 1, "WORKERS must be at least 1");
        }
        Memory {
            buffers: [const { SocketBuffers::new() }; CLIENTS],
            spare: SocketBuffers::new(),
            slots: [const { SlotMemory { frames: serve::Memory::new(), fids: FidArray::new() } };
                CLIENTS],
        }
    }
}

impl<
    T: SharedTree + 'static,
    const CLIENTS: usize,
    const WORKERS: usize,
    const FRAME: usize,
    const FIDS: usize,
    const RECEIVE: usize,
    const TRANSMIT: usize,
> Default for Memory<T, CLIENTS, WORKERS, FRAME, FIDS, RECEIVE, TRANSMIT>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<
    T: SharedTree + 'static,
    const CLIENTS: usize,
    const WORKERS: usize,
    const FRAME: usize,
    const FIDS: usize,
    const RECEIVE: usize,
    const TRANSMIT: usize,
> fmt::Debug for Memory<T, CLIENTS, WORKERS, FRAME, FIDS, RECEIVE, TRANSMIT>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}
