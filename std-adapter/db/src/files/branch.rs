//! `/branch/NAME`.

use parking_lot::{Mutex, RwLock};
use std::sync::{Arc, OnceLock, Weak};

use datakit_core::vfs::{Error, Name, Time};

use super::branch_table::BranchTable;
use super::log::LogFile;
use super::quota::Quota;
use super::ro::{RoTree, TreeSource, time_of};
use super::snapshots::Diff;
use super::streams::{HeadLive, Reflog};
use super::transactions::Transactions;
use super::watch::WatchDir;
use super::{line, transaction};
use crate::integrate::fast_forward;
use crate::model::tree::Tree;
use crate::{Branch, BranchName, Database, Id};
use datakit_server::inode_numbers;
use datakit_server::tree::{
    BoxFuture, Command, CommandError, DirOnly, Directory, Entry, READ_ONLY_DIR_MODE, Status,
    WeakEntry, ready,
};

/// The branch that the files of a directory are about: after a rename it is another one. All files
/// about one branch on one connection share one of these.
pub(super) struct BranchHandle {
    pub(super) database: Database,
    pub(super) quota: Arc<Quota>,
    branch: RwLock<BranchName>,
    /// Tells the directories of this branch from those of all others.
    pub(super) number: u64,
    /// The directory itself, while there are fids of it.
    dir: Mutex<Option<WeakEntry>>,
    table: Weak<BranchTable>,
}

impl BranchHandle {
    pub(super) fn new(
        database: &Database,
        quota: &Arc<Quota>,
        branch: BranchName,
        number: u64,
        table: Weak<BranchTable>,
    ) -> BranchHandle {
        let (database, quota) = (database.clone(), quota.clone());
        BranchHandle {
            database,
            quota,
            branch: RwLock::new(branch),
            number,
            dir: Mutex::default(),
            table,
        }
    }

    pub(super) fn name(&self) -> BranchName {
        self.branch.read().clone()
    }

    pub(super) fn rename(&self, branch: BranchName) {
        *self.branch.write() = branch;
    }

    pub(super) fn branch(&self) -> Arc<Branch> {
        self.database.branch(&self.name())
    }

    pub(super) fn head(&self) -> crate::Result<Option<Id>> {
        self.database.objects().store().head(&self.name())
    }

    /// The tree of the head; the empty one for a branch without commits.
    pub(super) fn tree(&self) -> crate::Result<Tree> {
        tree_of(&self.database, self.head()?)
    }

    /// The same, and when the head was committed, if there is one.
    fn tree_and_time(&self) -> crate::Result<(Tree, Option<Time>)> {
        let Some(head) = self.head()? else { return Ok((Tree::stored(Id::EMPTY_TREE), None)) };
        let commit = self.database.objects().commit(head)?;
        Ok((Tree::stored(commit.tree), Some(time_of(&commit))))
    }

    /// The one directory that shows it, called `name`.
    pub(super) fn dir(
        self: &Arc<BranchHandle>,
        name: impl FnOnce(&BranchName) -> Arc<[u8]>,
    ) -> Entry {
        let mut dir = self.dir.lock();
        dir.as_ref().and_then(WeakEntry::upgrade).unwrap_or_else(|| {
            let entry =
                Entry::dir_with_ino(name(&self.name()), self.number, BranchDir::new(self.clone()));
            *dir = entry.downgrade();
            entry
        })
    }

    pub(super) fn table(&self) -> &Weak<BranchTable> {
        &self.table
    }
}

impl Drop for BranchHandle {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade() {
            table.forget(self);
        }
    }
}

/// The tree of a commit.
pub(super) fn tree_of(database: &Database, commit: Option<Id>) -> crate::Result<Tree> {
    Ok(Tree::stored(match commit {
        Some(commit) => database.objects().commit(commit)?.tree,
        None => Id::EMPTY_TREE,
    }))
}

/// The directory of a branch. Its entries are made when somebody looks.
struct BranchDir {
    handle: Arc<BranchHandle>,
    entries: OnceLock<Box<[Entry; 9]>>,
}

impl BranchDir {
    fn new(handle: Arc<BranchHandle>) -> BranchDir {
        BranchDir { handle, entries: OnceLock::new() }
    }

    fn entries(&self) -> &[Entry; 9] {
        self.entries.get_or_init(|| {
            let handle = || self.handle.clone();
            let source: TreeSource = {
                let handle = handle();
                Arc::new(move || handle.tree_and_time())
            };
            let ro = RoTree::new(&self.handle.database, source.clone(), self.handle.number);
            // The same inodes when the directory was dropped and is made again.
            let numbered = |entry: Entry| {
                let number = inode_numbers::hash_of(("branch", self.handle.number, entry.name()));
                entry.with_ino(number)
            };
            Box::new([
                numbered(Entry::dir(
                    "diff",
                    Diff::new(&self.handle.database, source, self.handle.number),
                )),
                numbered(Entry::file("fast-forward", forward(handle()))),
                numbered(Entry::file("head", head(handle()))),
                numbered(Entry::file("head.live", HeadLive(handle()))),
                numbered(Entry::file("log", log(handle()))),
                numbered(Entry::file("reflog", Reflog(handle()))),
                ro.top("ro"),
                numbered(Entry::dir("transactions", DirOnly(Transactions::new(handle())))),
                numbered(Entry::dir("watch", WatchDir::new(handle(), Vec::new()))),
            ])
        })
    }
}

impl Directory for BranchDir {
    fn mode(&self) -> u32 {
        READ_ONLY_DIR_MODE
    }

    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(Ok(self.entries().to_vec()))
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        let found = self.entries().iter().find(|entry| *entry.name() == *name.as_bytes());
        ready(found.cloned().ok_or(Error::NotFound))
    }

    /// Git keeps none, and `mkdir -m` sets one.
    fn chmod(&self, _: u32) -> BoxFuture<'_, ()> {
        ready(Ok(()))
    }

    /// Deletes the branch, whatever is in the directory.
    fn remove(&self) -> BoxFuture<'_, ()> {
        let branch = self.handle.branch();
        Box::pin(async move {
            Ok(self
                .handle
                .database
                .run(move |_| {
                    while !branch.advance(branch.head()?, None)? {}
                    Ok(())
                })
                .await?)
        })
    }
}

fn head(handle: Arc<BranchHandle>) -> Status {
    let length = {
        let handle = handle.clone();
        move || handle.head().map_or(0, |head| line(head).len() as u64)
    };
    Status::new(move || Ok(line(handle.head()?))).with_length(length)
}

fn log(handle: Arc<BranchHandle>) -> LogFile {
    LogFile { database: handle.database.clone(), start: Box::new(move || handle.branch().head()) }
}

fn forward(handle: Arc<BranchHandle>) -> Command {
    let refusal = handle.table().upgrade().and_then(|table| table.refusal(handle.number));
    let command = Command::explaining(move |text| {
        let handle = handle.clone();
        async move {
            let keep = |text| {
                if let Some(table) = handle.table().upgrade() {
                    table.set_refusal(handle.number, text);
                }
            };
            keep(None);
            let moved = forward_to(&handle, &text).await.map_err(CommandError::from);
            moved
                .inspect_err(|refusal| keep(Some(refusal.text.clone())))
                .map(|()| transaction::NO_REPLY)
        }
    });
    command.complete_unless(hash_begun).with_refusal(refusal)
}

/// Whether it can be the begin of a hash, and no more.
pub(super) fn hash_begun(text: &str) -> bool {
    text.len() < 40 && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

async fn forward_to(handle: &BranchHandle, text: &str) -> crate::Result<()> {
    let to = Id::parse(text.as_bytes())?;
    let branch = handle.branch();
    let forward = move |database: &Database| {
        let _landing = database.in_flight();
        fast_forward(database, &branch, to)
    };
    handle.database.run(forward).await
}
