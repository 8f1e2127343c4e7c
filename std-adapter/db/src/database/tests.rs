use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;

use super::*;
use crate::model::object::{Object, ObjectKind};
use crate::remote::{CancelFlag, FetchError};
use crate::store::{MemoryStore, RefUpdate};

/// A store that counts how often branch heads are read.
#[derive(Default)]
struct Counting {
    store: MemoryStore,
    asked: AtomicUsize,
}

impl Store for Counting {
    fn may_block(&self) -> bool {
        false
    }

    fn read(&self, id: Id) -> Result<Option<Object>> {
        self.store.read(id)
    }

    fn header(&self, id: Id) -> Result<Option<(ObjectKind, u64)>> {
        self.store.header(id)
    }

    fn write(&self, objects: &[(Id, Object)]) -> Result<()> {
        self.store.write(objects)
    }

    fn head(&self, branch: &BranchName) -> Result<Option<Id>> {
        self.asked.fetch_add(1, Relaxed);
        self.store.head(branch)
    }

    fn heads(&self) -> Result<Vec<(BranchName, Id)>> {
        self.store.heads()
    }

    fn update(&self, objects: &[(Id, Object)], moves: &[RefUpdate<'_>]) -> Result<bool> {
        self.store.update(objects, moves)
    }

    fn fetch_cancellable(
        &self,
        remote: &str,
        url: &str,
        branch: &BranchName,
        cancel: &CancelFlag,
    ) -> std::result::Result<Id, FetchError> {
        self.store.fetch_cancellable(remote, url, branch, cancel)
    }
}

fn name(name: &str) -> BranchName {
    BranchName::new(name).unwrap()
}

#[test]
fn refresh_reads_only_watched_branches() {
    let store = Arc::new(Counting::default());
    let database = Database::new(store.clone()).unwrap();
    let branches = ["a", "b", "b/c"].map(|branch| database.branch(&name(branch)));
    let asked = |seen: &RefChanges| {
        let before = store.asked.load(Relaxed);
        database.refresh_branches(seen);
        store.asked.load(Relaxed) - before
    };
    assert_eq!(asked(&RefChanges::Any), 0);
    let following = [&branches[0], &branches[2]].map(|branch| branch.watch().unwrap());
    let of = |branch: &str| RefChanges::Named([name(branch)].into());
    assert_eq!(
        [&RefChanges::Any, &RefChanges::Poll, &of("a"), &of("b"), &of("c")].map(asked),
        [2, 2, 1, 1, 0]
    );
    drop(following);
    assert_eq!(asked(&RefChanges::Any), 0);
    drop(branches);
    assert_eq!(database.0.branches.0.lock().len(), 0);
}

#[test]
fn refresh_notifies_watchers() {
    let store = Arc::new(Counting::default());
    let database = Database::new(store.clone()).unwrap();
    let branch = database.branch(&name("a"));
    let following = branch.watch().unwrap();
    let go =
        |from, to| store.update(&[], &[RefUpdate { branch: branch.name(), from, to }]).unwrap();
    let shown = || following.head_watch().with(|head| *head);
    let first = Some(Id::EMPTY_TREE);
    assert!(go(None, first));
    assert_eq!(shown(), None);
    database.refresh_branches(&RefChanges::Named([name("a")].into()));
    assert_eq!(shown(), first);
    assert!(go(first, None));
    assert_eq!((branch.head(), shown()), (Ok(None), None));
}

#[tokio::test]
async fn concurrent_remote_work_is_limited() {
    let database = Database::new(Arc::new(MemoryStore::new())).unwrap();
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let (tasks, ends): (Vec<_>, Vec<_>) = (0..=MAX_FETCHES)
        .map(|_| {
            let (database, begun, (end, ended)) =
                (database.clone(), begun.clone(), channel::<()>());
            let work = move |_: &Database| {
                begun.send(()).unwrap();
                ended.recv().map_err(|_| Error::NotFound)
            };
            (tokio::spawn(async move { database.run_remote(work).await }), end)
        })
        .unzip();
    for _ in 0..MAX_FETCHES {
        begins.recv().await.unwrap();
    }
    assert!(begins.try_recv().is_err());
    // The limit on remote work does not apply to local work.
    assert_eq!(database.run_blocking(|_| Ok(1)).await, Ok(1));
    for end in ends {
        // A task that is still waiting for a permit receives this message after it has acquired the
        // permit.
        end.send(()).unwrap();
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    begins.recv().await.unwrap();
}

#[test]
fn dropping_a_branch_during_a_refresh_does_not_deadlock() {
    let database = Database::new(Arc::new(MemoryStore::new())).unwrap();
    let (end, ended) = channel();
    for look in [true, false] {
        let (database, end) = (database.clone(), end.clone());
        std::thread::spawn(move || {
            let name = BranchName::new("master").unwrap();
            for _ in 0..20_000 {
                if look {
                    database.refresh_branches(&RefChanges::Any)
                } else {
                    drop(database.branch(&name))
                }
            }
            end.send(()).unwrap();
        });
    }
    for _ in 0..2 {
        ended.recv_timeout(std::time::Duration::from_secs(60)).expect("no deadlock");
    }
}
