//! Changing a branch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::runtime::Handle;

use super::at::At;
use super::branch::Branch;
use super::commit::{Change, Commit, changes, commits, hash};
use super::error::{Error, Result};
use super::path::Path;
use super::tree::Tree;
use super::unique;
use crate::{ByteString, Client, Dialect, OpenMode};

/// Changes to a branch that nobody else sees before they are committed, and that are committed
/// together or not at all.
///
/// It starts from the head of the branch. What comes to the branch meanwhile is merged with at the
/// commit, and can make it fail.
///
/// A transaction that is dropped is aborted: a task of the tokio runtime tells the server, which
/// otherwise drops it with the connection. Once it has ended all calls fail with [`Error::TransactionEnded`],
/// and nothing is sent.
///
/// The paths of what is made, written or removed are those of anything but the root: for that they
/// fail with [`Error::InvalidPath`]. A future that is dropped flushes its request: the change is
/// made or not, a file may have been written in part.
pub struct Transaction {
    branch: Branch,
    at: At,
    alive: Alive,
}

/// Whether a transaction has not ended yet, as far as this side knows.
#[derive(Clone)]
pub(super) struct Alive(Arc<AtomicBool>);

impl Alive {
    fn new() -> Alive {
        Alive(Arc::new(AtomicBool::new(true)))
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.0.load(Relaxed) { Ok(()) } else { Err(Error::TransactionEnded) }
    }

    /// True for the one who ended it.
    fn end(&self) -> bool {
        self.0.swap(false, Relaxed)
    }
}

/// What a merge did to a transaction. The trees can be read until the next merge and the end of the
/// transaction.
pub struct Merge {
    /// The transaction before it.
    pub ours: Tree,
    /// The commit that was merged.
    pub theirs: Tree,
    /// What both came from; an empty tree if nothing.
    pub base: Tree,
    /// The files that both changed. In the transaction each is a text that says so, to be replaced
    /// or removed before the commit.
    pub conflicts: Vec<Path>,
}

/// How many names are tried, should somebody else on the connection have one of so many.
const TRIES: u32 = 3;

impl Transaction {
    /// The guard is there before the request is sent: what the server begins is ended also when
    /// nobody waits any more.
    pub(super) async fn begin(branch: &Branch) -> Result<Transaction> {
        let all = branch.at().to("transactions");
        let mut tries = 0;
        loop {
            let name = unique();
            let transaction =
                Transaction { branch: branch.clone(), at: all.to(&name), alive: Alive::new() };
            match all.mkdir(&name).await {
                Ok(()) => return Ok(transaction),
                Err(error) => {
                    // Of somebody else, or not there.
                    transaction.alive.end();
                    tries += 1;
                    if error != Error::Exists || tries == TRIES {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn client(&self) -> &Client {
        &self.at.client
    }

    fn file(&self, name: &str) -> Result<At> {
        self.alive.check()?;
        Ok(self.at.to(name))
    }

    /// A place in the tree.
    fn place(&self, path: &Path) -> Result<At> {
        Ok(self.file("rw")?.below(path.names()))
    }

    /// The directory and the name of what is to be made.
    fn new_place(&self, path: &Path) -> Result<(At, ByteString)> {
        let (dir, name) = path.split()?;
        Ok((self.place(&dir)?, name))
    }

    /// The files as they are now, with the changes that were made.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.side("rw")
    }

    fn side(&self, name: &str) -> Tree {
        Tree::of_transaction(self.at.to(name), self.alive.clone())
    }

    /// Makes a directory. Git has no empty ones: it is not committed before there is a file in it.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::NotFound`] without the directory that it is to be in.
    pub async fn create_dir(&self, path: &Path) -> Result<()> {
        let (dir, name) = self.new_place(path)?;
        dir.mkdir(name).await
    }

    /// Makes a directory, and those that it is to be in. Those that are there already stay as they
    /// are.
    ///
    /// # Errors
    /// [`Error::NotDirectory`] where one of them is something else.
    pub async fn make_dirs(&self, path: &Path) -> Result<()> {
        let mut missing = Vec::new();
        let mut next = path.clone();
        while !next.is_root() {
            match self.create_dir(&next).await {
                Ok(()) => break,
                Err(Error::Exists) if self.tree().exists_dir(&next).await? => break,
                Err(Error::Exists) => return Err(Error::NotDirectory),
                Err(Error::NotFound) => missing.push(std::mem::take(&mut next)),
                Err(error) => return Err(error),
            }
            if let Some(last) = missing.last() {
                next = last.parent();
            }
        }
        for dir in missing.iter().rev() {
            match self.create_dir(dir).await {
                // Somebody else needed it too.
                Ok(()) | Err(Error::Exists) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes the file or link of that name in 9P2000.L, which makes no name twice; the server
    /// replaces it in the other dialects.
    async fn make_room(&self, dir: &At, name: &ByteString) -> Result<()> {
        if self.client().dialect() != Dialect::Linux {
            return Ok(());
        }
        match dir.to(name).walk_to_file().await {
            Ok(node) => Ok(node.remove().await?),
            Err(Error::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes a file, in place of a file or a link that is there.
    ///
    /// # Errors
    /// [`Error::IsDirectory`]; [`Error::NotFound`] without the directory that it is to be in.
    pub async fn create_file(&self, path: &Path, content: &[u8], executable: bool) -> Result<()> {
        let (dir, name) = self.new_place(path)?;
        self.make_room(&dir, &name).await?;
        let file = dir.walk().await?.create(name, permissions(executable), OpenMode::WRITE).await?;
        file.write_all_at(0, content).await?;
        Ok(file.close().await?)
    }

    /// Makes a symbolic link, in place of a file or a link that is there. The target is any text.
    ///
    /// # Errors
    /// Those of [`Transaction::create_file`]; [`Error::Client`] in 9P2000, which has no links.
    pub async fn create_symlink(&self, path: &Path, target: impl AsRef<[u8]>) -> Result<()> {
        let (dir, name) = self.new_place(path)?;
        self.make_room(&dir, &name).await?;
        Ok(dir.walk().await?.symlink(name, target).await?)
    }

    /// Makes `content` all of a file that is there. It stays executable if it was.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::IsDirectory`].
    pub async fn replace_file(&self, path: &Path, content: &[u8]) -> Result<()> {
        path.split()?;
        self.place(path)?.replace(content).await
    }

    /// Makes `content` all of a file, which is made if it is missing. It stays executable if it
    /// was.
    ///
    /// # Errors
    /// [`Error::IsDirectory`]; [`Error::NotFound`] without the directory that it is to be in.
    pub async fn create_or_replace_file(&self, path: &Path, content: &[u8]) -> Result<()> {
        match self.replace_file(path, content).await {
            Err(Error::NotFound) => self.create_file(path, content, false).await,
            other => other,
        }
    }

    /// Makes a file a program, or no program any more. A link becomes a file that holds the target.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::IsDirectory`].
    pub async fn set_executable(&self, path: &Path, executable: bool) -> Result<()> {
        path.split()?;
        Ok(self.place(path)?.walk_to_file().await?.set_mode(permissions(executable)).await?)
    }

    /// Removes a file, a link, or a directory with everything in it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn remove(&self, path: &Path) -> Result<()> {
        path.split()?;
        self.place(path)?.remove().await
    }

    /// Cuts a file to so many bytes, or extends it with zeros.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::IsDirectory`].
    pub async fn truncate(&self, path: &Path, length: u64) -> Result<()> {
        path.split()?;
        Ok(self.place(path)?.walk_to_file().await?.set_len(length).await?)
    }

    /// The commits that the new one is made from: at first the head of the branch, then also those
    /// that were merged.
    ///
    /// # Errors
    /// [`Error::Client`] when the file holds something else than hashes.
    pub async fn parents(&self) -> Result<Vec<Commit>> {
        commits(self.client(), &self.file("parents")?.read_text().await?)
    }

    /// Says which commits the new one is made from. Neither files nor the branch change by it.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn set_parents(&self, parents: &[Commit]) -> Result<()> {
        let lines: String = parents.iter().map(|parent| format!("{}\n", parent.id())).collect();
        self.file("parents")?.replace(lines.as_bytes()).await
    }

    /// What changed from `old` to the transaction as it is now, in the server's order: by path.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a commit that is not there.
    pub async fn diff(&self, old: &Commit) -> Result<Vec<Change>> {
        changes(&self.file("diff")?.to(old.id().to_string()).read().await?)
    }

    /// Merges a commit into the transaction, and makes it one of its parents. Conflicts are no
    /// error.
    ///
    /// # Errors
    /// [`Error::OpenConflicts`] when those of the last merge are not resolved;
    /// [`Error::NotFound`] for a commit that is not there.
    pub async fn merge(&self, theirs: &Commit) -> Result<Merge> {
        self.file("merge")?.command(&theirs.id().to_string()).await?;
        let conflicts = self.conflicts().await?;
        Ok(Merge {
            ours: self.side("ours"),
            theirs: self.side("theirs"),
            base: self.side("base"),
            conflicts,
        })
    }

    /// The files that the last merge left to be resolved: none before the first. Writing or
    /// removing a file resolves it.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn conflicts(&self) -> Result<Vec<Path>> {
        let text = match self.file("conflicts")?.read().await {
            Err(Error::NotFound) => return Ok(Vec::new()),
            other => other?,
        };
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(Path::parse).collect()
    }

    /// Says who wrote the commit: `NAME <MAIL>`, and behind it perhaps a date. Without this it is
    /// the user who attached, or as the server is set up.
    ///
    /// # Errors
    /// [`Error::Client`] when the server does not take it.
    pub async fn set_author(&self, author: &str) -> Result<()> {
        self.file("author")?.replace(author.as_bytes()).await
    }

    /// Commits the changes, and ends the transaction. Returns where the branch is then: at the new
    /// commit, or at the merge of it and what came to the branch meanwhile.
    ///
    /// Dropped, it commits or not. The original server does not tell which commit it made: the head
    /// of the branch is asked for then, which may be a later one.
    ///
    /// # Errors
    /// [`Error::Conflict`] and [`Error::OpenConflicts`], after which the transaction is still open;
    /// [`Error::NotFound`] for parents that are not there.
    pub async fn commit(&self, message: &str) -> Result<Commit> {
        self.file("msg")?.replace(message.as_bytes()).await?;
        let ctl = self.file("ctl")?;
        let head = match ctl.ask("commit id").await {
            Err(error) if error.is_unknown_command() => {
                ctl.command("commit").await?;
                None
            }
            reply => Some(reply?),
        };
        self.alive.end();
        match head.as_deref().map(str::trim) {
            Some(head) if !head.is_empty() => Ok(Commit::new(self.client(), hash(head)?)),
            _ => self.branch.head().await?.ok_or(Error::NotFound),
        }
    }

    /// Ends the transaction without a commit. Never fails, also not the second time: a connection
    /// that is gone has ended it too.
    pub async fn abort(&self) {
        if self.alive.end() {
            let _ = self.at.to("ctl").command("close").await;
        }
    }

    /// Whether it has ended, by a commit or an abort.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.alive.check().is_err()
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.alive.end() {
            return;
        }
        // Without a runtime the connection is at its end as well.
        if let Ok(runtime) = Handle::try_current() {
            let ctl = self.at.to("ctl");
            runtime.spawn(async move { ctl.command("close").await });
        }
    }
}

fn permissions(executable: bool) -> u32 {
    if executable { 0o755 } else { 0o644 }
}
