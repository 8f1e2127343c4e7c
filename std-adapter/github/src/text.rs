//! Text that is stored as a single line.

use std::fmt;
use std::ops::Deref;

/// Text without surrounding white space. In files, the text is followed by a newline.
///
/// ```
/// # use datakit_github::Text;
/// assert_eq!(Text::from(" Fix the build\n"), Text::from("Fix the build"));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(Box<str>);

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.trim().into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text::from(&*text)
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The description of a status: a [`Text`] of at most [`Description::MAX_LEN`] bytes. GitHub
/// rejects longer descriptions.
///
/// ```
/// # use datakit_github::Description;
/// assert_eq!(Description::from("x".repeat(200).as_str()).len(), Description::MAX_LEN);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Description(Text);

impl Description {
    /// The maximum length in bytes. Longer text is truncated at a character boundary.
    pub const MAX_LEN: usize = 140;
}

impl From<&str> for Description {
    fn from(text: &str) -> Description {
        let text = text.trim_start();
        let end = char_boundary(text, Description::MAX_LEN);
        Description(Text::from(text.get(..end).unwrap_or_default()))
    }
}

/// Returns the largest character boundary that is at most `index`. In Rust 1.88,
/// `str::floor_char_boundary` is not stable.
fn char_boundary(text: &str, index: usize) -> usize {
    let index = index.min(text.len());
    (0..=index).rev().find(|index| text.is_char_boundary(*index)).unwrap_or_default()
}

impl Deref for Description {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_description_is_short_and_trimmed(text in "\\PC{0,200}") {
            let description = Description::from(&*text);
            prop_assert!(description.len() <= Description::MAX_LEN);
            prop_assert_eq!(description.trim(), &*description);
            prop_assert!(text.trim().starts_with(&*description));
            prop_assert_eq!(Description::from(&*description), description);
        }
    }
}
