//! A file whose writes are commands.

use core::cell::RefCell;
use core::fmt;
use core::task::{Context, Poll};

use embassy_sync::blocking_mutex::CriticalSectionMutex;

use super::pieces::{self, Valued};
use super::write::{Plain, plain, trimmed};
use crate::vfs::{Error, File, FileStat, FixedText, OpenFile, Result, Text, read_at};

/// What runs a command: gets it without white space around it, writes the reply.
type Handler = fn(&str, &mut dyn fmt::Write) -> Result<()>;

/// A file that runs what is written to it: a command ends with a newline, a read, or the clunk. Its
/// reply, of at most `N` bytes, is kept until it was read, by the same or a later open file. An
/// error goes back on the request that ended the command and leaves the last reply alone.
pub struct Command<const N: usize> {
    handler: Handler,
    doc: &'static str,
    reply: CriticalSectionMutex<RefCell<Reply<N>>>,
}

struct Reply<const N: usize> {
    text: FixedText<N>,
    /// Bytes of it that were read.
    taken: usize,
}

impl<const N: usize> Reply<N> {
    fn rest(&self) -> &[u8] {
        self.text.bytes().get(self.taken..).unwrap_or_default()
    }
}

impl<const N: usize> Command<N> {
    /// A file whose commands `handler` runs.
    #[must_use]
    pub const fn new(handler: Handler) -> Command<N> {
        let reply = Reply { text: FixedText::new(), taken: 0 };
        Command { handler, doc: "", reply: CriticalSectionMutex::new(RefCell::new(reply)) }
    }

    /// Which commands there are, in a few words.
    #[must_use]
    pub const fn doc(mut self, doc: &'static str) -> Command<N> {
        self.doc = doc;
        self
    }
}

impl<const N: usize> File for Command<N> {
    fn stat(&self) -> FileStat {
        FileStat::new(self.reply.lock(|reply| reply.borrow().rest().len() as u64))
    }

    /// At 0, the start of the reply for whoever opens anew, or where the last read or write on this
    /// open file ended.
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
        if let Err(error) = pieces::end(self, open) {
            return Poll::Ready(Err(error));
        }
        let count = self.reply.lock(|reply| {
            let mut reply = reply.borrow_mut();
            let count = read_at(reply.rest(), 0, buf)?;
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
        pieces::end(self, open)
    }

    fn truncate(&self, length: u64) -> Result<()> {
        if length == 0 { Ok(()) } else { Err(Error::ExtendCommand) }
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        plain(mode)
    }

    fn remove(&self) -> Result<()> {
        Err(Error::NotPermitted)
    }

    fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("command")?;
        if self.doc.is_empty() { Ok(()) } else { write!(out, ": {}", Plain(self.doc)) }
    }
}

impl<const N: usize> Valued for Command<N> {
    fn set(&self, _: u64, command: &[u8]) -> Result<()> {
        let mut text = FixedText::new();
        (self.handler)(trimmed(command)?, &mut text)?;
        self.reply.lock(|reply| reply.replace(Reply { text, taken: 0 }));
        Ok(())
    }
}
