//! Files whose reads and writes are performed by a task in the program.

mod request;
mod requests;
#[cfg(test)]
mod tests;

use core::cell::Cell;
use core::fmt;
use core::task::{Context, Poll, ready};

pub use request::{FileRequest, Operation};
pub use requests::FileRequests;

use super::display::Plain;
use super::input::{check_plain_mode, trimmed};
use super::pieces::{self, PieceTarget};
use crate::vfs::{
    AsyncFile, Client, Error, File, FileStat, FileTable, FixedText, OpenFile, PendingRequest,
    Result, Text, Transfer, WithFile, read_at,
};

/// A file whose reads and writes are performed by a task, for example because they must wait for a
/// bus, a flash memory, or a motor. [`FileRequests::file`] creates the file, and
/// [`FileRequests::next`] passes the requests to the task.
///
/// A read at offset 0 requests the file's text from the task. The open file stores the text, so a
/// read at any other offset makes no request. A value may be written in pieces, as described in the
/// [module documentation](super). The task receives the whole value. The request that completes the
/// value waits until the task has replied, and returns any error from the task.
///
/// A request is cancelled if the client flushes it, closes the file or disconnects. If the task has
/// not begun to process the request, the request is dropped. Otherwise, the request may still take
/// effect.
///
/// The file must be served by a [`StaticTree`](crate::vfs::StaticTree) of kind
/// [`AsyncTree`](crate::vfs::AsyncTree) or by a desktop server. In any other tree, reads and writes
/// fail with [`Error::NotSupported`].
#[derive(Debug, Clone, Copy)]
pub struct TaskFile<const CAPACITY: usize, const TEXT: usize> {
    requests: &'static FileRequests<CAPACITY, TEXT>,
    number: u16,
    is_read_only: bool,
    doc: &'static str,
}

impl<const CAPACITY: usize, const TEXT: usize> FileRequests<CAPACITY, TEXT> {
    /// Creates a file whose requests are passed to the task. `number`, such as a register address,
    /// tells the task which file is being read or written.
    #[must_use]
    pub const fn file(&'static self, number: u16) -> TaskFile<CAPACITY, TEXT> {
        TaskFile { requests: self, number, is_read_only: false, doc: "" }
    }
}

impl<const CAPACITY: usize, const TEXT: usize> TaskFile<CAPACITY, TEXT> {
    /// Makes the file read-only.
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.is_read_only = true;
        self
    }

    /// Sets the description, which should be only a few words long.
    #[must_use]
    pub const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    fn check_writable(&self) -> Result<()> {
        if self.is_read_only { Err(Error::ReadOnlyFile) } else { Ok(()) }
    }

    /// Completes the transfer and returns the number of bytes transferred, unless the task must
    /// first handle a request. In that case, starts the request and returns `None`.
    fn start(
        &'static self,
        open: &mut OpenFile<'_>,
        pending: &mut PendingRequest,
        transfer: &mut Transfer<'_>,
    ) -> Result<Option<usize>> {
        let write = Submission { file: self, request: Cell::new(None) };
        let (done, is_last) = match transfer {
            Transfer::Write { offset, .. } if *offset == open.state.delivered => (None, true),
            _ if !pieces::is_pending(open) => (None, true),
            // The pending value is complete and must be set before the transfer starts.
            _ => (Some(pieces::apply(&write, open).map(|()| 0)?), false),
        };
        let done = match (done, transfer) {
            (Some(done), _) => done,
            (None, Transfer::Flush) => 0,
            (None, Transfer::Read { offset, buf }) => {
                if buf.is_empty() || *offset != 0 && open.state.mark {
                    return read_at(open.text.bytes(), *offset, buf).map(Some);
                }
                write.request.set(Some(self.requests.start(self.number, open.client, None)?));
                0
            }
            (None, Transfer::Write { offset, data }) => {
                self.check_writable()?;
                open.state.mark = false;
                pieces::write(&write, open, *offset, data)?
            }
        };
        Ok(match write.request.get() {
            Some(request) => {
                pending.start(self, request, is_last);
                None
            }
            None => Some(done),
        })
    }

    /// Completes a transfer whose last request was answered with `text`.
    fn finish(
        &self,
        open: &mut OpenFile<'_>,
        text: &FixedText<TEXT>,
        transfer: Transfer<'_>,
    ) -> Result<usize> {
        match transfer {
            Transfer::Flush => Ok(0),
            Transfer::Write { data, .. } => Ok(data.len()),
            Transfer::Read { offset, buf } => {
                // If another write has added pieces of a value in the meantime, keep them.
                if !pieces::is_pending(open) {
                    open.text.truncate(0);
                    open.text.extend(text.bytes()).map_err(|_| Error::TextTooLong)?;
                    open.state.partial = false;
                    open.state.mark = true;
                }
                read_at(text.bytes(), offset, buf)
            }
        }
    }
}

impl<const CAPACITY: usize, const TEXT: usize> AsyncFile for TaskFile<CAPACITY, TEXT> {
    fn poll_transfer(
        &'static self,
        open: &mut OpenFile<'_>,
        pending: &mut PendingRequest,
        cx: &mut Context<'_>,
        mut transfer: Transfer<'_>,
    ) -> Poll<Result<usize>> {
        loop {
            if let Some((request, is_last)) = pending.get() {
                let reply = ready!(self.requests.poll_reply(request, cx.waker()));
                pending.finish();
                match reply {
                    Err(error) => return Poll::Ready(Err(error)),
                    Ok(text) if is_last => return Poll::Ready(self.finish(open, &text, transfer)),
                    Ok(_) => {}
                }
            }
            match self.start(open, pending, &mut transfer) {
                Ok(None) => {}
                Ok(Some(done)) => return Poll::Ready(Ok(done)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn cancel(&self, request: u8) {
        self.requests.cancel(request);
    }
}

/// A table that contains one file.
impl<const CAPACITY: usize, const TEXT: usize> FileTable for TaskFile<CAPACITY, TEXT> {
    fn with_file(&self, _: u16, with: &mut WithFile<'_>) {
        with.call(self);
    }

    fn async_file(&'static self, _: u16) -> Option<&'static dyn AsyncFile> {
        Some(self)
    }
}

impl<const CAPACITY: usize, const TEXT: usize> File for TaskFile<CAPACITY, TEXT> {
    fn stat(&self) -> FileStat {
        let stat = FileStat::new(0);
        if self.is_read_only { stat.read_only() } else { stat }
    }

    fn poll_read(
        &self,
        _: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        _: u64,
        _: &mut [u8],
    ) -> Poll<Result<usize>> {
        Poll::Ready(Err(needs_async_tree()))
    }

    fn may_block(&self) -> bool {
        true
    }

    fn write(&self, _: &mut OpenFile<'_>, _: u64, _: &[u8]) -> Result<usize> {
        self.check_writable()?;
        Err(needs_async_tree())
    }

    fn truncate(&self, _: u64) -> Result<()> {
        self.check_writable()
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        check_plain_mode(mode)
    }

    fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(if self.is_read_only {
            "text of a task, read-only"
        } else {
            "text of a task"
        })?;
        if self.doc.is_empty() { Ok(()) } else { write!(out, ": {}", Plain(self.doc)) }
    }
}

#[cold]
fn needs_async_tree() -> Error {
    Error::NotSupported.with_message(Plain("this file needs a StaticTree of the kind AsyncTree"))
}

/// Starts a request when a value is complete.
struct Submission<const CAPACITY: usize, const TEXT: usize> {
    file: &'static TaskFile<CAPACITY, TEXT>,
    /// The request's number.
    request: Cell<Option<u8>>,
}

impl<const CAPACITY: usize, const TEXT: usize> PieceTarget for Submission<CAPACITY, TEXT> {
    fn set(&self, client: Client, _: u64, text: &[u8]) -> Result<()> {
        let TaskFile { requests, number, .. } = self.file;
        let request = requests.start(*number, client, Some(trimmed(text)?))?;
        self.request.set(Some(request));
        Ok(())
    }
}
