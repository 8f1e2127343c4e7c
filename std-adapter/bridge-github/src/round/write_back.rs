//! Finds the changes to write to the branch.

use std::collections::BTreeSet;

use datakit_github::capabilities::Op;
use datakit_github::{Capabilities, Diff, ElementId, Snapshot};

/// Returns the changes that make the branch equal to `github`, except for the pull requests,
/// statuses and refs in `kept`.
pub(crate) fn write_back(
    github: &Snapshot,
    datakit: &Snapshot,
    kept: &BTreeSet<ElementId>,
) -> Diff {
    let mut diff = Diff::between(github, datakit);
    // If a status is kept, also keep its commit, because removing the commit's directory would
    // remove the status.
    let with_commits: BTreeSet<ElementId> = kept
        .iter()
        .cloned()
        .chain(kept.iter().filter_map(|id| match id {
            ElementId::Status(id) => Some(id.commit.clone().into()),
            _ => None,
        }))
        .collect();
    diff.retain(|id, _| !with_commits.contains(id));
    diff
}

/// Returns the ids of the pull requests, statuses and refs that differ between two states of the
/// branch.
pub(crate) fn changed_ids(new: &Snapshot, old: &Snapshot) -> BTreeSet<ElementId> {
    let diff = Diff::between(new, old);
    let updates = diff.updates().map(datakit_github::Element::id);
    updates.chain(diff.removals().cloned()).collect()
}

/// Treats GitHub and the branch as equal where the capabilities do not allow reading from GitHub.
#[derive(Debug)]
pub(crate) struct Mirror<'c>(pub(crate) &'c Capabilities);

impl Mirror<'_> {
    /// Returns `true` if the capabilities allow reading a pull request, status or ref from GitHub.
    pub(crate) fn reads(&self, id: &ElementId) -> bool {
        self.0.allow(Op::Read, &ElementId::Repo(id.repo().clone())) && self.0.allow(Op::Read, id)
    }

    /// Replaces pull requests, statuses and refs in `github` with those in `datakit` if the
    /// capabilities do not allow reading them from GitHub.
    pub(crate) fn apply(&self, github: &mut Snapshot, datakit: &Snapshot) {
        let has_files = |id: &ElementId| {
            matches!(id, ElementId::Pr(_) | ElementId::Ref(_) | ElementId::Status(_))
        };
        let hidden: Vec<ElementId> = github
            .elements()
            .map(|element| element.id())
            .filter(|id| has_files(id) && !self.reads(id))
            .collect();
        github.remove(&hidden);
        for element in datakit.elements() {
            let id = element.id();
            if has_files(&id) && !self.reads(&id) && github.repos().contains(id.repo()) {
                github.insert(element);
            }
        }
    }
}
