//! One branch.

use std::fmt::{self, Debug};
use std::ops::ControlFlow;

use super::BranchName;
use super::at::At;
use super::commit::{Commit, hash};
use super::error::{Error, Result};
use super::path::Path;
use super::transaction::Transaction;
use super::watch::{PathValue, Watch};
use crate::{ByteString, Client};

/// A branch, which may have no commits yet.
#[derive(Clone)]
pub struct Branch {
    at: At,
    name: BranchName,
}

impl Branch {
    pub(super) fn new(client: &Client, name: BranchName) -> Branch {
        Branch {
            at: At::root(client).below([b"branch".to_vec(), name.to_file_name().to_vec()]),
            name,
        }
    }

    pub(super) fn at(&self) -> &At {
        &self.at
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> ByteString {
        self.name.as_bytes().into()
    }

    /// Where it is now; `None` without commits.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the branch was removed, here and below.
    pub async fn head(&self) -> Result<Option<Commit>> {
        head(&self.at.client, &self.at.to("head").read_text().await?)
    }

    /// Removes the branch. Its commits stay for as long as something else leads to them.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn remove(&self) -> Result<()> {
        self.at.remove().await
    }

    /// Moves the branch to a commit that came from its head, or to any commit if it has none.
    ///
    /// # Errors
    /// [`Error::NotFastForward`], also when somebody else moved the branch meanwhile;
    /// [`Error::NotFound`] for a commit that is not there.
    pub async fn fast_forward(&self, to: &Commit) -> Result<()> {
        self.at.to("fast-forward").command(&to.id().to_string()).await
    }

    /// Begins a transaction. It is known to this connection only, and ends with it.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn transaction(&self) -> Result<Transaction> {
        Transaction::begin(self).await
    }

    /// A transaction that is over when this returns: `f` commits it, or aborts it.
    ///
    /// Dropped, it aborts the transaction.
    ///
    /// # Errors
    /// That of `f`, after an abort. [`Error::TransactionOpen`], also after an abort, when `f` succeeds
    /// without having ended it.
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
        let transaction = self.transaction().await?;
        let done = f(&transaction).await;
        let unfinished = !transaction.closed();
        transaction.abort().await;
        if unfinished && done.is_ok() {
            return Err(Error::TransactionOpen.into());
        }
        done
    }

    /// Follows where the branch is: at once where it is now, and then each time that it is
    /// elsewhere; `None` without commits. Moves that come while nobody reads are skipped but for
    /// the last.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn watch_head(&self) -> Result<Watch<Option<Commit>>> {
        Watch::open(&self.at.to("head.live"), |client, line| {
            Box::pin(async move { head(&client, &line) })
        })
        .await
    }

    /// Follows every move of the branch from now on, in order and without gaps; `None` is its
    /// removal. The server ends the stream of a reader that is too slow. The original server does
    /// not keep to this: it skips moves as [`Branch::watch_head`] does.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn reflog(&self) -> Result<Watch<Option<Commit>>> {
        Watch::open(&self.at.to("reflog"), |client, line| {
            Box::pin(async move { head(&client, &line) })
        })
        .await
    }

    /// Follows what is at a path of the branch: at once what is there now, and then each time that
    /// it is something else; `None` for nothing. Changes that come while nobody reads are skipped
    /// but for the last.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn watch_path(&self, path: &Path) -> Result<Watch<Option<PathValue>>> {
        let nodes = path.names().map(|name| [name.as_bytes(), b".node"].concat());
        let live = self.at.to("watch").below(nodes).to("tree.live");
        Watch::open(&live, |client, line| {
            Box::pin(async move { PathValue::read(&client, &line).await })
        })
        .await
    }

    /// Waits until the head is as `f` wants it: it is called with the head, at once and each time
    /// that it is another one, and breaks with the result. Dropping the future ends the wait.
    ///
    /// # Errors
    /// That of `f`; [`Error::StreamEnded`] when the server ends the stream.
    pub async fn wait_for_head<T>(
        &self,
        f: impl AsyncFnMut(Option<Commit>) -> Result<ControlFlow<T>>,
    ) -> Result<T> {
        wait(self.watch_head().await?, f).await
    }

    /// Waits until what is at a path is as `f` wants it, see [`Branch::wait_for_head`].
    ///
    /// # Errors
    /// Those of [`Branch::wait_for_head`].
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
        if let ControlFlow::Break(done) = f(value?).await? {
            return Ok(done);
        }
    }
    Err(Error::StreamEnded)
}

/// A line with a hash, or an empty one.
fn head(client: &Client, line: &str) -> Result<Option<Commit>> {
    match line.trim() {
        "" => Ok(None),
        text => Ok(Some(Commit::new(client, hash(text)?))),
    }
}

impl Debug for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Branch({})", self.name)
    }
}
