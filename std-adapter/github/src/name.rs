//! The error returned for a name that cannot be stored in the metadata branch.

use std::fmt;

/// The maximum length of a path component in bytes.
pub(crate) const MAX_COMPONENT: usize = 250;

/// The error returned when text is not a valid name, hash or context.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidName {
    /// The kind of name that was expected, such as `ref name`.
    pub kind: &'static str,
    /// The invalid text. Invalid UTF-8 is replaced with U+FFFD.
    pub text: String,
    /// The rule that the text violates.
    pub reason: String,
}

impl InvalidName {
    pub(crate) fn new(
        kind: &'static str,
        text: impl AsRef<[u8]>,
        reason: impl Into<String>,
    ) -> InvalidName {
        let text = String::from_utf8_lossy(text.as_ref()).into_owned();
        InvalidName { kind, text, reason: reason.into() }
    }
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid {} {:?}: {}", self.kind, self.text, self.reason)
    }
}

impl std::error::Error for InvalidName {}

/// Returns the rule that a path component violates, or `None` if the component is valid.
pub(crate) fn broken_component_rule(component: &[u8]) -> Option<String> {
    let rule = match component {
        b"" => "a component is empty",
        b"." | b".." => "`.` and `..` are not allowed as components",
        _ if component.contains(&0) => "it contains a NUL byte",
        _ if component.len() > MAX_COMPONENT => {
            return Some(format!("a component is longer than {MAX_COMPONENT} bytes"));
        }
        _ => return None,
    };
    Some(rule.to_owned())
}
