//! EntryKind a file of the dynamic tree is.

use std::any::Any;

use datakit_core::vfs::{Error, FileStat, FileType, OpenMode, Result, Time};

use super::{BoxFuture, Entry, ready};

/// A file: create your own.
///
/// Refusals that are not overridden are those of a read-only file.
pub trait Leaf: Send + Sync {
    /// Length, permissions, version.
    fn stat(&self) -> BoxFuture<'_, FileStat>;

    /// [`stat`](Leaf::stat) and [`changed`](Leaf::changed) by one look, where the answer is at
    /// hand; `None`: ask them.
    fn try_stat_now(&self) -> Option<Result<(FileStat, Option<Time>)>> {
        None
    }

    /// EntryKind it is shown as: a regular file, or a symbolic link.
    fn kind(&self) -> FileType {
        FileType::File
    }

    /// Where a symbolic link leads.
    fn target(&self) -> BoxFuture<'_, Vec<u8>> {
        ready(Err(Error::Invalid))
    }

    /// Opens it. Where `mode` says so the content is dropped; a file that cannot do that opens all
    /// the same.
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

    /// When its content changed; `None` where that is not known.
    fn mtime(&self) -> Option<Time> {
        None
    }

    /// The directory that has it now, where it may have been moved since it was found.
    fn current_parent(&self) -> Option<Entry> {
        None
    }

    /// Itself, for directories that know their own files.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// Removes the file. Its directory is told afterwards
    /// ([`Directory::unlink`](super::Directory::unlink)).
    fn remove(&self) -> BoxFuture<'_, ()> {
        ready(Err(Error::ReadOnlyFile))
    }
}

/// An open file. Dropped when the client closes it or is gone, after [`close`](OpenLeaf::close).
///
/// The tree runs one read and one write at a time, in the order in which they came; a read and a
/// write may run together.
pub trait OpenLeaf: Send + Sync {
    /// Reads at `offset` into `buf`: how many bytes; 0 is the end, or the flush mark of a stream.
    /// May wait for the first byte.
    ///
    /// # Cancel safety
    /// A read that is dropped has taken nothing.
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize>;

    /// Whether reads wait for something to happen, as those of a stream do. They are given a small
    /// buffer.
    fn may_block(&self) -> bool {
        false
    }

    /// [`read`](OpenLeaf::read) where the answer is at hand and does not depend on other reads;
    /// `None`: ask `read`.
    fn try_read_now(&self, offset: u64, buf: &mut [u8]) -> Option<Result<usize>> {
        let _ = (offset, buf);
        None
    }

    /// Writes `data` at `offset`: how many bytes were taken.
    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, usize> {
        let _ = (offset, data);
        ready(Err(Error::ReadOnlyFile))
    }

    /// Makes what was written take effect, where that is a step of its own; a client that closes in
    /// order sees the error.
    fn flush(&self) -> BoxFuture<'_, ()> {
        ready(Ok(()))
    }

    /// The file is given up, in order or because the connection is lost.
    fn close(&self) {}
}

/// Where the permission bits are those of a plain file nothing is to be done; commands and values
/// cannot become programs.
pub(super) fn only_normal(mode: u32) -> Result<()> {
    if mode & 0o100 == 0 { Ok(()) } else { Err(Error::ChmodSpecial) }
}
