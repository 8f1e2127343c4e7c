//! The type of file names and link targets.

use std::fmt::{self, Debug, Display};

use datakit_core::wire::Str;

/// A file name or the target of a symbolic link. The string is UTF-8 by convention, but may contain
/// arbitrary bytes. All [`Client`](crate::Client) methods that take a path accept a `ByteString`.
///
/// ```
/// # use datakit_client::ByteString;
/// let name = ByteString::from(&b"caf\xe9"[..]);
/// assert_eq!(name.to_str(), None);
/// assert_eq!(name.to_string(), "caf\u{fffd}");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteString(Box<[u8]>);

impl ByteString {
    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the bytes as a `str`, or `None` if they are not valid UTF-8.
    #[must_use]
    pub fn to_str(&self) -> Option<&str> {
        str::from_utf8(&self.0).ok()
    }
}

impl AsRef<[u8]> for ByteString {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for ByteString {
    fn from(bytes: &[u8]) -> ByteString {
        ByteString(bytes.into())
    }
}

impl From<&str> for ByteString {
    fn from(text: &str) -> ByteString {
        ByteString(text.as_bytes().into())
    }
}

impl From<Str<'_>> for ByteString {
    fn from(text: Str<'_>) -> ByteString {
        ByteString(text.as_bytes().into())
    }
}

impl PartialEq<str> for ByteString {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for ByteString {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

/// Displays invalid UTF-8 sequences as U+FFFD.
impl Display for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// Escapes bytes that are not printable ASCII.
impl Debug for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}
