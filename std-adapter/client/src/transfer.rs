//! Long transfers: several reads or writes of one file under way at a time.
//!
//! Only a file that has a version and shows the length of what it holds is read or written ahead.
//! Streams, commands and parameters get one request after the other, in order.

use std::collections::VecDeque;
use std::pin::Pin;

use bytes::{Buf, Bytes};
use datakit_core::wire::{Qid, Rmessage as R, Tmessage as T};

use super::error::{Error, Result};
use super::file::File;
use super::link::Call;
use super::node::{unexpected, write_message};
use super::tags::Then;

/// How many requests of one transfer are under way at a time.
const ABREAST: usize = 8;

/// The content of a file from its start, piece by piece. Dropping it flushes the reads that are
/// under way.
pub struct Chunks<'f> {
    file: &'f File,
    /// In the order of their offsets, without gaps.
    ahead: VecDeque<Asked>,
    /// Where the next read starts.
    next: u64,
    /// Reads may be made ahead up to here.
    known: u64,
    /// What the last answer lacks: its offset and length. To be asked for before anything else.
    missing: Option<(u64, u32)>,
    /// The question for the file's length, while it is under way.
    length: Option<Pin<Box<dyn Future<Output = u64> + Send + Sync + 'f>>>,
    state: Reading,
}

struct Asked {
    offset: u64,
    count: u32,
    call: Call,
}

#[derive(PartialEq, Eq)]
enum Reading {
    First,
    /// The first answer was a whole message: how far to read ahead is still to be found out.
    Whole,
    More,
    End,
}

impl<'f> Chunks<'f> {
    pub(crate) fn new(file: &'f File) -> Chunks<'f> {
        Chunks {
            file,
            ahead: VecDeque::new(),
            next: 0,
            known: 0,
            missing: None,
            length: None,
            state: Reading::First,
        }
    }

    /// The next piece, of at most [`File::unit`] bytes; `None` is the end of the file, or a
    /// stream's flush mark.
    ///
    /// Cancel safe: the reads stay under way when the future is dropped.
    ///
    /// # Errors
    /// What the server refuses. The next call tries the same read again.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.state == Reading::End {
            return Ok(None);
        }
        self.ask_ahead().await?;
        let Some(first) = self.ahead.front_mut() else { return Ok(None) };
        let answer = (&mut first.call).await;
        // Nothing waits from here on: what was taken is returned.
        let (offset, count) = (first.offset, first.count);
        self.ahead.pop_front();
        let data = answer.and_then(|frame| Ok(frame.slice_ref(self.file.data(&frame, count)?)));
        let taken = data.and_then(|data| self.took(offset, count, &data).map(|()| data));
        if taken.is_err() {
            self.ahead.clear();
            self.next = offset;
        }
        taken.map(|data| Some(data).filter(|data| !data.is_empty()))
    }

    /// Has as many reads under way as the file is good for, at least one.
    async fn ask_ahead(&mut self) -> Result<()> {
        if let Some((offset, count)) = self.missing {
            let asked = self.ask(offset, count).await?;
            self.missing = None;
            self.ahead.push_front(asked);
        }
        if self.state == Reading::Whole {
            let file = self.file;
            self.known = self.length.get_or_insert_with(|| Box::pin(file.shown_length())).await;
            self.length = None;
            self.state = Reading::More;
        }
        while self.ahead.is_empty() || (self.next < self.known && self.ahead.len() < ABREAST) {
            let asked = self.ask(self.next, self.file.unit).await?;
            self.next = self.next.saturating_add(asked.count.into());
            self.ahead.push_back(asked);
        }
        Ok(())
    }

    /// Once this waits no more, the request is sent and the caller has it.
    async fn ask(&self, offset: u64, count: u32) -> Result<Asked> {
        let message = T::Read { fid: self.file.handle.fid, offset, count };
        Ok(Asked { offset, count, call: self.file.submit(&message).await? })
    }

    /// Notes how far the file is read, and what this answer lacks.
    fn took(&mut self, offset: u64, count: u32, data: &Bytes) -> Result<()> {
        let end = offset.saturating_add(data.len() as u64);
        let missing = count.saturating_sub(u32::try_from(data.len()).unwrap_or(u32::MAX));
        self.state = match self.state {
            _ if data.is_empty() => Reading::End,
            Reading::First if missing == 0 => Reading::Whole,
            Reading::Whole => Reading::Whole,
            _ => Reading::More,
        };
        if data.is_empty() {
            self.ahead.clear();
        } else if missing > 0 && self.ahead.is_empty() {
            self.next = end;
        } else if missing > 0 {
            self.missing = Some((end, missing));
        }
        Ok(())
    }
}

/// What goes into a file, piece by piece. Dropping it before [`Writes::finish`] flushes the writes
/// that are under way.
pub struct Writes<'f> {
    file: &'f File,
    ahead: VecDeque<Sent>,
    /// Where the next write starts.
    next: u64,
    /// How many writes may be under way; `None` is not known yet.
    abreast: Option<usize>,
    /// What was refused: nothing after it is to be written.
    failed: Option<Error>,
}

struct Sent {
    offset: u64,
    data: Bytes,
    /// `None` while it is to be sent again, since the server left a part of it.
    call: Option<Call>,
}

impl<'f> Writes<'f> {
    pub(crate) fn new(file: &'f File, offset: u64) -> Writes<'f> {
        Writes { file, ahead: VecDeque::new(), next: offset, abreast: None, failed: None }
    }

    /// Writes `data` after what came before it. Returns before the server has answered.
    ///
    /// When the future is dropped a part of `data` may be on its way; what came before it stays
    /// under way.
    ///
    /// # Errors
    /// What the server refused of this or of an earlier piece, and so from then on; what else was
    /// under way may be written or not.
    pub async fn write(&mut self, mut data: Bytes) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)?;
        while !data.is_empty() {
            while self.ahead.len() >= self.abreast.unwrap_or(1) {
                let end = self.settle().await?;
                if self.abreast.is_none() && self.ahead.is_empty() {
                    let plain = self.file.qid.kind & Qid::APPEND == 0;
                    let ahead = plain && self.file.shown_length().await >= end;
                    self.abreast = Some(if ahead { ABREAST } else { 1 });
                }
            }
            let piece = data.slice(..data.len().min(self.file.unit()));
            let call = Some(self.send(self.next, &piece).await?);
            data.advance(piece.len());
            let offset = self.next;
            self.next = offset.saturating_add(piece.len() as u64);
            self.ahead.push_back(Sent { offset, data: piece, call });
        }
        Ok(())
    }

    /// Waits until the server has taken all of it.
    ///
    /// # Errors
    /// Those of [`Writes::write`].
    pub async fn finish(mut self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)?;
        while !self.ahead.is_empty() {
            self.settle().await?;
        }
        Ok(())
    }

    async fn send(&self, offset: u64, data: &Bytes) -> Result<Call> {
        self.file.submit(&write_message(self.file.handle.fid, offset, data)).await
    }

    /// Takes the answer to the oldest write, and has written again what the server left of it.
    /// Returns how far the file is written. Dropped, it has changed nothing.
    async fn settle(&mut self) -> Result<u64> {
        let file = self.file;
        let Some(oldest) = self.ahead.front_mut() else { return Ok(self.next) };
        let call = match &mut oldest.call {
            Some(call) => call,
            none => {
                let again = write_message(file.handle.fid, oldest.offset, &oldest.data);
                none.insert(file.submit(&again).await?)
            }
        };
        let answer = call.await;
        oldest.call = None;
        let taken = match answer.and_then(|frame| file.written(&frame, oldest.data.len())) {
            Ok(0) => Err(Error::number(5)),
            other => other,
        };
        let count = taken.inspect_err(|error| self.failed = Some(error.clone()))?;
        oldest.data.advance(count);
        oldest.offset = oldest.offset.saturating_add(count as u64);
        let end = oldest.offset;
        if oldest.data.is_empty() {
            self.ahead.pop_front();
        }
        Ok(end)
    }
}

impl File {
    async fn submit(&self, message: &T<'_>) -> Result<Call> {
        self.link().room().await;
        self.link().submit(message, Then::Nothing)
    }

    /// What Rwrite says.
    pub(crate) fn written(&self, frame: &[u8], sent: usize) -> Result<usize> {
        match self.link().decode(frame)? {
            R::Write { count } if count as usize <= sent => Ok(count as usize),
            R::Write { .. } => Err(Error::protocol("more data written than sent")),
            other => Err(unexpected(&other)),
        }
    }

    /// In bytes; 0 where the server does not tell, and of files that have no versions: what they
    /// hold is made as it is read.
    async fn shown_length(&self) -> u64 {
        match self.stat().await {
            Ok(metadata) if metadata.qid.version != 0 => metadata.len,
            _ => 0,
        }
    }
}
