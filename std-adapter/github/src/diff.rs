//! Differences between snapshots.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Element, ElementId, Snapshot};

/// The changes that turn one snapshot into another.
///
/// ```
/// # use datakit_github::{Diff, Repo, Snapshot};
/// let (x, y): (Repo, Repo) = ("me/x".parse()?, "me/y".parse()?);
/// let wanted: Snapshot = [x.clone()].into_iter().collect();
/// let found: Snapshot = [y.clone()].into_iter().collect();
///
/// let diff = Diff::between(&wanted, &found);
/// assert!(diff.updates().eq([&x.into()]) && diff.removals().eq([&y.into()]));
/// assert_eq!(diff.apply(found), wanted);
/// # Ok::<(), datakit_github::InvalidRepo>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    updates: BTreeMap<ElementId, Element>,
    removals: BTreeSet<ElementId>,
}

impl Diff {
    /// Returns the changes that turn `found` into `wanted`. If a metadata element has the same id
    /// in both snapshots but different contents, the diff contains an update but no removal.
    #[must_use]
    pub fn between(wanted: &Snapshot, found: &Snapshot) -> Diff {
        let updates = updates(wanted, found).map(|element| (element.id(), element)).collect();
        let removals = missing(found, wanted).collect();
        Diff { updates, removals }
    }

    /// Creates a diff. If an id is both removed and updated, the removal is ignored.
    #[must_use]
    pub fn new(
        updates: impl IntoIterator<Item = Element>,
        removals: impl IntoIterator<Item = ElementId>,
    ) -> Diff {
        let updates: BTreeMap<ElementId, Element> =
            updates.into_iter().map(|element| (element.id(), element)).collect();
        let removals = removals.into_iter().filter(|id| !updates.contains_key(id)).collect();
        Diff { updates, removals }
    }

    /// Returns the new and changed metadata elements, sorted by id.
    pub fn updates(&self) -> impl ExactSizeIterator<Item = &Element> {
        self.updates.values()
    }

    /// Returns the sorted ids of the removed metadata elements.
    pub fn removals(&self) -> impl ExactSizeIterator<Item = &ElementId> {
        self.removals.iter()
    }

    /// Returns whether the diff contains no changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.updates.is_empty() && self.removals.is_empty()
    }

    /// Keeps only the changes for which `keep` returns `true`. The second argument to `keep` is the
    /// element, or `None` for a removal.
    pub fn retain(&mut self, mut keep: impl FnMut(&ElementId, Option<&Element>) -> bool) {
        self.updates.retain(|id, element| keep(id, Some(element)));
        self.removals.retain(|id| keep(id, None));
    }

    /// Applies the changes to a snapshot. First removes elements, as [`Snapshot::remove`] does, and
    /// then applies the updates.
    ///
    /// For all `x` and `y`, `Diff::between(&x, &y).apply(y) == x`.
    #[must_use]
    pub fn apply(&self, mut to: Snapshot) -> Snapshot {
        // Remove commits again at the end, because a commit remains in the snapshot while it is the
        // head of a ref.
        to.remove(self.removals.iter());
        self.updates.values().cloned().for_each(|element| to.insert(element));
        let is_commit = |id: &&ElementId| matches!(id, ElementId::Commit(_));
        to.remove(self.removals.iter().filter(is_commit));
        to
    }
}

/// Returns the metadata elements of `wanted` that are missing from `found` or have different
/// contents there. Clones only the returned elements.
fn updates<'s>(wanted: &'s Snapshot, found: &'s Snapshot) -> impl Iterator<Item = Element> + 's {
    let repos = wanted.repos().difference(found.repos()).cloned().map(Element::Repo);
    let commits = wanted.commits().difference(found.commits()).cloned().map(Element::Commit);
    let prs = wanted.prs().iter().filter(|(id, pr)| found.prs().get(id) != Some(pr));
    let refs = wanted.refs().iter().filter(|(id, head)| found.refs().get(id) != Some(head));
    let statuses = wanted.statuses().iter();
    let statuses = statuses.filter(|(id, status)| found.statuses().get(id) != Some(status));
    repos
        .chain(commits)
        .chain(prs.map(|(_, pr)| pr.clone().into()))
        .chain(refs.map(|(_, head)| head.clone().into()))
        .chain(statuses.map(|(_, status)| status.clone().into()))
}

/// Returns the ids of the metadata elements in `found` that are missing from `wanted`.
fn missing<'s>(found: &'s Snapshot, wanted: &'s Snapshot) -> impl Iterator<Item = ElementId> + 's {
    let repos = found.repos().difference(wanted.repos()).cloned().map(ElementId::Repo);
    let commits = found.commits().difference(wanted.commits()).cloned().map(ElementId::Commit);
    let prs = found.prs().keys().filter(|id| !wanted.prs().contains_key(id));
    let refs = found.refs().keys().filter(|id| !wanted.refs().contains_key(id));
    let statuses = found.statuses().keys().filter(|id| !wanted.statuses().contains_key(id));
    repos
        .chain(commits)
        .chain(prs.cloned().map(ElementId::Pr))
        .chain(refs.cloned().map(ElementId::Ref))
        .chain(statuses.cloned().map(ElementId::Status))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::strategies::snapshot;

    proptest! {
        #[test]
        fn apply_inverts_between(x in snapshot(), y in snapshot()) {
            let diff = Diff::between(&x, &y);
            prop_assert_eq!(diff.is_empty(), x == y);
            prop_assert_eq!(diff.apply(y), x);
        }

        #[test]
        fn a_diff_is_minimal(x in snapshot(), y in snapshot()) {
            let diff = Diff::between(&x, &y);
            for element in diff.updates() {
                prop_assert_eq!(x.get(&element.id()), Some(element.clone()));
                prop_assert_ne!(y.get(&element.id()), Some(element.clone()));
            }
            for id in diff.removals() {
                prop_assert!(y.contains(id) && !x.contains(id));
            }
        }

        #[test]
        fn applying_twice_changes_nothing_more(x in snapshot(), y in snapshot(), z in snapshot()) {
            let diff = Diff::between(&x, &y);
            let once = diff.apply(z);
            prop_assert_eq!(diff.apply(once.clone()), once);
        }
    }
}
