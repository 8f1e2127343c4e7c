//! The traits of a file of the dynamic tree and of an open file.

use std::any::Any;

use datakit_core::vfs::{Error, FileStat, FileType, OpenMode, Result, Time};

use super::{BoxFuture, Entry, OnClunk, ready};

/// A file. Implement it for files that the ready-made ones do not cover.
///
/// Methods that are not overridden refuse, as those of a read-only file do.
pub trait Leaf: Send + Sync {
    /// Returns length, permission bits and version.
    fn stat(&self) -> BoxFuture<'_, FileStat>;

    /// Returns [`stat`](Leaf::stat) and [`mtime`](Leaf::mtime) together, if both are known without
    /// waiting. On `None` the tree calls those two.
    fn try_stat_now(&self) -> Option<Result<(FileStat, Option<Time>)>> {
        None
    }

    /// Returns the type that the file is shown as: a regular file or a symbolic link.
    fn kind(&self) -> FileType {
        FileType::File
    }

    /// Returns the target of a symbolic link.
    fn target(&self) -> BoxFuture<'_, Vec<u8>> {
        ready(Err(Error::Invalid))
    }

    /// Opens the file. A file that cannot truncate ignores [`OpenMode::truncate`].
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

    /// Returns the time of the last change of the content, if it is known.
    fn mtime(&self) -> Option<Time> {
        None
    }

    /// Returns the directory that contains the file now, if the file may have been moved.
    fn current_parent(&self) -> Option<Entry> {
        None
    }

    /// Returns `self` for a downcast, for directories that recognize their own files.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// Removes the file. On success the tree calls
    /// [`Directory::unlink`](super::Directory::unlink).
    fn remove(&self) -> BoxFuture<'_, ()> {
        ready(Err(Error::ReadOnlyFile))
    }

    /// Calls `hook` whenever the last open fid of the file is closed, by a clunk or because the
    /// connection is lost. Opening the file again arms it again.
    ///
    /// Fids that were walked to and not opened do not count: the Linux client keeps them in its
    /// dentry cache. The hook runs after [`OpenLeaf::flush`] and [`OpenLeaf::close`] of the
    /// last open file. It must not block. An open that races with the last clunk may succeed before
    /// the hook runs.
    fn on_clunk(self, hook: impl Fn() + Send + Sync + 'static) -> OnClunk<Self>
    where
        Self: Sized,
    {
        OnClunk::new(self, hook)
    }
}

/// An open file. The tree calls [`close`](OpenLeaf::close) and then drops it when the client closes
/// it or is gone.
///
/// The tree runs one read and one write at a time, in the order in which they arrive. A read and a
/// write may run at the same time.
pub trait OpenLeaf: Send + Sync {
    /// Reads at `offset` into `buf` and returns the number of bytes. 0 is the end of the file, or
    /// the flush mark of a stream. Waits for the first byte at most, not until `buf` is full.
    ///
    /// # Cancel safety
    /// Dropping the future loses no data: the next read gets it.
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize>;

    /// Returns whether reads may wait for an event, as those of a stream do. Such reads get a small
    /// buffer.
    fn may_block(&self) -> bool {
        false
    }

    /// Reads like [`read`](OpenLeaf::read) if the data is available and the result does not depend
    /// on other reads. On `None` the tree calls `read`.
    fn try_read_now(&self, offset: u64, buf: &mut [u8]) -> Option<Result<usize>> {
        let _ = (offset, buf);
        None
    }

    /// Writes `data` at `offset` and returns the number of bytes written.
    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, usize> {
        let _ = (offset, data);
        ready(Err(Error::ReadOnlyFile))
    }

    /// Applies buffered writes. Called at a clunk, which reports the error to the client, and not
    /// when the connection is lost.
    fn flush(&self) -> BoxFuture<'_, ()> {
        ready(Ok(()))
    }

    /// Called once when the file is closed, by a clunk or because the connection is lost.
    fn close(&self) {}
}

/// Accepts the permission bits of a plain file: commands and values cannot be made executable.
///
/// # Errors
/// [`Error::ChmodSpecial`] if the owner could execute the file.
pub(super) fn check_not_executable(mode: u32) -> Result<()> {
    if mode & 0o100 == 0 { Ok(()) } else { Err(Error::ChmodSpecial) }
}
