//! `/branch/NAME`.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use datakit_core::vfs::{Error, Name};

use super::ro::{Ro, Source};
use super::snapshots::Diff;
use super::streams::{HeadLive, Reflog};
use super::transactions::Transactions;
use super::watch::WatchDir;
use super::{line, transaction};
use crate::db::land::fast_forward;
use crate::db::tree::Tree;
use crate::db::{Branch, Database, Id};
use crate::tree::{Command, DirOnly, Directory, Entry, Status, Wait, ready};
use crate::{db, ino};

/// The branch that a directory shows: after a rename it is another one.
pub(super) struct Slot {
    pub(super) database: Database,
    branch: RwLock<Arc<Branch>>,
    /// Tells the directories of this branch from those of all others.
    pub(super) number: u64,
}

impl Slot {
    pub(super) fn new(database: &Database, branch: Arc<Branch>) -> Slot {
        Slot { database: database.clone(), branch: RwLock::new(branch), number: ino::next() }
    }

    pub(super) fn branch(&self) -> Arc<Branch> {
        self.branch.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_branch(&self, branch: Arc<Branch>) {
        *self.branch.write().unwrap_or_else(PoisonError::into_inner) = branch;
    }

    /// The tree of the head; the empty one for a branch without commits.
    pub(super) fn tree(&self) -> db::Result<Tree> {
        tree_of(&self.database, self.branch().head()?)
    }
}

/// The tree of a commit.
pub(super) fn tree_of(database: &Database, commit: Option<Id>) -> db::Result<Tree> {
    Ok(Tree::stored(match commit {
        Some(commit) => database.objects().commit(commit)?.tree,
        None => Id::EMPTY_TREE,
    }))
}

/// The directory of a branch. Its entries are made when somebody looks.
pub(super) struct BranchDir {
    slot: Arc<Slot>,
    entries: OnceLock<[Entry; 8]>,
}

impl BranchDir {
    pub(super) fn new(slot: Arc<Slot>) -> BranchDir {
        BranchDir { slot, entries: OnceLock::new() }
    }

    fn entries(&self) -> &[Entry; 8] {
        self.entries.get_or_init(|| {
            let slot = || self.slot.clone();
            let source: Source = {
                let slot = slot();
                Arc::new(move || slot.tree())
            };
            let ro = Ro::new(&self.slot.database, source.clone(), self.slot.number);
            [
                Entry::dir("diff", Diff::new(&self.slot.database, source, self.slot.number)),
                Entry::file("fast-forward", forward(slot())),
                Entry::file("head", head(slot())),
                Entry::file("head.live", HeadLive(slot())),
                Entry::file("reflog", Reflog(slot())),
                ro.top("ro"),
                Entry::dir("transactions", DirOnly(Transactions::new(slot()))),
                Entry::dir("watch", WatchDir::new(slot(), Vec::new())),
            ]
        })
    }
}

impl Directory for BranchDir {
    fn list(&self) -> Wait<'_, Vec<Entry>> {
        ready(Ok(self.entries().to_vec()))
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> Wait<'a, Entry> {
        let found = self.entries().iter().find(|entry| *entry.name() == *name.as_bytes());
        ready(found.cloned().ok_or(Error::NotFound))
    }

    /// Deletes the branch, whatever is in the directory.
    fn remove(&self) -> Wait<'_, ()> {
        let branch = self.slot.branch();
        Box::pin(async move {
            Ok(self
                .slot
                .database
                .run(move |_| {
                    while !branch.advance(branch.head()?, None)? {}
                    Ok(())
                })
                .await?)
        })
    }
}

fn head(slot: Arc<Slot>) -> Status {
    let length = {
        let slot = slot.clone();
        move || slot.branch().head().map_or(0, |head| line(head).len() as u64)
    };
    Status::new(move || Ok(line(slot.branch().head()?))).with_length(length)
}

fn forward(slot: Arc<Slot>) -> Command {
    Command::explaining(move |text| {
        let slot = slot.clone();
        async move {
            let to = Id::parse(text.as_bytes())?;
            let branch = slot.branch();
            let forward = move |database: &Database| {
                let _landing = database.landing();
                fast_forward(database, &branch, to)
            };
            slot.database.run(forward).await?;
            Ok(transaction::NO_REPLY)
        }
    })
}
