//! The `/branch/NAME` directory.

use std::sync::{Arc, OnceLock};

use datakit_core::vfs::{Error, Name};

use super::branch_handle::BranchHandle;
use super::diff_dir::DiffDir;
use super::hash_text::{NO_REPLY, is_partial_hash, line};
use super::log::LogFile;
use super::ro::{RoTree, TreeSource};
use super::streams::{HeadLive, Reflog};
use super::transactions::Transactions;
use super::watch::WatchDir;
use crate::integrate::fast_forward;
use crate::{Database, Id};
use datakit_server::inode_numbers;
use datakit_server::tree::{
    BoxFuture, Command, CommandError, DirOnly, Directory, Entry, READ_ONLY_DIR_MODE, Status, ready,
};

/// Returns a branch's directory.
pub(super) fn dir(handle: &Arc<BranchHandle>) -> Entry {
    handle.dir(|handle| {
        let name = handle.name().to_file_name();
        Entry::dir_with_ino(name, handle.number, BranchDir::new(handle.clone()))
    })
}

/// A branch's directory. Its entries are created on first use.
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
            // The inode numbers must not change if the directory is dropped and recreated.
            let numbered = |entry: Entry| {
                let number = inode_numbers::hash_of(("branch", self.handle.number, entry.name()));
                entry.with_ino(number)
            };
            Box::new([
                numbered(Entry::dir(
                    "diff",
                    DiffDir::new(&self.handle.database, source, self.handle.number),
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

    /// Succeeds without effect. Git does not store directory modes, but `mkdir -m` must succeed.
    fn chmod(&self, _: u32) -> BoxFuture<'_, ()> {
        ready(Ok(()))
    }

    /// Removes the branch. The directory need not be empty.
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
    let refusal = handle.refusal();
    let command = Command::explaining(move |text| {
        let handle = handle.clone();
        async move {
            handle.set_refusal(None);
            let moved = forward_to(&handle, &text).await.map_err(CommandError::from);
            moved
                .inspect_err(|refusal| handle.set_refusal(Some(refusal.text.clone())))
                .map(|()| NO_REPLY)
        }
    });
    command.complete_unless(is_partial_hash).with_refusal(refusal)
}

async fn forward_to(handle: &BranchHandle, text: &str) -> crate::Result<()> {
    let to = Id::parse(text.as_bytes())?;
    let branch = handle.branch();
    let forward = move |database: &Database| {
        let _in_flight = database.in_flight();
        fast_forward(database, &branch, to)
    };
    handle.database.run(forward).await
}
