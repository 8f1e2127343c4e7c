//! Lowest common ancestors, found as `git merge-base --all` finds them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use crate::model::object::Commit;
use crate::model::object_cache::ObjectCache;
use crate::store::CommitGraph;
use crate::{Id, Result};

/// The lowest common ancestors of two commits: those of which no other one comes. Newest first;
/// none if the two have nothing in common.
///
/// Commits are looked at from the newest on, as far as is needed. Times that lie cost time and
/// nothing else.
///
/// # Errors
/// [`Error::Broken`] if one of the two is not there, or a commit that had to be looked at: only a
/// shallow repository ends somewhere.
pub fn merge_bases(objects: &ObjectCache, a: Id, b: Id) -> Result<Vec<Id>> {
    let (of_a, of_b) = (objects.commit(a)?, objects.commit(b)?);
    // By far the most frequent, and not left to clocks: with a wrong one the walk could go a long
    // way.
    if a == b || of_b.parents.contains(&a) {
        return Ok(vec![a]);
    }
    if of_a.parents.contains(&b) {
        return Ok(vec![b]);
    }
    merge_bases_of(objects, &[a], &[b])
}

/// As [`merge_bases`], between merges, not made yet, of all commits of `first` and of all of
/// `second`.
///
/// # Errors
/// Those of the store.
pub(crate) fn merge_bases_of(
    objects: &ObjectCache,
    first: &[Id],
    second: &[Id],
) -> Result<Vec<Id>> {
    let mut walk = Walk::new(objects, first, second)?;
    while walk.step()? {}
    let mut found = std::mem::take(&mut walk.common);
    found.retain(|(_, id)| walk.marks(*id) & STALE == 0);
    found.sort_by(|a, b| b.cmp(a));
    lowest(objects, &found.into_iter().map(|(_, id)| id).collect::<Vec<_>>())
}

/// Whether `of` is `ancestor`, or came from it.
///
/// # Errors
/// Those of [`merge_bases`].
pub fn is_ancestor(objects: &ObjectCache, ancestor: Id, of: Id) -> Result<bool> {
    objects.commit(ancestor)?;
    Ok(ancestor == of
        || objects.commit(of)?.parents.contains(&ancestor)
        || is_behind(objects, ancestor, &[of])?)
}

/// Without those from which another one comes. Where times are right there are none; nearly always
/// there is one in all.
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

/// Whether one of `from` came from `ancestor`.
fn is_behind(objects: &ObjectCache, ancestor: Id, from: &[Id]) -> Result<bool> {
    let mut walk = Walk::new(objects, &[ancestor], from)?;
    while walk.marks(ancestor) & SECOND == 0 {
        if !walk.step()? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reached from the first side.
const FIRST: u8 = 1;
/// Reached from the second.
const SECOND: u8 = 2;
/// Behind a common ancestor: of no interest.
const STALE: u8 = 4;

/// A walk from two sides to what they have in common, as `git merge-base` makes it.
///
/// It ends when all that waits is stale. Then nothing was missed, whatever the times say: what lies
/// between a side and a lowest common ancestor is never stale, and that ancestor is not, until it
/// was looked at.
struct Walk<'o> {
    objects: &'o ObjectCache,
    graph: Option<Box<dyn CommitGraph>>,
    shallow: HashSet<Id>,
    queue: BinaryHeap<Next>,
    seen: HashMap<Id, Seen>,
    /// Waiting, and not stale.
    interesting: usize,
    turn: u64,
    /// Common ancestors and their times: all of the lowest, and maybe others.
    common: Vec<(i64, Id)>,
}

/// Time, number of marks, turn: the newest goes first. Of one time, what was reached in more ways,
/// so that it catches up with what it makes stale, and then by turns, so that no side runs ahead.
type Next = (i64, u32, Reverse<u64>, Id);

#[derive(Default)]
struct Seen {
    marks: u8,
    /// What it came from, while its marks are news to that.
    waiting: Option<Origin>,
}

/// When a commit was made, and what it came from.
struct Origin {
    time: i64,
    parents: Parents,
}

enum Parents {
    /// As the commit-graph of the store has them.
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
            common: Vec::new(),
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

    /// Marks a commit, and has it wait if that is news.
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

    /// Looks at the next commit; false at the end.
    fn step(&mut self) -> Result<bool> {
        if self.interesting == 0 {
            return Ok(false);
        }
        let Some((time, .., id)) = self.queue.pop() else { return Ok(false) };
        let Some(seen) = self.seen.get_mut(&id) else { return Ok(true) };
        // None: it is in the queue once more, with fewer marks.
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
