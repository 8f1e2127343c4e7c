//! The interface to a file whose writes may have to wait.

use core::fmt;
use core::task::{Context, Poll};

use super::{File, FileTable, OpenFile, Result};

/// A read, a write or a flush of an open file.
#[derive(Debug)]
pub enum Transfer<'a> {
    /// Reads data at `offset` into `buf` (see [`File::poll_read`]).
    Read {
        /// The offset in bytes.
        offset: u64,
        /// The buffer.
        buf: &'a mut [u8],
    },
    /// Writes `data` at `offset` (see [`File::write`]).
    Write {
        /// The offset in bytes.
        offset: u64,
        /// The data.
        data: &'a [u8],
    },
    /// Applies the data that has been written (see [`File::flush`]).
    Flush,
}

impl Transfer<'_> {
    /// Borrows the transfer, for example for one poll.
    pub fn reborrow(&mut self) -> Transfer<'_> {
        match self {
            Transfer::Read { offset, buf } => Transfer::Read { offset: *offset, buf },
            Transfer::Write { offset, data } => Transfer::Write { offset: *offset, data },
            Transfer::Flush => Transfer::Flush,
        }
    }
}

/// A file whose reads, writes and flushes may all wait, for example because another task performs
/// them.
///
/// A [`StaticTree`](super::StaticTree) of kind [`AsyncTree`](super::AsyncTree) calls
/// [`poll_transfer`](AsyncFile::poll_transfer) instead of [`poll_read`](File::poll_read),
/// [`write`](File::write) and [`flush`](File::flush). Other kinds of trees cannot wait for a write.
/// In those trees, the three methods of [`File`] should return an error.
///
/// The file must also be a [`FileTable`] whose [`async_file`](FileTable::async_file) method returns
/// it.
pub trait AsyncFile: File + FileTable + Sync {
    /// Starts a transfer, or continues it if an earlier call for the same transfer has stored a
    /// request in `pending`. Returns the number of bytes transferred, which is 0 for a flush. If
    /// the transfer has to wait, this method registers the waker of `cx` and returns `Pending`.
    ///
    /// # Cancel safety
    /// Dropping `pending` [cancels](AsyncFile::cancel) the request.
    fn poll_transfer(
        &'static self,
        open: &mut OpenFile<'_>,
        pending: &mut PendingRequest,
        cx: &mut Context<'_>,
        transfer: Transfer<'_>,
    ) -> Poll<Result<usize>>;

    /// Cancels the request with this number.
    fn cancel(&self, request: u8);
}

/// The request that an [`AsyncFile`] has started for a transfer. Dropping a `PendingRequest`
/// cancels the request.
#[derive(Default)]
pub struct PendingRequest(Option<Started>);

struct Started {
    file: &'static dyn AsyncFile,
    request: u8,
    is_last: bool,
}

impl PendingRequest {
    /// Creates a value that does not refer to a request.
    #[must_use]
    pub const fn new() -> PendingRequest {
        PendingRequest(None)
    }

    /// Stores the number of a request that has been started. `is_last` indicates whether completing
    /// the request also completes the transfer.
    pub fn start(&mut self, file: &'static dyn AsyncFile, request: u8, is_last: bool) {
        self.cancel();
        self.0 = Some(Started { file, request, is_last });
    }

    /// Returns the request's number and whether it is the last request of the transfer.
    #[must_use]
    pub fn get(&self) -> Option<(u8, bool)> {
        self.0.as_ref().map(|started| (started.request, started.is_last))
    }

    /// Removes the reference to the request. Call this method after the request is complete.
    pub fn finish(&mut self) {
        self.0 = None;
    }

    fn cancel(&mut self) {
        if let Some(started) = self.0.take() {
            started.file.cancel(started.request);
        }
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for PendingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PendingRequest").field(&self.get()).finish()
    }
}
