//! The history of a commit.

use std::collections::{HashSet, VecDeque};

use datakit_client::db::{Commit, Details, History, Id, Result};

/// A commit and its ancestors.
pub(super) enum Commits {
    Log(Box<History>),
    /// A traversal, which is used only if the server does not provide the history as a file.
    Walk(Walk),
}

impl Commits {
    pub(super) async fn from(commit: &Commit) -> Result<Commits> {
        if let Some(history) = commit.history().await? {
            return Ok(Commits::Log(Box::new(history)));
        }
        let mut walk = Walk::default();
        walk.add(commit);
        Ok(Commits::Walk(walk))
    }

    pub(super) async fn next(&mut self) -> Result<Option<Details>> {
        match self {
            Commits::Log(history) => history.next().await,
            Commits::Walk(walk) => walk.next().await,
        }
    }
}

/// A breadth-first traversal of the ancestors. The commits are not ordered by date, because only
/// servers that provide the history as a file send dates.
#[derive(Default)]
pub(super) struct Walk {
    known: HashSet<Id>,
    queue: VecDeque<Commit>,
}

impl Walk {
    async fn next(&mut self) -> Result<Option<Details>> {
        let Some(commit) = self.queue.pop_front() else { return Ok(None) };
        let details = commit.details().await?;
        for parent in &details.parents {
            self.add(parent);
        }
        Ok(Some(details))
    }

    fn add(&mut self, commit: &Commit) {
        if self.known.insert(commit.id()) {
            self.queue.push_back(commit.clone());
        }
    }
}
