//! A type for secret strings.

use std::fmt;

/// A token, a key or a password. The `Debug` output does not reveal it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Box<str>);

impl Secret {
    /// Creates a secret. Removes leading and trailing white space, such as the newline at the end
    /// of a file.
    pub(crate) fn new(text: &str) -> Secret {
        Secret(text.trim().into())
    }

    /// Returns the text, which must not be logged.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
