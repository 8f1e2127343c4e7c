//! Branch names.

use std::fmt;
use std::sync::Arc;

use super::ref_format::ref_name_fault;

/// A valid Git branch name, without the `refs/heads/` prefix. The name may contain slashes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchName(Arc<[u8]>);

/// The error returned for an invalid Git branch name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidBranchName {
    /// The name.
    pub name: String,
    /// The rule that the name violates.
    pub reason: String,
}

impl InvalidBranchName {
    /// Creates an error that reports that `name` violates the rule described by `reason`.
    #[must_use]
    pub fn new(name: String, reason: String) -> InvalidBranchName {
        InvalidBranchName { name, reason }
    }
}

impl fmt::Display for InvalidBranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid branch name {:?}: {}", self.name, self.reason)
    }
}

impl std::error::Error for InvalidBranchName {}

impl BranchName {
    /// Creates a branch name. `name` must follow the rules of `git check-ref-format --branch`.
    ///
    /// # Errors
    /// Returns [`InvalidBranchName`] if the name violates one of the rules.
    pub fn new(name: impl AsRef<[u8]>) -> Result<BranchName, InvalidBranchName> {
        let name = name.as_ref();
        match broken_rule(name) {
            None => Ok(BranchName(name.into())),
            Some(reason) => {
                let name = String::from_utf8_lossy(name).into_owned();
                Err(InvalidBranchName { name, reason })
            }
        }
    }

    /// Returns the name without the `refs/heads/` prefix.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns `refs/heads/NAME`.
    #[must_use]
    pub fn full(&self) -> Vec<u8> {
        [b"refs/heads/", self.as_bytes()].concat()
    }

    /// Returns the name of the directory that represents this branch. A file name cannot contain
    /// slashes, so slashes are encoded as `%2F` and percent signs as `%25`.
    #[must_use]
    pub fn to_file_name(&self) -> Arc<[u8]> {
        if !self.0.iter().any(|byte| matches!(byte, b'/' | b'%')) {
            return self.0.clone();
        }
        let mut escaped = Vec::with_capacity(self.0.len());
        for byte in &*self.0 {
            match byte {
                b'/' => escaped.extend(b"%2F"),
                b'%' => escaped.extend(b"%25"),
                other => escaped.push(*other),
            }
        }
        escaped.into()
    }

    /// Creates a branch name from the name of the directory that represents the branch. Slashes in
    /// `name` may be escaped but do not have to be.
    ///
    /// # Errors
    /// Returns [`InvalidBranchName`] if the branch name violates one of the rules.
    pub fn from_file_name(name: &[u8]) -> Result<BranchName, InvalidBranchName> {
        BranchName::new(unescape(name))
    }
}

/// Decodes the escape sequences in a file name. The result is not necessarily a valid branch name.
pub(super) fn unescape(name: &[u8]) -> Vec<u8> {
    let mut rest = name;
    let mut plain = Vec::with_capacity(name.len());
    while let Some((first, behind)) = rest.split_first() {
        let (byte, behind) = match rest {
            [b'%', b'2', b'F' | b'f', behind @ ..] => (b'/', behind),
            [b'%', b'2', b'5', behind @ ..] => (b'%', behind),
            _ => (*first, behind),
        };
        plain.push(byte);
        rest = behind;
    }
    plain
}

/// Returns the first rule of git-check-ref-format(1) or `git branch` that the name violates, if
/// any.
fn broken_rule(name: &[u8]) -> Option<String> {
    let broken = |rule: &str| Some(rule.to_owned());
    if name.starts_with(b"-") {
        return broken("it starts with a dash, like an option");
    }
    if name == b"HEAD" {
        return broken("HEAD stands for the commit that is checked out");
    }
    ref_name_fault(name)
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

impl fmt::Debug for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d12_refuses_names_that_git_refuses() {
        for good in ["master", "a/b", "v1.0_x-y", "\u{e4}", "@", "a@b", "a.lock.b"] {
            BranchName::new(good).unwrap();
        }
        for bad in [
            "a b", "x..y", "", "a/", "/a", "a//b", ".a", "a.lock", "a~", "-a", "a\0", "@{", "a^",
            "HEAD", "a.",
        ] {
            let error = BranchName::new(bad).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid branch name {bad:?}: ")), "{error}");
        }
    }

    #[test]
    fn file_names_round_trip() {
        for (plain, escaped) in
            [("a/b", "a%2Fb"), ("100%", "100%25"), ("%2F", "%252F"), ("master", "master")]
        {
            if let Ok(name) = BranchName::new(plain) {
                assert_eq!(&*name.to_file_name(), escaped.as_bytes());
                assert_eq!(BranchName::from_file_name(escaped.as_bytes()).unwrap(), name);
            }
        }
    }
}
