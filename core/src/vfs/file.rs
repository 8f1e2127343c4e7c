//! A leaf of a tree.

use core::fmt;
use core::task::{Context, Poll};

use super::{Error, OpenMode, Result, Text, Waiter};

/// What is known of a file that is not a matter of the tree around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FileStat {
    /// Bytes; 0 for streams.
    pub length: u64,
    /// The twelve permission bits.
    pub mode: u32,
    /// Changes when the content does; 0: never cache it.
    pub version: u32,
}

impl FileStat {
    /// A file that everybody may read and its owner and group may write, as DataKit shows all of
    /// its files.
    #[must_use]
    pub const fn new(length: u64) -> FileStat {
        FileStat { length, mode: 0o664, version: 0 }
    }

    /// The same of a file that refuses every write: it shows no write bit.
    #[must_use]
    pub const fn read_only(self) -> FileStat {
        FileStat { mode: self.mode & !0o222, ..self }
    }
}

/// Where one open file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenState {
    /// Bytes delivered so far, of a stream; where the last read or write ended, of a command or
    /// value.
    pub delivered: u64,
    /// Which value comes next, of a stream.
    pub next: u32,
    /// Bytes of the pending text that were delivered.
    pub taken: u16,
    /// The next read of a stream is the empty one that marks the end of a delivery.
    pub mark: bool,
    /// The text is what was written of a value that has not ended yet, up to the offset
    /// `delivered`; empty after an open that truncates.
    pub partial: bool,
}

/// One open file as its [`File`] sees it, lent for the time of a call. The tree keeps it between
/// calls.
pub struct OpenFile<'a> {
    /// The text that this open file delivers: empty at first.
    pub text: &'a mut dyn Text,
    /// How far it is.
    pub state: &'a mut OpenState,
    /// The registration of a read that waits, for the [`Waiters`](super::Waiters) of its event. It
    /// lives as long as the read. No other call registers with it.
    pub waiter: &'a mut Waiter,
}

/// Whether the read of a stream that got the last `count` bytes of the text at hand, and has room
/// for `room`, is followed by the mark of its end: a read of no bytes.
///
/// Where a read got less than it asked for, a kernel asks again for the rest, and hands the bytes
/// to its reader at the mark. A small read that got all that it asked for gets no mark: a shell,
/// which reads byte by byte, would take it for the end of the file. A large read gets the mark: the
/// kernel may have cut it, and nobody can tell.
#[must_use]
pub const fn mark_follows(count: usize, room: usize) -> bool {
    count < room || room >= 1024
}

/// A file: what most people implement. Dyn-compatible, so that a tree is a table of `&dyn File`.
///
/// A value renders itself into [`OpenFile::text`] when it is opened and reads out of that, so that
/// no reader ever sees half of two values; a stream waits in [`poll_read`](File::poll_read).
pub trait File {
    /// Length, permissions, version.
    fn stat(&self) -> FileStat;

    /// Called once for each open, before anything else.
    fn open(&self, open: &mut OpenFile<'_>, mode: OpenMode) -> Result<()> {
        let _ = (open, mode);
        Ok(())
    }

    /// Reads at `offset` into `buf`. `Pending` after arranging for `cx` to be woken.
    ///
    /// # Cancel safety
    /// Nothing is taken by a call that returns `Pending`: a read that is given up has lost nothing.
    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        cx: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>>;

    /// Whether reads wait for something to happen, as those of a stream do.
    fn may_block(&self) -> bool {
        false
    }

    /// Writes `data` at `offset`: how many bytes were taken. No bytes are no value.
    fn write(&self, open: &mut OpenFile<'_>, offset: u64, data: &[u8]) -> Result<usize> {
        let _ = (open, offset, data);
        Err(Error::ReadOnlyFile)
    }

    /// Sets the length (`truncate(2)`).
    fn truncate(&self, length: u64) -> Result<()> {
        let _ = length;
        Err(Error::ReadOnlyFile)
    }

    /// Sets the permission bits.
    fn chmod(&self, mode: u32) -> Result<()> {
        let _ = mode;
        Err(Error::ReadOnlyFile)
    }

    /// Asked before the file is taken out of its directory.
    fn remove(&self) -> Result<()> {
        Err(Error::ReadOnlyFile)
    }

    /// Makes what was written take effect, where that is a step of its own: called before
    /// [`close`](File::close) when a client closes the file in order, which then sees the error.
    fn flush(&self, open: &mut OpenFile<'_>) -> Result<()> {
        let _ = open;
        Ok(())
    }

    /// Called once when an open file is given up.
    fn close(&self, open: &mut OpenFile<'_>) {
        let _ = open;
    }

    /// Writes what a person should know: type, range, unit, what it is for. One line without its
    /// end.
    fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let _ = out;
        Ok(())
    }
}
