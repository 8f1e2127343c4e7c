//! Two cursors over a buffer, a [`Reader`] and a [`Writer`]. Both remember what went wrong, and
//! tell when they are finished: most fields are integers, and an error of each is what flash would
//! be spent on.

use core::fmt;

use super::{Dialect, HEADER, Tag};
use crate::Decimal;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Malformed {
    /// No message of this dialect has this type. The frame around it is sound: answer an error and
    /// go on.
    Unknown(u8),
    /// The body ends early, or a length or count promises more than follows.
    Short,
    /// Bytes are left over behind the last field, of the message or of a stat.
    Trailing,
    /// A string has a NUL byte in it.
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

/// What was encoded does not fit into the buffer, or a string or list into its length field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("message does not fit")
    }
}

impl core::error::Error for Full {}

/// Takes fields off the front of a message body. What is wrong with it is remembered and reported
/// once, by [`finish`](Reader::finish); nothing is left then, and every further field is empty or
/// 0.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    dialect: Dialect,
    wrong: Option<Malformed>,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, fields that depend on it as in `dialect`.
    #[inline]
    pub fn new(bytes: &'a [u8], dialect: Dialect) -> Self {
        Self { bytes, dialect, wrong: None }
    }

    /// Splits a frame into type, tag and a reader of the body.
    ///
    /// # Errors
    /// `Short` or `Trailing` if the size field disagrees with the length of `frame`.
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

    /// The dialect of the connection.
    #[inline]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether every byte has been taken.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes not yet taken.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Takes an integer of `size` bytes.
    // Inlined where the size is known, x86 needs one instruction for it.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    pub fn number(&mut self, size: usize) -> u64 {
        let mut number = [0; 8];
        if let (Some(to), Some(bytes)) = (number.get_mut(..size), self.split(size)) {
            to.copy_from_slice(bytes);
        }
        u64::from_le_bytes(number)
    }

    /// Takes `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> &'a [u8] {
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

    /// Takes `size[2]` and what `body` takes of as many bytes, which is to be all of them.
    #[inline]
    pub fn sized<T>(&mut self, body: impl FnOnce(&mut Self) -> T) -> T {
        let size = self.number(2);
        let record = self.take(size as usize);
        let rest = core::mem::replace(&mut self.bytes, record);
        let value = body(self);
        if !self.bytes.is_empty() {
            self.fail(Malformed::Trailing);
        } else if self.wrong.is_none() {
            self.bytes = rest;
        }
        value
    }

    /// Ends the reading: the first thing that is wrong is what is reported.
    pub fn fail(&mut self, why: Malformed) {
        self.bytes = &[];
        self.wrong = self.wrong.or(Some(why));
    }

    /// Whether all that was taken was there.
    ///
    /// # Errors
    /// What was wrong.
    #[inline]
    pub fn sound(&self) -> Result<(), Malformed> {
        self.wrong.map_or(Ok(()), Err)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// What was wrong, `Trailing` if bytes are left.
    #[inline]
    pub fn finish(self) -> Result<(), Malformed> {
        self.sound()?;
        if self.bytes.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }
}

/// Appends fields to a buffer. Overflow is remembered and reported once, by
/// [`finish`](Writer::finish).
#[derive(Debug)]
pub struct Writer<'b> {
    buf: &'b mut [u8],
    /// Where the next byte goes. Beyond the end of `buf` once something did not fit, and then
    /// nothing fits any more.
    at: usize,
    dialect: Dialect,
}

impl<'b> Writer<'b> {
    /// Writes from the start of `buf`, fields that depend on it as in `dialect`.
    #[inline]
    pub fn new(buf: &'b mut [u8], dialect: Dialect) -> Self {
        Self { buf, at: 0, dialect }
    }

    /// The dialect of the connection.
    #[inline]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The header of a message, its size still to be patched by [`close`](Writer::close).
    #[inline]
    pub fn open(&mut self, kind: u8, tag: Tag) {
        let [low, high] = tag.0.to_le_bytes();
        self.number(HEADER, u64::from_le_bytes([0, 0, 0, 0, kind, low, high, 0]));
    }

    /// Appends the `size` low bytes of an integer.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    pub fn number(&mut self, size: usize, value: u64) {
        self.bytes(value.to_le_bytes().get(..size).unwrap_or_default());
    }

    /// Appends bytes.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        // Cut in two steps: inlined, the lengths are seen to agree and the panic of
        // `copy_from_slice` goes away.
        let place = self.buf.get_mut(self.at..).and_then(|rest| rest.get_mut(..bytes.len()));
        if let Some(place) = place {
            place.copy_from_slice(bytes);
        }
        self.at = self.at.saturating_add(bytes.len());
    }

    /// Appends bytes that are in their place already.
    #[inline]
    pub fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count);
    }

    /// Appends `count` as `count[2]`; one that is too large for it makes the writer full.
    #[inline]
    pub fn count(&mut self, count: usize) {
        match u16::try_from(count) {
            Ok(count) => self.number(2, count.into()),
            Err(_) => self.overflow(),
        }
    }

    /// Makes the writer full: a length does not fit its field.
    #[inline]
    pub fn overflow(&mut self) {
        self.at = usize::MAX;
    }

    /// Appends what `body` writes with its `size[2]` in front.
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

    /// The number of bytes written.
    ///
    /// # Errors
    /// `Full` if not everything fitted.
    #[inline]
    pub fn finish(self) -> Result<usize, Full> {
        if self.at <= self.buf.len() { Ok(self.at) } else { Err(Full) }
    }

    /// As [`finish`](Writer::finish), after patching the message's size.
    ///
    /// # Errors
    /// `Full` if not everything fitted.
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
