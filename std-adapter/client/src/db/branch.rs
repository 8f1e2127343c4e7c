//! A handle to a branch.

use std::fmt::{self, Debug};
use std::ops::ControlFlow;

use super::branch_name::BranchName;
use super::commit::{Commit, parse_id};
use super::error::{Error, Result};
use super::ext::BranchExt;
use super::path::Path;
use super::remote_path::RemotePath;
use super::transaction::Transaction;
use super::watch::{PathValue, Watch, watch_lines};
use crate::{ByteString, Client};

/// A branch, which might not have any commits yet.
#[derive(Clone)]
pub struct Branch {
    dir: RemotePath,
    name: BranchName,
}

impl Branch {
    pub(super) fn new(client: &Client, name: BranchName) -> Branch {
        let dir = RemotePath::root(client).join("branch").join(name.to_file_name());
        Branch { dir, name }
    }

    pub(super) fn remote_path(&self) -> &RemotePath {
        &self.dir
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> ByteString {
        self.name.as_bytes().into()
    }

    /// Reads the head. Returns `None` if the branch has no commits.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the branch was removed.
    pub async fn head(&self) -> Result<Option<Commit>> {
        parse_head(&self.dir.client, &self.dir.join("head").read_line().await?)
    }

    /// Removes the branch. The branch's commits remain available as long as they are reachable from
    /// another branch.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the branch does not exist.
    pub async fn remove(&self) -> Result<()> {
        self.dir.remove().await
    }

    /// Fast-forwards the branch to a descendant of its head, or to any commit if the branch has no
    /// head.
    ///
    /// # Errors
    /// Returns [`Error::NotFastForward`] if `to` is not a descendant of the head, for example
    /// because another client has moved the branch. Returns [`Error::NotFound`] if the commit does
    /// not exist.
    pub async fn fast_forward(&self, to: &Commit) -> Result<()> {
        self.dir.join("fast-forward").command(&to.id().to_string()).await
    }

    /// Starts a transaction. The server aborts the transaction when the connection closes.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the branch was removed, or [`Error::Client`] if another error
    /// occurs.
    pub async fn transaction(&self) -> Result<Transaction> {
        Transaction::start(self).await
    }

    /// Runs `f` with a new transaction, which `f` must commit or abort.
    ///
    /// Dropping the future aborts the transaction.
    ///
    /// # Errors
    /// Returns any error from `f`, or [`Error::TransactionOpen`] if `f` returns `Ok` without
    /// committing or aborting the transaction. If an error is returned, the transaction is aborted.
    ///
    /// ```no_run
    /// # async fn example(branch: datakit_client::db::Branch) -> datakit_client::db::Result<()> {
    /// let head = branch
    ///     .with_transaction(async |transaction| {
    ///         transaction.create_file(&"hello".parse()?, b"world", false).await?;
    ///         transaction.commit("Say hello").await
    ///     })
    ///     .await?;
    /// # let _ = head;
    /// # Ok(()) }
    /// ```
    pub async fn with_transaction<T, E: From<Error>>(
        &self,
        f: impl AsyncFnOnce(&Transaction) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        BranchExt::with_transaction(self, f).await
    }

    /// Watches the head. The watch returns the current head immediately and then each new head. A
    /// head is `None` if the branch has no commits. Intermediate heads are skipped while the watch
    /// is not being read.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the branch was removed, or [`Error::Client`] if another error
    /// occurs.
    pub async fn watch_head(&self) -> Result<Watch<Option<Commit>>> {
        self.watch_commits("head.live").await
    }

    /// Watches all subsequent changes to the head, in order and without gaps. A head is `None` if
    /// the branch was removed. The server ends the stream if the client reads too slowly. The
    /// original server skips intermediate heads, as it does for [`Branch::watch_head`].
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the branch was removed, or [`Error::Client`] if another error
    /// occurs.
    pub async fn reflog(&self) -> Result<Watch<Option<Commit>>> {
        self.watch_commits("reflog").await
    }

    async fn watch_commits(&self, file: &str) -> Result<Watch<Option<Commit>>> {
        watch_lines(&self.dir.join(file), |client, line| async move { parse_head(&client, &line) })
            .await
    }

    /// Watches the value at a path in the branch. The watch returns the current value immediately
    /// and then each new value. A value is `None` if nothing exists at the path. Intermediate
    /// values are skipped while the watch is not being read.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the branch was removed, or [`Error::Client`] if another error
    /// occurs.
    pub async fn watch_path(&self, path: &Path) -> Result<Watch<Option<PathValue>>> {
        let nodes = path.names().map(|name| [name.as_bytes(), b".node"].concat());
        let live = self.dir.join("watch").join_all(nodes).join("tree.live");
        watch_lines(&live, |client, line| async move { PathValue::read(&client, &line).await })
            .await
    }

    /// Calls `f` with the current head and then with each new head until `f` returns
    /// [`ControlFlow::Break`] with a result. Dropping the future stops the watch.
    ///
    /// # Errors
    /// Returns any error from `f`, or [`Error::StreamEnded`] if the server ends the stream.
    pub async fn wait_for_head<T>(
        &self,
        f: impl AsyncFnMut(Option<Commit>) -> Result<ControlFlow<T>>,
    ) -> Result<T> {
        wait(self.watch_head().await?, f).await
    }

    /// Calls `f` with the current value at a path and then with each new value until `f` returns
    /// [`ControlFlow::Break`] with a result. Dropping the future stops the watch.
    ///
    /// # Errors
    /// Returns any error from `f`, or [`Error::StreamEnded`] if the server ends the stream.
    pub async fn wait_for_path<T>(
        &self,
        path: &Path,
        f: impl AsyncFnMut(Option<PathValue>) -> Result<ControlFlow<T>>,
    ) -> Result<T> {
        wait(self.watch_path(path).await?, f).await
    }
}

async fn wait<V, T>(
    mut watch: Watch<V>,
    mut f: impl AsyncFnMut(V) -> Result<ControlFlow<T>>,
) -> Result<T>
where
    V: Send + 'static,
{
    while let Some(value) = watch.next().await {
        if let ControlFlow::Break(result) = f(value?).await? {
            return Ok(result);
        }
    }
    Err(Error::StreamEnded)
}

/// Parses a line that contains a hash or is empty.
fn parse_head(client: &Client, line: &str) -> Result<Option<Commit>> {
    match line.trim() {
        "" => Ok(None),
        text => Ok(Some(Commit::new(client, parse_id(text)?))),
    }
}

impl Debug for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Branch({})", self.name)
    }
}
