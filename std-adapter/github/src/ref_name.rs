//! Names of refs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use datakit_client::db::ref_name_fault;

use crate::InvalidName;

/// The kind of a ref: a branch or a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefKind {
    /// A branch, below `refs/heads`.
    Heads,
    /// A tag, below `refs/tags`.
    Tags,
}

impl RefKind {
    /// Returns `heads` or `tags`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RefKind::Heads => "heads",
            RefKind::Tags => "tags",
        }
    }

    /// Returns the kind with the given name, or `None` if there is none.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<RefKind> {
        [RefKind::Heads, RefKind::Tags].into_iter().find(|kind| kind.as_str().as_bytes() == name)
    }
}

/// The name of a branch or tag without the `refs/` prefix, for example `heads/master`. Any name
/// that Git allows is valid, even if it is not UTF-8, provided that no component is longer than 250
/// bytes. Clones are cheap.
///
/// ```
/// # use datakit_github::{RefKind, RefName};
/// let name: RefName = "heads/fix/c++#12@home".parse()?;
/// assert_eq!((name.kind(), name.short()), (RefKind::Heads, &b"fix/c++#12@home"[..]));
/// assert!("heads/a..b".parse::<RefName>().is_err());
/// # Ok::<(), datakit_github::InvalidName>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName {
    kind: RefKind,
    short: Arc<[u8]>,
}

impl RefName {
    /// Creates a ref name from its kind and its short name, such as `master`.
    ///
    /// # Errors
    /// Returns [`InvalidName`] if the name violates a rule of `git check-ref-format` or a component
    /// is longer than 250 bytes.
    pub fn new(kind: RefKind, short: impl AsRef<[u8]>) -> Result<RefName, InvalidName> {
        let short = short.as_ref();
        match ref_name_fault(short) {
            None => Ok(RefName { kind, short: short.into() }),
            Some(reason) => Err(InvalidName::new("ref name", short, reason)),
        }
    }

    /// Parses a name that begins with `heads/` or `tags/`.
    ///
    /// # Errors
    /// Returns [`InvalidName`] if the name begins with anything else, or if [`RefName::new`] would
    /// reject the rest of the name.
    pub fn parse(name: impl AsRef<[u8]>) -> Result<RefName, InvalidName> {
        let name = name.as_ref();
        let mut parts = name.splitn(2, |byte| *byte == b'/');
        let kind = parts.next().and_then(RefKind::parse);
        match (kind, parts.next()) {
            (Some(kind), Some(short)) => RefName::new(kind, short),
            _ => Err(InvalidName::new(
                "ref name",
                name,
                "it begins with neither `heads/` nor `tags/`",
            )),
        }
    }

    /// Returns a placeholder that sorts before all valid names and serves as the lower bound of
    /// ranges in sorted maps.
    pub(crate) fn min() -> RefName {
        RefName { kind: RefKind::Heads, short: Arc::default() }
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> RefKind {
        self.kind
    }

    /// Returns the name without `heads/` or `tags/`.
    #[must_use]
    pub fn short(&self) -> &[u8] {
        &self.short
    }

    /// Returns the name, including `heads/` or `tags/`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.kind.as_str().as_bytes(), b"/", &self.short].concat()
    }

    /// Returns the components of [`RefName::short`].
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.short.split(|byte| *byte == b'/')
    }
}

impl FromStr for RefName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<RefName, InvalidName> {
        RefName::parse(text)
    }
}

/// Replaces invalid UTF-8 with U+FFFD.
impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), String::from_utf8_lossy(&self.short))
    }
}

/// Escapes bytes that are not printable ASCII.
impl fmt::Debug for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.short.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn names_are_those_that_git_allows() {
        let names: [&[u8]; 31] = [
            b"heads/master",
            b"heads/a/b",
            b"tags/v1.0_x-y",
            b"heads/\xc3\xa4",
            b"heads/caf\xe9",
            b"heads/@",
            b"heads/a@b",
            b"heads/c++#1",
            b"heads/-a",
            b"heads/HEAD",
            b"heads/a.lock.b",
            b"heads/head",
            b"heads/%2F",
            b"heads/a{b}",
            b"heads/a b",
            b"heads/x..y",
            b"heads/",
            b"heads/a/",
            b"heads//a",
            b"heads/a//b",
            b"heads/.a",
            b"heads/a.lock",
            b"heads/a~",
            b"heads/a^",
            b"heads/@{",
            b"heads/a.",
            b"heads/a:b",
            b"heads/a?",
            b"heads/a*",
            b"heads/a[",
            b"heads/a\\b",
        ];
        for name in names {
            let status = Command::new("git")
                .args(["check-ref-format"])
                .arg(std::ffi::OsStr::from_bytes(&[b"refs/", name].concat()))
                .status()
                .unwrap();
            let parsed = RefName::parse(name);
            assert_eq!(parsed.is_ok(), status.success(), "{}", name.escape_ascii());
            if let Ok(parsed) = parsed {
                assert_eq!(parsed.to_bytes(), name);
            }
        }
        let long = format!("heads/{}", "x".repeat(251));
        for name in ["heads", "notes/x", "", "refs/heads/x", &long] {
            assert!(name.parse::<RefName>().is_err(), "{name}");
        }
    }
}
