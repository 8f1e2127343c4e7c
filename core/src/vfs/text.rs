//! Buffers for the text of open files, and functions that check an offset and read from a buffer.

use core::fmt;

use super::{Error, Result};
use crate::Decimal;

/// The buffer into which an open file renders its text. The tree keeps this buffer while the file
/// is open. On an embedded board, the buffer has a fixed size. On a desktop, it grows with the
/// text.
pub trait Text: fmt::Write {
    /// Returns the content.
    fn bytes(&self) -> &[u8];

    /// Removes all bytes after the first `length` bytes. Does nothing if the content is not longer.
    fn truncate(&mut self, length: usize);

    /// Appends `bytes`.
    ///
    /// # Errors
    /// Returns [`Error::TooLarge`] if `bytes` does not fit. If an error is returned, the content is
    /// unchanged.
    fn extend(&mut self, bytes: &[u8]) -> Result<()>;
}

/// A [`Text`] of at most `N` bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FixedText<const N: usize>(heapless::Vec<u8, N>);

impl<const N: usize> FixedText<N> {
    /// Creates an empty buffer.
    #[must_use]
    pub const fn new() -> FixedText<N> {
        FixedText(heapless::Vec::new())
    }
}

impl<const N: usize> Text for FixedText<N> {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.extend_from_slice(bytes).map_err(|_| Error::TooLarge)
    }
}

impl<const N: usize> fmt::Write for FixedText<N> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.extend(s.as_bytes()).map_err(|_| fmt::Error)
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        write_char(self, character)
    }
}

/// Copies bytes from `content`, starting at `offset`, into `buf` and returns the number of bytes
/// copied. A read at the end of the content returns 0, and a read beyond the end returns an error.
///
/// # Errors
/// Returns [`Error::Invalid`] with a message such as `Negative offset -2` or
/// `Offset 6 beyond end-of-file (len = 5)`.
pub fn read_at(content: &[u8], offset: u64, buf: &mut [u8]) -> Result<usize> {
    check_offset(offset)?;
    let rest = usize::try_from(offset).ok().and_then(|at| content.get(at..));
    let Some(rest) = rest else {
        return Err(beyond_end(offset, content.len() as u64));
    };
    let count = rest.len().min(buf.len());
    for (to, from) in buf.iter_mut().zip(rest) {
        *to = *from;
    }
    Ok(count)
}

/// Returns the error for a read beyond the end of a file. The error is [`Error::Invalid`] with a
/// message such as `Offset 6 beyond end-of-file (len = 5)`.
#[must_use]
pub fn beyond_end(offset: u64, length: u64) -> Error {
    let (offset, length) = (Decimal::from(offset), Decimal::from(length));
    Error::Invalid.with_message(format_args!("Offset {offset} beyond end-of-file (len = {length})"))
}

/// Checks that an offset or a length is not negative when interpreted as a signed number. File
/// systems use signed offsets, but 9P uses unsigned ones.
///
/// # Errors
/// Returns [`Error::Invalid`] with a message such as `Negative offset -2`.
pub fn check_offset(offset: u64) -> Result<()> {
    match offset.cast_signed() {
        negative @ ..0 => Err(Error::Invalid
            .with_message(format_args!("Negative offset {}", Decimal::from(negative)))),
        _ => Ok(()),
    }
}

/// Checks the offset of a write as [`check_offset`] does, but returns a different error message.
///
/// # Errors
/// Returns [`Error::Invalid`] with a message such as `Bad write offset -2`.
pub fn check_write_offset(offset: u64) -> Result<()> {
    // Do not share this code with `check_offset`. A shared function would format a `&str`, and the
    // formatting code takes up 660 bytes of flash.
    match offset.cast_signed() {
        negative @ ..0 => Err(Error::Invalid
            .with_message(format_args!("Bad write offset {}", Decimal::from(negative)))),
        _ => Ok(()),
    }
}

/// Writes a character as a string. To save flash, a type that implements [`fmt::Write`] can call
/// this function in its [`write_char`](fmt::Write::write_char), because the default implementation
/// is compiled for each type.
///
/// # Errors
/// Returns the error of `out`.
#[inline(never)]
pub fn write_char(out: &mut dyn fmt::Write, character: char) -> fmt::Result {
    out.write_str(character.encode_utf8(&mut [0; 4]))
}

/// A writer that discards the first bytes of its input and stores the following bytes. A write that
/// does not fit into the buffer stores as much as fits and returns an error, so that the rest of
/// the text need not be rendered. With this writer, part of a file's text can be read without a
/// buffer for the whole text.
#[derive(Debug)]
pub struct Window<'a> {
    skip: u64,
    buf: &'a mut [u8],
    filled: usize,
}

impl<'a> Window<'a> {
    /// Creates a writer that discards the first `skip` bytes and stores the following bytes in
    /// `buf`.
    pub fn new(skip: u64, buf: &'a mut [u8]) -> Window<'a> {
        Window { skip, buf, filled: 0 }
    }

    /// Returns the number of bytes in the buffer.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Returns the number of bytes still to be discarded, which is nonzero if the input ended
    /// before the first byte to be stored.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.skip
    }

    /// Skips or stores as many of the `bytes` as possible, and returns how many were skipped or
    /// stored. The result is less than `bytes.len()` only if the buffer is full.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let skipped = usize::try_from(self.skip).map_or(bytes.len(), |skip| skip.min(bytes.len()));
        self.skip = self.skip.saturating_sub(skipped as u64);
        let free = self.buf.get_mut(self.filled..).unwrap_or_default();
        let rest = bytes.get(skipped..).unwrap_or_default();
        let stored = rest.len().min(free.len());
        self.filled = self.filled.saturating_add(stored);
        for (to, from) in free.iter_mut().zip(rest) {
            *to = *from;
        }
        skipped.saturating_add(stored)
    }
}

impl fmt::Write for Window<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if self.push(s.as_bytes()) == s.len() { Ok(()) } else { Err(fmt::Error) }
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        write_char(self, character)
    }
}

#[cfg(test)]
mod tests {
    use core::fmt::Write;
    use std::string::ToString;

    use super::*;

    #[test]
    fn v5_reads_past_the_end_are_refused() {
        let mut buf = [0; 10];
        assert_eq!(read_at(b"hello", 5, &mut buf), Ok(0));
        assert_eq!(read_at(b"hello", 0, &mut []), Ok(0));
        assert_eq!(
            read_at(b"hello", 6, &mut buf).unwrap_err().to_string(),
            "Offset 6 beyond end-of-file (len = 5)"
        );
    }

    #[test]
    fn v4_error_names_the_negative_offset() {
        assert_eq!(
            read_at(b"hello", -1i64 as u64, &mut [0; 3]).unwrap_err().to_string(),
            "Negative offset -1"
        );
    }

    #[test]
    fn window_stores_the_bytes_after_the_skipped_ones() {
        let mut buf = [0; 4];
        let mut window = Window::new(3, &mut buf);
        window.write_str("ab").unwrap();
        assert_eq!((window.filled(), window.missing()), (0, 1));
        window.write_str("cdef").unwrap();
        assert_eq!(window.write_str("ghijk"), Err(core::fmt::Error));
        assert_eq!((window.filled(), window.missing(), &buf), (4, 0, b"defg"));
    }
}
