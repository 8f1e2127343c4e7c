//! Plans the changes that make the database match a repository.

use std::collections::BTreeMap;
use std::fmt::Write;

use datakit_github::{Diff, Element, ElementId, Hash, Ref, RefId, RefKind, RefName, Repo};

use crate::source::Reading;

/// A repository's published refs.
pub(crate) type Published = BTreeMap<RefName, Hash>;

/// The maximum length of a commit message in bytes. The server's limit is 64 KiB.
const MAX_MESSAGE: usize = 32 << 10;

/// The changes to one or more repositories.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    updates: Vec<Element>,
    removals: Vec<ElementId>,
    lines: Vec<String>,
}

impl Plan {
    /// Adds the changes that make the published branches match the branches in the repository. Does
    /// not change tags.
    pub(crate) fn add(&mut self, repo: &Repo, reading: &Reading, published: &Published) {
        let Reading { branches, is_same } = reading;
        let id = |name: &RefName| RefId { repo: repo.clone(), name: name.clone() };
        // A repository without branches may be a new repository that `git clone` is still creating
        // at the same path.
        let is_empty = branches.heads.is_empty() && branches.unreadable.is_empty();
        let may_remove = !is_empty || *is_same;
        for name in published.keys().filter(|name| name.kind() == RefKind::Heads) {
            if may_remove && !branches.heads.contains_key(name) && !branches.may_have(name) {
                self.lines.push(format!("Removing deleted branch {repo} {name}"));
                self.removals.push(id(name).into());
            }
        }
        for (name, head) in &branches.heads {
            self.lines.push(match published.get(name) {
                Some(old) if old == head => continue,
                Some(_) => format!("Updating existing branch to {repo} {name} {head}"),
                None => format!("Tracking new branch {repo} {name} {head}"),
            });
            self.updates.push(Ref { id: id(name), head: *head }.into());
        }
    }

    /// Returns the changes and a commit message with one line per change.
    pub(crate) fn finish(self) -> (Diff, String) {
        let count = self.lines.len();
        let mut message = String::new();
        for (index, line) in self.lines.iter().enumerate() {
            if message.len().saturating_add(line.len()) > MAX_MESSAGE {
                // Ignore the result because writing to a string cannot fail.
                let _ = writeln!(message, "... and {} more", count.saturating_sub(index));
                break;
            }
            message.push_str(line);
            message.push('\n');
        }
        (Diff::new(self.updates, self.removals), message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refs::RepositoryBranches;

    fn hash(digit: char) -> Hash {
        Hash::parse(digit.to_string().repeat(40)).unwrap()
    }

    fn refs(list: &[(&str, char)]) -> Published {
        list.iter().map(|(name, digit)| (name.parse().unwrap(), hash(*digit))).collect()
    }

    /// Returns the lines of the commit message.
    fn plan(heads: &[(&str, char)], unreadable: &[&str], is_same: bool) -> Vec<String> {
        let unreadable = unreadable.iter().map(|name| name.as_bytes().to_vec()).collect();
        let reading =
            Reading { branches: RepositoryBranches { heads: refs(heads), unreadable }, is_same };
        let published =
            refs(&[("heads/a", '1'), ("heads/a/b", '1'), ("heads/ab", '1'), ("tags/t", '1')]);
        let mut plan = Plan::default();
        plan.add(&"me/x".parse().unwrap(), &reading, &published);
        let (diff, message) = plan.finish();
        assert_eq!(diff.updates().len() + diff.removals().len(), message.lines().count());
        message.lines().map(str::to_owned).collect()
    }

    #[test]
    fn only_differences_are_written() {
        assert!(
            plan(&[("heads/a", '1'), ("heads/a/b", '1'), ("heads/ab", '1')], &[], false).is_empty()
        );
        let (one, two) = (hash('1'), hash('2'));
        assert_eq!(
            plan(&[("heads/a", '2'), ("heads/c", '1'), ("heads/a/b", '1')], &[], false),
            [
                "Removing deleted branch me/x heads/ab".to_owned(),
                format!("Updating existing branch to me/x heads/a {two}"),
                format!("Tracking new branch me/x heads/c {one}"),
            ]
        );
    }

    #[test]
    fn unreadable_branches_are_kept() {
        assert_eq!(plan(&[], &["a"], false), ["Removing deleted branch me/x heads/ab"]);
        assert!(plan(&[], &[""], true).is_empty());
    }

    #[test]
    fn another_repository_without_branches_removes_nothing() {
        assert!(plan(&[], &[], false).is_empty());
        assert_eq!(plan(&[], &[], true).len(), 3);
        // A repository with at least one branch is considered complete.
        assert_eq!(plan(&[("heads/x", '1')], &[], false).len(), 4);
    }

    #[test]
    fn long_messages_are_cut() {
        let heads: Vec<(String, char)> = (0..9999).map(|n| (format!("heads/{n}"), '1')).collect();
        let heads: Vec<(&str, char)> =
            heads.iter().map(|(name, digit)| (&**name, *digit)).collect();
        let mut plan = Plan::default();
        let branches = RepositoryBranches { heads: refs(&heads), unreadable: Vec::new() };
        plan.add(&"me/x".parse().unwrap(), &Reading { branches, is_same: true }, &Published::new());
        let (diff, message) = plan.finish();
        assert_eq!(diff.updates().len(), 9999);
        assert!(message.len() < MAX_MESSAGE + 100 && message.contains("... and "), "{message}");
    }
}
