//! The database traits, which let a program use either a server or a local repository.

use std::fmt::Debug;

use super::commit::{Change, Details};
use super::error::{Error, Result};
use super::id::Id;
use super::merge_result::MergeResult;
use super::path::Path;
use super::tree::{Content, EntryKind, Stat};
use super::watch::{PathValue, Watch};
use crate::ByteString;

/// A DataKit database. Clones share the same database.
///
/// [`Db`](super::Db) implements this trait for a server. The `datakit-db` crate implements it for
/// Git repositories and in-memory databases, which do not need a server. That crate also
/// provides a database that is opened by URL and may be remote or local. A program that is generic
/// over `Database` works with all of these types. The [`prelude`](super::prelude) module exports
/// all traits.
///
/// ```
/// use datakit_client::db::prelude::*;
/// use datakit_client::db::Result;
///
/// /// Copies the directory `data` of one branch to another branch, whenever it changes.
/// async fn mirror<D: Database>(db: &D) -> Result<()> {
///     let (source, mirror) = (db.branch("source").await?, db.branch("mirror").await?);
///     let data = &"data".parse()?;
///     let mut heads = source.watch_head().await?;
///     while let Some(head) = heads.next().await {
///         let Some(head) = head? else { continue };
///         let files = &head.tree().read_all(data).await?;
///         mirror
///             .update("Copy", |transaction| async move {
///                 transaction.remove_if_present(data).await?;
///                 transaction.write_files(files).await
///             })
///             .await?;
///     }
///     Ok(())
/// }
/// ```
///
/// All methods return `Send` futures, so the futures of generic functions such as the one above are
/// also `Send`. Dropping a future cancels its operation.
pub trait Database: Clone + Debug + Send + Sync + 'static {
    /// A branch.
    type Branch: BranchOps<Commit = Self::Commit, Transaction = Self::Transaction, Tree = Self::Tree>;
    /// A commit.
    type Commit: CommitOps<Tree = Self::Tree>;
    /// A transaction.
    type Transaction: TransactionOps<Commit = Self::Commit, Tree = Self::Tree>;
    /// A tree that can be read.
    type Tree: TreeOps;

    /// Returns the sorted names of all branches. A branch without commits is included only if
    /// [`branch`](Self::branch) has been called with its name on this value or one of its clones.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    fn branches(&self) -> impl Future<Output = Result<Vec<ByteString>>> + Send;

    /// Returns a handle to a branch, which does not have to exist yet. Other clients do not see a
    /// new branch until it has a commit.
    ///
    /// # Errors
    /// Returns [`Error::InvalidBranch`](super::Error::InvalidBranch) if the name is not a valid Git
    /// branch name. Returns [`Error::Exists`](super::Error::Exists) if the name conflicts with an
    /// existing branch. For example, `a/b` conflicts with `a`.
    fn branch(
        &self,
        name: impl AsRef<[u8]> + Send,
    ) -> impl Future<Output = Result<Self::Branch>> + Send;

    /// Removes a branch.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`](super::Error::NotFound) if the branch does not exist. Returns
    /// [`Error::InvalidBranch`](super::Error::InvalidBranch) if the name is not a valid Git branch
    /// name.
    fn remove_branch(
        &self,
        name: impl AsRef<[u8]> + Send,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Returns the commit with the given hash.
    ///
    /// # Errors
    /// Returns [`Error::InvalidHash`](super::Error::InvalidHash) if the text is not a hash. Returns
    /// [`Error::NotFound`](super::Error::NotFound) if there is no such commit.
    fn commit(
        &self,
        hash: impl AsRef<[u8]> + Send,
    ) -> impl Future<Output = Result<Self::Commit>> + Send;

    /// Returns a handle to the commit with the given id, without checking that the commit exists.
    fn commit_with_id(&self, id: Id) -> Self::Commit;

    /// Returns the tree with the given id. The id of a directory is `D-` followed by the
    /// directory's hash. If the id is `F-`, `X-` or `L-` followed by the hash of a file or link,
    /// the root of the tree is that file or link. If no object has this id, reading the tree
    /// returns an error.
    fn tree(&self, id: impl AsRef<[u8]>) -> Self::Tree;

    /// Fetches a branch from another repository. The fetch does not change any branch of this
    /// database.
    ///
    /// Once this method has returned, the fetched commits are no longer protected from garbage
    /// collection. To keep them, promptly point a branch at the returned commit.
    ///
    /// # Errors
    /// Returns an error that explains why the branch could not be fetched.
    fn fetch(&self, url: &str, branch: &str) -> impl Future<Output = Result<Self::Commit>> + Send;

    /// Drops this handle and waits until the database is closed. A connection to a server closes
    /// once all other handles have been dropped, including handles to branches, commits, trees,
    /// transactions and watches. For a database without a server, this method waits for the commits
    /// in progress to finish.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// A branch, which might not have any commits yet. See also [`BranchExt`](super::BranchExt).
pub trait BranchOps: Clone + Debug + Send + Sync + 'static {
    /// A commit.
    type Commit: CommitOps<Tree = Self::Tree>;
    /// A transaction.
    type Transaction: TransactionOps<Commit = Self::Commit, Tree = Self::Tree>;
    /// A tree that can be read.
    type Tree: TreeOps;

    /// Returns the name.
    fn name(&self) -> ByteString;

    /// Reads the head. Returns `None` if the branch has no commits.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`](super::Error::NotFound) if the branch was removed.
    fn head(&self) -> impl Future<Output = Result<Option<Self::Commit>>> + Send;

    /// Removes the branch. The branch's commits remain available as long as they are reachable from
    /// another branch.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`](super::Error::NotFound) if the branch does not exist.
    fn remove(&self) -> impl Future<Output = Result<()>> + Send;

    /// Fast-forwards the branch to a descendant of its head, or to any commit if the branch has no
    /// head.
    ///
    /// # Errors
    /// Returns [`Error::NotFastForward`](super::Error::NotFastForward) if `to` is not a descendant
    /// of the head. Returns [`Error::NotFound`](super::Error::NotFound) if the commit does not
    /// exist.
    fn fast_forward(&self, to: &Self::Commit) -> impl Future<Output = Result<()>> + Send;

    /// Starts a transaction at the head of the branch.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`](super::Error::NotFound) if the branch was removed.
    fn transaction(&self) -> impl Future<Output = Result<Self::Transaction>> + Send;

    /// Watches the head. The watch returns the current head immediately and then each new head.
    /// `None` means that the branch has no commits. Intermediate heads are skipped while the watch
    /// is not being read.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`](super::Error::NotFound) if the branch was removed.
    fn watch_head(&self) -> impl Future<Output = Result<Watch<Option<Self::Commit>>>> + Send;

    /// Watches the value at a path in the branch. The watch returns the current value immediately
    /// and then each new value. `None` means that nothing exists at the path. Intermediate values
    /// are skipped while the watch is not being read.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`](super::Error::NotFound) if the branch was removed.
    fn watch_path(
        &self,
        path: &Path,
    ) -> impl Future<Output = Result<Watch<Option<PathValue<Self::Tree>>>>> + Send;

    /// Watches all subsequent changes to the head, in order and without gaps. `None` means that the
    /// branch was removed. The stream ends if the reader falls thousands of changes behind.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`](super::Error::NotFound) if the branch was removed.
    fn reflog(&self) -> impl Future<Output = Result<Watch<Option<Self::Commit>>>> + Send;
}

/// An immutable commit. Handles for the same commit are equal.
pub trait CommitOps: Clone + Debug + PartialEq + Eq + Send + Sync + 'static {
    /// A tree that can be read.
    type Tree: TreeOps;

    /// Returns the hash.
    fn id(&self) -> Id;

    /// Returns the tree of the commit.
    fn tree(&self) -> Self::Tree;

    /// Reads the message. Invalid UTF-8 is replaced with U+FFFD.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`](super::Error::NotFound) if the commit no longer exists.
    fn message(&self) -> impl Future<Output = Result<String>> + Send;

    /// Reads the parents in the order in which the commit stores them.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`](super::Error::NotFound) if the commit no longer exists.
    fn parents(&self) -> impl Future<Output = Result<Vec<Self>>> + Send;

    /// Reads the changes from `old` to this commit, sorted by path.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`](super::Error::NotFound) if either commit no longer exists.
    fn diff(&self, old: &Self) -> impl Future<Output = Result<Vec<Change>>> + Send;

    /// Reads all fields of the commit.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`](super::Error::NotFound) if the commit no longer exists.
    fn details(&self) -> impl Future<Output = Result<Details<Self>>> + Send;
}

/// A tree that can be read, such as the tree of a commit, the current tree of a transaction, or a
/// tree returned by a watch. See also [`TreeExt`](super::TreeExt).
///
/// All methods fail with [`Error::TransactionEnded`](super::Error::TransactionEnded) if the tree
/// belongs to a transaction that has ended. Methods that read an entry fail with
/// [`Error::NotFound`](super::Error::NotFound) if the entry does not exist, or with
/// [`Error::NotDirectory`](super::Error::NotDirectory) if a component of the path other than the
/// last is not a directory. The `stat`, `exists`, `exists_file` and `exists_dir` methods return
/// neither `NotFound` nor `NotDirectory`.
pub trait TreeOps: Clone + Debug + Send + Sync + 'static {
    /// Reads an entry of any type.
    fn read(&self, path: &Path) -> impl Future<Output = Result<Content>> + Send;

    /// Reads an entry of any type, unless it is a file that is longer than `limit` bytes. Use this
    /// method for small files in a branch to which other clients can write.
    ///
    /// # Errors
    /// Returns [`Error::FileTooLong`](super::Error::FileTooLong) if the file is longer than `limit`
    /// bytes.
    fn read_up_to(&self, path: &Path, limit: u64) -> impl Future<Output = Result<Content>> + Send {
        async move {
            let found = self.stat(path).await?;
            let is_file = |stat: &Stat| matches!(stat.kind, EntryKind::File | EntryKind::Exec);
            match found.filter(is_file) {
                Some(Stat { size, .. }) if size > limit => {
                    Err(Error::FileTooLong { path: path.to_string(), size, limit })
                }
                _ => self.read(path).await,
            }
        }
    }

    /// Reads a file. The file may be executable.
    ///
    /// # Errors
    /// Returns [`Error::NotFile`](super::Error::NotFile) if the path is a directory or a link.
    fn read_file(&self, path: &Path) -> impl Future<Output = Result<Vec<u8>>> + Send;

    /// Reads at most `length` bytes of a file, starting at a byte offset. Fewer bytes are returned
    /// only at the end of the file. If the file is on a server, the server sends only these bytes.
    ///
    /// # Errors
    /// Returns [`Error::NotFile`](super::Error::NotFile) if the path is a directory or a link.
    fn read_file_range(
        &self,
        path: &Path,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = Result<Vec<u8>>> + Send;

    /// Returns the sorted names in a directory.
    ///
    /// # Errors
    /// Returns [`Error::NotDirectory`](super::Error::NotDirectory) if the path is not a directory.
    fn read_dir(&self, path: &Path) -> impl Future<Output = Result<Vec<ByteString>>> + Send;

    /// Reads the target of a symbolic link.
    ///
    /// # Errors
    /// Returns [`Error::NotSymlink`](super::Error::NotSymlink) if the path is not a link.
    fn read_link(&self, path: &Path) -> impl Future<Output = Result<ByteString>> + Send;

    /// Reads the type and length of an entry. Returns `None` if the entry does not exist or if a
    /// component other than the last is a file.
    fn stat(&self, path: &Path) -> impl Future<Output = Result<Option<Stat>>> + Send;

    /// Returns `true` if the entry exists.
    fn exists(&self, path: &Path) -> impl Future<Output = Result<bool>> + Send {
        async { Ok(self.stat(path).await?.is_some()) }
    }

    /// Returns `true` if the entry exists and is not a directory.
    fn exists_file(&self, path: &Path) -> impl Future<Output = Result<bool>> + Send {
        async { Ok(self.stat(path).await?.is_some_and(|stat| stat.kind != EntryKind::Dir)) }
    }

    /// Returns `true` if the entry exists and is a directory.
    fn exists_dir(&self, path: &Path) -> impl Future<Output = Result<bool>> + Send {
        async { Ok(self.stat(path).await?.is_some_and(|stat| stat.kind == EntryKind::Dir)) }
    }
}

/// A set of changes to a branch that are committed together or not at all. See also
/// [`TransactionExt`](super::TransactionExt).
///
/// A transaction starts from the head of the branch. Committing a transaction merges it with any
/// later changes to the branch. Dropping the transaction aborts it. After a commit or an abort, all
/// methods fail with [`Error::TransactionEnded`](super::Error::TransactionEnded).
///
/// Methods that create, write or remove entries return
/// [`Error::InvalidPath`](super::Error::InvalidPath) for the root. These methods return
/// [`Error::NotFound`](super::Error::NotFound) if the entry or its parent directory does not exist.
/// These methods return [`Error::IsDirectory`](super::Error::IsDirectory) if the path is a
/// directory but a file is required.
pub trait TransactionOps: Debug + Send + Sync + 'static {
    /// A commit.
    type Commit: CommitOps<Tree = Self::Tree>;
    /// A tree that can be read.
    type Tree: TreeOps;

    /// Returns the current tree, which also reflects subsequent changes to the transaction.
    fn tree(&self) -> Self::Tree;

    /// Creates a directory. Git does not store empty directories, so a directory is committed only
    /// if it contains a file.
    ///
    /// # Errors
    /// Returns [`Error::Exists`](super::Error::Exists) if the path already exists.
    fn create_dir(&self, path: &Path) -> impl Future<Output = Result<()>> + Send;

    /// Creates a directory and any missing parents.
    ///
    /// # Errors
    /// Returns [`Error::NotDirectory`](super::Error::NotDirectory) if the path or one of its
    /// parents exists and is not a directory.
    fn make_dirs(&self, path: &Path) -> impl Future<Output = Result<()>> + Send;

    /// Creates a file, replacing any existing file or link.
    fn create_file(
        &self,
        path: &Path,
        content: &[u8],
        executable: bool,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Creates a symbolic link, replacing any existing file or link. The target may be any byte
    /// string.
    fn create_symlink(
        &self,
        path: &Path,
        target: impl AsRef<[u8]> + Send,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Replaces the content of an existing file. An executable file remains executable.
    fn replace_file(&self, path: &Path, content: &[u8]) -> impl Future<Output = Result<()>> + Send;

    /// Replaces the content of a file, creating the file if it does not exist. An executable file
    /// remains executable.
    fn create_or_replace_file(
        &self,
        path: &Path,
        content: &[u8],
    ) -> impl Future<Output = Result<()>> + Send;

    /// Sets whether a file is executable. Replaces a symbolic link with a file that contains the
    /// link's target.
    fn set_executable(
        &self,
        path: &Path,
        executable: bool,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Removes a file, a link, or a directory and everything in it.
    fn remove(&self, path: &Path) -> impl Future<Output = Result<()>> + Send;

    /// Truncates a file to `length` bytes or extends it with zeros.
    fn truncate(&self, path: &Path, length: u64) -> impl Future<Output = Result<()>> + Send;

    /// Reads the parents that the new commit will have. By default, the parents are the commit from
    /// which the transaction started, followed by the merged commits.
    fn parents(&self) -> impl Future<Output = Result<Vec<Self::Commit>>> + Send;

    /// Sets the parents that the new commit will have. The files and the branch do not change.
    fn set_parents(&self, parents: &[Self::Commit]) -> impl Future<Output = Result<()>> + Send;

    /// Sets the author of the commit. The format is `NAME <EMAIL>`, optionally followed by a date.
    ///
    /// # Errors
    /// Returns an error if the author has a different format.
    fn set_author(&self, author: &str) -> impl Future<Output = Result<()>> + Send;

    /// Returns the changes between `old` and the current tree, sorted by path.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`](super::Error::NotFound) if the commit does not exist.
    fn diff(&self, old: &Self::Commit) -> impl Future<Output = Result<Vec<Change>>> + Send;

    /// Merges the commit `theirs` into the transaction and adds it to the parents of the new
    /// commit. Conflicts are not reported as errors but are listed in [`MergeResult::conflicts`].
    ///
    /// # Errors
    /// Returns [`Error::OpenConflicts`](super::Error::OpenConflicts) if conflicts from the previous
    /// merge have not been resolved. Returns [`Error::NotFound`](super::Error::NotFound) if the
    /// commit does not exist.
    fn merge(
        &self,
        theirs: &Self::Commit,
    ) -> impl Future<Output = Result<MergeResult<Self::Tree>>> + Send;

    /// Returns the paths of the files that are still in conflict. Writing or removing a file
    /// resolves its conflict.
    fn conflicts(&self) -> impl Future<Output = Result<Vec<Path>>> + Send;

    /// Commits the changes and ends the transaction. Returns the new head of the branch. The head
    /// is a merge commit if the branch has changed since the transaction started.
    ///
    /// If the future is dropped, the changes may or may not have been committed.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`](super::Error::Conflict) if the branch and the transaction both
    /// changed the same file. Returns [`Error::OpenConflicts`](super::Error::OpenConflicts) if a
    /// merge left conflicts that have not been resolved. Returns
    /// [`Error::NotFound`](super::Error::NotFound) if one of the parents does not exist. If the
    /// commit fails, the transaction remains open.
    fn commit(&self, message: &str) -> impl Future<Output = Result<Self::Commit>> + Send;

    /// Like [`commit`](TransactionOps::commit), but fails if the branch has moved since the
    /// transaction started. If multiple transactions start from the same commit, only one of them
    /// succeeds. Use this method to implement counters and locks. In contrast, `commit` would merge
    /// two transactions that make the same change, because identical changes do not conflict.
    ///
    /// # Errors
    /// Returns [`Error::NotFastForward`](super::Error::NotFastForward) if the branch has moved.
    /// Returns [`Error::Client`](super::Error::Client) if the server does not support the
    /// operation. In particular, the original server does not support this operation. May also
    /// return any other error that [`commit`](TransactionOps::commit) returns.
    fn commit_fast_forward(
        &self,
        message: &str,
    ) -> impl Future<Output = Result<Self::Commit>> + Send;

    /// Ends the transaction without committing it. Aborting never fails, and aborting again has no
    /// effect.
    fn abort(&self) -> impl Future<Output = ()> + Send;

    /// Returns `true` if the transaction has been committed or aborted.
    fn closed(&self) -> bool;
}
