//! Names of branches.

use std::fmt;
use std::sync::Arc;

use gix::bstr::ByteSlice;

use super::{Error, Result};

/// The longest part between slashes, which is the name of a file, and with `.lock` the name of
/// another.
const LONGEST: usize = 250;

/// The name of a branch, one that Git accepts: `refs/heads/NAME`. A slash is part of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchName(Arc<[u8]>);

impl BranchName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`Error::InvalidBranch`] with the rule of `git check-ref-format` that it breaks.
    pub fn new(name: impl AsRef<[u8]>) -> Result<BranchName> {
        let name = name.as_ref();
        let full = [b"refs/heads/", name].concat();
        let invalid =
            |reason: String| Error::InvalidBranch { name: name.as_bstr().to_string(), reason };
        // A branch of this name would read as an option.
        if name.starts_with(b"-") {
            return Err(invalid("it starts with a dash".to_owned()));
        }
        // Git takes it for the commit that is checked out.
        if name == b"HEAD" {
            return Err(invalid("it stands for what is checked out".to_owned()));
        }
        if name.split(|byte| *byte == b'/').any(|part| part.len() > LONGEST) {
            return Err(invalid(format!("a part of it is longer than {LONGEST} bytes")));
        }
        gix::validate::reference::name(full.as_bstr())
            .map_err(|error| invalid(error.to_string()))?;
        Ok(BranchName(name.into()))
    }

    /// The name without `refs/heads/`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same bytes, not copied.
    pub(super) fn shared(&self) -> Arc<[u8]> {
        self.0.clone()
    }

    /// `refs/heads/NAME`.
    #[must_use]
    pub fn full(&self) -> Vec<u8> {
        [b"refs/heads/", self.as_bytes()].concat()
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_bstr().fmt(f)
    }
}

impl fmt::Debug for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.as_bstr(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d12_what_git_refuses_is_refused() {
        for good in ["master", "a/b", "v1.0_x-y", "\u{e4}"] {
            BranchName::new(good).unwrap();
        }
        for bad in
            ["a b", "x..y", "", "a/", "/a", "a//b", ".a", "a.lock", "a~", "-a", "a\0", "@{", "a^"]
        {
            let error = BranchName::new(bad).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid branch name {bad:?}: ")), "{error}");
        }
    }
}
