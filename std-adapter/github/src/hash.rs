//! Hashes of commits.

use std::fmt;
use std::str::FromStr;

use crate::InvalidName;

/// The hash of a Git commit, written as 40 (SHA-1) or 64 (SHA-256) lowercase hexadecimal digits.
///
/// The commit belongs to a repository on GitHub and usually does not exist in the database.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash {
    bytes: [u8; 32],
    /// The length in bytes, which is either 20 or 32.
    len: u8,
}

impl Hash {
    /// The hash that sorts before all others, used as the lower bound of ranges in sorted maps.
    pub(crate) const MIN: Hash = Hash { bytes: [0; 32], len: 0 };

    /// Parses a hash. The text must not contain white space.
    ///
    /// # Errors
    /// Returns [`InvalidName`] if the text does not consist of exactly 40 or 64 lowercase
    /// hexadecimal digits.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Hash, InvalidName> {
        let text = text.as_ref();
        let invalid = |reason| InvalidName::new("hash", text, reason);
        let len = match text.len() {
            40 => 20,
            64 => 32,
            _ => return Err(invalid("a hash has 40 or 64 hexadecimal digits")),
        };
        let mut hash = Hash { bytes: [0; 32], len };
        for (byte, pair) in hash.bytes.iter_mut().zip(text.chunks_exact(2)) {
            for digit in pair {
                let value = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return Err(invalid("a hash consists of the digits 0-9 and a-f")),
                };
                *byte = (*byte << 4) | value;
            }
        }
        Ok(hash)
    }

    /// Returns the 20 or 32 bytes of the hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl FromStr for Hash {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Hash, InvalidName> {
        Hash::parse(text)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_both_lengths_round_trip() {
        for text in ["0123456789abcdef0123456789abcdef01234567".to_owned(), "0f".repeat(32)] {
            assert_eq!(Hash::parse(&text).unwrap().to_string(), text);
        }
        for text in ["", "abc", &"A".repeat(40), &"g".repeat(40), &" ".repeat(64), &"a".repeat(41)]
        {
            assert!(Hash::parse(text).is_err(), "{text}");
        }
    }
}
