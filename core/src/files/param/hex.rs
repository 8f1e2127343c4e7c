//! A parameter whose value is a byte string, which clients read and write in hexadecimal.

use core::fmt;

use heapless::Vec;

use super::ParamType;
use super::number::is_numeric;
use crate::Decimal;

/// A byte string of at most `N` bytes. Clients read the byte string as two hexadecimal digits per
/// byte, such as `0aff`. Clients may write it with uppercase letters, and may separate the bytes
/// with `:`, `-`, `_` or a space.
impl<const N: usize> ParamType for Vec<u8, N> {
    type Limits = ();
    const ANY: () = ();
    const ZERO: Self = Vec::new();
    // An empty byte string is written as empty text, which cannot be an element of an array.
    const SPACES: bool = true;

    fn parse(text: &[u8], (): &()) -> Option<Self> {
        let mut bytes = [0; N];
        let count = parse_pairs(text, &mut bytes)?;
        Vec::from_slice(bytes.get(..count)?).ok()
    }

    fn may_continue(text: &[u8], (): &()) -> bool {
        is_numeric(text)
    }

    fn render(&self, (): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        write_pairs(self, "", out)
    }

    fn allowed((): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "a byte string such as 0aff, of at most {} bytes", Decimal::from(N))
    }

    fn schema((): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "\"type\":\"bytes\",\"max-bytes\":{}", Decimal::from(N))
    }
}

/// Parses two hexadecimal digits per byte into `bytes` and returns the number of bytes written.
/// Returns `None` if `text` contains an invalid character or does not fit in `bytes`.
pub(super) fn parse_pairs(text: &[u8], bytes: &mut [u8]) -> Option<usize> {
    let (mut rest, mut count) = (text, 0);
    while let [high, low, tail @ ..] = rest {
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        // Two hexadecimal digits represent at most 255, so the cast does not truncate the value.
        *bytes.get_mut(count)? = (digit(high)? << 4 | digit(low)?) as u8;
        count += 1;
        rest = match tail {
            [b':' | b'-' | b'_' | b' ', next @ ..] if !next.is_empty() => next,
            tail => tail,
        };
    }
    rest.is_empty().then_some(count)
}

/// Writes two hexadecimal digits per byte, with `separator` between bytes.
pub(super) fn write_pairs(bytes: &[u8], separator: &str, out: &mut dyn fmt::Write) -> fmt::Result {
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            out.write_str(separator)?;
        }
        for digit in [byte >> 4, byte & 15] {
            let letter = if digit < 10 { b'0' } else { b'a' - 10 };
            out.write_char(char::from(letter + digit))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    fn parse(text: &str) -> Option<Vec<u8, 4>> {
        Vec::parse(text.as_bytes(), &())
    }

    #[test]
    fn byte_strings_are_read_in_hexadecimal() {
        for text in ["0affff", "0AFFff", "0a:ff:ff", "0a ff-ff", "0a_ffff"] {
            assert_eq!(parse(text).unwrap(), [10, 255, 255], "{text}");
        }
        assert_eq!(parse("").unwrap(), []);
        for text in ["0", "0af", "0a:", "0a::ff", ":0a", "xy", "0x0a", "0102030405"] {
            assert_eq!(parse(text), None, "{text}");
        }
        let mut shown = String::new();
        parse("0Aff").unwrap().render(&(), &mut shown).unwrap();
        assert_eq!(shown, "0aff");
        shown.clear();
        Vec::<u8, 4>::allowed(&(), &mut shown).unwrap();
        assert_eq!(shown, "a byte string such as 0aff, of at most 4 bytes");
    }
}
