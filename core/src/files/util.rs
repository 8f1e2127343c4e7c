//! Functions shared by several file types. They apply writes to byte strings, check arguments, and
//! measure, compare, or quote text.

use core::fmt::{self, Write};

use crate::vfs::{Error, FileStat, Result, Text, check_offset, check_write_offset, write_char};

/// Copies `old` to `new` and then writes `data` over the copy, starting at `offset`. A gap before
/// `data` is filled with zeros, and bytes after `data` are kept, so a write never shortens the
/// content.
///
/// # Errors
/// Returns [`Error::Invalid`] with a message such as `Bad write offset -2` if `offset` is negative
/// when interpreted as a signed number. Returns [`Error::TooLarge`] if the result does not fit in
/// `new`.
pub(super) fn overlay(old: &[u8], offset: u64, data: &[u8], new: &mut dyn Text) -> Result<()> {
    check_write_offset(offset)?;
    let start = usize::try_from(offset).map_err(|_| Error::TooLarge)?;
    resize(old, start as u64, new)?;
    new.extend(data)?;
    new.extend(old.get(start.saturating_add(data.len())..).unwrap_or_default())
}

/// Copies `old` to `new` and then truncates the copy to `length` bytes or extends it with zeros.
///
/// # Errors
/// Returns [`Error::Invalid`] with a message such as `Negative offset -1` if `length` is negative
/// when interpreted as a signed number. Returns [`Error::TooLarge`] if the result does not fit in
/// `new`.
pub(super) fn resize(old: &[u8], length: u64, new: &mut dyn Text) -> Result<()> {
    check_offset(length)?;
    let length = usize::try_from(length).map_err(|_| Error::TooLarge)?;
    new.truncate(0);
    new.extend(old.get(..length).unwrap_or(old))?;
    for _ in old.len()..length {
        new.extend(&[0])?;
    }
    Ok(())
}

/// Refuses permission bits that would make a file executable.
///
/// # Errors
/// Returns [`Error::ChmodSpecial`] if an execute bit is set.
pub(crate) fn check_plain_mode(mode: u32) -> Result<()> {
    if mode & 0o111 == 0 { Ok(()) } else { Err(Error::ChmodSpecial) }
}

/// Returns the written bytes as text, without leading or trailing whitespace.
///
/// # Errors
/// Returns [`Error::NotUtf8`] if `data` is not UTF-8.
pub(super) fn trimmed(data: &[u8]) -> Result<&str> {
    core::str::from_utf8(data.trim_ascii()).map_err(|_| Error::NotUtf8)
}

/// Displays bytes from a client in an error message. The bytes are quoted, escaped, and truncated
/// so that the rest of the message fits.
pub(crate) struct Quoted<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        f.write_str("\"")?;
        for byte in self.0.iter().take(SHOWN) {
            match byte {
                b' ' | b'!' | b'#'..=b'~' => f.write_char(char::from(*byte))?,
                other => {
                    f.write_str("\\x")?;
                    write_hex(*other, f)?;
                }
            }
        }
        f.write_str(if self.0.len() > SHOWN { "...\"" } else { "\"" })
    }
}

/// Text that is displayed without padding. Formatting options such as the width are ignored. The
/// padding code in the `Display` implementation of `str` takes up about 660 bytes of flash.
///
/// ```
/// use datakit_core::Plain;
/// assert_eq!(format!("{} and {}", Plain("a"), Plain("b")), "a and b");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plain<'a>(pub &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Writes a byte as two hexadecimal digits.
pub(crate) fn write_hex(byte: u8, out: &mut dyn Write) -> fmt::Result {
    write_hex_digit(byte >> 4, out)?;
    write_hex_digit(byte & 15, out)
}

fn write_hex_digit(digit: u8, out: &mut dyn Write) -> fmt::Result {
    let letter = if digit < 10 { b'0' } else { b'a' - 10 };
    out.write_char(char::from(letter + digit))
}

/// A writer that escapes text for use inside a JSON string.
pub(crate) struct Json<'a>(pub(crate) &'a mut dyn Write);

impl fmt::Write for Json<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for character in s.chars() {
            if matches!(character, '"' | '\\' | ..' ') {
                self.0.write_str("\\u00")?;
                write_hex(character as u8, self.0)?;
            } else {
                self.0.write_char(character)?;
            }
        }
        Ok(())
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        write_char(self, character)
    }
}

/// Writes the description of a file: its kind and, unless it is empty, `doc`.
#[inline(never)]
pub(super) fn describe_with(kind: &str, doc: &str, out: &mut dyn Write) -> fmt::Result {
    out.write_str(kind)?;
    if doc.is_empty() {
        return Ok(());
    }
    out.write_str(": ")?;
    out.write_str(doc)
}

/// A writer that counts the bytes written to it.
#[derive(Default)]
pub(crate) struct Count(pub(crate) u64);

impl Count {
    /// Returns the attributes of a file whose content is the text that `render` writes.
    pub(crate) fn stat(render: impl FnOnce(&mut Count) -> fmt::Result) -> FileStat {
        let mut count = Count::default();
        let _ = render(&mut count);
        FileStat::new(count.0)
    }
}

impl fmt::Write for Count {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0 += s.len() as u64;
        Ok(())
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        write_char(self, character)
    }
}

impl Text for Count {
    fn bytes(&self) -> &[u8] {
        &[]
    }

    fn truncate(&mut self, length: usize) {
        self.0 = self.0.min(length as u64);
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        self.0 += bytes.len() as u64;
        Ok(())
    }
}

/// Replaces the text of an open file with the text that `with` writes.
///
/// # Errors
/// Returns [`Error::TextTooLong`] if the new text does not fit. After an error, the text of the
/// open file is empty.
pub(crate) fn render(
    text: &mut dyn Text,
    with: impl FnOnce(&mut dyn Text) -> fmt::Result,
) -> Result<()> {
    text.truncate(0);
    with(text).map_err(|_| {
        text.truncate(0);
        Error::TextTooLong
    })
}
