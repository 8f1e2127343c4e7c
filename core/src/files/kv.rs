//! A file whose content is kept elsewhere.

use core::task::{Context, Poll};

use super::write::{Count, overlay, plain, resize};
use crate::vfs::{Error, File, FileStat, Fixed, OpenFile, OpenMode, Result, Text, read_at};

/// A file of at most `N` bytes that one function reads and another one writes, always as a whole: a setting in flash, a register,
/// a row of a store. Nothing is kept between calls.
///
/// The reading function answers [`Error::NotFound`] while there is no value; a write then makes one.
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
    fn whole(&self) -> Result<Fixed<N>> {
        let mut whole = Fixed::new();
        match (self.read)(&mut whole) {
            Ok(()) => Ok(whole),
            Err(Error::NotFound) => Ok(Fixed::new()),
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

    fn poll_read(&self, _: &mut OpenFile<'_>, _: &mut Context<'_>, offset: u64, buf: &mut [u8]) -> Poll<Result<usize>> {
        let mut whole = Fixed::<N>::new();
        Poll::Ready((self.read)(&mut whole).and_then(|()| read_at(whole.bytes(), offset, buf)))
    }

    fn write(&self, _: &mut OpenFile<'_>, offset: u64, data: &[u8]) -> Result<usize> {
        let mut new = Fixed::<N>::new();
        overlay(self.whole()?.bytes(), offset, data, &mut new)?;
        (self.write)(new.bytes()).map(|()| data.len())
    }

    fn truncate(&self, length: u64) -> Result<()> {
        let mut new = Fixed::<N>::new();
        if length > 0 {
            resize(self.whole()?.bytes(), length, &mut new)?;
        }
        (self.write)(new.bytes())
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        plain(mode)
    }
}
