//! Text that must not be shown.

use std::fmt;

/// A token, a key or a password. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Box<str>);

impl Secret {
    /// Removes white space at both ends, such as the newline of a file.
    pub(crate) fn new(text: &str) -> Secret {
        Secret(text.trim().into())
    }

    /// Returns the text. Do not log it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
