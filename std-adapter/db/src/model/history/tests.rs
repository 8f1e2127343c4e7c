use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use proptest::prelude::*;

use super::*;
use crate::model::commit::Commit;
use crate::model::object::{Object, ObjectKind};
use crate::model::object_cache::ObjectCache;
use crate::remote::{CancelFlag, FetchError};
use crate::store::{MemoryStore, RefUpdate, Store};
use crate::{BranchName, Error, Fault, Id, Result};

/// Stores commits. Each commit is described by the indices of its parents and by its commit time.
fn graph(objects: &ObjectCache, commits: &[(Vec<usize>, i64)]) -> Vec<Id> {
    let mut ids: Vec<Id> = Vec::new();
    for (number, (parents, time)) in commits.iter().enumerate() {
        let parents: Vec<_> = parents.iter().map(|parent| ids[*parent]).collect();
        let (id, object) =
            Commit::encode(Id::EMPTY_TREE, &parents, number.to_string().as_bytes(), *time).unwrap();
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
fn criss_cross_has_two_merge_bases() {
    let objects = ObjectCache::new(Arc::new(MemoryStore::new()));
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
fn missing_ancestor_is_an_error() {
    let objects = ObjectCache::new(Arc::new(MemoryStore::new()));
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
fn near_merge_bases_need_few_reads() {
    // Test a clock that advances, a clock that has stopped, and a clock that was set back to a time
    // before the last commit.
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

/// A store that counts how many objects are read from it.
#[derive(Default)]
struct Counting {
    memory: MemoryStore,
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
    /// Generates commits whose parents are earlier commits and whose times are arbitrary.
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
    fn merge_bases_match_a_naive_model(commits in commits()) {
        let objects = ObjectCache::new(Arc::new(MemoryStore::new()));
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
    fn merge_bases_of_several_match_those_of_merges(commits in commits(), at in any::<[prop::sample::Index; 4]>()) {
        let objects = ObjectCache::new(Arc::new(MemoryStore::new()));
        let [a, b, c, d] = at.map(|at| at.index(commits.len()));
        let mut merges = commits.clone();
        merges.extend([(vec![a, b], 6), (vec![c, d], 6)]);
        let ids = graph(&objects, &merges);
        let found = merge_bases_of(&objects, &[ids[a], ids[b]], &[ids[c], ids[d]]).unwrap();
        prop_assert_eq!(found, merge_bases(&objects, ids[commits.len()], ids[commits.len() + 1]).unwrap());
    }

    #[test]
    fn log_has_every_ancestor_once(commits in commits()) {
        let objects = ObjectCache::new(Arc::new(MemoryStore::new()));
        let ids = graph(&objects, &commits);
        let last = commits.len() - 1;
        let logged: Vec<_> = log(&objects, ids[last]).map(|commit| commit.unwrap().0).collect();
        let expected: BTreeSet<_> = ancestors(&commits, last).iter().map(|one| ids[*one]).collect();
        prop_assert_eq!(logged.len(), expected.len());
        prop_assert_eq!(logged.into_iter().collect::<BTreeSet<_>>(), expected);
    }
}
