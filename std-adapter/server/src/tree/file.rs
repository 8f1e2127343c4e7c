//! The traits for files in the dynamic tree and for open files.

use std::any::Any;

use datakit_core::vfs::{Error, FileStat, FileType, OpenMode, Result, Time};

use super::{BoxFuture, ClientNumber, Entry, OnClunk, ready};

/// A file. Implement this trait for files that the existing types do not cover.
///
/// By default, the file is read-only: the methods that change it return an error.
pub trait Leaf: Send + Sync {
    /// Returns the length, permission bits and version.
    fn stat(&self) -> BoxFuture<'_, FileStat>;

    /// Returns the results of [`stat`](Leaf::stat) and [`mtime`](Leaf::mtime) if both are available
    /// without waiting. If this method returns `None`, the tree calls `stat` and `mtime` instead.
    fn try_stat_now(&self) -> Option<Result<(FileStat, Option<Time>)>> {
        None
    }

    /// Returns the file type: either a regular file or a symbolic link.
    fn kind(&self) -> FileType {
        FileType::File
    }

    /// Returns the target of a symbolic link.
    fn target(&self) -> BoxFuture<'_, Vec<u8>> {
        ready(Err(Error::Invalid))
    }

    /// Opens the file. A file that does not support truncation ignores [`OpenMode::truncate`].
    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>>;

    /// Performs [`open`](Leaf::open) on behalf of a client. Override this method if the open file
    /// depends on the client.
    fn open_by<'a>(
        &'a self,
        mode: OpenMode,
        client: &'a ClientNumber,
    ) -> BoxFuture<'a, Box<dyn OpenLeaf>> {
        let _ = client;
        self.open(mode)
    }

    /// Sets the length of the file in bytes.
    fn truncate(&self, length: u64) -> BoxFuture<'_, ()> {
        let _ = length;
        ready(Err(Error::ReadOnlyFile))
    }

    /// Sets the permission bits.
    fn chmod(&self, mode: u32) -> BoxFuture<'_, ()> {
        let _ = mode;
        ready(Err(Error::ReadOnlyFile))
    }

    /// Returns the time of last modification, if known.
    fn mtime(&self) -> Option<Time> {
        None
    }

    /// Returns the current parent directory, or `None` if the file never moves.
    fn current_parent(&self) -> Option<Entry> {
        None
    }

    /// Returns `self` for downcasting, which lets a directory recognize its own files.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// Removes the file. On success, the tree calls
    /// [`Directory::unlink`](super::Directory::unlink).
    fn remove(&self) -> BoxFuture<'_, ()> {
        ready(Err(Error::ReadOnlyFile))
    }

    /// Returns a file that calls `hook` whenever the file's last open fid is closed, either by a
    /// clunk or because the connection is lost. If the file is reopened and closed, the hook runs
    /// again.
    ///
    /// Fids that were never opened are ignored, because the Linux client keeps such fids in its
    /// dentry cache. The hook runs after [`OpenLeaf::flush`] and [`OpenLeaf::close`] have been
    /// called for the last open file. The hook must not block. A client may reopen the file after
    /// the last clunk but before the hook runs.
    fn on_clunk(self, hook: impl Fn() + Send + Sync + 'static) -> OnClunk<Self>
    where
        Self: Sized,
    {
        OnClunk::new(self, hook)
    }
}

/// An open file. When the client closes the file or disconnects, the tree calls
/// [`close`](OpenLeaf::close) and then drops the open file.
///
/// The tree runs at most one read and one write at a time, but the read and the write may be
/// concurrent. Reads run in order of arrival, and so do writes.
pub trait OpenLeaf: Send + Sync {
    /// Reads into `buf`, starting at `offset` in the file, and returns the number of bytes read. A
    /// return value of 0 indicates the end of the file or, for a stream, that no more data is
    /// ready. This method waits only until some bytes are available, not until `buf` is full.
    ///
    /// # Cancel safety
    /// Dropping the future does not lose any data.
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize>;

    /// Returns `true` if reads may have to wait for an event, for example because the file is a
    /// stream. The server uses a small buffer for such reads.
    fn may_block(&self) -> bool {
        false
    }

    /// Like [`read`](OpenLeaf::read), but returns `None` if the data is not available or the result
    /// depends on other reads. If this method returns `None`, the tree calls `read`.
    fn try_read_now(&self, offset: u64, buf: &mut [u8]) -> Option<Result<usize>> {
        let _ = (offset, buf);
        None
    }

    /// Writes `data` at `offset` and returns the number of bytes written.
    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, usize> {
        let _ = (offset, data);
        ready(Err(Error::ReadOnlyFile))
    }

    /// Applies buffered writes. The tree calls this method on a clunk but not when the connection
    /// is lost. If this method fails, the clunk fails with the same error.
    fn flush(&self) -> BoxFuture<'_, ()> {
        ready(Ok(()))
    }

    /// The tree calls this method once, when the file is closed by a clunk or because the
    /// connection is lost.
    fn close(&self) {}
}

/// Checks that permission bits do not make a file executable. Command and value files cannot be
/// made executable.
///
/// # Errors
/// Returns [`Error::ChmodSpecial`] if the bits allow the owner to execute the file.
pub(super) fn check_not_executable(mode: u32) -> Result<()> {
    if mode & 0o100 == 0 { Ok(()) } else { Err(Error::ChmodSpecial) }
}
