//! Cursors that read and write messages in a buffer. [`Reader`] and [`Writer`] record the first
//! error and report it when they finish. Returning a `Result` for each field would take up much
//! more flash.

use core::fmt;

use super::{Dialect, HEADER, Tag};
use crate::Decimal;

/// The reason that a frame is not a valid message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Malformed {
    /// The dialect has no message of this type. The frame itself is intact, so a server can reply
    /// with an error and continue.
    Unknown(u8),
    /// The body ends early, or a length or count exceeds the number of bytes that follow.
    Short,
    /// Extra bytes follow the last field of the message or of a stat record.
    Trailing,
    /// A string contains a NUL byte.
    Text,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Unknown(kind) => write!(f, "unknown message type {}", Decimal::from(*kind)),
            Malformed::Short => f.write_str("message ends early"),
            Malformed::Trailing => f.write_str("message has trailing bytes"),
            Malformed::Text => f.write_str("string contains a NUL byte"),
        }
    }
}

impl core::error::Error for Malformed {}

/// The error for a message that does not fit into the buffer, or for a string or list that is too
/// long for its length field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("message does not fit")
    }
}

impl core::error::Error for Full {}

/// A cursor that decodes the fields of a message body in order. The reader records the first error,
/// which [`finish`](Reader::finish) reports. After an error, the reader discards the remaining
/// bytes, and all further fields decode as empty or 0.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    dialect: Dialect,
    error: Option<Malformed>,
}

impl<'a> Reader<'a> {
    /// Creates a reader that decodes `bytes` in `dialect`.
    #[inline]
    pub fn new(bytes: &'a [u8], dialect: Dialect) -> Self {
        Self { bytes, dialect, error: None }
    }

    /// Splits a frame into its type, its tag and a reader for its body.
    ///
    /// # Errors
    /// Returns [`Malformed::Short`] or [`Malformed::Trailing`] if the size field does not match the
    /// length of `frame`.
    #[inline]
    pub fn open(frame: &'a [u8], dialect: Dialect) -> Result<(u8, Tag, Self), Malformed> {
        let (header, body) = frame.split_first_chunk::<HEADER>().ok_or(Malformed::Short)?;
        let &[s0, s1, s2, s3, kind, t0, t1] = header;
        let size = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
        if size != frame.len() {
            return Err(if size < frame.len() { Malformed::Trailing } else { Malformed::Short });
        }
        Ok((kind, Tag(u16::from_le_bytes([t0, t1])), Self::new(body, dialect)))
    }

    /// Returns the connection's dialect.
    #[inline]
    pub fn dialect(&self) -> Dialect {
        // If only one dialect is enabled, this value is constant, so the compiler removes the code
        // for the other dialects.
        if cfg!(feature = "classic") { self.dialect } else { Dialect::Linux }
    }

    /// Returns whether all bytes have been consumed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the bytes that have not been consumed yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Consumes an integer of `size` bytes and returns the integer.
    // When inlined with a constant size, this function compiles to one instruction on x86.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    pub fn number(&mut self, size: usize) -> u64 {
        let mut number = [0; 8];
        if let (Some(to), Some(bytes)) = (number.get_mut(..size), self.split(size)) {
            to.copy_from_slice(bytes);
        }
        u64::from_le_bytes(number)
    }

    /// Consumes `count` bytes and returns them.
    #[inline]
    pub fn take_bytes(&mut self, count: usize) -> &'a [u8] {
        self.split(count).unwrap_or_default()
    }

    #[inline]
    fn split(&mut self, count: usize) -> Option<&'a [u8]> {
        let Some((head, rest)) = self.bytes.split_at_checked(count) else {
            self.fail(Malformed::Short);
            return None;
        };
        self.bytes = rest;
        Some(head)
    }

    /// Consumes a record that is preceded by its size as `size[2]`. The `body` closure decodes the
    /// record and must consume all of its bytes.
    #[inline]
    pub fn sized<T>(&mut self, body: impl FnOnce(&mut Self) -> T) -> T {
        let rest = self.start_sized();
        let value = body(self);
        self.finish_sized(rest);
        value
    }

    /// Consumes the size of a record, limits the reader to the record, and returns the bytes after
    /// the record.
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn start_sized(&mut self) -> &'a [u8] {
        let size = self.number(2);
        let record = self.take_bytes(size as usize);
        core::mem::replace(&mut self.bytes, record)
    }

    /// Checks that the whole record has been consumed, and continues with the bytes after it.
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn finish_sized(&mut self, rest: &'a [u8]) {
        if !self.bytes.is_empty() {
            self.fail(Malformed::Trailing);
        } else if self.error.is_none() {
            self.bytes = rest;
        }
    }

    /// Records an error unless one has already been recorded, and discards the remaining bytes.
    #[cold]
    #[inline(never)]
    pub fn fail(&mut self, error: Malformed) {
        self.bytes = &[];
        self.error = self.error.or(Some(error));
    }

    /// Checks that no error has been recorded.
    ///
    /// # Errors
    /// Returns the recorded [`Malformed`] error.
    #[inline]
    pub fn check(&self) -> Result<(), Malformed> {
        self.error.map_or(Ok(()), Err)
    }

    /// Finishes reading the message body.
    ///
    /// # Errors
    /// Returns the recorded [`Malformed`] error, or [`Malformed::Trailing`] if not all bytes have
    /// been consumed.
    #[inline]
    pub fn finish(&self) -> Result<(), Malformed> {
        self.check()?;
        if self.bytes.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }
}

/// A cursor that appends fields to a buffer. The writer records an overflow, which
/// [`finish`](Writer::finish) reports.
#[derive(Debug)]
pub struct Writer<'b> {
    buf: &'b mut [u8],
    /// The position of the next byte. After an overflow, the position is beyond the end of `buf`,
    /// so nothing more is written.
    at: usize,
    dialect: Dialect,
}

impl<'b> Writer<'b> {
    /// Creates a writer that encodes fields in `dialect` and writes them to the start of `buf`.
    #[inline]
    pub fn new(buf: &'b mut [u8], dialect: Dialect) -> Self {
        Self { buf, at: 0, dialect }
    }

    /// Returns the connection's dialect.
    #[inline]
    pub fn dialect(&self) -> Dialect {
        // If only one dialect is enabled, this value is constant, so the compiler removes the code
        // for the other dialects.
        if cfg!(feature = "classic") { self.dialect } else { Dialect::Linux }
    }

    /// Returns the length of the buffer.
    pub(crate) fn room(&self) -> usize {
        self.buf.len()
    }

    /// Appends a message header. [`close`](Writer::close) fills in the size.
    #[inline]
    pub fn open(&mut self, kind: u8, tag: Tag) {
        let [low, high] = tag.0.to_le_bytes();
        self.number(HEADER, u64::from_le_bytes([0, 0, 0, 0, kind, low, high, 0]));
    }

    /// Appends the `size` low-order bytes of an integer.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    pub fn number(&mut self, size: usize, value: u64) {
        self.bytes(value.to_le_bytes().get(..size).unwrap_or_default());
    }

    /// Appends bytes.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        // Slicing the buffer in two steps lets the compiler prove that the lengths are equal and
        // remove the panic in `copy_from_slice`.
        let place = self.buf.get_mut(self.at..).and_then(|rest| rest.get_mut(..bytes.len()));
        if let Some(place) = place {
            place.copy_from_slice(bytes);
        }
        self.at = self.at.saturating_add(bytes.len());
    }

    /// Skips `count` bytes that are already in the buffer.
    #[inline]
    pub fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count);
    }

    /// Appends `count` as `count[2]`, or records an overflow if `count` is too large.
    #[inline]
    pub fn count(&mut self, count: usize) {
        match u16::try_from(count) {
            Ok(count) => self.number(2, count.into()),
            Err(_) => self.overflow(),
        }
    }

    /// Records an overflow for a length that does not fit into its field.
    #[inline]
    pub fn overflow(&mut self) {
        self.at = usize::MAX;
    }

    /// Appends the record that `body` writes, preceded by its size as `size[2]`.
    #[inline]
    pub fn sized(&mut self, body: impl FnOnce(&mut Self)) {
        let start = self.at;
        self.number(2, 0);
        body(self);
        match u16::try_from(self.at.saturating_sub(start.saturating_add(2))) {
            Ok(size) => self.patch(start, 2, size.into()),
            Err(_) => self.overflow(),
        }
    }

    /// Finishes writing and returns the number of bytes written.
    ///
    /// # Errors
    /// Returns [`Full`] if an overflow was recorded.
    #[inline]
    pub fn finish(self) -> Result<usize, Full> {
        if self.at <= self.buf.len() { Ok(self.at) } else { Err(Full) }
    }

    /// Fills in the message size and then calls [`finish`](Writer::finish).
    ///
    /// # Errors
    /// Returns [`Full`] if the message did not fit.
    #[inline]
    pub fn close(mut self) -> Result<usize, Full> {
        let size = u32::try_from(self.at).map_err(|_| Full)?;
        self.patch(0, 4, size.into());
        self.finish()
    }

    #[inline]
    fn patch(&mut self, at: usize, size: usize, value: u64) {
        let end = core::mem::replace(&mut self.at, at);
        self.number(size, value);
        self.at = end;
    }
}
