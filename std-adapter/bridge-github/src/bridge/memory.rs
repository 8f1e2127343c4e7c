//! Keeps the state of the bridge between synchronization rounds.

use std::collections::BTreeSet;

use datakit_github::{DirtyId, Element, ElementId, PrState, Repo, Snapshot, Status};

use crate::events::Mark;
use crate::round::{Import, Push, write_back};

/// The state that the bridge keeps between synchronization rounds. The snapshots are described in
/// [`crate::round`].
#[derive(Debug, Default)]
pub(crate) struct BridgeMemory {
    /// The last known state of GitHub.
    pub(super) github: Snapshot,
    /// The content of the branch when it was last synchronized with GitHub.
    pub(super) synced: Snapshot,
    /// The repositories that have been read completely at least once.
    known: BTreeSet<Repo>,
    /// The repositories that have been read at least in part. Other repositories are not written to
    /// the branch.
    imported: BTreeSet<Repo>,
    /// The pull requests, statuses and refs that must be read from GitHub.
    marks: BTreeSet<Mark>,
    /// The pull requests, statuses and refs that could not be read.
    failed: BTreeSet<Mark>,
    /// The `.dirty` files that must be removed after the read.
    dirty: BTreeSet<DirtyId>,
    /// The changed pull requests, statuses and refs that could not be sent to GitHub.
    unsent: BTreeSet<ElementId>,
    /// The pull requests, statuses and refs in `unsent` that must not be retried yet.
    waiting: BTreeSet<ElementId>,
    /// The repositories with a registered webhook.
    hooked: BTreeSet<Repo>,
    /// The repositories for which registering a webhook failed.
    unhooked: BTreeSet<Repo>,
}

impl BridgeMemory {
    /// Prepares a round by processing new and removed repositories, `.dirty` files and events.
    pub(super) fn begin(
        &mut self,
        datakit: &Snapshot,
        dirty: BTreeSet<DirtyId>,
        events: BTreeSet<Mark>,
    ) {
        let gone: Vec<Repo> = self.github.repos().difference(datakit.repos()).cloned().collect();
        gone.iter().for_each(|repo| self.forget_repo(repo));
        for repo in datakit.repos().difference(&self.github.repos().clone()) {
            // Until the repository has been read, assume that GitHub and the branch have the same
            // content.
            self.github.extend(datakit.of_repo(repo));
            self.synced.extend(datakit.of_repo(repo));
            self.marks.insert(Mark::Repo(repo.clone()));
        }
        let heads = self.github.commits();
        let matters = |mark: &Mark| match mark {
            Mark::Statuses(commit) => heads.contains(commit),
            _ => self.known.contains(mark.repo()),
        };
        self.marks.extend(events.into_iter().filter(matters));
        self.marks.extend(dirty.iter().cloned().map(Mark::from));
        self.dirty.extend(dirty);
        let whole: BTreeSet<Repo> = self.repo_marks().cloned().collect();
        self.marks.retain(|mark| matches!(mark, Mark::Repo(_)) || !whole.contains(mark.repo()));
    }

    fn forget_repo(&mut self, repo: &Repo) {
        let id = [ElementId::Repo(repo.clone())];
        self.github.remove(&id);
        self.synced.remove(&id);
        self.known.remove(repo);
        self.imported.remove(repo);
        self.hooked.remove(repo);
        self.unhooked.remove(repo);
        self.marks.retain(|mark| mark.repo() != repo);
        self.failed.retain(|mark| mark.repo() != repo);
        self.dirty.retain(|id| id.repo() != repo);
        self.unsent.retain(|id| id.repo() != repo);
        self.waiting.retain(|id| id.repo() != repo);
    }

    fn repo_marks(&self) -> impl Iterator<Item = &Repo> {
        self.marks.iter().filter_map(|mark| match mark {
            Mark::Repo(repo) => Some(repo),
            _ => None,
        })
    }

    /// Returns `true` if there is any work for a round to do.
    pub(super) fn has_work(&self, datakit: &Snapshot) -> bool {
        !self.marks.is_empty()
            || !self.dirty.is_empty()
            || *datakit != self.synced
            || self.github != self.synced
            || self.unsent.iter().any(|id| !self.waiting.contains(id))
    }

    /// Returns `true` if anything is marked to be read.
    pub(super) fn has_marks(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Marks all repositories to be read.
    pub(super) fn mark_all(&mut self) {
        self.marks.extend(self.github.repos().iter().cloned().map(Mark::Repo));
    }

    /// Removes and returns the next repository to import.
    pub(super) fn next_repo(&mut self) -> Option<Repo> {
        let repo = self.repo_marks().next().cloned()?;
        self.marks.remove(&Mark::Repo(repo.clone()));
        Some(repo)
    }

    /// Removes and returns the marks for individual pull requests, refs and commits. Keeps the
    /// marks for whole repositories.
    pub(super) fn next_marks(&mut self) -> BTreeSet<Mark> {
        let (repos, others) = std::mem::take(&mut self.marks)
            .into_iter()
            .partition(|mark| matches!(mark, Mark::Repo(_)));
        self.marks = repos;
        others
    }

    /// Returns `true` if the entire repository has been read before.
    pub(super) fn is_known(&self, repo: &Repo) -> bool {
        self.known.contains(repo)
    }

    /// Returns the last known content of a repository.
    pub(super) fn old_part(&self, repo: &Repo, datakit: &Snapshot) -> Snapshot {
        let known = if self.known.contains(repo) { &self.github } else { datakit };
        known.of_repo(repo)
    }

    /// Returns the repositories for which a webhook must be registered now.
    pub(super) fn hooks_due(&self) -> Vec<Repo> {
        let due = self.known.difference(&self.hooked);
        due.filter(|repo| !self.unhooked.contains(repo)).cloned().collect()
    }

    /// Records whether a repository's webhook was registered successfully.
    pub(super) fn hooked(&mut self, repo: Repo, done: bool) {
        if done {
            self.hooked.insert(repo)
        } else {
            self.unhooked.insert(repo)
        };
    }

    /// Records the result of an import. `import` is `None` if the capabilities do not allow reading
    /// the repository.
    pub(super) fn imported(&mut self, repo: &Repo, import: Option<Import>) {
        let is_monitored = self.github.repos().contains(repo);
        let complete = import.as_ref().is_none_or(|import| import.complete);
        if let Some(import) = import
            && import.found_any
            && (is_monitored || complete)
        {
            self.github.remove([&ElementId::Repo(repo.clone())]);
            self.github.extend(import.part);
            self.imported.insert(repo.clone());
        }
        if complete {
            self.known.insert(repo.clone());
            self.failed.retain(|mark| mark.repo() != repo);
        } else {
            self.failed.insert(Mark::Repo(repo.clone()));
        }
    }

    /// Records that the `statuses` in the branch could not be compared with the statuses on GitHub.
    /// The branch keeps these statuses until the repository is read again.
    pub(super) fn unread<'s>(&mut self, repo: &Repo, statuses: impl Iterator<Item = &'s Status>) {
        for status in statuses {
            self.unsent.insert(status.id.clone().into());
            self.waiting.insert(status.id.clone().into());
        }
        self.known.remove(repo);
        self.failed.insert(Mark::Repo(repo.clone()));
    }

    /// Records the result of a read.
    pub(super) fn reread(&mut self, mark: Mark, done: bool) {
        if done {
            self.failed.remove(&mark);
        } else {
            self.failed.insert(mark);
        }
    }

    /// Returns the changes that the current round must send to GitHub.
    pub(super) fn due(&mut self, pushes: Vec<Push>) -> Vec<Push> {
        let ids: BTreeSet<ElementId> = pushes.iter().map(Push::id).collect();
        self.unsent.retain(|id| ids.contains(id));
        self.waiting.retain(|id| ids.contains(id));
        pushes.into_iter().filter(|push| !self.must_wait(&push.id())).collect()
    }

    /// Returns `true` if an earlier attempt to send the change to GitHub failed but may still have
    /// taken effect.
    fn must_wait(&self, id: &ElementId) -> bool {
        let is_unread = match id {
            ElementId::Status(status) => {
                self.failed.contains(&Mark::Statuses(status.commit.clone()))
                    || self.failed.contains(&Mark::Repo(id.repo().clone()))
            }
            _ => false,
        };
        self.waiting.contains(id) || is_unread && self.unsent.contains(id)
    }

    /// Records the state of a pull request, status or ref on GitHub after a push. Also marks all
    /// pull requests that may have moved along with a pushed branch.
    pub(super) fn pushed(&mut self, id: &ElementId, element: Option<Element>) {
        self.unsent.remove(id);
        if let (ElementId::Ref(id), Some(Element::Ref(new))) = (id, &element)
            && let Some(old) = self.github.refs().get(id)
            && old.head != new.head
        {
            let prs = self.github.prs_of(&id.repo);
            let moved = prs.filter(|pr| pr.state == PrState::Open && pr.head == old.head);
            self.marks.extend(moved.map(|pr| Mark::Pr(pr.id.clone())));
        }
        match element {
            Some(element) => self.github.insert(element),
            None => self.github.remove([id]),
        }
    }

    /// Records that GitHub rejected a push. The change is then reverted in the branch.
    pub(super) fn refused(&mut self, push: &Push) {
        self.unsent.remove(&push.id());
    }

    /// Records that a push failed. GitHub may have received a status even though the call failed,
    /// so the status is read before it is sent again. Other pushes are idempotent.
    pub(super) fn unknown(&mut self, push: &Push) {
        if let Push::Status(status) = push {
            self.failed.insert(Mark::Statuses(status.id.commit.clone()));
        }
        self.unsent.insert(push.id());
        self.waiting.insert(push.id());
    }

    /// Returns the number of reads and writes that must be retried.
    pub(super) fn failures(&self) -> usize {
        [self.failed.len(), self.unsent.len(), self.unhooked.len()].iter().sum()
    }

    /// Schedules an immediate retry of all failed calls.
    pub(super) fn retry(&mut self) {
        self.marks.append(&mut self.failed);
        self.waiting.clear();
        self.unhooked.clear();
    }

    /// Returns the changes to write to the branch, and the `.dirty` files to remove. `moved`
    /// contains the pull requests, statuses and refs that changed in the branch during the round.
    pub(super) fn writes(
        &self,
        github: &Snapshot,
        now: &Snapshot,
        moved: &BTreeSet<ElementId>,
    ) -> (datakit_github::Diff, BTreeSet<DirtyId>) {
        let kept = self.unsent.union(moved).cloned().collect();
        let mut diff = write_back(github, now, &kept);
        diff.retain(|id, _| self.imported.contains(id.repo()));
        let is_done = |id: &&DirtyId| {
            let mark = Mark::from((*id).clone());
            let whole = Mark::Repo(id.repo().clone());
            [mark, whole].iter().all(|m| !self.failed.contains(m) && !self.marks.contains(m))
        };
        (diff, self.dirty.iter().filter(is_done).cloned().collect())
    }

    /// Records that the round has written to the branch and that the branch now contains `now`.
    pub(super) fn written(
        &mut self,
        now: &Snapshot,
        datakit: &Snapshot,
        moved: &BTreeSet<ElementId>,
        cleaned: &BTreeSet<DirtyId>,
    ) {
        let old = std::mem::replace(&mut self.synced, now.clone());
        // Restore the old values of pull requests, statuses and refs that could not be sent, so
        // that the next round detects the changes again.
        restore(&mut self.synced, &old, &self.unsent);
        restore(&mut self.synced, datakit, moved);
        self.dirty.retain(|id| !cleaned.contains(id));
    }
}

/// Sets the pull requests, statuses and refs in `ids` to their values in `from`.
fn restore(snapshot: &mut Snapshot, from: &Snapshot, ids: &BTreeSet<ElementId>) {
    snapshot.remove(ids);
    for element in ids.iter().filter_map(|id| from.get(id)) {
        snapshot.insert(element);
    }
}
