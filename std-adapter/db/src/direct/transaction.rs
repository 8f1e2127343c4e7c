//! Transactions, which change branches.

use std::fmt::{self, Debug};
use std::sync::Arc;

use datakit_client::db::{Change, Error, MergeResult, Path, Result, TransactionOps};
use datakit_server::sparse_bytes::SparseBytes;
use parking_lot::Mutex;

use super::branch::DirectBranch;
use super::commit::{DirectCommit, changes, to_changes};
use super::tree::{DirectTree, Side, join};
use crate::database::MAX_INLINE_BYTES;
use crate::identity::{Authorship, MAX_AUTHOR_BYTES};
use crate::model::tree::{FileContent, Tree, TreeNode, no_space};
use crate::object::EntryMode;
use crate::transaction::FileAt;
use crate::{CommitOptions, Database, Id, MergePolicy, Transaction};

/// A transaction on a branch in a [`DirectDb`](super::DirectDb). Dropping the transaction aborts
/// it.
pub struct DirectTransaction {
    branch: DirectBranch,
    transaction: Arc<Transaction>,
    parents: Mutex<Vec<Id>>,
    /// The author, or an empty string to use the database's author.
    author: Mutex<String>,
}

impl DirectTransaction {
    pub(super) fn new(
        branch: &DirectBranch,
        transaction: Transaction,
        head: Option<Id>,
    ) -> DirectTransaction {
        DirectTransaction {
            branch: branch.clone(),
            transaction: Arc::new(transaction),
            parents: Mutex::new(Vec::from_iter(head)),
            author: Mutex::default(),
        }
    }

    fn database(&self) -> &Database {
        self.branch.db().database()
    }

    fn open(&self) -> Result<&Arc<Transaction>> {
        if self.transaction.is_open() {
            Ok(&self.transaction)
        } else {
            Err(Error::TransactionEnded)
        }
    }

    /// Returns the transaction and the joined path, or an error if the transaction has ended or the
    /// path is the root.
    fn at(&self, path: &Path) -> Result<(&Arc<Transaction>, Vec<u8>)> {
        path.dir_and_name()?;
        Ok((self.open()?, join(path)))
    }

    fn side(&self, side: Side) -> DirectTree {
        DirectTree::of_transaction(self.database(), &self.transaction, side)
    }

    fn commits(&self, ids: &[Id]) -> Vec<DirectCommit> {
        ids.iter().map(|id| DirectCommit::new(self.database(), *id)).collect()
    }

    fn authorship(&self) -> Result<Authorship> {
        let author = self.author.lock().clone();
        Ok(Authorship::author(author.as_bytes(), &self.branch.db().author)?)
    }

    fn replace(&self, transaction: &Transaction, path: &[u8], content: &[u8]) -> Result<()> {
        transaction.empty(FileAt::Path(path))?;
        transaction.change::<crate::Error>(FileAt::Path(path), |bytes| {
            bytes.write(0, content).map_err(no_space)?;
            Ok(())
        })?;
        Ok(())
    }

    async fn end_with(&self, policy: MergePolicy, message: &str) -> Result<DirectCommit> {
        let (transaction, by) = (self.open()?.clone(), self.authorship()?);
        let branch = self.branch.branch().clone();
        let (parents, message) = (self.parents.lock().clone(), message.to_owned());
        let commit = move |_: &Database| {
            let options = CommitOptions::default().policy(policy);
            transaction.commit(&branch, &parents, message.as_bytes(), &by, options)
        };
        let committed = self.database().run_sized(self.transaction.weight(), commit).await?;
        Ok(DirectCommit::new(self.database(), committed.head.ok_or(Error::NotFound)?))
    }

    /// Loads a stored file into memory, so that later changes to the file do not have to wait for
    /// the disk.
    async fn load(&self, transaction: &Transaction, path: &[u8]) -> Result<()> {
        let FileContent::Stored(id) = transaction.file(FileAt::Path(path))?.content else {
            return Ok(());
        };
        let blob = self.database().blob(id).await?;
        let content = SparseBytes::from_slice(&blob, transaction.space()).map_err(no_space)?;
        Ok(transaction.load(FileAt::Path(path), id, content)?)
    }
}

impl TransactionOps for DirectTransaction {
    type Commit = DirectCommit;
    type Tree = DirectTree;

    fn tree(&self) -> DirectTree {
        self.side(Side::Current)
    }

    async fn create_dir(&self, path: &Path) -> Result<()> {
        let (transaction, path) = self.at(path)?;
        Ok(transaction.mkdir(&path)?)
    }

    async fn make_dirs(&self, path: &Path) -> Result<()> {
        let (transaction, path) = (self.open()?, join(path));
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let dirs = ends.chain([path.len()]).filter_map(|end| path.get(..end));
        for dir in dirs.filter(|dir| !dir.is_empty()) {
            match transaction.get(dir) {
                Ok(TreeNode::Dir(_)) => {}
                Ok(_) => return Err(Error::NotDirectory),
                Err(crate::Error::NotFound) => match transaction.mkdir(dir) {
                    // Another task may have created the directory since the check.
                    Ok(()) | Err(crate::Error::Exists) => {}
                    Err(error) => return Err(error.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn create_file(&self, path: &Path, content: &[u8], executable: bool) -> Result<()> {
        let (transaction, path) = self.at(path)?;
        Ok(transaction.create(&path, mode(executable), content)?)
    }

    async fn create_symlink(&self, path: &Path, target: impl AsRef<[u8]> + Send) -> Result<()> {
        let (transaction, path) = self.at(path)?;
        Ok(transaction.create(&path, EntryMode::Link, target.as_ref())?)
    }

    async fn replace_file(&self, path: &Path, content: &[u8]) -> Result<()> {
        let (transaction, path) = self.at(path)?;
        self.replace(transaction, &path, content)
    }

    async fn create_or_replace_file(&self, path: &Path, content: &[u8]) -> Result<()> {
        let (transaction, path) = self.at(path)?;
        match self.replace(transaction, &path, content) {
            Err(Error::NotFound) => Ok(transaction.create(&path, EntryMode::Normal, content)?),
            replaced => replaced,
        }
    }

    async fn set_executable(&self, path: &Path, executable: bool) -> Result<()> {
        let (transaction, path) = self.at(path)?;
        Ok(transaction.chmod(FileAt::Path(&path), mode(executable))?)
    }

    async fn remove(&self, path: &Path) -> Result<()> {
        let (transaction, path) = self.at(path)?;
        Ok(transaction.remove(&path)?)
    }

    async fn truncate(&self, path: &Path, length: u64) -> Result<()> {
        let (transaction, path) = self.at(path)?;
        if length == 0 {
            return Ok(transaction.empty(FileAt::Path(&path))?);
        }
        self.load(transaction, &path).await?;
        transaction.change::<crate::Error>(FileAt::Path(&path), |bytes| {
            bytes.set_size(length).map_err(no_space)
        })?;
        Ok(())
    }

    async fn parents(&self) -> Result<Vec<DirectCommit>> {
        self.open()?;
        let parents = self.parents.lock().clone();
        Ok(self.commits(&parents))
    }

    async fn set_parents(&self, parents: &[DirectCommit]) -> Result<()> {
        self.open()?;
        *self.parents.lock() = parents.iter().map(|parent| parent.id).collect();
        Ok(())
    }

    async fn set_author(&self, author: &str) -> Result<()> {
        self.open()?;
        if author.len() > MAX_AUTHOR_BYTES {
            let reason = format!("it is longer than {MAX_AUTHOR_BYTES} bytes");
            let text = author.chars().take(100).collect();
            return Err(crate::Error::InvalidAuthor { text, reason }.into());
        }
        Authorship::author(author.as_bytes(), &self.branch.db().author)?;
        author.clone_into(&mut self.author.lock());
        Ok(())
    }

    async fn diff(&self, old: &DirectCommit) -> Result<Vec<Change>> {
        let (new, old) = (self.open()?.tree()?, old.id);
        let compare = move |database: &Database| {
            let old = Tree::stored(database.objects().named_commit(old)?.tree);
            changes(database, &old, &new)
        };
        // The comparison may be slow, because it hashes all content that has not been stored yet.
        let compared = self.database().run_sized(self.transaction.weight(), compare);
        to_changes(compared.await?)
    }

    async fn merge(&self, theirs: &DirectCommit) -> Result<MergeResult<DirectTree>> {
        let (transaction, by) = (self.open()?.clone(), self.authorship()?);
        let (theirs, parents) = (theirs.id, self.parents.lock().clone());
        let merge = move |_: &Database| transaction.merge(theirs, &parents, b"", &by);
        self.database().run_sized(self.transaction.weight(), merge).await?;
        self.parents.lock().push(theirs);
        Ok(MergeResult::new(
            self.side(Side::Merged(|inputs| &inputs.ours)),
            self.side(Side::Merged(|inputs| &inputs.theirs)),
            self.side(Side::Merged(|inputs| &inputs.base)),
            self.conflicts().await?,
        ))
    }

    async fn conflicts(&self) -> Result<Vec<Path>> {
        let conflicts = self.open()?.conflicts()?.unwrap_or_default();
        conflicts.into_iter().map(Path::parse).collect()
    }

    async fn commit(&self, message: &str) -> Result<DirectCommit> {
        self.end_with(MergePolicy::Merge, message).await
    }

    async fn commit_fast_forward(&self, message: &str) -> Result<DirectCommit> {
        self.end_with(MergePolicy::FastForward, message).await
    }

    async fn abort(&self) {
        if self.transaction.weight() <= MAX_INLINE_BYTES {
            self.transaction.close();
            return;
        }
        let transaction = self.transaction.clone();
        let close = move |_: &Database| {
            transaction.close();
            Ok(())
        };
        // The blocking task closes the transaction even if this future is dropped.
        let _ = self.database().run_blocking(close).await;
    }

    fn closed(&self) -> bool {
        !self.transaction.is_open()
    }
}

impl Drop for DirectTransaction {
    /// Closes the transaction explicitly if trees still refer to it. Otherwise, the transaction
    /// would stay open until the last of these trees was dropped.
    fn drop(&mut self) {
        if Arc::strong_count(&self.transaction) > 1 {
            self.transaction.close();
        }
    }
}

impl Debug for DirectTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectTransaction")
            .field("branch", &self.branch)
            .field("transaction", &self.transaction)
            .finish_non_exhaustive()
    }
}

fn mode(executable: bool) -> EntryMode {
    if executable { EntryMode::Exec } else { EntryMode::Normal }
}
