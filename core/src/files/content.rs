//! Files with arbitrary content that is kept in RAM or accessed through functions.

use core::cell::RefCell;
use core::fmt;
use core::task::{Context, Poll};

use embassy_sync::blocking_mutex::CriticalSectionMutex;

use super::input::{check_plain_mode, overlay, resize};
use super::pieces::{self, PieceTarget};
use super::render::Count;
use crate::vfs::{
    Client, Error, File, FileStat, FixedText, OpenFile, OpenMode, Result, Text, read_at,
};

/// A file that stores at most `N` bytes in RAM. Every read returns the current content.
pub struct Bytes<const N: usize> {
    content: CriticalSectionMutex<RefCell<FixedText<N>>>,
}

impl<const N: usize> Bytes<N> {
    /// Creates an empty file.
    #[must_use]
    pub const fn new() -> Bytes<N> {
        Bytes { content: CriticalSectionMutex::new(RefCell::new(FixedText::new())) }
    }

    /// Returns a copy of the content.
    pub fn get(&self) -> FixedText<N> {
        self.content.lock(|content| content.borrow().clone())
    }

    /// Replaces the content.
    ///
    /// # Errors
    /// Returns [`Error::TooLarge`] if the length of `bytes` exceeds `N`. If an error is returned,
    /// the content is unchanged.
    pub fn set(&self, bytes: &[u8]) -> Result<()> {
        self.change(|_, new| new.extend(bytes))
    }

    /// Replaces the content with the result of `change`. The new content is built in a separate
    /// buffer, so an error leaves the old content unchanged.
    fn change(&self, change: impl FnOnce(&[u8], &mut FixedText<N>) -> Result<()>) -> Result<()> {
        self.content.lock(|content| {
            let mut new = FixedText::new();
            change(content.borrow().bytes(), &mut new)?;
            content.replace(new);
            Ok(())
        })
    }
}

impl<const N: usize> Default for Bytes<N> {
    fn default() -> Self {
        Bytes::new()
    }
}

impl<const N: usize> fmt::Debug for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bytes").field(&self.get()).finish()
    }
}

impl<const N: usize> File for Bytes<N> {
    fn stat(&self) -> FileStat {
        FileStat::new(self.content.lock(|content| content.borrow().bytes().len() as u64))
    }

    fn open(&self, _: &mut OpenFile<'_>, mode: OpenMode) -> Result<()> {
        if mode.truncate { self.truncate(0) } else { Ok(()) }
    }

    fn poll_read(
        &self,
        _: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        Poll::Ready(self.content.lock(|content| read_at(content.borrow().bytes(), offset, buf)))
    }

    fn write(&self, _: &mut OpenFile<'_>, offset: u64, data: &[u8]) -> Result<usize> {
        self.change(|old, new| overlay(old, offset, data, new)).map(|()| data.len())
    }

    fn truncate(&self, length: u64) -> Result<()> {
        self.change(|old, new| resize(old, length, new))
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        check_plain_mode(mode)
    }

    fn remove(&self) -> Result<()> {
        Err(Error::ReadOnlyFile)
    }
}

/// A file of at most `N` bytes that uses one function to read its content and another to write it.
/// Both functions always transfer the entire content. The content can be, for example, a setting in
/// flash, a register, or a row in a database.
///
/// The file itself stores only the pieces of an incomplete value. The [module documentation](super)
/// describes when a value written in pieces is complete. A value is also complete when the open
/// file's buffer is full.
///
/// If no value exists, the read function must return [`Error::NotFound`], and the write function
/// must create the value.
pub struct Kv<const N: usize, R, W> {
    read: R,
    write: W,
}

impl<const N: usize, R, W> Kv<N, R, W>
where
    R: Fn(&mut dyn Text) -> Result<()>,
    W: Fn(&[u8]) -> Result<()>,
{
    /// Creates a file that calls `read` to read the content and `write` to replace it.
    #[must_use]
    pub const fn new(read: R, write: W) -> Self {
        Kv { read, write }
    }

    /// Returns the whole content, which is empty if no value exists.
    fn whole(&self) -> Result<FixedText<N>> {
        let mut whole = FixedText::new();
        match (self.read)(&mut whole) {
            Ok(()) => Ok(whole),
            Err(Error::NotFound) => Ok(FixedText::new()),
            Err(error) => Err(error),
        }
    }
}

impl<const N: usize, R, W> fmt::Debug for Kv<N, R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kv").finish_non_exhaustive()
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
            // Opening a read-only value with `O_TRUNC` succeeds but changes nothing.
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
        let read = pieces::apply(self, open).and_then(|()| (self.read)(&mut whole));
        Poll::Ready(read.and_then(|()| read_at(whole.bytes(), offset, buf)))
    }

    fn write(&self, open: &mut OpenFile<'_>, offset: u64, data: &[u8]) -> Result<usize> {
        // If a piece extends beyond `N` bytes, reject it now instead of waiting until the value is
        // complete.
        if offset.saturating_add(data.len() as u64) > N as u64 {
            overlay(&[], offset, data, &mut FixedText::<N>::new())?;
        }
        pieces::write(self, open, offset, data)
    }

    fn flush(&self, open: &mut OpenFile<'_>) -> Result<()> {
        pieces::apply(self, open)
    }

    fn truncate(&self, length: u64) -> Result<()> {
        let mut new = FixedText::<N>::new();
        if length > 0 {
            resize(self.whole()?.bytes(), length, &mut new)?;
        }
        (self.write)(new.bytes())
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        check_plain_mode(mode)
    }
}

impl<const N: usize, R, W> PieceTarget for Kv<N, R, W>
where
    R: Fn(&mut dyn Text) -> Result<()>,
    W: Fn(&[u8]) -> Result<()>,
{
    fn set(&self, _: Client, start: u64, text: &[u8]) -> Result<()> {
        let mut new = FixedText::<N>::new();
        overlay(self.whole()?.bytes(), start, text, &mut new)?;
        (self.write)(new.bytes())
    }

    fn allows_steps(&self) -> bool {
        true
    }
}
