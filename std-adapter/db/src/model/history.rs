//! What came from what: the graph of commits.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use crate::model::object::Commit;
use crate::model::object_cache::ObjectCache;
use crate::store::CommitGraph;
use crate::{Error, Id, Result};

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

/// All that `from` came from, itself first: the newest first, each once, as `git log` has them.
///
/// It ends with the first error.
#[must_use]
pub fn log(objects: &ObjectCache, from: Id) -> Log {
    let (seen, queue) = (HashSet::new(), BinaryHeap::new());
    let mut log =
        Log { objects: objects.clone(), shallow: HashSet::new(), seen, queue, failed: None };
    log.failed = log.begin(from).err();
    log
}

/// A walk through the history of a commit. Each commit is read once; what it keeps of those behind
/// it are their names.
pub struct Log {
    objects: ObjectCache,
    shallow: HashSet<Id>,
    seen: HashSet<Id>,
    queue: BinaryHeap<Due>,
    failed: Option<Error>,
}

/// A commit that is next, by its time. Of one time, by turns.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use proptest::prelude::*;

    use super::*;
    use crate::model::object::{Object, ObjectKind};
    use crate::remote::{CancelFlag, FetchError};
    use crate::store::{Memory, RefUpdate, Store};
    use crate::{BranchName, Fault};

    /// Commits made of their parents' indices and times.
    fn graph(objects: &ObjectCache, commits: &[(Vec<usize>, i64)]) -> Vec<Id> {
        let mut ids: Vec<Id> = Vec::new();
        for (number, (parents, time)) in commits.iter().enumerate() {
            let parents: Vec<_> = parents.iter().map(|parent| ids[*parent]).collect();
            let (id, object) =
                Commit::encode(Id::EMPTY_TREE, &parents, number.to_string().as_bytes(), *time)
                    .unwrap();
            objects.store().write(&[(id, object)]).unwrap();
            ids.push(id);
        }
        ids
    }

    fn ancestors(commits: &[(Vec<usize>, i64)], of: usize) -> BTreeSet<usize> {
        let mut all = BTreeSet::from([of]);
        for parent in &commits[of].0 {
            all.extend(ancestors(commits, *parent));
        }
        all
    }

    #[test]
    fn a_criss_cross_has_two_bases() {
        let objects = ObjectCache::new(Arc::new(Memory::new()));
        let commits: Vec<(Vec<usize>, i64)> =
            [vec![], vec![0], vec![0], vec![1, 2], vec![2, 1]].into_iter().zip(0..).collect();
        let ids = graph(&objects, &commits);
        assert_eq!(merge_bases(&objects, ids[3], ids[4]).unwrap(), [ids[2], ids[1]]);
        assert!(
            is_ancestor(&objects, ids[0], ids[4]).unwrap()
                && !is_ancestor(&objects, ids[3], ids[4]).unwrap()
        );
    }

    #[test]
    fn a_missing_ancestor_is_an_error() {
        let objects = ObjectCache::new(Arc::new(Memory::new()));
        let gone = Commit::encode(Id::EMPTY_TREE, &[], b"gone", 0).unwrap().0;
        let (id, object) = Commit::encode(Id::EMPTY_TREE, &[gone], b"one", 1).unwrap();
        let (other, other_object) = Commit::encode(Id::EMPTY_TREE, &[gone], b"other", 1).unwrap();
        objects.store().write(&[(id, object), (other, other_object)]).unwrap();
        let missing = Error::Broken { id: gone, fault: Fault::Missing, path: Vec::new() };
        assert_eq!(merge_bases(&objects, id, id).unwrap(), [id]);
        assert_eq!(merge_bases(&objects, id, gone).unwrap_err(), missing);
        assert_eq!(merge_bases(&objects, id, other).unwrap_err(), missing);
        assert_eq!(log(&objects, gone).next().unwrap().unwrap_err(), missing);
        let log: Vec<_> = log(&objects, id).collect();
        assert_eq!((log.len(), log[0].as_ref().unwrap().0), (2, id));
        assert_eq!(log[1].as_ref().unwrap_err(), &missing);
    }

    #[test]
    fn near_commits_are_found_near() {
        // Clocks that run, that stand, and that are set back before the last commit.
        for time in [|n: i64| n, |_| 7, |n: i64| if n == 1999 { 0 } else { n }] {
            let mut commits: Vec<_> = (0..2000)
                .map(|n: usize| (n.checked_sub(1).into_iter().collect(), time(n as i64)))
                .collect();
            commits.extend(
                [vec![1998], vec![1998], vec![2000, 2001], vec![2001, 2000]]
                    .map(|parents| (parents, 3000)),
            );
            let store = Arc::new(Counting::default());
            let ids = graph(&ObjectCache::new(store.clone()), &commits);
            for (a, b, reads) in [(1998, 1999, 2), (1999, 1998, 2), (2002, 2003, 6)] {
                store.reads.store(0, Relaxed);
                merge_bases(&ObjectCache::new(store.clone()), ids[a], ids[b]).unwrap();
                assert_eq!(store.reads.load(Relaxed), reads);
            }
        }
    }

    /// Counts what is read.
    #[derive(Default)]
    struct Counting {
        memory: Memory,
        reads: AtomicUsize,
    }

    impl Store for Counting {
        fn may_block(&self) -> bool {
            self.memory.may_block()
        }

        fn read(&self, id: Id) -> Result<Option<Object>> {
            self.reads.fetch_add(1, Relaxed);
            self.memory.read(id)
        }

        fn header(&self, id: Id) -> Result<Option<(ObjectKind, u64)>> {
            self.memory.header(id)
        }

        fn write(&self, objects: &[(Id, Object)]) -> Result<()> {
            self.memory.write(objects)
        }

        fn head(&self, branch: &BranchName) -> Result<Option<Id>> {
            self.memory.head(branch)
        }

        fn heads(&self) -> Result<Vec<(BranchName, Id)>> {
            self.memory.heads()
        }

        fn update(&self, objects: &[(Id, Object)], moves: &[RefUpdate<'_>]) -> Result<bool> {
            self.memory.update(objects, moves)
        }

        fn fetch_cancellable(
            &self,
            remote: &str,
            url: &str,
            branch: &BranchName,
            cancel: &CancelFlag,
        ) -> std::result::Result<Id, FetchError> {
            self.memory.fetch_cancellable(remote, url, branch, cancel)
        }
    }

    prop_compose! {
        /// Each commit has some of the ones before it as parents, and any time.
        fn commits()(shape in prop::collection::vec((prop::collection::vec(any::<prop::sample::Index>(), 0..3), 0i64..6), 1..14))
            -> Vec<(Vec<usize>, i64)>
        {
            let parents = |number: usize, wanted: &[prop::sample::Index]| -> BTreeSet<usize> {
                if number == 0 { BTreeSet::new() } else { wanted.iter().map(|index| index.index(number)).collect() }
            };
            shape.iter().enumerate().map(|(n, (wanted, time))| (parents(n, wanted).into_iter().collect(), *time)).collect()
        }
    }

    proptest! {
        #[test]
        fn bases_are_those_of_sets(commits in commits()) {
            let objects = ObjectCache::new(Arc::new(Memory::new()));
            let ids = graph(&objects, &commits);
            let all: Vec<_> = (0..commits.len()).map(|commit| ancestors(&commits, commit)).collect();
            for (a, ours) in all.iter().enumerate() {
                for (b, theirs) in all.iter().enumerate() {
                    let common: BTreeSet<usize> = ours & theirs;
                    let best: BTreeSet<Id> = common
                        .iter()
                        .filter(|one| !common.iter().any(|other| other != *one && all[*other].contains(one)))
                        .map(|one| ids[*one])
                        .collect();
                    let found = merge_bases(&objects, ids[a], ids[b]).unwrap();
                    prop_assert_eq!(found.len(), best.len());
                    prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), best);
                    prop_assert_eq!(is_ancestor(&objects, ids[a], ids[b]).unwrap(), theirs.contains(&a));
                }
            }
        }

        #[test]
        fn bases_of_several_are_those_of_their_merges(commits in commits(), at in any::<[prop::sample::Index; 4]>()) {
            let objects = ObjectCache::new(Arc::new(Memory::new()));
            let [a, b, c, d] = at.map(|at| at.index(commits.len()));
            let mut merges = commits.clone();
            merges.extend([(vec![a, b], 6), (vec![c, d], 6)]);
            let ids = graph(&objects, &merges);
            let found = merge_bases_of(&objects, &[ids[a], ids[b]], &[ids[c], ids[d]]).unwrap();
            prop_assert_eq!(found, merge_bases(&objects, ids[commits.len()], ids[commits.len() + 1]).unwrap());
        }

        #[test]
        fn a_log_has_every_ancestor_once(commits in commits()) {
            let objects = ObjectCache::new(Arc::new(Memory::new()));
            let ids = graph(&objects, &commits);
            let last = commits.len() - 1;
            let logged: Vec<_> = log(&objects, ids[last]).map(|commit| commit.unwrap().0).collect();
            let expected: BTreeSet<_> = ancestors(&commits, last).iter().map(|one| ids[*one]).collect();
            prop_assert_eq!(logged.len(), expected.len());
            prop_assert_eq!(logged.into_iter().collect::<BTreeSet<_>>(), expected);
        }
    }
}
