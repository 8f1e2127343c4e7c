//! Iterates over the history of a commit, newest commit first.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;

use crate::model::commit::Commit;
use crate::model::object_cache::ObjectCache;
use crate::{Error, Id, Result};

/// Returns an iterator that visits `from` and each ancestor of `from` once, in the order of
/// `git log`. The iterator stops after the first error.
#[must_use]
pub fn log(objects: &ObjectCache, from: Id) -> Log {
    let (seen, queue) = (HashSet::new(), BinaryHeap::new());
    let mut log =
        Log { objects: objects.clone(), shallow: HashSet::new(), seen, queue, failed: None };
    log.failed = log.begin(from).err();
    log
}

/// An iterator over the commits in a history. The iterator reads each commit once and remembers
/// only the hashes of visited commits.
#[derive(Debug)]
pub struct Log {
    objects: ObjectCache,
    shallow: HashSet<Id>,
    seen: HashSet<Id>,
    queue: BinaryHeap<Due>,
    failed: Option<Error>,
}

/// A commit in the queue. Commits with the same time leave the queue in the order in which they
/// were added.
#[derive(Debug)]
struct Due {
    by: (i64, Reverse<usize>),
    id: Id,
    commit: Arc<Commit>,
}

impl Log {
    fn begin(&mut self, from: Id) -> Result<()> {
        self.shallow = self.objects.store().shallow_commits()?;
        self.reach(from)
    }

    fn reach(&mut self, id: Id) -> Result<()> {
        if self.seen.insert(id) {
            let commit = self.objects.commit(id)?;
            self.queue.push(Due { by: (commit.time, Reverse(self.seen.len())), id, commit });
        }
        Ok(())
    }
}

impl Iterator for Log {
    type Item = Result<(Id, Arc<Commit>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            self.queue.clear();
            return Some(Err(error));
        }
        let Due { id, commit, .. } = self.queue.pop()?;
        if !self.shallow.contains(&id) {
            self.failed = commit.parents.iter().try_for_each(|parent| self.reach(*parent)).err();
        }
        Some(Ok((id, commit)))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.by == other.by
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> Ordering {
        self.by.cmp(&other.by)
    }
}
