//! The name of a directory entry.

use core::fmt;

use super::{Error, Result};

/// The maximum length of a name, in bytes. Unix file systems usually have the same limit.
pub const NAME_MAX: usize = 255;

/// The name of a directory entry. A name consists of 1 to [`NAME_MAX`] bytes, contains neither `/`
/// nor NUL, and is neither `.` nor `..`.
///
/// Names are usually UTF-8 but can contain other bytes. For example, Linux clients can create names
/// that are not valid UTF-8, and Git repositories can contain them.
///
/// ```
/// use datakit_core::vfs::{Error, Name};
/// assert_eq!(Name::new(b"gain").unwrap(), "gain");
/// assert_eq!(Name::new(b"..").unwrap_err(), Error::Invalid);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks that `bytes` is a valid name and returns it.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the name is empty, as on Unix. Returns [`Error::NameTooLong`]
    /// if the name is longer than [`NAME_MAX`]. Returns [`Error::Invalid`] if the name is `.` or
    /// `..` or contains `/` or NUL.
    pub fn new(bytes: &'a [u8]) -> Result<Name<'a>> {
        match bytes {
            [] => Err(Error::NotFound),
            b"." | b".." => Err(Error::Invalid),
            _ if bytes.len() > NAME_MAX => Err(Error::NameTooLong),
            _ if bytes.iter().any(|b| matches!(b, b'/' | 0)) => Err(Error::Invalid),
            _ => Ok(Name(bytes)),
        }
    }

    /// Checks that `bytes` is a valid name for a tree that [allows
    /// slashes](super::Vfs::allows_slash). The name must not start or end with a slash, and must
    /// not contain consecutive slashes.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the name is empty or if one of its slash-separated parts is
    /// empty. Returns [`Error::NameTooLong`] if the name is longer than [`NAME_MAX`]. Returns
    /// [`Error::Invalid`] if one of the slash-separated parts is `.` or `..` or contains NUL.
    pub fn allowing_slash(bytes: &'a [u8]) -> Result<Name<'a>> {
        for part in bytes.split(|byte| *byte == b'/') {
            Name::new(part)?;
        }
        if bytes.len() > NAME_MAX { Err(Error::NameTooLong) } else { Ok(Name(bytes)) }
    }

    /// Checks that `bytes` is a valid name for an extended attribute. The name must consist of 1 to
    /// [`NAME_MAX`] bytes and must not contain NUL (`xattr(7)`).
    ///
    /// # Errors
    /// Returns [`Error::Range`] if the name is empty or too long, as in `setxattr(2)`, and
    /// [`Error::Invalid`] if the name contains NUL.
    pub fn for_xattr(bytes: &'a [u8]) -> Result<Name<'a>> {
        match bytes.len() {
            1..=NAME_MAX if bytes.contains(&0) => Err(Error::Invalid),
            1..=NAME_MAX => Ok(Name(bytes)),
            _ => Err(Error::Range),
        }
    }

    /// Returns the bytes of the name.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl PartialEq<str> for Name<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Name<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

/// Displays the name, with U+FFFD in place of bytes that are not valid UTF-8.
impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.utf8_chunks().try_for_each(|chunk| {
            f.write_str(chunk.valid())?;
            if chunk.invalid().is_empty() { Ok(()) } else { f.write_str("\u{fffd}") }
        })
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Name<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=[u8]:a}", self.0);
    }
}
