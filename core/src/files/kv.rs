//! A file whose content is kept elsewhere.

use core::task::{Context, Poll};

use super::pieces::{self, Valued};
use super::write::{Count, overlay, plain, resize};
use crate::vfs::{Error, File, FileStat, FixedText, OpenFile, OpenMode, Result, Text, read_at};

/// A file of at most `N` bytes that one function reads and another one writes, always as a whole: a
/// setting in flash, a register, a row of a store. Nothing is kept between calls, but for what was
/// written and has not ended: with a newline at the end of a write, a write elsewhere, a read, the
/// clunk, or where the open file has room for no more.
///
/// The reading function answers [`Error::NotFound`] while there is no value; a write then makes
/// one.
pub struct Kv<const N: usize, R, W> {
    read: R,
    write: W,
}

impl<const N: usize, R, W> Kv<N, R, W>
where
    R: Fn(&mut dyn Text) -> Result<()>,
    W: Fn(&[u8]) -> Result<()>,
{
    /// A file over these two functions.
    #[must_use]
    pub const fn new(read: R, write: W) -> Self {
        Kv { read, write }
    }

    /// The whole content; an absent one is empty.
    fn whole(&self) -> Result<FixedText<N>> {
        let mut whole = FixedText::new();
        match (self.read)(&mut whole) {
            Ok(()) => Ok(whole),
            Err(Error::NotFound) => Ok(FixedText::new()),
            Err(error) => Err(error),
        }
    }
}

impl<const N: usize, R, W> File for Kv<N, R, W>
where
    R: Fn(&mut dyn Text) -> Result<()>,
    W: Fn(&[u8]) -> Result<()>,
{
    fn stat(&self) -> FileStat {
        let mut count = Count::default();
        let _ = (self.read)(&mut count);
        FileStat::new(count.0)
    }

    fn open(&self, _: &mut OpenFile<'_>, mode: OpenMode) -> Result<()> {
        match mode.truncate.then(|| self.truncate(0)) {
            // What is only read opens all the same.
            None | Some(Err(Error::ReadOnlyFile)) => Ok(()),
            Some(done) => done,
        }
    }

    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        let mut whole = FixedText::<N>::new();
        let read = pieces::end(self, open).and_then(|()| (self.read)(&mut whole));
        Poll::Ready(read.and_then(|()| read_at(whole.bytes(), offset, buf)))
    }

    fn write(&self, open: &mut OpenFile<'_>, offset: u64, data: &[u8]) -> Result<usize> {
        // A piece that cannot be laid over the content is refused where it is written.
        if offset.saturating_add(data.len() as u64) > N as u64 {
            overlay(&[], offset, data, &mut FixedText::<N>::new())?;
        }
        pieces::write(self, open, offset, data)
    }

    fn flush(&self, open: &mut OpenFile<'_>) -> Result<()> {
        pieces::end(self, open)
    }

    fn truncate(&self, length: u64) -> Result<()> {
        let mut new = FixedText::<N>::new();
        if length > 0 {
            resize(self.whole()?.bytes(), length, &mut new)?;
        }
        (self.write)(new.bytes())
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        plain(mode)
    }
}

impl<const N: usize, R, W> Valued for Kv<N, R, W>
where
    R: Fn(&mut dyn Text) -> Result<()>,
    W: Fn(&[u8]) -> Result<()>,
{
    fn set(&self, start: u64, text: &[u8]) -> Result<()> {
        let mut new = FixedText::<N>::new();
        overlay(self.whole()?.bytes(), start, text, &mut new)?;
        (self.write)(new.bytes())
    }

    fn in_steps(&self) -> bool {
        true
    }
}
