//! Writes quoted or escaped text to clients, and plain text without the standard library's
//! formatting code.

use core::fmt::{self, Write};

use crate::vfs::write_char;

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
