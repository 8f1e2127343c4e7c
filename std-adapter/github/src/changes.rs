//! The metadata elements (pull requests, refs, statuses and so on) that changed between two commits
//! on the metadata branch.

use std::collections::BTreeSet;

use datakit_client::ByteString;
use datakit_client::db::Change;

use crate::layout::{Location, locate};
use crate::{ElementId, PrId, RefId, Repo};

/// An object that has a `.dirty` file and must therefore be read again by the bridge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DirtyId {
    /// Everything in a repository. The repository does not have to be monitored.
    Repo(Repo),
    /// A pull request.
    Pr(PrId),
    /// A branch or a tag.
    Ref(RefId),
}

impl DirtyId {
    /// Returns the repository.
    #[must_use]
    pub fn repo(&self) -> &Repo {
        match self {
            DirtyId::Repo(repo) => repo,
            DirtyId::Pr(pr) => &pr.repo,
            DirtyId::Ref(reference) => &reference.repo,
        }
    }
}

/// The metadata elements that may differ between two commits on the branch, and the new `.dirty`
/// files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// The metadata elements for which a file was added, removed or changed.
    pub ids: BTreeSet<ElementId>,
    /// The `.dirty` files that were added.
    pub dirty: BTreeSet<DirtyId>,
}

impl Changes {
    /// Finds the metadata elements to which the changed files belong. Files that do not belong to
    /// an element are ignored.
    ///
    /// ```
    /// # use datakit_client::db::Change;
    /// # use datakit_github::{Changes, DirtyId};
    /// let changes = Changes::of(&[
    ///     Change::Updated("me/x/ref/heads/master/head".parse()?),
    ///     Change::Added("me/x/pr/4/.dirty".parse()?),
    ///     Change::Added("README.md".parse()?),
    /// ]);
    /// let ids: Vec<String> = changes.ids.iter().map(|id| id.to_string()).collect();
    /// assert_eq!(ids, ["me/x/ref/heads/master"]);
    /// assert!(matches!(changes.dirty.first(), Some(DirtyId::Pr(pr)) if pr.number == 4));
    /// # Ok::<(), datakit_client::db::Error>(())
    /// ```
    #[must_use]
    pub fn of<'c>(changes: impl IntoIterator<Item = &'c Change>) -> Changes {
        let mut found = Changes::default();
        for change in changes {
            let names: Vec<ByteString> = change.path().names().cloned().collect();
            match locate(&names) {
                Some(Location::Dirty(id)) if !matches!(change, Change::Removed(_)) => {
                    found.dirty.insert(id);
                }
                Some(location) => found.ids.extend(location.element()),
                None => {}
            }
        }
        found
    }
}
