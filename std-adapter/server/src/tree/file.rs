//! The traits for files of the dynamic tree and for open files.

use std::any::Any;

use datakit_core::vfs::{Error, FileStat, FileType, OpenMode, Result, Time};

use super::{BoxFuture, Entry, OnClunk, ready};

/// A file. Implement this trait for files that the existing types do not cover.
///
/// By default, methods that change the file return an error, as for a read-only file.
pub trait Leaf: Send + Sync {
    /// Returns the length, the permission bits and the version.
    fn stat(&self) -> BoxFuture<'_, FileStat>;

    /// Returns the results of [`stat`](Leaf::stat) and [`mtime`](Leaf::mtime) together, if both are
    /// known without waiting. If this method returns `None`, the tree calls the other two methods.
    fn try_stat_now(&self) -> Option<Result<(FileStat, Option<Time>)>> {
        None
    }

    /// Returns the type of the file, which is either a regular file or a symbolic link.
    fn kind(&self) -> FileType {
        FileType::File
    }

    /// Returns the target of a symbolic link.
    fn target(&self) -> BoxFuture<'_, Vec<u8>> {
        ready(Err(Error::Invalid))
    }

    /// Opens the file. A file that does not support truncation ignores [`OpenMode::truncate`].
    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>>;

    /// Sets the length in bytes.
    fn truncate(&self, length: u64) -> BoxFuture<'_, ()> {
        let _ = length;
        ready(Err(Error::ReadOnlyFile))
    }

    /// Sets the permission bits.
    fn chmod(&self, mode: u32) -> BoxFuture<'_, ()> {
        let _ = mode;
        ready(Err(Error::ReadOnlyFile))
    }

    /// Returns the time of the last modification of the content, if known.
    fn mtime(&self) -> Option<Time> {
        None
    }

    /// Returns the directory that currently contains the file, if the file may have been moved.
    fn current_parent(&self) -> Option<Entry> {
        None
    }

    /// Returns `self` for downcasting, so that directories can recognize their own files.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// Removes the file. On success, the tree calls
    /// [`Directory::unlink`](super::Directory::unlink).
    fn remove(&self) -> BoxFuture<'_, ()> {
        ready(Err(Error::ReadOnlyFile))
    }

    /// Calls `hook` whenever the last open fid of the file is closed, by a clunk or because the
    /// connection is lost. The hook runs again if the file is reopened and closed.
    ///
    /// Fids that were never opened do not count, because the Linux client keeps such fids in its
    /// dentry cache. The hook runs after [`OpenLeaf::flush`] and [`OpenLeaf::close`] of the last
    /// open file, and must not block. An open that races with the last clunk may succeed before the
    /// hook runs.
    fn on_clunk(self, hook: impl Fn() + Send + Sync + 'static) -> OnClunk<Self>
    where
        Self: Sized,
    {
        OnClunk::new(self, hook)
    }
}

/// An open file. When the client closes the file or disconnects, the tree calls
/// [`close`](OpenLeaf::close) and then drops this value.
///
/// The tree runs at most one read and one write at a time, in order of arrival. A read and a write
/// may run concurrently.
pub trait OpenLeaf: Send + Sync {
    /// Reads at `offset` into `buf` and returns the number of bytes read. A result of 0 indicates
    /// the end of the file or a stream's flush mark. Waits only until the first bytes are
    /// available, not until `buf` is full.
    ///
    /// # Cancel safety
    /// If the future is dropped, no data is lost, and the next read returns the data.
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize>;

    /// Returns `true` if reads may wait for an event, like reads from a stream. The server uses a
    /// small buffer for reads that may wait.
    fn may_block(&self) -> bool {
        false
    }

    /// Reads like [`read`](OpenLeaf::read) if the data is available and the result does not depend
    /// on other reads. If this method returns `None`, the tree calls `read`.
    fn try_read_now(&self, offset: u64, buf: &mut [u8]) -> Option<Result<usize>> {
        let _ = (offset, buf);
        None
    }

    /// Writes `data` at `offset` and returns the number of bytes written.
    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, usize> {
        let _ = (offset, data);
        ready(Err(Error::ReadOnlyFile))
    }

    /// Applies buffered writes. Called at a clunk, but not when the connection is lost. An error is
    /// returned in the reply to the clunk.
    fn flush(&self) -> BoxFuture<'_, ()> {
        ready(Ok(()))
    }

    /// Called once when the file is closed, by a clunk or because the connection is lost.
    fn close(&self) {}
}

/// Checks that permission bits do not make a file executable. Commands and values cannot be made
/// executable.
///
/// # Errors
/// [`Error::ChmodSpecial`] if the bits allow the owner to execute the file.
pub(super) fn check_not_executable(mode: u32) -> Result<()> {
    if mode & 0o100 == 0 { Ok(()) } else { Err(Error::ChmodSpecial) }
}
