//! 9P strings. The bytes of a string should be valid UTF-8 and must not contain a NUL.

use core::fmt::{self, Write};
use core::str::Utf8Error;

use super::{Field, Malformed, Reader, Writer};

/// A string, which the protocol encodes as `len[2]`, followed by that many bytes.
///
/// A decoded string contains no NUL. The string is not necessarily valid UTF-8, because file names
/// on a Unix disk can contain arbitrary bytes. [`to_str`](Str::to_str) checks the encoding.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Str<'a>(pub &'a [u8]);

impl<'a> Str<'a> {
    /// Returns the bytes, without the length field.
    #[inline]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Returns the text.
    ///
    /// # Errors
    /// Returns [`Utf8Error`] if the bytes are not UTF-8.
    pub const fn to_str(self) -> Result<&'a str, Utf8Error> {
        core::str::from_utf8(self.0)
    }

    /// Returns the length in bytes.
    #[inline]
    pub const fn len(self) -> usize {
        self.0.len()
    }

    /// Returns whether the string is empty.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> From<&'a str> for Str<'a> {
    #[inline]
    fn from(text: &'a str) -> Self {
        Str(text.as_bytes())
    }
}

impl<'a> From<&'a [u8]> for Str<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Self {
        Str(bytes)
    }
}

impl PartialEq<str> for Str<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Str<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

/// Formats the text, replacing invalid UTF-8 with U+FFFD.
impl fmt::Display for Str<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Str<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Str<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self.to_str() {
            Ok(text) => defmt::write!(f, "{=str}", text),
            Err(_) => defmt::write!(f, "{=[u8]}", self.0),
        }
    }
}

impl<'a> Field<'a> for Str<'a> {
    // Inlining this function would take up more flash, because most messages contain strings.
    fn decode(reader: &mut Reader<'a>) -> Self {
        let length = u16::decode(reader);
        let bytes = reader.take_bytes(length.into());
        // `contains` is not used, because its optimized byte search takes up more flash.
        if !bytes.iter().all(|byte| *byte != 0) {
            reader.fail(Malformed::Text);
        }
        Str(bytes)
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.count(self.0.len());
        writer.bytes(self.0);
    }

    /// Escapes control characters, so that a name with a line feed stays on one line. An empty
    /// string is displayed as `''`.
    fn trace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("''");
        }
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
            }
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}
