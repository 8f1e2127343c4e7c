//! A parameter whose value is a line of text.

use core::fmt;
use core::ops::Deref;

use heapless::String;

use super::ParamType;
use crate::Decimal;

/// A line of at most `N` bytes of text. Unlike a `heapless::String`, a line can be a non-empty
/// constant, such as a parameter's default. `N` is at most 65535.
///
/// ```
/// use datakit_core::files::{Line, Value};
/// static HOST: Value<Line<16>> = Value::new(Line::new("sensor"));
/// assert_eq!(&*HOST.get(), "sensor");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Line<const N: usize> {
    length: u16,
    /// The bytes after `length` are zero, so that equal lines have equal bytes.
    bytes: [u8; N],
}

impl<const N: usize> Line<N> {
    /// Creates a line. This function is intended for use in constants.
    ///
    /// # Panics
    /// Panics if `text` is longer than `N` bytes or contains a control character.
    #[must_use]
    // The code indexes slices directly, because `slice::get` is not const. Every index is within
    // bounds.
    #[allow(clippy::indexing_slicing, clippy::panic)]
    pub const fn new(text: &str) -> Line<N> {
        const { assert!(N <= u16::MAX as usize, "a line has at most 65535 bytes") };
        let text = text.as_bytes();
        assert!(text.len() <= N, "the text is too long for the line");
        let (mut bytes, mut i) = ([0; N], 0);
        while i < text.len() {
            // In UTF-8, the characters U+0080 to U+009F are the byte C2 and a byte below A0.
            let is_control = text[i].is_ascii_control()
                || text[i] == 0xc2 && i + 1 < text.len() && text[i + 1] < 0xa0;
            assert!(!is_control, "a line contains no control characters");
            bytes[i] = text[i];
            i += 1;
        }
        Line { length: text.len() as u16, bytes }
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length.into()).unwrap_or_default();
        // The conversion cannot fail, because every line is created from a `str`.
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl<const N: usize> Deref for Line<N> {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl<const N: usize> Default for Line<N> {
    fn default() -> Line<N> {
        Line::new("")
    }
}

impl<const N: usize> fmt::Debug for Line<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl<const N: usize> fmt::Display for Line<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(feature = "defmt")]
impl<const N: usize> defmt::Format for Line<N> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}", self);
    }
}

/// A line of at most `N` bytes without control characters.
impl<const N: usize> ParamType for Line<N> {
    type Limits = ();
    const ANY: () = ();
    const ZERO: Self = Line::new("");
    const SPACES: bool = true;

    fn parse(text: &[u8], (): &()) -> Option<Self> {
        let text = parse(text, N)?;
        let mut line = Line::ZERO;
        line.bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        line.length = text.len().try_into().ok()?;
        Some(line)
    }

    fn may_continue(text: &[u8], (): &()) -> bool {
        may_continue(text, N)
    }

    fn render(&self, (): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(self)
    }

    fn allowed((): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        allowed(N, out)
    }

    fn schema((): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        schema(N, out)
    }
}

/// A line of at most `N` bytes without control characters. A constant of this type is always empty,
/// so use [`Line`] for a parameter whose initial value is not empty.
impl<const N: usize> ParamType for String<N> {
    type Limits = ();
    const ANY: () = ();
    const ZERO: Self = String::new();
    const SPACES: bool = true;

    fn parse(text: &[u8], (): &()) -> Option<Self> {
        String::try_from(parse(text, N)?).ok()
    }

    fn may_continue(text: &[u8], (): &()) -> bool {
        may_continue(text, N)
    }

    fn render(&self, (): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(self)
    }

    fn allowed((): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        allowed(N, out)
    }

    fn schema((): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        schema(N, out)
    }
}

/// Returns the text if it is valid UTF-8, is at most `max` bytes long, and contains no control
/// character.
fn parse(text: &[u8], max: usize) -> Option<&str> {
    let text = core::str::from_utf8(text).ok()?;
    (text.len() <= max && !text.contains(char::is_control)).then_some(text)
}

fn may_continue(text: &[u8], max: usize) -> bool {
    // Do not check for valid UTF-8 here, because a piece may end in the middle of a character.
    text.len() <= max && !text.iter().any(u8::is_ascii_control)
}

fn allowed(max: usize, out: &mut dyn fmt::Write) -> fmt::Result {
    write!(out, "a line of at most {} bytes without control characters", Decimal::from(max))
}

fn schema(max: usize, out: &mut dyn fmt::Write) -> fmt::Result {
    write!(out, "\"type\":\"string\",\"max-bytes\":{}", Decimal::from(max))
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn line_is_limited_in_bytes() {
        let parse = |text: &str| Line::<4>::parse(text.as_bytes(), &());
        for text in ["", "a", "a b", "äö"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
            assert_eq!(parse(text), Some(Line::new(text)));
        }
        for text in ["abcde", "a\tb", "äöx", "a\u{85}"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(Line::<4>::parse(b"\xff", &()), None);
    }
}
