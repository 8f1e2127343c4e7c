//! Pipelined transfers, which keep multiple reads or writes of one file in flight.
//!
//! Transfers are pipelined only for files that have a version and report their length. For stream
//! files, command files and parameter files, each request is sent only after the reply to the
//! previous one has arrived.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use datakit_core::wire::Qid;
use futures_core::Stream;

use super::connection::Call;
use super::error::{Error, Result};
use super::metadata::Metadata;
use super::open_file::{BoxFuture, OpenFile, reliable_length};

/// The maximum number of requests that a single transfer keeps in flight.
const CONCURRENCY: usize = 8;

type StatFuture = BoxFuture<Result<Metadata>>;

/// Reads a file sequentially with multiple reads in flight.
pub(crate) struct ReadAhead {
    /// The reads in flight, ordered by offset and without gaps.
    pending: VecDeque<PendingRead>,
    /// The offset of the next read.
    next: u64,
    /// The offset up to which reads may be pipelined.
    length: u64,
    /// The offset and size of the part that was missing from the last reply, if any. The missing
    /// part is requested before any new data.
    missing: Option<(u64, u32)>,
    /// The pending request for the file's length, if any.
    stat: Option<StatFuture>,
    phase: ReadPhase,
}

struct PendingRead {
    offset: u64,
    count: u32,
    call: Call,
}

#[derive(PartialEq, Eq)]
enum ReadPhase {
    First,
    /// The first reply contained as much data as requested. The client must determine the file's
    /// length before it reads ahead.
    Length,
    More,
    End,
}

impl ReadAhead {
    pub(crate) fn new(offset: u64) -> ReadAhead {
        ReadAhead {
            pending: VecDeque::new(),
            next: offset,
            length: 0,
            missing: None,
            stat: None,
            phase: ReadPhase::First,
        }
    }

    /// Returns the next piece of data, or `None` at the end of the file. After an error, the next
    /// call retries the read at the same offset.
    pub(crate) fn poll_next(
        &mut self,
        file: &OpenFile,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>>> {
        if self.phase == ReadPhase::End {
            return Poll::Ready(Ok(None));
        }
        ready!(self.poll_submit(file, cx))?;
        let Some(first) = self.pending.front_mut() else { return Poll::Ready(Ok(None)) };
        let reply = ready!(Pin::new(&mut first.call).poll(cx));
        let (offset, count) = (first.offset, first.count);
        self.pending.pop_front();
        let data = reply.and_then(|frame| file.read_data(&frame, count));
        match &data {
            Ok(data) => self.received(offset, count, data.len()),
            Err(_) => {
                self.pending.clear();
                self.missing = None;
                self.next = offset;
            }
        }
        Poll::Ready(data.map(|data| Some(data).filter(|data| !data.is_empty())))
    }

    /// Sends as many reads as the file's length and [`CONCURRENCY`] allow, but at least one if none
    /// is in flight.
    fn poll_submit(&mut self, file: &OpenFile, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some((offset, count)) = self.missing {
            ready!(file.poll_reserve(cx));
            let call = file.submit_read(offset, count)?;
            self.pending.push_front(PendingRead { offset, count, call });
            self.missing = None;
        }
        if self.phase == ReadPhase::Length {
            let stat = self.stat.get_or_insert_with(|| file.stat());
            self.length = reliable_length(ready!(stat.as_mut().poll(cx)));
            self.stat = None;
            self.phase = ReadPhase::More;
        }
        while self.pending.is_empty()
            || (self.next < self.length && self.pending.len() < CONCURRENCY)
        {
            ready!(file.poll_reserve(cx));
            let (offset, count) = (self.next, file.unit);
            let call = file.submit_read(offset, count)?;
            self.pending.push_back(PendingRead { offset, count, call });
            self.next = offset.saturating_add(count.into());
        }
        Poll::Ready(Ok(()))
    }

    fn received(&mut self, offset: u64, count: u32, received: usize) {
        let end = offset.saturating_add(received as u64);
        let missing = count.saturating_sub(u32::try_from(received).unwrap_or(u32::MAX));
        self.phase = match self.phase {
            _ if received == 0 => ReadPhase::End,
            ReadPhase::First if missing == 0 => ReadPhase::Length,
            ReadPhase::Length => ReadPhase::Length,
            _ => ReadPhase::More,
        };
        if received == 0 {
            self.pending.clear();
        } else if missing > 0 && self.pending.is_empty() {
            self.next = end;
        } else if missing > 0 {
            self.missing = Some((end, missing));
        }
    }
}

/// Writes a file sequentially with multiple writes in flight.
pub(crate) struct WriteBehind {
    pending: VecDeque<PendingWrite>,
    /// The offset of the next write.
    next: u64,
    /// The maximum number of writes in flight, or `None` until the limit is known.
    concurrency: Option<usize>,
    /// The pending request for the file's length, and the end offset of the data that was written
    /// before the request was sent. Writes are pipelined if the file's length is at least this
    /// offset.
    stat: Option<(StatFuture, u64)>,
    /// The first error, after which no more data is written.
    failed: Option<Error>,
}

struct PendingWrite {
    offset: u64,
    data: Bytes,
    /// The write in flight, or `None` if the rest of a short write must still be sent.
    call: Option<Call>,
}

impl WriteBehind {
    pub(crate) fn new(offset: u64) -> WriteBehind {
        WriteBehind {
            pending: VecDeque::new(),
            next: offset,
            concurrency: None,
            stat: None,
            failed: None,
        }
    }

    fn check_failed(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Waits until another write may be sent.
    pub(crate) fn poll_ready(&mut self, file: &OpenFile, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.check_failed()?;
        loop {
            if let Some((stat, end)) = &mut self.stat {
                let length = reliable_length(ready!(stat.as_mut().poll(cx)));
                self.concurrency = Some(if length >= *end { CONCURRENCY } else { 1 });
                self.stat = None;
            }
            if self.pending.len() < self.concurrency.unwrap_or(1) {
                return file.poll_reserve(cx).map(Ok);
            }
            let end = ready!(self.poll_oldest(file, cx))?;
            if self.concurrency.is_none() && self.pending.is_empty() {
                if file.qid.kind & Qid::APPEND == 0 {
                    self.stat = Some((file.stat(), end));
                } else {
                    self.concurrency = Some(1);
                }
            }
        }
    }

    /// Sends one write. [`WriteBehind::poll_ready`] must have returned `Ready`, and `data` must fit
    /// in one request.
    pub(crate) fn start_write(&mut self, file: &OpenFile, data: Bytes) -> Result<()> {
        let offset = self.next;
        let call = file.submit_write(offset, &data).inspect_err(|error| self.fail(error))?;
        self.next = offset.saturating_add(data.len() as u64);
        self.pending.push_back(PendingWrite { offset, data, call: Some(call) });
        Ok(())
    }

    /// Waits until the server has replied to all writes.
    pub(crate) fn poll_flush(&mut self, file: &OpenFile, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.check_failed()?;
        while !self.pending.is_empty() {
            ready!(self.poll_oldest(file, cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for the reply to the oldest write. Sends the rest of the data after a short write.
    /// Returns the offset at which the written data ends.
    fn poll_oldest(&mut self, file: &OpenFile, cx: &mut Context<'_>) -> Poll<Result<u64>> {
        let Some(oldest) = self.pending.front_mut() else { return Poll::Ready(Ok(self.next)) };
        let reply = match &mut oldest.call {
            Some(call) => ready!(Pin::new(call).poll(cx)),
            none => {
                ready!(file.poll_reserve(cx));
                match file.submit_write(oldest.offset, &oldest.data) {
                    Ok(call) => ready!(Pin::new(none.insert(call)).poll(cx)),
                    Err(error) => Err(error),
                }
            }
        };
        oldest.call = None;
        let written = match reply.and_then(|frame| file.written(&frame, oldest.data.len())) {
            Ok(0) => Err(Error::from_reply(5, "the server wrote none of the data".into())),
            other => other,
        };
        let count = match written {
            Ok(count) => count,
            Err(error) => {
                self.fail(&error);
                return Poll::Ready(Err(error));
            }
        };
        oldest.data.advance(count);
        oldest.offset = oldest.offset.saturating_add(count as u64);
        let end = oldest.offset;
        if oldest.data.is_empty() {
            self.pending.pop_front();
        }
        Poll::Ready(Ok(end))
    }

    /// Stores the error and cancels all writes in flight.
    fn fail(&mut self, error: &Error) {
        self.failed = Some(error.clone());
        self.pending.clear();
    }
}

/// The content of a file in chunks, starting at the beginning of the file. Read the chunks as a
/// [`Stream`] or with [`Chunks::next`].
///
/// Dropping this value cancels the reads in flight.
pub struct Chunks<'f> {
    file: &'f OpenFile,
    reads: ReadAhead,
}

impl<'f> Chunks<'f> {
    pub(crate) fn new(file: &'f OpenFile) -> Chunks<'f> {
        Chunks { file, reads: ReadAhead::new(0) }
    }

    /// Returns the next chunk of at most [`File::unit`](super::File::unit) bytes. Returns `None` at
    /// the end of the file, or at the end of a delivery from a stream file.
    ///
    /// # Cancel safety
    /// If the future is dropped, the reads remain in flight and no data is lost.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses a read. The next call retries the read.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.reads.poll_next(self.file, cx)).await
    }
}

impl Stream for Chunks<'_> {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let file = self.file;
        self.reads.poll_next(file, cx).map(Result::transpose)
    }
}

impl Debug for Chunks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks").field("next", &self.reads.next).finish_non_exhaustive()
    }
}

/// A sequence of writes to a file. Dropping this value before calling [`Writes::finish`] cancels
/// the writes in flight.
pub struct Writes<'f> {
    file: &'f OpenFile,
    writes: WriteBehind,
}

impl<'f> Writes<'f> {
    pub(crate) fn new(file: &'f OpenFile, offset: u64) -> Writes<'f> {
        Writes { file, writes: WriteBehind::new(offset) }
    }

    /// Writes `data` after the data from previous calls. Returns before the server has replied.
    ///
    /// # Cancel safety
    /// If the future is dropped, part of `data` may have been sent. Earlier writes remain in
    /// flight.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refused this write or an earlier one. All subsequent
    /// calls return the same error. Other writes in flight may or may not have been executed.
    pub async fn write(&mut self, mut data: Bytes) -> Result<()> {
        self.writes.check_failed()?;
        while !data.is_empty() {
            std::future::poll_fn(|cx| self.writes.poll_ready(self.file, cx)).await?;
            let piece = data.split_to(data.len().min(self.file.unit as usize));
            self.writes.start_write(self.file, piece)?;
        }
        Ok(())
    }

    /// Waits until the server has executed all writes.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refused any of the writes.
    pub async fn finish(mut self) -> Result<()> {
        std::future::poll_fn(|cx| self.writes.poll_flush(self.file, cx)).await
    }
}

impl Debug for Writes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writes").field("next", &self.writes.next).finish_non_exhaustive()
    }
}
