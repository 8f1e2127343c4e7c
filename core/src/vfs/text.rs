//! Buffers for the text of open files, and functions that check an offset and read from a buffer.

use core::fmt;

use super::{Error, Result};
use crate::Decimal;

/// The buffer into which an open file renders its text. The tree keeps this buffer while the file
/// is open. On an embedded board, the buffer has a fixed size. On a desktop, it grows with the
/// text, up to 64 KiB.
pub trait Text: fmt::Write {
    /// Returns the content.
    fn bytes(&self) -> &[u8];

    /// Truncates the content to `length` bytes. Shorter content is left unchanged.
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
    let mut window = Window::new(offset, buf);
    window.push(content);
    window.finish(offset)
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

/// Same as [`check_offset`], but with the error message for writes.
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

/// Writes a character with [`write_str`](fmt::Write::write_str). To save flash, a type that
/// implements [`fmt::Write`] can call this function in its [`write_char`](fmt::Write::write_char),
/// because the default implementation is compiled for each type.
///
/// # Errors
/// Returns an error if writing to `out` fails.
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
    /// The number of bytes to discard.
    skip: usize,
    buf: &'a mut [u8],
    /// The number of bytes that have been discarded or stored.
    length: usize,
    #[cfg(feature = "params")]
    json: Json,
}

/// The state of a [`Window`] into which a JSON document is written.
#[cfg(feature = "params")]
#[derive(Debug, Clone, Copy)]
struct Json {
    /// Whether the next text belongs to a string and must be escaped.
    in_string: bool,
    /// The last byte.
    last: u8,
    /// The FNV-1a hash of all bytes.
    hash: u32,
}

impl<'a> Window<'a> {
    /// Creates a writer that discards the first `skip` bytes and stores the following bytes in
    /// `buf`.
    pub fn new(skip: u64, buf: &'a mut [u8]) -> Window<'a> {
        // No text is longer than `usize::MAX` bytes, so a larger `skip` also discards the whole
        // text.
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        Window {
            skip,
            buf,
            length: 0,
            #[cfg(feature = "params")]
            json: Json { in_string: false, last: 0, hash: 0x811c_9dc5 },
        }
    }

    /// Returns the number of bytes in the buffer.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.length.saturating_sub(self.skip)
    }

    /// Returns the number of bytes that have been discarded or stored.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Completes a read at `offset` and returns the number of bytes in the buffer. The writer must
    /// have been created for a read at this offset.
    ///
    /// # Errors
    /// Returns the same errors as [`read_at`].
    pub fn finish(self, offset: u64) -> Result<usize> {
        check_offset(offset)?;
        match self.length.checked_sub(self.skip) {
            Some(filled) => Ok(filled),
            None => Err(beyond_end(offset, self.length as u64)),
        }
    }

    /// Skips or stores as many of the `bytes` as possible, and returns how many were skipped or
    /// stored. The result is less than `bytes.len()` only if the buffer is full.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let skipped = self.skip.saturating_sub(self.length).min(bytes.len());
        let free = self.buf.get_mut(self.filled()..).unwrap_or_default();
        let rest = bytes.get(skipped..).unwrap_or_default();
        let count = skipped.saturating_add(rest.len().min(free.len()));
        for (to, from) in free.iter_mut().zip(rest) {
            *to = *from;
        }
        self.length = self.length.saturating_add(count);
        count
    }
}

#[cfg(feature = "params")]
impl Window<'_> {
    /// Writes a byte of a JSON document. A quotation mark begins or ends a string, in which text is
    /// escaped. A comma after a `[` is left out.
    ///
    /// # Errors
    /// Returns an error if the buffer is full.
    pub(crate) fn put_json(&mut self, byte: u8) -> fmt::Result {
        if byte == b',' && self.json.last == b'[' {
            return Ok(());
        }
        self.json.in_string ^= byte == b'"';
        self.put(byte)
    }

    /// Returns the FNV-1a hash of all bytes that were written.
    pub(crate) fn hash(&self) -> u32 {
        self.json.hash
    }

    /// Writes a byte without escaping it.
    pub(crate) fn put(&mut self, byte: u8) -> fmt::Result {
        self.json.last = byte;
        self.json.hash = (self.json.hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        if let Some(filled) = self.length.checked_sub(self.skip) {
            *self.buf.get_mut(filled).ok_or(fmt::Error)? = byte;
        }
        self.length += 1;
        Ok(())
    }
}

impl fmt::Write for Window<'_> {
    #[cfg(not(feature = "params"))]
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if self.push(s.as_bytes()) == s.len() { Ok(()) } else { Err(fmt::Error) }
    }

    #[cfg(feature = "params")]
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for byte in s.bytes() {
            if self.json.in_string && matches!(byte, b'"' | b'\\' | ..b' ') {
                self.json.in_string = false;
                self.write_str("\\u00")?;
                crate::files::write_hex(byte, self)?;
                self.json.in_string = true;
            } else {
                self.put(byte)?;
            }
        }
        Ok(())
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
        assert_eq!((window.filled(), window.length()), (0, 2));
        window.write_str("cdef").unwrap();
        assert_eq!(window.write_str("ghijk"), Err(core::fmt::Error));
        assert_eq!((window.filled(), window.length(), &buf), (4, 7, b"defg"));
    }
}
