//! Bytes in RAM that can be read and written like a file on a disk.

use core::cell::RefCell;
use core::task::{Context, Poll};

use embassy_sync::blocking_mutex::CriticalSectionMutex;

use super::write::{overlay, plain, resize};
use crate::vfs::{Error, File, FileStat, FixedText, OpenFile, OpenMode, Result, Text, read_at};

/// A file of at most `N` bytes. Readers see the current content at every read.
pub struct Bytes<const N: usize> {
    content: CriticalSectionMutex<RefCell<FixedText<N>>>,
}

impl<const N: usize> Bytes<N> {
    /// An empty file.
    #[must_use]
    pub const fn new() -> Bytes<N> {
        Bytes { content: CriticalSectionMutex::new(RefCell::new(FixedText::new())) }
    }

    /// A copy of the content.
    pub fn get(&self) -> FixedText<N> {
        self.content.lock(|content| content.borrow().clone())
    }

    /// Replaces the content.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than `N` bytes; nothing changes then.
    pub fn set(&self, bytes: &[u8]) -> Result<()> {
        self.change(|_, new| new.extend(bytes))
    }

    /// Makes the new content out of the old one beside it, so that an error changes nothing.
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
        plain(mode)
    }

    fn remove(&self) -> Result<()> {
        Err(Error::ReadOnlyFile)
    }
}
