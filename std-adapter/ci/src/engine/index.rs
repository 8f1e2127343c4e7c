//! The entries of the index, which contain the last history commit for each commit under test.

use std::collections::{BTreeMap, BTreeSet};

use datakit_client::db::{
    BranchOps, CommitOps, Database, Error, Path, Result, TransactionOps, TreeExt,
};
use datakit_github::{Commit, FILE_MAX};

use super::obstacles::remove_obstacles;
use crate::Target;
use crate::concurrent::Concurrent;
use crate::state::{INDEX_BRANCH, index_path, is_no_file, is_no_usable_file};

/// The entries that are, or might be, missing or out of date in the index branch.
pub(super) struct Index {
    /// The entries that have not been written yet.
    unwritten: BTreeMap<(Commit, Target), String>,
    /// The entries that an earlier run might not have written. A history and its index entry are in
    /// different branches, so a crash can separate them.
    unchecked: BTreeMap<(Commit, Target), String>,
    /// Whether anything other than a file was found at the path of an entry.
    has_obstacles: bool,
}

/// A transaction that has already created the entries' directories on the index branch.
pub(super) struct PreparedIndex<D: Database> {
    branch: D::Branch,
    transaction: D::Transaction,
}

impl<D: Database> PreparedIndex<D> {
    /// Starts a transaction and creates directories. Returns `None` if there are no directories.
    pub(super) async fn create(db: &D, dirs: BTreeSet<Path>) -> Result<Option<PreparedIndex<D>>> {
        if dirs.is_empty() {
            return Ok(None);
        }
        let branch = db.branch(INDEX_BRANCH).await?;
        let transaction = branch.transaction().await?;
        let mut created = Concurrent::new();
        for dir in &dirs {
            let transaction = &transaction;
            created.push(async move {
                match transaction.make_dirs(dir).await {
                    // The same obstacle is found and removed when the entries are written.
                    Err(error) if is_obstacle(&error) => Ok(()),
                    made => made,
                }
            });
        }
        created.try_all().await?;
        Ok(Some(PreparedIndex { branch, transaction }))
    }
}

/// Returns the directory of an entry, or `None` if its path is not valid in the database.
pub(super) fn index_dir(commit: &Commit, target: &Target) -> Option<Path> {
    Some(index_path(commit, target).ok()?.parent())
}

impl Index {
    pub(super) fn new() -> Index {
        Index { unwritten: BTreeMap::new(), unchecked: BTreeMap::new(), has_obstacles: false }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.unwritten.is_empty() && self.unchecked.is_empty()
    }

    /// Adds an entry for a new history commit. Ignores an entry whose path is not valid in the
    /// database, because the entry can never be written.
    pub(super) fn add(&mut self, commit: Commit, target: Target, history: String) {
        if let Err(error) = index_path(&commit, &target) {
            tracing::warn!(%target, %error, "the target is missing in the index");
            return;
        }
        self.unwritten.insert((commit, target), history);
    }

    /// Adds an entry that an earlier run might not have written.
    pub(super) fn check(&mut self, commit: Commit, target: Target, history: String) {
        if index_path(&commit, &target).is_err() {
            return;
        }
        self.unchecked.insert((commit, target), history);
    }

    /// Returns the directories of the entries.
    pub(super) fn dirs(&self) -> BTreeSet<Path> {
        let entries = self.unwritten.keys().chain(self.unchecked.keys());
        entries.filter_map(|(commit, target)| index_dir(commit, target)).collect()
    }

    /// Writes the entries.
    pub(super) async fn write<D: Database>(
        &mut self,
        prepared: Option<PreparedIndex<D>>,
    ) -> Result<()> {
        let Some(PreparedIndex { branch, transaction }) = prepared else { return Ok(()) };
        self.check_all::<D>(&branch).await?;
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let mut files = BTreeMap::new();
        for ((commit, target), history) in &self.unwritten {
            files.insert(index_path(commit, target)?, format!("{history}\n"));
        }
        let written = match self.has_obstacles {
            true => Err(Error::NotFile),
            false => write_files(&transaction, &files).await,
        };
        let transaction = match written {
            Err(error) if is_obstacle(&error) => {
                transaction.abort().await;
                without_obstacles::<D>(&branch, &files).await?
            }
            written => written.map(|()| transaction)?,
        };
        let count = self.unwritten.len();
        transaction.commit(&format!("Index {count} commits")).await?;
        self.unwritten.clear();
        self.has_obstacles = false;
        Ok(())
    }

    /// Checks the unchecked entries, and marks missing or outdated ones as unwritten.
    async fn check_all<D: Database>(&mut self, branch: &D::Branch) -> Result<()> {
        if self.unchecked.is_empty() {
            return Ok(());
        }
        let head = branch.head().await?;
        let mut reads = Concurrent::new();
        for ((commit, target), history) in &self.unchecked {
            let (tree, path) = (head.as_ref().map(D::Commit::tree), index_path(commit, target)?);
            reads.push(async move {
                let found = match tree {
                    Some(tree) => tree.read_file_up_to(&path, FILE_MAX).await,
                    None => Err(Error::NotFound),
                };
                match found {
                    Ok(found) if found.trim_ascii() == history.as_bytes() => Ok(None),
                    Err(error) if !is_no_usable_file(&error) => Err(error),
                    found => {
                        let entry = (commit.clone(), target.clone());
                        Ok(Some((entry, history.clone(), found == Err(Error::NotFile))))
                    }
                }
            });
        }
        let differing = reads.try_all().await?;
        for (entry, history, is_obstacle) in differing.into_iter().flatten() {
            self.has_obstacles |= is_obstacle;
            self.unwritten.entry(entry).or_insert(history);
        }
        self.unchecked.clear();
        Ok(())
    }
}

/// Returns `true` if the error can mean that there is a file instead of a directory, or vice versa.
fn is_obstacle(error: &Error) -> bool {
    is_no_file(error) || *error == Error::Exists
}

/// Writes files whose directories exist.
async fn write_files<T: TransactionOps>(
    transaction: &T,
    files: &BTreeMap<Path, String>,
) -> Result<()> {
    let mut written = Concurrent::new();
    for (path, text) in files {
        written.push(transaction.create_or_replace_file(path, text.as_bytes()));
    }
    written.try_all().await.map(drop)
}

/// Removes the obstacles, and then writes the files.
async fn without_obstacles<D: Database>(
    branch: &D::Branch,
    files: &BTreeMap<Path, String>,
) -> Result<D::Transaction> {
    let transaction = branch.transaction().await?;
    let paths: Vec<Path> = files.keys().cloned().collect();
    remove_obstacles(&transaction, &paths).await?;
    for path in &paths {
        transaction.make_dirs(&path.parent()).await?;
    }
    write_files(&transaction, files).await?;
    Ok(transaction)
}
