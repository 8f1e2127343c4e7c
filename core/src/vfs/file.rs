//! The interface to a single file.

use core::fmt;
use core::task::{Context, Poll};

use super::{Error, OpenMode, Result, Text, Waiter};

/// The tree-independent attributes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FileStat {
    /// The length in bytes, which is 0 for streams.
    pub length: u64,
    /// The twelve permission bits.
    pub mode: u32,
    /// The version of the content. The version changes whenever the content changes. A version of 0
    /// tells clients not to cache the content.
    pub version: u32,
}

impl FileStat {
    /// Creates the attributes of a file that is readable by everyone and writable by its owner and
    /// group.
    #[must_use]
    pub const fn new(length: u64) -> FileStat {
        FileStat { length, mode: 0o664, version: 0 }
    }

    /// Clears the write bits. Use this method for a file that refuses every write.
    #[must_use]
    pub const fn read_only(self) -> FileStat {
        FileStat { mode: self.mode & !0o222, ..self }
    }
}

/// The state of one open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenState {
    /// For a stream, the number of bytes returned so far. For a command or a value, the offset at
    /// which the last read or write ended.
    pub delivered: u64,
    /// For a stream, the sequence number of the next value.
    pub next: u32,
    /// For a stream, how many bytes of the pending text have been returned so far.
    pub taken: u16,
    /// For a stream, whether the next read returns 0 bytes to mark the end of a value. For a
    /// [`TaskFile`](crate::files::TaskFile), whether the text is the reply to a read.
    pub mark: bool,
    /// Whether the text is a value that is still being written. If this flag is set, the text ends
    /// at the offset `delivered`. The text is empty after the file has been opened with
    /// [`OpenMode::truncate`].
    pub partial: bool,
}

/// An open file, which the tree passes to the methods of [`File`]. The tree keeps the text and the
/// state between calls.
pub struct OpenFile<'a> {
    /// The text of this open file, which is initially empty.
    pub text: &'a mut dyn Text,
    /// The progress of reads and writes.
    pub state: &'a mut OpenState,
    /// The registration of a waiting read in a [`Waiters`](super::Waiters) list. The registration
    /// is cancelled when the read completes or is dropped. Only reads may register the waiter.
    pub waiter: &'a mut Waiter,
    /// The number of the client that opened the file.
    pub client: Client,
    /// Whether the client follows the file's value, as described for [`OpenMode::follows`].
    pub follows: bool,
}

/// The number that the program assigns to a client's connection. Files use the number to attribute
/// changes to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Client(pub u8);

impl Client {
    /// The number of the program itself and of all connections to which the program has not
    /// assigned a number.
    pub const PROGRAM: Client = Client(u8::MAX);
}

impl fmt::Debug for OpenFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OpenFile { text, state, waiter: _, client, follows } = self;
        f.debug_struct("OpenFile")
            .field("text", &text.bytes())
            .field("state", state)
            .field("client", client)
            .field("follows", follows)
            .finish_non_exhaustive()
    }
}

/// Returns whether a stream must mark the end of a value's text by returning 0 bytes from the next
/// read. The previous read returned the last `count` bytes of the text in a buffer of `room` bytes.
///
/// After a short read, a kernel requests more data. The mark tells the kernel to stop and return
/// the data to the reading program. No mark follows a small read that filled its buffer. A shell,
/// which reads byte by byte, would mistake a mark after a single byte for the end of the file. A
/// mark always follows a large read, because the kernel may have shortened the read.
#[must_use]
pub const fn mark_follows(count: usize, room: usize) -> bool {
    count < room || room >= 1024
}

/// A file in a tree. This trait is dyn-compatible, so a tree can be a table of `&dyn File`.
///
/// When a file with a value is opened, the value is rendered into [`OpenFile::text`]. Reads are
/// served from this text, so a client never reads a mixture of two values. A stream waits in
/// [`poll_read`](File::poll_read).
pub trait File {
    /// Returns the length, the permissions and the version.
    fn stat(&self) -> FileStat;

    /// Prepares the state of a file that has just been opened. This method is called once, before
    /// any other method receives the open file.
    fn open(&self, open: &mut OpenFile<'_>, mode: OpenMode) -> Result<()> {
        let _ = (open, mode);
        Ok(())
    }

    /// Reads data at `offset` into `buf`. If the read has to wait, this method registers the waker
    /// of `cx` and returns `Pending`.
    ///
    /// # Cancel safety
    /// A call that returns `Pending` consumes nothing, so no data is lost when a read is cancelled.
    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        cx: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>>;

    /// Returns whether reads can wait for an event, for example because the file is a stream.
    fn may_block(&self) -> bool {
        false
    }

    /// Writes `data` at `offset` and returns the number of bytes written. An empty write does not
    /// count as a value and changes nothing.
    fn write(&self, open: &mut OpenFile<'_>, offset: u64, data: &[u8]) -> Result<usize> {
        let _ = (open, offset, data);
        Err(Error::ReadOnlyFile)
    }

    /// Sets the length (`truncate(2)`).
    fn truncate(&self, length: u64) -> Result<()> {
        let _ = length;
        Err(Error::ReadOnlyFile)
    }

    /// Sets the permission bits (`chmod(2)`).
    fn chmod(&self, mode: u32) -> Result<()> {
        let _ = mode;
        Err(Error::ReadOnlyFile)
    }

    /// Permits or refuses removal of the file from its directory. The tree calls this method before
    /// it removes the file.
    fn remove(&self) -> Result<()> {
        Err(Error::ReadOnlyFile)
    }

    /// Applies the data that has been written to the open file. Files that apply writes immediately
    /// need not implement this method. This method is called before [`close`](File::close) when the
    /// client clunks the file, but not when the connection is lost. Any error is returned to the
    /// client.
    fn flush(&self, open: &mut OpenFile<'_>) -> Result<()> {
        let _ = open;
        Ok(())
    }

    /// Closes an open file. Called once.
    fn close(&self, open: &mut OpenFile<'_>) {
        let _ = open;
    }

    /// Calls `with` once, passing the parameter that this file shows and sets. Does nothing if the
    /// file is not a parameter.
    #[cfg(feature = "params")]
    fn with_parameter(&self, with: &mut super::WithParameter<'_>) {
        let _ = with;
    }

    /// Writes a one-line human-readable description, without a newline. The description contains
    /// the type, range, unit and purpose.
    fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let _ = out;
        Ok(())
    }
}
