//! Names of objects: the hash of what they are.

use std::fmt;
use std::str::FromStr;

use gix::ObjectId;

use super::{Error, Result};

/// The name of a Git object: SHA-1, written as 40 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 20]);

impl Id {
    /// The tree without entries.
    pub const EMPTY_TREE: Id =
        Id(*b"\x4b\x82\x5d\xc6\x42\xcb\x6e\xb9\xa0\x60\xe5\x4b\xf8\xd6\x92\x88\xfb\xee\x49\x04");

    /// The hash itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The id of this hash.
    #[must_use]
    pub fn of_bytes(hash: [u8; 20]) -> Id {
        Id(hash)
    }

    /// The id that a client wrote, white space around it trimmed.
    ///
    /// # Errors
    /// [`Error::InvalidHash`] with the text and what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Id> {
        let text = String::from_utf8_lossy(text.trim_ascii()).into_owned();
        let reason = if text.len() != 40 {
            format!("a hash has 40 hex digits, not {} characters", text.chars().count())
        } else if let Some(other) = text.chars().find(|c| !matches!(c, '0'..='9' | 'a'..='f')) {
            format!("{other:?} is none of the digits 0-9 and a-f")
        } else {
            match ObjectId::from_hex(text.as_bytes()) {
                Ok(id) => return Ok(id.into()),
                Err(error) => error.to_string(),
            }
        };
        Err(Error::InvalidHash { text, reason })
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Id> {
        Id::parse(text.as_bytes())
    }
}

/// Git repositories of other hashes are refused when they are opened: what arrives here is SHA-1.
impl From<ObjectId> for Id {
    fn from(id: ObjectId) -> Id {
        let mut bytes = [0; 20];
        bytes.iter_mut().zip(id.as_bytes()).for_each(|(to, from)| *to = *from);
        Id(bytes)
    }
}

impl From<Id> for ObjectId {
    fn from(id: Id) -> ObjectId {
        ObjectId::Sha1(id.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ObjectId::from(*self).fmt(f)
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
    fn what_is_no_hash_is_named() {
        let error = Id::parse(b" hello\n").unwrap_err().to_string();
        assert_eq!(error, "invalid-hash \"hello\": a hash has 40 hex digits, not 5 characters");
        let upper = Id::EMPTY_TREE.to_string().to_uppercase();
        assert!(
            Id::parse(upper.as_bytes())
                .unwrap_err()
                .to_string()
                .ends_with("is none of the digits 0-9 and a-f")
        );
    }

    #[test]
    fn a_hash_is_read_back() {
        let text = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        assert_eq!(Id::parse(format!("{text}\n").as_bytes()).unwrap(), Id::EMPTY_TREE);
        assert_eq!(Id::EMPTY_TREE.to_string(), text);
    }
}
