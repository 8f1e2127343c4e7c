//! Snapshots, which are sets of repositories, commits, pull requests, refs and statuses.

use std::collections::BTreeMap;
use std::collections::{BTreeSet, HashSet};

use crate::{
    Commit, Context, Element, ElementId, Hash, Pr, PrId, PrState, Ref, RefId, RefName, Repo,
    Status, StatusId,
};

/// The repositories, commits, pull requests, refs and statuses that exist at a single point in
/// time.
///
/// A snapshot is complete: for each pull request, ref and status, it also contains the commit and
/// the repository. Inserting a pull request, ref or status also inserts its commit and repository
/// if they are missing. Removing a repository or commit also removes the elements that depend on
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    repos: BTreeSet<Repo>,
    commits: BTreeSet<Commit>,
    prs: BTreeMap<PrId, Pr>,
    refs: BTreeMap<RefId, Ref>,
    statuses: BTreeMap<StatusId, Status>,
}

impl Snapshot {
    /// Creates an empty snapshot.
    #[must_use]
    pub fn new() -> Snapshot {
        Snapshot::default()
    }

    /// Returns the repositories.
    #[must_use]
    pub fn repos(&self) -> &BTreeSet<Repo> {
        &self.repos
    }

    /// Returns the commits.
    #[must_use]
    pub fn commits(&self) -> &BTreeSet<Commit> {
        &self.commits
    }

    /// Returns the pull requests.
    #[must_use]
    pub fn prs(&self) -> &BTreeMap<PrId, Pr> {
        &self.prs
    }

    /// Returns the branches and tags.
    #[must_use]
    pub fn refs(&self) -> &BTreeMap<RefId, Ref> {
        &self.refs
    }

    /// Returns the statuses.
    #[must_use]
    pub fn statuses(&self) -> &BTreeMap<StatusId, Status> {
        &self.statuses
    }

    /// Returns the pull requests of a repository.
    pub fn prs_of(&self, repo: &Repo) -> impl Iterator<Item = &Pr> {
        let first = PrId { repo: repo.clone(), number: 0 };
        self.prs.range(first..).map(|(_, pr)| pr).take_while(move |pr| pr.id.repo == *repo)
    }

    /// Returns the branches and tags of a repository.
    pub fn refs_of(&self, repo: &Repo) -> impl Iterator<Item = &Ref> {
        let first = RefId { repo: repo.clone(), name: RefName::min() };
        let refs = self.refs.range(first..).map(|(_, reference)| reference);
        refs.take_while(move |reference| reference.id.repo == *repo)
    }

    /// Returns the statuses of a commit.
    pub fn statuses_of(&self, commit: &Commit) -> impl Iterator<Item = &Status> {
        let first = StatusId { commit: commit.clone(), context: Context::min() };
        let statuses = self.statuses.range(first..).map(|(_, status)| status);
        statuses.take_while(move |status| status.id.commit == *commit)
    }

    fn commits_of(&self, repo: &Repo) -> impl Iterator<Item = &Commit> {
        let first = Commit { repo: repo.clone(), hash: Hash::MIN };
        self.commits.range(first..).take_while(move |commit| commit.repo == *repo)
    }

    /// Returns the repository, commit, pull request, ref or status with the given id, if any.
    #[must_use]
    pub fn get(&self, id: &ElementId) -> Option<Element> {
        match id {
            ElementId::Repo(repo) => self.repos.get(repo).cloned().map(Element::Repo),
            ElementId::Commit(commit) => self.commits.get(commit).cloned().map(Element::Commit),
            ElementId::Pr(pr) => self.prs.get(pr).cloned().map(Element::Pr),
            ElementId::Ref(reference) => self.refs.get(reference).cloned().map(Element::Ref),
            ElementId::Status(status) => self.statuses.get(status).cloned().map(Element::Status),
        }
    }

    /// Returns whether the snapshot contains a metadata element with the given id.
    #[must_use]
    pub fn contains(&self, id: &ElementId) -> bool {
        match id {
            ElementId::Repo(repo) => self.repos.contains(repo),
            ElementId::Commit(commit) => self.commits.contains(commit),
            ElementId::Pr(pr) => self.prs.contains_key(pr),
            ElementId::Ref(reference) => self.refs.contains_key(reference),
            ElementId::Status(status) => self.statuses.contains_key(status),
        }
    }

    /// Returns all elements. Repositories come first, followed by commits and then by all other
    /// elements.
    pub fn elements(&self) -> impl Iterator<Item = Element> {
        let repos = self.repos.iter().cloned().map(Element::Repo);
        let commits = self.commits.iter().cloned().map(Element::Commit);
        let prs = self.prs.values().cloned().map(Element::Pr);
        let refs = self.refs.values().cloned().map(Element::Ref);
        let statuses = self.statuses.values().cloned().map(Element::Status);
        repos.chain(commits).chain(prs).chain(refs).chain(statuses)
    }

    /// Inserts an element. Replaces any element with the same id.
    pub fn insert(&mut self, element: impl Into<Element>) {
        match element.into() {
            Element::Repo(repo) => {
                self.repos.insert(repo);
            }
            Element::Commit(commit) => self.insert_commit(commit),
            Element::Pr(pr) => {
                self.insert_commit(pr.commit());
                self.prs.insert(pr.id.clone(), pr);
            }
            Element::Ref(reference) => {
                self.insert_commit(reference.commit());
                self.refs.insert(reference.id.clone(), reference);
            }
            Element::Status(status) => {
                self.insert_commit(status.id.commit.clone());
                self.statuses.insert(status.id.clone(), status);
            }
        }
    }

    fn insert_commit(&mut self, commit: Commit) {
        if !self.repos.contains(&commit.repo) {
            self.repos.insert(commit.repo.clone());
        }
        self.commits.insert(commit);
    }

    /// Removes elements. Removing a repository also removes its commits, pull requests, refs and
    /// statuses. For a commit, removes the statuses, and also the commit itself unless it is the
    /// head of a remaining pull request or ref. Ignores ids that do not exist in the snapshot.
    pub fn remove<'i>(&mut self, ids: impl IntoIterator<Item = &'i ElementId>) {
        let mut heads_needed = BTreeSet::new();
        for id in ids {
            match id {
                ElementId::Repo(repo) => self.remove_repo(repo),
                ElementId::Commit(commit) => {
                    self.remove_statuses(commit);
                    if self.commits.remove(commit) {
                        heads_needed.insert(commit.repo.clone());
                    }
                }
                ElementId::Pr(pr) => drop(self.prs.remove(pr)),
                ElementId::Ref(reference) => drop(self.refs.remove(reference)),
                ElementId::Status(status) => drop(self.statuses.remove(status)),
            }
        }
        for repo in heads_needed {
            let heads: Vec<Commit> = self.heads_of(&repo).collect();
            self.commits.extend(heads);
        }
    }

    fn remove_repo(&mut self, repo: &Repo) {
        let commits: Vec<Commit> = self.commits_of(repo).cloned().collect();
        for commit in commits {
            self.remove_statuses(&commit);
            self.commits.remove(&commit);
        }
        let prs: Vec<PrId> = self.prs_of(repo).map(|pr| pr.id.clone()).collect();
        prs.iter().for_each(|pr| drop(self.prs.remove(pr)));
        let refs: Vec<RefId> = self.refs_of(repo).map(|reference| reference.id.clone()).collect();
        refs.iter().for_each(|reference| drop(self.refs.remove(reference)));
        self.repos.remove(repo);
    }

    fn remove_statuses(&mut self, commit: &Commit) {
        let ids: Vec<StatusId> = self.statuses_of(commit).map(|status| status.id.clone()).collect();
        ids.iter().for_each(|id| drop(self.statuses.remove(id)));
    }

    fn heads_of(&self, repo: &Repo) -> impl Iterator<Item = Commit> {
        self.prs_of(repo).map(Pr::commit).chain(self.refs_of(repo).map(Ref::commit))
    }

    /// Removes closed pull requests. Also removes each commit that is not the head of an open pull
    /// request or a ref, along with the commit's statuses.
    #[must_use]
    pub fn prune(mut self) -> Snapshot {
        self.prs.retain(|_, pr| pr.state == PrState::Open);
        let prs = self.prs.values().map(Pr::commit);
        let heads: HashSet<Commit> = prs.chain(self.refs.values().map(Ref::commit)).collect();
        self.commits.retain(|commit| heads.contains(commit));
        self.statuses.retain(|id, _| heads.contains(&id.commit));
        self
    }

    /// Removes each of the repository's commits that has no statuses and is not the head of a pull
    /// request or ref. The branch contains no files for these commits.
    pub(crate) fn remove_bare_commits(&mut self, repo: &Repo) {
        let heads: HashSet<Commit> = self.heads_of(repo).collect();
        let is_bare = |commit: &&Commit| {
            !heads.contains(*commit) && self.statuses_of(commit).next().is_none()
        };
        let bare: Vec<Commit> = self.commits_of(repo).filter(is_bare).cloned().collect();
        for commit in &bare {
            self.commits.remove(commit);
        }
    }

    /// Inserts all elements of `other`. Replaces elements with the same ids.
    pub fn extend(&mut self, other: Snapshot) {
        self.repos.extend(other.repos);
        self.commits.extend(other.commits);
        self.prs.extend(other.prs);
        self.refs.extend(other.refs);
        self.statuses.extend(other.statuses);
    }

    /// Returns the part of the snapshot that belongs to one repository.
    #[must_use]
    pub fn of_repo(&self, repo: &Repo) -> Snapshot {
        let mut part = Snapshot::new();
        part.repos.extend(self.repos.get(repo).cloned());
        for commit in self.commits_of(repo) {
            let statuses = self.statuses_of(commit);
            part.statuses.extend(statuses.map(|status| (status.id.clone(), status.clone())));
            part.commits.insert(commit.clone());
        }
        part.prs.extend(self.prs_of(repo).map(|pr| (pr.id.clone(), pr.clone())));
        let refs = self.refs_of(repo);
        part.refs.extend(refs.map(|reference| (reference.id.clone(), reference.clone())));
        part
    }
}

impl<E: Into<Element>> FromIterator<E> for Snapshot {
    fn from_iter<I: IntoIterator<Item = E>>(elements: I) -> Snapshot {
        let mut snapshot = Snapshot::new();
        elements.into_iter().for_each(|element| snapshot.insert(element));
        snapshot
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::strategies::snapshot;

    fn is_complete(snapshot: &Snapshot) -> bool {
        snapshot.elements().collect::<Snapshot>() == *snapshot
    }

    proptest! {
        #[test]
        fn a_snapshot_stays_complete(x in snapshot(), chosen in any::<proptest::sample::Index>()) {
            prop_assert!(is_complete(&x));
            let ids: Vec<ElementId> = x.elements().map(|element| element.id()).collect();
            prop_assume!(!ids.is_empty());
            let mut less = x.clone();
            less.remove([chosen.get(&ids)]);
            prop_assert!(is_complete(&less), "{:?}", less);
        }

        #[test]
        fn pruned_snapshots_have_only_heads(x in snapshot()) {
            let pruned = x.clone().prune();
            prop_assert!(is_complete(&pruned));
            prop_assert_eq!(pruned.repos(), x.repos());
            prop_assert_eq!(pruned.refs(), x.refs());
            prop_assert!(pruned.prs().values().all(|pr| pr.state == PrState::Open));
            for commit in pruned.commits() {
                prop_assert!(pruned.heads_of(&commit.repo).any(|head| head == *commit));
                prop_assert!(pruned.statuses_of(commit).eq(x.statuses_of(commit)));
            }
            prop_assert_eq!(pruned.clone().prune(), pruned);
        }

        #[test]
        fn the_parts_of_all_repositories_are_the_whole(x in snapshot()) {
            let mut whole = Snapshot::new();
            x.repos().iter().for_each(|repo| whole.extend(x.of_repo(repo)));
            prop_assert_eq!(whole, x);
        }
    }

    #[test]
    fn a_head_cannot_be_removed() {
        let reference = Ref {
            id: RefId { repo: "a/b".parse().unwrap(), name: "heads/x".parse().unwrap() },
            head: Hash::parse("0".repeat(40)).unwrap(),
        };
        let commit = reference.commit();
        let mut snapshot: Snapshot = [reference.clone()].into_iter().collect();
        snapshot.remove([&commit.clone().into()]);
        assert!(snapshot.commits().contains(&commit));
        snapshot.remove([&commit.clone().into(), &reference.id.into()]);
        assert!(snapshot.commits().is_empty() && snapshot.repos().contains(&commit.repo));
    }
}
