//! Transactions, which collect changes to a branch and commit them together.

use std::fmt::{self, Debug};

use tokio::runtime::Handle;

use super::branch::Branch;
use super::commit::{Change, Commit, parse_changes, parse_commits, parse_id};
use super::concurrent::try_join_all;
use super::error::{Error, Result};
use super::merge_result::MergeResult;
use super::path::Path;
use super::remote_path::{RemotePath, read_line, replace, unique_name};
use super::tree::{OpenFlag, Tree};
use crate::{ByteString, Client, Dialect, File, OpenMode};

/// A set of changes to a branch that are committed together or not at all. Other clients do not see
/// the changes before the commit.
///
/// A transaction starts from the head of the branch. Committing a transaction merges it with any
/// later changes to the branch, and fails if there are conflicts.
///
/// Dropping a transaction aborts it in a background task on the tokio runtime. The server also
/// aborts the transaction when the connection closes. After a commit or an abort, all calls fail
/// with [`Error::TransactionEnded`] without sending a request.
///
/// Methods that create, write or remove entries return [`Error::InvalidPath`] for the root.
/// Dropping the future of a method that changes the transaction cancels the request. The server may
/// already have made the change, or written part of a file, before it receives the cancellation.
pub struct Transaction {
    branch: Branch,
    dir: RemotePath,
    state: OpenFlag,
}

/// The maximum number of names to try for a new transaction.
const MAX_TRIES: u32 = 3;

impl Transaction {
    /// Creates a transaction's directory on the server. The `Transaction` value is created before
    /// the request is sent, so dropping this future aborts the transaction.
    pub(super) async fn start(branch: &Branch) -> Result<Transaction> {
        let all = branch.remote_path().join("transactions");
        let mut tries = 0;
        loop {
            let name = unique_name();
            let transaction = Transaction {
                branch: branch.clone(),
                dir: all.join(&name),
                state: OpenFlag::open(),
            };
            match all.mkdir(&name).await {
                Ok(()) => return Ok(transaction),
                Err(error) => {
                    // Mark the transaction as ended so that dropping it sends no abort request.
                    // Either the directory was not created, or another task created it.
                    transaction.state.end();
                    tries += 1;
                    if error != Error::Exists || tries == MAX_TRIES {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn client(&self) -> &Client {
        &self.dir.client
    }

    fn control_file(&self, name: &str) -> Result<RemotePath> {
        self.state.check_open()?;
        Ok(self.dir.join(name))
    }

    fn remote_path(&self, path: &Path) -> Result<RemotePath> {
        Ok(self.control_file("rw")?.join_all(path.names()))
    }

    /// Returns the parent directory and the name of a new entry.
    fn new_entry(&self, path: &Path) -> Result<(RemotePath, ByteString)> {
        let (dir, name) = path.dir_and_name()?;
        Ok((self.remote_path(&dir)?, name))
    }

    /// Returns the current tree, which reflects all changes made so far.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.subtree("rw")
    }

    fn subtree(&self, name: &str) -> Tree {
        Tree::of_transaction(self.dir.join(name), self.state.clone())
    }

    /// Creates a directory. Git does not store empty directories, so a directory is committed only
    /// if it contains a file.
    ///
    /// # Errors
    /// Returns [`Error::Exists`] if the path already exists, or [`Error::NotFound`] if the parent
    /// directory does not exist.
    pub async fn create_dir(&self, path: &Path) -> Result<()> {
        let (dir, name) = self.new_entry(path)?;
        dir.mkdir(name).await
    }

    /// Creates a directory and any missing parents.
    ///
    /// # Errors
    /// Returns [`Error::NotDirectory`] if the path or one of its parents exists and is not a
    /// directory.
    pub async fn make_dirs(&self, path: &Path) -> Result<()> {
        let (mut prefixes, mut next) = (Vec::new(), path.clone());
        while !next.is_root() {
            prefixes.push(next.clone());
            next = next.parent();
        }
        prefixes.reverse();
        // Look up all prefixes of the path at once, because most of them usually exist.
        let mut found = Vec::with_capacity(prefixes.len());
        for prefix in &prefixes {
            found.push(self.is_existing_dir(prefix));
        }
        let found = try_join_all(found).await?;
        for (dir, _) in prefixes.iter().zip(found).skip_while(|(_, exists)| *exists) {
            match self.create_dir(dir).await {
                Ok(()) => {}
                // Another task may have created the directory in the meantime.
                Err(Error::Exists) if self.tree().exists_dir(dir).await? => {}
                Err(Error::Exists) => return Err(Error::NotDirectory),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns `false` if the directory does not exist.
    ///
    /// # Errors
    /// Returns [`Error::NotDirectory`] if the path or one of its parents is not a directory.
    async fn is_existing_dir(&self, path: &Path) -> Result<bool> {
        match self.remote_path(path)?.walk().await {
            Ok(fid) if fid.is_dir() => Ok(true),
            Ok(_) => Err(Error::NotDirectory),
            Err(Error::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes an existing file or link if the dialect is 9P2000.L. In this dialect, creating a
    /// file does not replace an existing file.
    async fn remove_existing(&self, dir: &RemotePath, name: &ByteString) -> Result<()> {
        if self.client().dialect() != Dialect::Linux {
            return Ok(());
        }
        match dir.join(name).walk_to_file().await {
            Ok(fid) => Ok(fid.remove().await?),
            Err(Error::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Creates a file, replacing any existing file or link.
    ///
    /// # Errors
    /// Returns [`Error::IsDirectory`] if the path is a directory, or [`Error::NotFound`] if the
    /// parent directory does not exist.
    pub async fn create_file(&self, path: &Path, content: &[u8], executable: bool) -> Result<()> {
        let (dir, name) = self.new_entry(path)?;
        self.remove_existing(&dir, &name).await?;
        let dir = dir.walk().await?;
        let file = dir.create(name, permissions(executable), OpenMode::WRITE).await?;
        write_and_close(file, content).await
    }

    /// Creates a symbolic link, replacing any existing file or link. The target may be any byte
    /// string.
    ///
    /// # Errors
    /// Returns [`Error::IsDirectory`] if the path is a directory. Returns [`Error::NotFound`] if
    /// the parent directory does not exist. Returns [`Error::Client`] in 9P2000, which has no
    /// symbolic links.
    pub async fn create_symlink(&self, path: &Path, target: impl AsRef<[u8]>) -> Result<()> {
        let (dir, name) = self.new_entry(path)?;
        self.remove_existing(&dir, &name).await?;
        Ok(dir.walk().await?.symlink(name, target).await?)
    }

    /// Replaces the content of an existing file. An executable file remains executable.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the file does not exist, or [`Error::IsDirectory`] if the
    /// path is a directory.
    pub async fn replace_file(&self, path: &Path, content: &[u8]) -> Result<()> {
        path.dir_and_name()?;
        self.remote_path(path)?.replace(content).await
    }

    /// Replaces the content of a file, creating the file if it does not exist. An executable file
    /// remains executable.
    ///
    /// # Errors
    /// Returns [`Error::IsDirectory`] if the path is a directory, or [`Error::NotFound`] if the
    /// parent directory does not exist.
    pub async fn create_or_replace_file(&self, path: &Path, content: &[u8]) -> Result<()> {
        let (dir, name) = self.new_entry(path)?;
        let file = dir.join(&name);
        // Look up the file and its directory at once.
        let (found, dir) = tokio::join!(file.walk_to_file(), dir.walk());
        match found {
            Ok(fid) => replace(fid, content).await,
            Err(Error::NotFound) => {
                let file = dir?.create(name, permissions(false), OpenMode::WRITE).await?;
                write_and_close(file, content).await
            }
            Err(error) => Err(error),
        }
    }

    /// Sets whether a file is executable. Replaces a symbolic link with a file that contains the
    /// link's target.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the file does not exist, or [`Error::IsDirectory`] if the
    /// path is a directory.
    pub async fn set_executable(&self, path: &Path, executable: bool) -> Result<()> {
        path.dir_and_name()?;
        Ok(self.remote_path(path)?.walk_to_file().await?.set_mode(permissions(executable)).await?)
    }

    /// Removes a file, a link, or a directory and everything in it.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if nothing exists at the path.
    pub async fn remove(&self, path: &Path) -> Result<()> {
        path.dir_and_name()?;
        self.remote_path(path)?.remove().await
    }

    /// Truncates a file to `length` bytes or extends it with zeros.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the file does not exist, or [`Error::IsDirectory`] if the
    /// path is a directory.
    pub async fn truncate(&self, path: &Path, length: u64) -> Result<()> {
        path.dir_and_name()?;
        Ok(self.remote_path(path)?.walk_to_file().await?.set_len(length).await?)
    }

    /// Reads the parents that the new commit will have. By default, the parents are the commit from
    /// which the transaction started, followed by the merged commits.
    ///
    /// # Errors
    /// Returns [`Error::Client`] if the transaction's `parents` file contains anything other than
    /// hashes.
    pub async fn parents(&self) -> Result<Vec<Commit>> {
        parse_commits(self.client(), &self.control_file("parents")?.read_text().await?)
    }

    /// Sets the parents that the new commit will have. Neither the files nor the branch change.
    ///
    /// # Errors
    /// Returns [`Error::Client`] if the server refuses the request.
    pub async fn set_parents(&self, parents: &[Commit]) -> Result<()> {
        let lines: String = parents.iter().map(|parent| format!("{}\n", parent.id())).collect();
        self.control_file("parents")?.replace(lines.as_bytes()).await
    }

    /// Returns the changes between `old` and the current tree, sorted by path.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the commit does not exist.
    pub async fn diff(&self, old: &Commit) -> Result<Vec<Change>> {
        parse_changes(&self.control_file("diff")?.join(old.id().to_string()).read().await?)
    }

    /// Merges the commit `theirs` into the transaction and adds it to the parents of the new
    /// commit. Conflicts are not reported as errors but are listed in [`MergeResult::conflicts`].
    ///
    /// # Errors
    /// Returns [`Error::OpenConflicts`] if conflicts from the previous merge have not been
    /// resolved, or [`Error::NotFound`] if the commit does not exist.
    pub async fn merge(&self, theirs: &Commit) -> Result<MergeResult> {
        self.control_file("merge")?.command(&theirs.id().to_string()).await?;
        let conflicts = self.conflicts().await?;
        Ok(MergeResult {
            ours: self.subtree("ours"),
            theirs: self.subtree("theirs"),
            base: self.subtree("base"),
            conflicts,
        })
    }

    /// Reads the paths of the files that are still in conflict after the last merge. Writing or
    /// removing a file resolves its conflict.
    ///
    /// # Errors
    /// Returns [`Error::Client`] if the server refuses the request.
    pub async fn conflicts(&self) -> Result<Vec<Path>> {
        let text = match self.control_file("conflicts")?.read().await {
            // The `conflicts` file does not exist until the first merge.
            Err(Error::NotFound) => return Ok(Vec::new()),
            other => other?,
        };
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(Path::parse).collect()
    }

    /// Sets the author of the commit. The format is `NAME <EMAIL>`, optionally followed by a date.
    /// By default, the author is the attached user or the author configured on the server.
    ///
    /// # Errors
    /// Returns [`Error::Client`] if the server rejects the text.
    pub async fn set_author(&self, author: &str) -> Result<()> {
        self.control_file("author")?.replace(author.as_bytes()).await
    }

    /// Commits the changes and ends the transaction. Returns the new head of the branch. The head
    /// is a merge commit if the branch has changed since the transaction started.
    ///
    /// If the future is dropped, the changes may or may not have been committed. The original
    /// server does not report the new commit, so the returned commit may be a later head of the
    /// branch.
    ///
    /// # Errors
    /// Returns [`Error::Conflict`] if the branch and the transaction both changed the same file.
    /// Returns [`Error::OpenConflicts`] if a merge left conflicts that have not been resolved.
    /// Returns [`Error::NotFound`] if one of the parents does not exist. The transaction remains
    /// open after [`Error::Conflict`] and [`Error::OpenConflicts`].
    pub async fn commit(&self, message: &str) -> Result<Commit> {
        match self.end_with("commit id", message).await {
            Err(error) if error.is_unknown_command() => {
                self.control_file("ctl")?.command("commit").await?;
                self.state.end();
                self.branch.head().await?.ok_or(Error::NotFound)
            }
            other => other,
        }
    }

    /// Like [`Transaction::commit`], but fails if the branch has moved since the transaction
    /// started. If multiple transactions start from the same commit, only one of them succeeds. Use
    /// this method to implement counters and locks. In contrast, [`Transaction::commit`] merges two
    /// transactions that make the same change, because identical changes do not conflict.
    ///
    /// # Errors
    /// Returns [`Error::NotFastForward`] if the branch has moved. Returns [`Error::Client`] if the
    /// server does not support the operation. In particular, the original server does not support
    /// this operation. May also return any other error that [`Transaction::commit`] returns.
    pub async fn commit_fast_forward(&self, message: &str) -> Result<Commit> {
        self.end_with("commit ff-only id", message).await
    }

    /// Commits by writing `command`, whose reply contains the new head.
    async fn end_with(&self, command: &str, message: &str) -> Result<Commit> {
        let (msg, ctl) = (self.control_file("msg")?, self.control_file("ctl")?);
        let (written, ctl) = tokio::join!(msg.replace(message.as_bytes()), ctl.open_read_write());
        let (ctl, ()) = (ctl?, written?);
        ctl.write_all_at(0, command.as_bytes()).await?;
        let head = read_line(&ctl).await?;
        self.state.end();
        match head.trim() {
            "" => self.branch.head().await?.ok_or(Error::NotFound),
            head => Ok(Commit::new(self.client(), parse_id(head)?)),
        }
    }

    /// Ends the transaction without committing it. Aborting never fails, because a lost connection
    /// also ends the transaction. Aborting a transaction again has no effect.
    pub async fn abort(&self) {
        if self.state.end() {
            let _ = self.dir.join("ctl").command("close").await;
        }
    }

    /// Returns `true` if the transaction has been committed or aborted.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.state.check_open().is_err()
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.state.end() {
            return;
        }
        // If the runtime has stopped, the connection is closed as well, so the server aborts the
        // transaction.
        if let Ok(runtime) = Handle::try_current() {
            let ctl = self.dir.join("ctl");
            runtime.spawn(async move { ctl.command("close").await });
        }
    }
}

impl Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("branch", &self.branch)
            .field("closed", &self.closed())
            .finish_non_exhaustive()
    }
}

async fn write_and_close(file: File, content: &[u8]) -> Result<()> {
    file.write_all_at(0, content).await?;
    Ok(file.close().await?)
}

fn permissions(executable: bool) -> u32 {
    if executable { 0o755 } else { 0o644 }
}
