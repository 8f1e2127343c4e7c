//! One element of a path.

use core::fmt;

use super::{Error, Result};

/// The longest name, in bytes, as on every Unix.
pub const NAME_MAX: usize = 255;

/// A name that a directory entry can have: 1 to [`NAME_MAX`] bytes, without `/` or NUL, neither `.`
/// nor `..`.
///
/// Names are UTF-8 by custom and bytes in fact: a Linux client can create any, a Git repository can
/// hold any.
///
/// ```
/// use datakit_core::vfs::{Error, Name};
/// assert_eq!(Name::new(b"gain").unwrap(), "gain");
/// assert_eq!(Name::new(b"..").unwrap_err(), Error::Invalid);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks that `bytes` can be the name of an entry.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an empty name, as Unix has it, [`Error::NameTooLong`],
    /// [`Error::Invalid`] for the rest.
    pub fn new(bytes: &'a [u8]) -> Result<Name<'a>> {
        match bytes {
            [] => Err(Error::NotFound),
            b"." | b".." => Err(Error::Invalid),
            _ if bytes.len() > NAME_MAX => Err(Error::NameTooLong),
            _ if bytes.iter().any(|b| matches!(b, b'/' | 0)) => Err(Error::Invalid),
            _ => Ok(Name(bytes)),
        }
    }

    /// The same for trees in which a name may have slashes ([`Vfs::allows_slash`](super::Vfs::allows_slash)),
    /// though neither at an end nor two in a row.
    ///
    /// # Errors
    /// Those of [`new`](Name::new).
    pub fn allowing_slash(bytes: &'a [u8]) -> Result<Name<'a>> {
        for part in bytes.split(|byte| *byte == b'/') {
            Name::new(part)?;
        }
        if bytes.len() > NAME_MAX { Err(Error::NameTooLong) } else { Ok(Name(bytes)) }
    }

    /// Checks that `bytes` can be the name of an extended attribute: 1 to [`NAME_MAX`] bytes
    /// without NUL (`xattr(7)`).
    ///
    /// # Errors
    /// [`Error::Range`] for one that is empty or too long, as `setxattr(2)` has it,
    /// [`Error::Invalid`].
    pub fn for_xattr(bytes: &'a [u8]) -> Result<Name<'a>> {
        match bytes.len() {
            1..=NAME_MAX if bytes.contains(&0) => Err(Error::Invalid),
            1..=NAME_MAX => Ok(Name(bytes)),
            _ => Err(Error::Range),
        }
    }

    /// The bytes of the name.
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

/// Shows bytes that are not UTF-8 as U+FFFD.
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
