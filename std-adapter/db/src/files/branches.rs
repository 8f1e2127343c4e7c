//! The `/branch` directory, which contains a directory for each branch.

use std::sync::Arc;

use datakit_core::vfs::{Create, CreateKind, Error, Name, Result};

use super::branch;
use super::branch_table::BranchTable;
use super::quota::Quota;
use crate::{BranchName, Database};
use datakit_server::tree::{BoxFuture, Directory, Entry, READ_ONLY_DIR_MODE, ready};

/// All branches in the repository, and the branches that this connection has created but not yet
/// committed to.
pub(super) struct Branches(Arc<BranchTable>);

impl Branches {
    pub(super) fn new(database: &Database, quota: &Arc<Quota>) -> Branches {
        Branches(BranchTable::new(database, quota))
    }

    fn move_to(&self, old: &BranchName, new: &BranchName) -> Result<()> {
        let (handle, database) = (self.0.handle(old), self.0.database());
        database.rename(&handle.branch(), &database.branch(new))?;
        self.0.renamed(&handle, new);
        Ok(())
    }
}

/// Returns a branch's directory.
fn entry(table: &Arc<BranchTable>, branch: &BranchName) -> Entry {
    branch::dir(&table.handle(branch))
}

/// A branch in a directory listing: its name and its inode number. The branch's files are created
/// on demand.
struct ListedBranch {
    table: Arc<BranchTable>,
    branch: BranchName,
}

impl ListedBranch {
    fn entry(table: &Arc<BranchTable>, branch: BranchName) -> Entry {
        let (name, number) = (branch.to_file_name(), table.number(&branch));
        Entry::dir_with_ino(name, number, ListedBranch { table: table.clone(), branch })
    }
}

impl Directory for ListedBranch {
    fn mode(&self) -> u32 {
        READ_ONLY_DIR_MODE
    }

    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        let entry = entry(&self.table, &self.branch);
        Box::pin(async move { entry.as_dir().ok_or(Error::NotDirectory)?.list().await })
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        let entry = entry(&self.table, &self.branch);
        Box::pin(async move { entry.as_dir().ok_or(Error::NotDirectory)?.lookup(name).await })
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        let entry = entry(&self.table, &self.branch);
        Box::pin(async move { entry.as_dir().ok_or(Error::NotDirectory)?.remove().await })
    }
}

impl Directory for Branches {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        Box::pin(async move {
            let heads = self.0.database().run(Database::heads).await?;
            let mut names: Vec<_> = heads.into_iter().map(|(name, _)| name).collect();
            names.extend(self.0.made());
            names.sort();
            names.dedup();
            Ok(names.into_iter().map(|name| ListedBranch::entry(&self.0, name)).collect())
        })
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        ready((|| {
            let branch =
                BranchName::from_file_name(name.as_bytes()).map_err(|_| Error::NotFound)?;
            if !self.0.is_made(&branch)
                && self.0.database().objects().store().head(&branch)?.is_none()
            {
                return Err(Error::NotFound);
            }
            Ok(entry(&self.0, &branch))
        })())
    }

    /// Succeeds even if the branch already exists. Clients rely on this behavior.
    fn create<'a>(&'a self, name: Name<'a>, create: Create<'a>) -> BoxFuture<'a, Entry> {
        ready((|| {
            if create.kind != CreateKind::Dir {
                return Err(Error::OnlyDirectories);
            }
            let branch = BranchName::from_file_name(name.as_bytes()).map_err(crate::Error::from)?;
            if let Some(other) = self.0.database().objects().store().conflicting_branch(&branch)? {
                return Err(
                    crate::Error::BranchConflict { branch: branch.to_string(), other }.into()
                );
            }
            self.0.make(&branch)?;
            Ok(entry(&self.0, &branch))
        })())
    }

    fn rename<'a>(&'a self, child: &'a Entry, name: Name<'a>) -> BoxFuture<'a, ()> {
        ready((|| {
            let old = BranchName::from_file_name(&child.name()).map_err(crate::Error::from)?;
            let new = BranchName::from_file_name(name.as_bytes()).map_err(crate::Error::from)?;
            if old == new { Ok(()) } else { self.move_to(&old, &new) }
        })())
    }

    fn unlink<'a>(&'a self, child: &'a Entry) -> BoxFuture<'a, ()> {
        ready((|| {
            self.0.removed(&BranchName::from_file_name(&child.name()).map_err(crate::Error::from)?);
            Ok(())
        })())
    }
}
