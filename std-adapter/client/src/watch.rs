//! Stream files, which send text in pieces called deliveries.

use std::fmt::{self, Debug};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::connection::Call;
use super::error::{Error, Result};
use super::open_file::OpenFile;

/// The maximum length of a delivery in bytes.
const MAX_DELIVERY: usize = 1 << 24;

/// The deliveries of a stream file. Read the deliveries as a [`Stream`] or with [`Watch::next`].
///
/// Each delivery ends with an empty read, called the flush mark. Two empty reads in a row end the
/// stream. Dropping the watch cancels the read in flight and clunks the fid in the background.
pub struct Watch {
    file: OpenFile,
    /// The number of bytes read so far.
    offset: u64,
    /// The part of the next delivery that has been read so far.
    text: Vec<u8>,
    state: WatchState,
    call: Option<Call>,
}

#[derive(PartialEq, Eq)]
enum WatchState {
    /// Nothing has been read yet, or the last read returned text.
    Reading,
    /// The last read was a flush mark.
    Mark,
    End,
}

impl Watch {
    pub(crate) fn new(file: OpenFile) -> Watch {
        Watch { file, offset: 0, text: Vec::new(), state: WatchState::Reading, call: None }
    }

    /// Waits for the next delivery. Returns `None` at the end of the stream.
    ///
    /// # Cancel safety
    /// If the future is dropped, the read remains in flight and the next call waits for it.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the read. The next call retries the read.
    /// Returns [`Error::TooLong`] if a delivery is longer than 16 MiB. The stream ends after this
    /// error.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        std::future::poll_fn(|cx| self.poll_delivery(cx)).await
    }

    fn poll_delivery(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<u8>>>> {
        while self.state != WatchState::End {
            let call = match &mut self.call {
                Some(call) => call,
                none => {
                    ready!(self.file.poll_reserve(cx));
                    none.insert(self.file.submit_read(self.offset, self.file.unit)?)
                }
            };
            let reply = ready!(Pin::new(call).poll(cx));
            self.call = None;
            let data = self.file.read_data(&reply?, self.file.unit)?;
            match (data.is_empty(), &self.state) {
                (false, _) if data.len() > MAX_DELIVERY - self.text.len() => {
                    (self.state, self.text) = (WatchState::End, Vec::new());
                    let error = Error::TooLong { what: "delivery", limit: MAX_DELIVERY };
                    return Poll::Ready(Err(error));
                }
                (false, _) => {
                    self.offset = self.offset.saturating_add(data.len() as u64);
                    self.text.extend_from_slice(&data);
                    self.state = WatchState::Reading;
                }
                (true, WatchState::Mark) => self.state = WatchState::End,
                (true, _) => {
                    self.state = WatchState::Mark;
                    if !self.text.is_empty() {
                        return Poll::Ready(Ok(Some(std::mem::take(&mut self.text))));
                    }
                }
            }
        }
        Poll::Ready(Ok(None))
    }

    /// Cancels the read in flight, closes the file, and waits for the server to confirm both.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the clunk fails.
    pub async fn close(self) -> Result<()> {
        drop(self.call);
        self.file.close().await
    }
}

impl Stream for Watch {
    type Item = Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_delivery(cx).map(Result::transpose)
    }
}

impl Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("offset", &self.offset).finish_non_exhaustive()
    }
}
