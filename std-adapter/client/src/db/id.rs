//! Object ids, which are hashes of the contents of objects.

use std::fmt;
use std::str::FromStr;

/// The id of a Git object: a SHA-1 hash, written as 40 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 20]);

/// The error returned for text that is not a valid [`Id`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidId {
    /// The invalid text.
    pub text: String,
    /// The reason why the text is not a valid id.
    pub reason: String,
}

impl InvalidId {
    /// Creates an error that reports that `text` is not a valid id. `reason` explains why.
    #[must_use]
    pub fn new(text: String, reason: String) -> InvalidId {
        InvalidId { text, reason }
    }
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid-hash {:?}: {}", self.text, self.reason)
    }
}

impl std::error::Error for InvalidId {}

impl Id {
    /// The id of the empty tree.
    pub const EMPTY_TREE: Id =
        Id(*b"\x4b\x82\x5d\xc6\x42\xcb\x6e\xb9\xa0\x60\xe5\x4b\xf8\xd6\x92\x88\xfb\xee\x49\x04");

    /// Returns the 20 bytes of the hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Creates an id from the 20 bytes of a hash.
    #[must_use]
    pub fn from_bytes(hash: [u8; 20]) -> Id {
        Id(hash)
    }

    /// Parses an id, ignoring surrounding whitespace.
    ///
    /// # Errors
    /// Returns [`InvalidId`] if the text is not 40 lower-case hex digits.
    pub fn parse(text: &[u8]) -> Result<Id, InvalidId> {
        let text = text.trim_ascii();
        let mut hash = [0; 20];
        let (pairs, rest) = text.as_chunks::<2>();
        let invalid =
            |reason| InvalidId { text: String::from_utf8_lossy(text).into_owned(), reason };
        if pairs.len() != hash.len() || !rest.is_empty() {
            let count = String::from_utf8_lossy(text).chars().count();
            return Err(invalid(format!("a hash has 40 hex digits, not {count} characters")));
        }
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            *byte = digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low).ok_or_else(
                || {
                    let other = String::from_utf8_lossy(text);
                    let other = other.chars().find(|c| !matches!(c, '0'..='9' | 'a'..='f'));
                    invalid(format!(
                        "{:?} is not one of the digits 0-9 and a-f",
                        other.unwrap_or_default()
                    ))
                },
            )?;
        }
        Ok(Id(hash))
    }
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Id, InvalidId> {
        Id::parse(text.as_bytes())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 40];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            let digits = [byte >> 4, byte & 15].map(|half| DIGITS.get(usize::from(half)).copied());
            pair.iter_mut().zip(digits.into_iter().flatten()).for_each(|(to, digit)| *to = digit);
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_errors_name_the_reason() {
        let error = Id::parse(b" hello\n").unwrap_err().to_string();
        assert_eq!(error, "invalid-hash \"hello\": a hash has 40 hex digits, not 5 characters");
        let upper = Id::EMPTY_TREE.to_string().to_uppercase();
        let error = Id::parse(upper.as_bytes()).unwrap_err().to_string();
        assert!(error.ends_with("'B' is not one of the digits 0-9 and a-f"), "{error}");
        assert!(Id::parse(&[0xc3; 40]).is_err());
    }

    #[test]
    fn display_and_parse_round_trip() {
        let text = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        assert_eq!(Id::parse(format!("{text}\n").as_bytes()).unwrap(), Id::EMPTY_TREE);
        assert_eq!(Id::EMPTY_TREE.to_string(), text);
    }
}
