//! A request that a task processes.
//!
//! A [`FileRequest`] replies through the channel that it came from, so this module and `requests`
//! depend on each other.

use core::fmt;
use core::mem;

use super::requests::FileRequests;
use crate::files::display::Plain;
use crate::vfs::{Client, Error, FixedText, Result, Text};

/// The operation that a client requests from a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    /// A read of the file. Answer it with [`FileRequest::reply`].
    Read,
    /// A write of this value, without leading or trailing whitespace. Answer it with
    /// [`FileRequest::finish`].
    Write(&'a str),
}

/// A request that a task has taken from [`FileRequests`]. The client waits until the task calls
/// [`reply`](FileRequest::reply) or [`finish`](FileRequest::finish).
///
/// If the task drops the request without replying, the client receives [`Error::Io`].
pub struct FileRequest<'a, const CAPACITY: usize, const TEXT: usize> {
    requests: &'a FileRequests<CAPACITY, TEXT>,
    number: u8,
    file: u16,
    client: Client,
    /// The value to write, or `None` for a read.
    value: Option<FixedText<TEXT>>,
}

impl<'a, const CAPACITY: usize, const TEXT: usize> FileRequest<'a, CAPACITY, TEXT> {
    pub(super) fn new(
        requests: &'a FileRequests<CAPACITY, TEXT>,
        number: u8,
        (file, client): (u16, Client),
        value: Option<FixedText<TEXT>>,
    ) -> Self {
        FileRequest { requests, number, file, client, value }
    }

    /// Returns the file's number, as passed to [`FileRequests::file`].
    #[must_use]
    pub fn file(&self) -> u16 {
        self.file
    }

    /// Returns the client that opened the file.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client
    }

    /// Returns the requested operation.
    #[must_use]
    pub fn operation(&self) -> Operation<'_> {
        match &self.value {
            None => Operation::Read,
            // The value was checked when the request was made.
            Some(value) => {
                Operation::Write(core::str::from_utf8(value.bytes()).unwrap_or_default())
            }
        }
    }

    /// Returns whether the client has cancelled the request. The reply to a cancelled request is
    /// discarded.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.requests.is_cancelled(self.number)
    }

    /// Waits until the client cancels the request. The client cancels the request by sending a
    /// Tflush, closing the file, or closing its connection.
    ///
    /// # Cancel safety
    /// The future can be dropped at any time.
    pub async fn cancelled(&self) {
        self.requests.cancelled(self.number).await;
    }

    /// Answers a read with the text that `render` writes. If the text does not fit in the request's
    /// `TEXT` bytes, the client receives [`Error::TextTooLong`].
    pub fn reply(self, render: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result) {
        let mut text = FixedText::new();
        let result = render(&mut text).map_err(|_| Error::TextTooLong);
        self.complete(result, text);
    }

    /// Answers a write, or answers a read with an error.
    pub fn finish(self, result: Result<()>) {
        self.complete(result, FixedText::new());
    }

    fn complete(self, result: Result<()>, text: FixedText<TEXT>) {
        self.requests.complete(self.number, result, text);
        mem::forget(self);
    }
}

impl<const CAPACITY: usize, const TEXT: usize> Drop for FileRequest<'_, CAPACITY, TEXT> {
    fn drop(&mut self) {
        let error = Error::Io.with_message(Plain("the task has dropped the request"));
        self.requests.complete(self.number, Err(error), FixedText::new());
    }
}

impl<const CAPACITY: usize, const TEXT: usize> fmt::Debug for FileRequest<'_, CAPACITY, TEXT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileRequest")
            .field("file", &self.file)
            .field("client", &self.client)
            .field("operation", &self.operation())
            .finish_non_exhaustive()
    }
}
