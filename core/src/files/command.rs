//! A file that runs commands.

use core::cell::RefCell;
use core::fmt;
use core::task::{Context, Poll};

use embassy_sync::blocking_mutex::CriticalSectionMutex;

use super::display::describe_with;
use super::input::{check_plain_mode, trimmed};
use super::pieces::{self, PieceTarget};
use crate::vfs::{Client, Error, File, FileStat, FixedText, OpenFile, Result, Text, read_at};

/// A function that runs a command and writes the reply. The command is passed without leading or
/// trailing whitespace.
type Handler = fn(&str, &mut dyn fmt::Write) -> Result<()>;

/// A file that runs the commands written to it. A command is complete when a write ends with a
/// newline, when the file is read, or when the fid is clunked.
///
/// The reply is at most `N` bytes long, and is removed once all of it has been read. It can be read
/// through the fid that wrote the command or through a fid opened later. If a command fails, the
/// request that completed the command returns the error, and the previous reply is kept.
pub struct Command<const N: usize> {
    handler: Handler,
    doc: &'static str,
    reply: CriticalSectionMutex<RefCell<Reply<N>>>,
}

struct Reply<const N: usize> {
    text: FixedText<N>,
    /// The number of reply bytes that have been read.
    taken: usize,
}

impl<const N: usize> Reply<N> {
    fn unread(&self) -> &[u8] {
        self.text.bytes().get(self.taken..).unwrap_or_default()
    }
}

impl<const N: usize> Command<N> {
    /// Creates a file that passes each command to `handler`.
    #[must_use]
    pub const fn new(handler: Handler) -> Command<N> {
        let reply = Reply { text: FixedText::new(), taken: 0 };
        Command { handler, doc: "", reply: CriticalSectionMutex::new(RefCell::new(reply)) }
    }

    /// Sets the description, which should list the commands.
    #[must_use]
    pub const fn doc(mut self, doc: &'static str) -> Command<N> {
        self.doc = doc;
        self
    }
}

impl<const N: usize> fmt::Debug for Command<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("doc", &self.doc).finish_non_exhaustive()
    }
}

impl<const N: usize> File for Command<N> {
    fn stat(&self) -> FileStat {
        FileStat::new(self.reply.lock(|reply| reply.borrow().unread().len() as u64))
    }

    /// Reads the remainder of the reply. The read must start either at offset 0 or where the last
    /// read or write of this open file ended.
    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        if offset != 0 && offset != open.state.delivered {
            return Poll::Ready(Err(Error::Seek));
        }
        if let Err(error) = pieces::apply(self, open) {
            return Poll::Ready(Err(error));
        }
        let count = self.reply.lock(|reply| {
            let mut reply = reply.borrow_mut();
            let count = read_at(reply.unread(), 0, buf)?;
            reply.taken += count;
            Ok(count)
        });
        if let Ok(count) = count {
            open.state.delivered = offset.saturating_add(count as u64);
        }
        Poll::Ready(count)
    }

    fn write(&self, open: &mut OpenFile<'_>, offset: u64, data: &[u8]) -> Result<usize> {
        pieces::write(self, open, offset, data)
    }

    fn flush(&self, open: &mut OpenFile<'_>) -> Result<()> {
        pieces::apply(self, open)
    }

    fn truncate(&self, length: u64) -> Result<()> {
        if length == 0 { Ok(()) } else { Err(Error::ExtendCommand) }
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        check_plain_mode(mode)
    }

    fn remove(&self) -> Result<()> {
        Err(Error::NotPermitted)
    }

    fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        describe_with("command", self.doc, out)
    }
}

impl<const N: usize> PieceTarget for Command<N> {
    fn set(&self, _: Client, _: u64, command: &[u8]) -> Result<()> {
        let mut text = FixedText::new();
        (self.handler)(trimmed(command)?, &mut text)?;
        self.reply.lock(|reply| reply.replace(Reply { text, taken: 0 }));
        Ok(())
    }
}
