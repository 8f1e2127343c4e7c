//! Long transfers: several reads or writes of one file under way at a time.
//!
//! Only a file that has a version and shows the length of what it holds is read or written ahead. Streams, commands and parameters
//! get one request after the other, in order.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use datakit_core::wire::{Qid, Rmessage as R, Tmessage as T};

use super::error::{Error, Result};
use super::file::File;
use super::link::Call;
use super::node::{unexpected, write_message};
use super::tags::Then;

/// How many requests of one transfer are under way at a time.
const ABREAST: usize = 8;

/// The content of a file from its start, piece by piece. Dropping it flushes the reads that are under way.
pub struct Chunks<'f> {
    file: &'f File,
    /// In the order of their offsets, without gaps.
    ahead: VecDeque<Asked>,
    /// Where the next read starts.
    next: u64,
    /// Reads may be made ahead up to here.
    known: u64,
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
    More,
    End,
}

impl<'f> Chunks<'f> {
    pub(crate) fn new(file: &'f File) -> Chunks<'f> {
        Chunks { file, ahead: VecDeque::new(), next: 0, known: 0, state: Reading::First }
    }

    /// The next piece, of at most [`File::unit`] bytes; `None` is the end of the file, or a stream's flush mark.
    ///
    /// Cancel safe: the reads stay under way when the future is dropped.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.state == Reading::End {
            return Ok(None);
        }
        while self.ahead.is_empty() || (self.next < self.known && self.ahead.len() < ABREAST) {
            let asked = self.ask(self.next, self.file.unit).await?;
            self.next += u64::from(asked.count);
            self.ahead.push_back(asked);
        }
        let Some(first) = self.ahead.front_mut() else { return Ok(None) };
        let answer = (&mut first.call).await;
        let (offset, count) = (first.offset, first.count);
        self.ahead.pop_front();
        let frame = answer?;
        let data = frame.slice_ref(self.file.data(&frame)?);
        self.took(offset, count, &data).await?;
        Ok(Some(data).filter(|data| !data.is_empty()))
    }

    async fn ask(&self, offset: u64, count: u32) -> Result<Asked> {
        let message = T::Read { fid: self.file.handle.fid, offset, count };
        Ok(Asked { offset, count, call: self.file.submit(&message).await? })
    }

    /// Asks again for what is missing, and finds out once how far to read ahead.
    async fn took(&mut self, offset: u64, count: u32, data: &Bytes) -> Result<()> {
        let end = offset + data.len() as u64;
        let missing = count.checked_sub(u32::try_from(data.len()).unwrap_or(u32::MAX));
        match missing {
            None => return Err(Error::protocol("more data than asked for")),
            _ if data.is_empty() => {
                self.state = Reading::End;
                self.ahead.clear();
            }
            Some(0) if self.state == Reading::First => self.known = self.file.shown_length().await,
            Some(0) => {}
            Some(_) if self.ahead.is_empty() => self.next = end,
            Some(missing) => {
                let asked = self.ask(end, missing).await?;
                self.ahead.push_front(asked);
            }
        }
        if self.state == Reading::First {
            self.state = Reading::More;
        }
        Ok(())
    }
}

/// What goes into a file, piece by piece. Dropping it before [`Writes::finish`] flushes the writes that are under way.
pub struct Writes<'f> {
    file: &'f File,
    ahead: VecDeque<Sent>,
    /// Where the next write starts.
    next: u64,
    /// How many writes may be under way; `None` is not known yet.
    abreast: Option<usize>,
}

struct Sent {
    offset: u64,
    data: Bytes,
    call: Call,
}

impl<'f> Writes<'f> {
    pub(crate) fn new(file: &'f File, offset: u64) -> Writes<'f> {
        Writes { file, ahead: VecDeque::new(), next: offset, abreast: None }
    }

    /// Writes `data` after what came before it. Returns before the server has answered.
    ///
    /// # Errors
    /// What the server refused of this or of an earlier piece; what else was under way may be written or not.
    pub async fn write(&mut self, mut data: Bytes) -> Result<()> {
        while !data.is_empty() {
            while self.ahead.len() >= self.abreast.unwrap_or(1) {
                let end = self.settle().await?;
                if self.abreast.is_none() && self.ahead.is_empty() {
                    let plain = self.file.qid.kind & Qid::APPEND == 0;
                    let ahead = plain && self.file.shown_length().await >= end;
                    self.abreast = Some(if ahead { ABREAST } else { 1 });
                }
            }
            let piece = data.split_to(data.len().min(self.file.unit()));
            let offset = self.next;
            self.next += piece.len() as u64;
            let sent = self.send(offset, piece).await?;
            self.ahead.push_back(sent);
        }
        Ok(())
    }

    /// Waits until the server has taken all of it.
    ///
    /// # Errors
    /// Those of [`Writes::write`].
    pub async fn finish(mut self) -> Result<()> {
        while !self.ahead.is_empty() {
            self.settle().await?;
        }
        Ok(())
    }

    async fn send(&self, offset: u64, data: Bytes) -> Result<Sent> {
        let call = self.file.submit(&write_message(self.file.handle.fid, offset, &data)).await?;
        Ok(Sent { offset, data, call })
    }

    /// Takes the answer to the oldest write, and writes again what the server left of it. Returns how far the file is written.
    async fn settle(&mut self) -> Result<u64> {
        let Some(Sent { offset, mut data, call }) = self.ahead.pop_front() else { return Ok(self.next) };
        let count = self.file.written(&call.await?, data.len())?;
        if count == 0 {
            return Err(Error::number(5));
        }
        let end = offset + count as u64;
        data.advance(count);
        if !data.is_empty() {
            let sent = self.send(end, data).await?;
            self.ahead.push_front(sent);
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

    /// In bytes; 0 where the server does not tell, and of files that have no versions: what they hold is made as it is read.
    async fn shown_length(&self) -> u64 {
        match self.stat().await {
            Ok(metadata) if metadata.qid.version != 0 => metadata.len,
            _ => 0,
        }
    }
}
