//! Finds the lowest common ancestors of two commits, as `git merge-base --all` does.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use crate::model::commit::Commit;
use crate::model::object_cache::ObjectCache;
use crate::store::CommitGraph;
use crate::{Id, Result};

/// Returns the lowest common ancestors of two commits, newest first. A common ancestor is lowest if
/// it is not an ancestor of another common ancestor.
///
/// The search visits the newest commits first and stops as early as possible. If commit times are
/// wrong, the search takes longer, but the result is still correct.
///
/// # Errors
/// Returns [`Error::Broken`](crate::Error::Broken) if a visited commit is missing or cannot be
/// read. In a shallow repository, the parents of shallow commits may be missing.
pub fn merge_bases(objects: &ObjectCache, a: Id, b: Id) -> Result<Vec<Id>> {
    let (of_a, of_b) = (objects.commit(a)?, objects.commit(b)?);
    // Handle the most common cases without a walk, because a walk could take a long time if any
    // commit time is wrong.
    if a == b || of_b.parents.contains(&a) {
        return Ok(vec![a]);
    }
    if of_a.parents.contains(&b) {
        return Ok(vec![b]);
    }
    merge_bases_of(objects, &[a], &[b])
}

/// Returns the [`merge_bases`] of two hypothetical merge commits: one that merges all commits in
/// `first`, and one that merges all commits in `second`.
///
/// # Errors
/// Returns the same errors as [`merge_bases`].
pub(crate) fn merge_bases_of(
    objects: &ObjectCache,
    first: &[Id],
    second: &[Id],
) -> Result<Vec<Id>> {
    let mut walk = Walk::new(objects, first, second)?;
    while walk.step()? {}
    let newest_first = std::mem::take(&mut walk.common).into_sorted_vec().into_iter().rev();
    let found = newest_first.map(|(_, id)| id).filter(|id| walk.marks(*id) & STALE == 0);
    lowest(objects, &found.collect::<Vec<_>>())
}

/// Returns `true` if commit `of` is `ancestor` itself or one of its descendants.
///
/// # Errors
/// Returns [`Error::Broken`](crate::Error::Broken) if a visited commit is missing or cannot be
/// read.
pub fn is_ancestor(objects: &ObjectCache, ancestor: Id, of: Id) -> Result<bool> {
    objects.commit(ancestor)?;
    Ok(ancestor == of
        || objects.commit(of)?.parents.contains(&ancestor)
        || is_behind(objects, ancestor, &[of])?)
}

/// Removes merge bases that are ancestors of other merge bases. The search finds such bases only if
/// some commit times are wrong.
fn lowest(objects: &ObjectCache, bases: &[Id]) -> Result<Vec<Id>> {
    let mut lowest = Vec::new();
    for base in bases {
        let others: Vec<_> = bases.iter().copied().filter(|other| other != base).collect();
        if others.is_empty() || !is_behind(objects, *base, &others)? {
            lowest.push(*base);
        }
    }
    Ok(lowest)
}

/// Returns `true` if `ancestor` is an ancestor of any commit in `from`.
fn is_behind(objects: &ObjectCache, ancestor: Id, from: &[Id]) -> Result<bool> {
    let mut walk = Walk::new(objects, &[ancestor], from)?;
    while walk.marks(ancestor) & SECOND == 0 {
        if !walk.step()? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A mark for commits that are reachable from the first side.
const FIRST: u8 = 1;
/// A mark for commits that are reachable from the second side.
const SECOND: u8 = 2;
/// A mark for stale commits, which are the ancestors of a common ancestor.
const STALE: u8 = 4;

/// A walk from two sets of commits, called sides, to their common ancestors. `git merge-base` uses
/// the same algorithm.
///
/// The walk stops when all queued commits are [`STALE`]. At that point, all lowest common ancestors
/// have been found, even if commit times are wrong. The walk visits the lowest common ancestors,
/// and all commits on the paths to them, before those commits can become stale.
struct Walk<'o> {
    objects: &'o ObjectCache,
    graph: Option<Box<dyn CommitGraph>>,
    shallow: HashSet<Id>,
    queue: BinaryHeap<Next>,
    seen: HashMap<Id, Seen>,
    /// The number of queued commits that are not [`STALE`].
    interesting: usize,
    turn: u64,
    /// The common ancestors found so far, with their commit times. At the end of the walk, the list
    /// includes all lowest common ancestors.
    common: BinaryHeap<(i64, Id)>,
}

/// The priority of a commit in the queue: its time, its number of marks, and the order in which it
/// was queued. The newest commit is taken from the queue first. Among commits with the same time,
/// the one with the most marks is taken first, so that stale commits are recognized early. Among
/// commits that also have the same number of marks, the one that was queued first is taken first,
/// so that the walk advances evenly on both sides.
type Next = (i64, u32, Reverse<u64>, Id);

#[derive(Default)]
struct Seen {
    marks: u8,
    /// The time and parents of the commit, or `None` once the marks have been passed on to the
    /// parents.
    waiting: Option<Origin>,
}

/// The time and parents of a commit.
struct Origin {
    time: i64,
    parents: Parents,
}

enum Parents {
    /// The parents listed in the store's commit-graph file.
    Listed(Vec<Id>),
    Of(Arc<Commit>),
}

impl Origin {
    fn parents(&self) -> &[Id] {
        match &self.parents {
            Parents::Listed(parents) => parents,
            Parents::Of(commit) => &commit.parents,
        }
    }
}

impl<'o> Walk<'o> {
    fn new(objects: &'o ObjectCache, first: &[Id], second: &[Id]) -> Result<Walk<'o>> {
        let (queue, seen) = (BinaryHeap::new(), HashMap::new());
        let shallow = objects.store().shallow_commits()?;
        let graph = objects.store().commit_graph();
        let mut walk = Walk {
            objects,
            graph,
            shallow,
            queue,
            seen,
            interesting: 0,
            turn: 0,
            common: BinaryHeap::new(),
        };
        first.iter().try_for_each(|id| walk.reach(*id, FIRST))?;
        second.iter().try_for_each(|id| walk.reach(*id, SECOND))?;
        Ok(walk)
    }

    fn origin(&self, id: Id) -> Result<Origin> {
        if let Some((time, parents)) = self.graph.as_ref().and_then(|graph| graph.commit(id)) {
            return Ok(Origin { time, parents: Parents::Listed(parents) });
        }
        let commit = self.objects.commit(id)?;
        Ok(Origin { time: commit.time, parents: Parents::Of(commit) })
    }

    fn marks(&self, id: Id) -> u8 {
        self.seen.get(&id).map_or(0, |seen| seen.marks)
    }

    /// Adds marks to a commit and queues the commit if any of the marks are new.
    fn reach(&mut self, id: Id, how: u8) -> Result<()> {
        let before = self.marks(id);
        let marks = before | how;
        if marks == before {
            return Ok(());
        }
        let waiting = self.seen.get_mut(&id).and_then(|seen| seen.waiting.take());
        if waiting.is_some() && before & STALE == 0 {
            self.interesting -= 1;
        }
        let origin = match waiting {
            Some(origin) => origin,
            None => self.origin(id)?,
        };
        self.interesting += usize::from(marks & STALE == 0);
        self.turn += 1;
        self.queue.push((origin.time, marks.count_ones(), Reverse(self.turn), id));
        self.seen.insert(id, Seen { marks, waiting: Some(origin) });
        Ok(())
    }

    /// Visits the next commit. Returns `false` at the end of the walk.
    fn step(&mut self) -> Result<bool> {
        if self.interesting == 0 {
            return Ok(false);
        }
        let Some((time, .., id)) = self.queue.pop() else { return Ok(false) };
        let Some(seen) = self.seen.get_mut(&id) else { return Ok(true) };
        // If the parents have already been taken, the queue entry is obsolete: the commit was
        // queued again with more marks and has already been visited.
        let Some(origin) = seen.waiting.take() else { return Ok(true) };
        let mut marks = seen.marks;
        self.interesting -= usize::from(marks & STALE == 0);
        if marks == FIRST | SECOND {
            self.common.push((time, id));
            marks |= STALE;
        }
        if !self.shallow.contains(&id) {
            origin.parents().iter().try_for_each(|parent| self.reach(*parent, marks))?;
        }
        Ok(true)
    }
}
