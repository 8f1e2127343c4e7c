//! Decides whether a commit is trusted.

use crate::Target;

/// Whether the commit under test comes from somebody with write access to the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trust {
    /// The commit was pushed to the repository. Its steps can use secrets and write caches.
    Trusted,
    /// The commit comes from a pull request. Anybody could have written it, including its pipeline
    /// file.
    Untrusted,
}

impl Trust {
    /// Returns whether the head of a target is trusted. `is_head` says whether the commit is the
    /// head of a branch or tag in the target's repository.
    ///
    /// Branches and tags are trusted. A pull request is trusted only if its head is also the head
    /// of a branch or tag. The metadata does not contain any other evidence of a pull request's
    /// origin.
    #[must_use]
    pub fn of(target: &Target, is_head: bool) -> Trust {
        match target {
            Target::Ref(_) => Trust::Trusted,
            Target::Pr(_) if is_head => Trust::Trusted,
            Target::Pr(_) => Trust::Untrusted,
        }
    }
}
