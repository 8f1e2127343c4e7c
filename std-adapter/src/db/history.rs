//! What came from what: the graph of commits.

use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use super::object::Commit;
use super::objects::Objects;
use super::{Error, Id, Result};

/// A commit to be looked at: the newest first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Next {
    time: i64,
    id: Id,
}

/// Reached from the first of two commits.
const FIRST: u8 = 1;
/// Reached from the second.
const SECOND: u8 = 2;
/// Behind a common ancestor: of no interest.
const STALE: u8 = 4;
/// Was noted as a common ancestor.
const NOTED: u8 = 8;

/// The lowest common ancestors of two commits: those of which no other one comes. Newest first; none if the two have nothing in common.
///
/// Commits are looked at from the newest on, as far as is needed. Times that lie cost time and nothing else.
///
/// # Errors
/// [`Error::NotFound`] if one of the two is not there. Of a shallow repository, the parents that are not there are taken for none.
pub fn merge_bases(objects: &Objects, a: Id, b: Id) -> Result<Vec<Id>> {
    objects.commit(a)?;
    if a == b {
        return Ok(vec![a]);
    }
    objects.commit(b)?;
    let mut walk = Walk { objects, queue: BinaryHeap::new(), flags: HashMap::new() };
    walk.reach(a, FIRST)?;
    walk.reach(b, SECOND)?;
    let mut found = Vec::new();
    while walk.is_of_interest() {
        let Some(Next { id, time }) = walk.queue.pop() else { break };
        let mut flags = walk.flags_of(id);
        if flags & (FIRST | SECOND) == FIRST | SECOND {
            if flags & NOTED == 0 {
                walk.flags.insert(id, flags | NOTED);
                found.push((time, id));
            }
            flags |= STALE;
        }
        for parent in walk.parents(id)? {
            walk.reach(parent, flags & (FIRST | SECOND | STALE))?;
        }
    }
    found.retain(|(_, id)| walk.flags_of(*id) & STALE == 0);
    found.sort_by(|a, b| b.cmp(a));
    lowest(objects, found.into_iter().map(|(_, id)| id).collect())
}

struct Walk<'o> {
    objects: &'o Objects,
    queue: BinaryHeap<Next>,
    flags: HashMap<Id, u8>,
}

impl Walk<'_> {
    fn flags_of(&self, id: Id) -> u8 {
        self.flags.get(&id).copied().unwrap_or(0)
    }

    /// Notes how a commit was reached, and has it looked at if that is news.
    fn reach(&mut self, id: Id, how: u8) -> Result<()> {
        let flags = self.flags_of(id);
        if flags | how != flags {
            self.flags.insert(id, flags | how);
            let time = known(self.objects, id)?.map_or(0, |commit| commit.time);
            self.queue.push(Next { time, id });
        }
        Ok(())
    }

    fn parents(&self, id: Id) -> Result<Vec<Id>> {
        Ok(known(self.objects, id)?.map(|commit| commit.parents.clone()).unwrap_or_default())
    }

    /// Whether anything is left that is not behind a common ancestor.
    fn is_of_interest(&self) -> bool {
        self.queue.iter().any(|next| self.flags_of(next.id) & STALE == 0)
    }
}

/// A commit, if it is there: the history of a shallow repository ends somewhere.
fn known(objects: &Objects, id: Id) -> Result<Option<Arc<Commit>>> {
    match objects.commit(id) {
        Ok(commit) => Ok(Some(commit)),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Without those from which another one comes. Where times are right there are none; nearly always there is one in all.
fn lowest(objects: &Objects, mut bases: Vec<Id>) -> Result<Vec<Id>> {
    let mut index = 0;
    while let Some(base) = bases.get(index).copied() {
        let mut above = false;
        for other in &bases {
            above |= *other != base && is_behind(objects, base, *other)?;
        }
        if above {
            bases.remove(index);
        } else {
            index += 1;
        }
    }
    Ok(bases)
}

/// Whether `ancestor` is among all that `from` came from.
fn is_behind(objects: &Objects, ancestor: Id, from: Id) -> Result<bool> {
    let mut seen = HashMap::from([(from, ())]);
    let mut left = vec![from];
    while let Some(id) = left.pop() {
        if id == ancestor {
            return Ok(true);
        }
        let parents = known(objects, id)?.map(|commit| commit.parents.clone()).unwrap_or_default();
        left.extend(parents.into_iter().filter(|parent| seen.insert(*parent, ()).is_none()));
    }
    Ok(false)
}

/// Whether `of` is `ancestor`, or came from it.
///
/// # Errors
/// [`Error::NotFound`] if one of the two is not there.
pub fn is_ancestor(objects: &Objects, ancestor: Id, of: Id) -> Result<bool> {
    Ok(merge_bases(objects, ancestor, of)? == [ancestor])
}

/// All that `from` came from, itself first: the newest first, each once.
pub fn log(objects: &Objects, from: Id) -> impl Iterator<Item = Result<(Id, Arc<Commit>)>> + use<'_> {
    let mut seen = HashMap::new();
    let mut queue = BinaryHeap::new();
    let mut failed = None;
    let mut reach = move |id: Id, queue: &mut BinaryHeap<Next>| -> Result<()> {
        if seen.insert(id, ()).is_none()
            && let Some(commit) = known(objects, id)?
        {
            queue.push(Next { time: commit.time, id });
        }
        Ok(())
    };
    if let Err(error) = objects.commit(from).and_then(|_| reach(from, &mut queue)) {
        failed = Some(error);
    }
    std::iter::from_fn(move || {
        if let Some(error) = failed.take() {
            return Some(Err(error));
        }
        let next = queue.pop()?;
        let commit = objects.commit(next.id).inspect(|commit| {
            for parent in &commit.parents {
                failed = failed.take().or(reach(*parent, &mut queue).err());
            }
        });
        Some(commit.map(|commit| (next.id, commit)))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::db::store::Memory;

    /// Commits made of their parents' indices and times.
    fn graph(objects: &Objects, commits: &[(Vec<usize>, i64)]) -> Vec<Id> {
        let mut ids: Vec<Id> = Vec::new();
        for (number, (parents, time)) in commits.iter().enumerate() {
            let parents: Vec<_> = parents.iter().map(|parent| ids[*parent]).collect();
            let (id, object) = Commit::encode(Id::EMPTY_TREE, &parents, number.to_string().as_bytes(), *time).unwrap();
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
        let objects = Objects::new(Arc::new(Memory::new()));
        let commits: Vec<(Vec<usize>, i64)> =
            [vec![], vec![0], vec![0], vec![1, 2], vec![2, 1]].into_iter().zip(0..).collect();
        let ids = graph(&objects, &commits);
        assert_eq!(merge_bases(&objects, ids[3], ids[4]).unwrap(), [ids[2], ids[1]]);
        assert!(is_ancestor(&objects, ids[0], ids[4]).unwrap() && !is_ancestor(&objects, ids[3], ids[4]).unwrap());
    }

    #[test]
    fn what_is_missing_has_no_parents() {
        let objects = Objects::new(Arc::new(Memory::new()));
        let gone = Commit::encode(Id::EMPTY_TREE, &[], b"gone", 0).unwrap().0;
        let (id, object) = Commit::encode(Id::EMPTY_TREE, &[gone], b"shallow", 1).unwrap();
        objects.store().write(&[(id, object)]).unwrap();
        assert_eq!(merge_bases(&objects, id, id).unwrap(), [id]);
        assert_eq!(merge_bases(&objects, id, gone), Err(Error::NotFound));
        assert_eq!(log(&objects, id).count(), 1);
        assert_eq!(log(&objects, gone).next().unwrap().unwrap_err(), Error::NotFound);
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
            let objects = Objects::new(Arc::new(Memory::new()));
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
                }
            }
        }

        #[test]
        fn a_log_has_every_ancestor_once(commits in commits()) {
            let objects = Objects::new(Arc::new(Memory::new()));
            let ids = graph(&objects, &commits);
            let last = commits.len() - 1;
            let logged: Vec<_> = log(&objects, ids[last]).map(|commit| commit.unwrap().0).collect();
            let expected: BTreeSet<_> = ancestors(&commits, last).iter().map(|one| ids[*one]).collect();
            prop_assert_eq!(logged.len(), expected.len());
            prop_assert_eq!(logged.into_iter().collect::<BTreeSet<_>>(), expected);
        }
    }
}
