//! Extension traits that provide additional methods for every back end. The methods are implemented
//! in terms of the database traits.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;

use super::concurrent::try_join_all;
use super::error::{Error, Result};
use super::ops::{BranchOps, TransactionOps, TreeOps};
use super::path::Path;
use super::tree::Content;
use super::watch::{PathValue, Watch};

/// A boxed future. Unlike the future of an `async fn`, a boxed future is known to be `Send` in
/// generic functions.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The maximum number of transactions started by one call to [`BranchExt::update`].
const MAX_UPDATES: u32 = 100;

/// Additional methods for every branch type. The returned futures are `Send` if the futures
/// returned by `f` are `Send`.
pub trait BranchExt: BranchOps {
    /// Runs `f` with a new transaction, which `f` must commit or abort. Dropping the future aborts
    /// the transaction.
    ///
    /// # Errors
    /// Returns any error from `f`, or [`Error::TransactionOpen`] if `f` returns `Ok` without
    /// committing or aborting the transaction. If an error is returned, the transaction is aborted.
    fn with_transaction<T, E: From<Error>>(
        &self,
        f: impl AsyncFnOnce(&Self::Transaction) -> std::result::Result<T, E>,
    ) -> impl Future<Output = std::result::Result<T, E>>;

    /// Runs `f` with a new transaction and then commits the transaction to the branch. If another
    /// commit conflicts with the changes, the transaction is aborted and `f` runs again with a new
    /// transaction that starts from the new head. If `f` aborts the transaction, nothing is
    /// committed and the current head is returned.
    ///
    /// A concurrent commit that changes other files, or makes the same change, does not conflict
    /// and is merged. If `f` reads files that must not change before the commit, use
    /// [`TransactionOps::commit_fast_forward`].
    ///
    /// Returns the new head. Dropping the future aborts the transaction.
    ///
    /// # Errors
    /// Returns any error from `f` or from the commit. Gives up after 100 conflicts and returns
    /// [`Error::Conflict`].
    ///
    /// ```no_run
    /// # use datakit_client::db::{Result, prelude::*};
    /// # async fn example<B: BranchOps>(branch: B) -> Result<()> {
    /// // `f` may run several times, so it borrows what it uses.
    /// let (path, line) = (&"log".parse()?, b"started\n".as_slice());
    /// branch
    ///     .update("Start", |transaction| async move {
    ///         let text = transaction.tree().read_file_if_present(path).await?;
    ///         let longer = [text.unwrap_or_default().as_slice(), line].concat();
    ///         transaction.write_file(path, &longer).await
    ///     })
    ///     .await?;
    /// # Ok(()) }
    /// ```
    fn update<'a, F>(
        &'a self,
        message: &'a str,
        f: impl FnMut(Arc<Self::Transaction>) -> F + Send + 'a,
    ) -> BoxFuture<'a, Result<Option<Self::Commit>>>
    where
        F: Future<Output = Result<()>> + Send + 'a;

    /// Calls `f` with the current head and then with each new head until `f` returns
    /// [`ControlFlow::Break`] with a result. Dropping the future stops the watch.
    ///
    /// # Errors
    /// Returns any error from `f`, or [`Error::StreamEnded`] if the watch ends.
    fn wait_for_head<'a, T, F>(
        &'a self,
        f: impl FnMut(Option<Self::Commit>) -> F + Send + 'a,
    ) -> BoxFuture<'a, Result<T>>
    where
        F: Future<Output = Result<ControlFlow<T>>> + Send + 'a;

    /// Calls `f` with the current value at a path and then with each new value until `f` returns
    /// [`ControlFlow::Break`] with a result. Dropping the future stops the watch.
    ///
    /// # Errors
    /// Returns any error from `f`, or [`Error::StreamEnded`] if the watch ends.
    fn wait_for_path<'a, T, F>(
        &'a self,
        path: &'a Path,
        f: impl FnMut(Option<PathValue<Self::Tree>>) -> F + Send + 'a,
    ) -> BoxFuture<'a, Result<T>>
    where
        F: Future<Output = Result<ControlFlow<T>>> + Send + 'a;
}

// `with_transaction` has no default body in the trait, because the compiler cannot infer that the
// future of a default body is `Send`.
impl<B: BranchOps> BranchExt for B {
    async fn with_transaction<T, E: From<Error>>(
        &self,
        f: impl AsyncFnOnce(&Self::Transaction) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let transaction = self.transaction().await?;
        let result = f(&transaction).await;
        let still_open = !transaction.closed();
        transaction.abort().await;
        if still_open && result.is_ok() {
            return Err(Error::TransactionOpen.into());
        }
        result
    }

    fn update<'a, F>(
        &'a self,
        message: &'a str,
        mut f: impl FnMut(Arc<Self::Transaction>) -> F + Send + 'a,
    ) -> BoxFuture<'a, Result<Option<Self::Commit>>>
    where
        F: Future<Output = Result<()>> + Send + 'a,
    {
        Box::pin(async move {
            let mut tries = 0;
            loop {
                let transaction = Arc::new(self.transaction().await?);
                f(Arc::clone(&transaction)).await?;
                if transaction.closed() {
                    return self.head().await;
                }
                tries += 1;
                match transaction.commit(message).await {
                    Err(Error::Conflict(_)) if tries < MAX_UPDATES => transaction.abort().await,
                    committed => return committed.map(Some),
                }
            }
        })
    }

    fn wait_for_head<'a, T, F>(
        &'a self,
        f: impl FnMut(Option<Self::Commit>) -> F + Send + 'a,
    ) -> BoxFuture<'a, Result<T>>
    where
        F: Future<Output = Result<ControlFlow<T>>> + Send + 'a,
    {
        Box::pin(async move { wait(self.watch_head().await?, f).await })
    }

    fn wait_for_path<'a, T, F>(
        &'a self,
        path: &'a Path,
        f: impl FnMut(Option<PathValue<Self::Tree>>) -> F + Send + 'a,
    ) -> BoxFuture<'a, Result<T>>
    where
        F: Future<Output = Result<ControlFlow<T>>> + Send + 'a,
    {
        Box::pin(async move { wait(self.watch_path(path).await?, f).await })
    }
}

async fn wait<V, T, F>(mut watch: Watch<V>, mut f: impl FnMut(V) -> F) -> Result<T>
where
    V: Send + 'static,
    F: Future<Output = Result<ControlFlow<T>>>,
{
    while let Some(value) = watch.next().await {
        if let ControlFlow::Break(result) = f(value?).await? {
            return Ok(result);
        }
    }
    Err(Error::StreamEnded)
}

/// Additional methods for every tree type.
pub trait TreeExt: TreeOps {
    /// Reads a file. The file may be executable. Returns `None` if the path does not exist or is
    /// not a file.
    ///
    /// # Errors
    /// Returns an error if the tree cannot be read, or if it belongs to a transaction that has
    /// ended.
    fn read_file_if_present<'a>(&'a self, path: &'a Path)
    -> BoxFuture<'a, Result<Option<Vec<u8>>>>;

    /// Reads a file of at most `limit` bytes. The file may be executable.
    ///
    /// # Errors
    /// Returns [`Error::FileTooLong`] if the file is longer than `limit` bytes, [`Error::NotFile`]
    /// if the path is a directory or a link, or [`Error::NotFound`] if it does not exist.
    fn read_file_up_to<'a>(&'a self, path: &'a Path, limit: u64) -> BoxFuture<'a, Result<Vec<u8>>>;

    /// Reads all files and links at and below a path. The returned paths are relative to the root
    /// of the tree.
    ///
    /// Up to 32 entries are read concurrently. Directories are omitted, and the result does not
    /// indicate which files are executable. Use this method only for small subtrees, because it
    /// holds the entire result in memory.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the path does not exist.
    fn read_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<BTreeMap<Path, Content>>>;
}

impl<T: TreeOps> TreeExt for T {
    fn read_file_if_present<'a>(
        &'a self,
        path: &'a Path,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        Box::pin(async move {
            match self.read_file(path).await {
                Ok(content) => Ok(Some(content)),
                Err(Error::NotFile) => Ok(None),
                Err(error) if error.is_absent() => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn read_file_up_to<'a>(&'a self, path: &'a Path, limit: u64) -> BoxFuture<'a, Result<Vec<u8>>> {
        Box::pin(async move {
            match self.read_up_to(path, limit).await? {
                Content::File(content) => Ok(content),
                Content::Dir(_) | Content::Link(_) => Err(Error::NotFile),
            }
        })
    }

    fn read_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<BTreeMap<Path, Content>>> {
        Box::pin(async move {
            let (mut found, mut level) = (BTreeMap::new(), vec![path.clone()]);
            while !level.is_empty() {
                let mut reads = Vec::with_capacity(level.len());
                for path in level {
                    reads
                        .push(async move { self.read(&path).await.map(|content| (path, content)) });
                }
                let mut next = Vec::new();
                for (path, content) in try_join_all(reads).await? {
                    match content {
                        Content::Dir(names) => {
                            for name in names {
                                next.push(path.clone().join(name)?);
                            }
                        }
                        content => drop(found.insert(path, content)),
                    }
                }
                level = next;
            }
            Ok(found)
        })
    }
}

/// Additional methods for every transaction type.
pub trait TransactionExt: TransactionOps {
    /// Creates or replaces files, links and directories. Also creates missing parent directories.
    /// Up to 32 entries are written concurrently. An existing executable file remains executable.
    ///
    /// The names in a [`Content::Dir`] are ignored.
    ///
    /// # Errors
    /// Returns [`Error::NotDirectory`] if a parent exists and is not a directory. Returns
    /// [`Error::IsDirectory`] if a file would replace a directory. After an error, some of the
    /// entries may already have been written.
    fn write_files<'a>(&'a self, files: &'a BTreeMap<Path, Content>) -> BoxFuture<'a, Result<()>>;

    /// Like [`write_files`](TransactionExt::write_files), but writes a single file.
    ///
    /// # Errors
    /// Returns the same errors as [`write_files`](TransactionExt::write_files).
    fn write_file<'a>(&'a self, path: &'a Path, content: &'a [u8]) -> BoxFuture<'a, Result<()>>;

    /// Removes an entry. If the entry is a directory, its contents are removed as well. Returns
    /// `false` if the entry does not exist.
    ///
    /// # Errors
    /// Returns [`Error::TransactionEnded`] if the transaction has ended.
    fn remove_if_present<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<bool>>;
}

impl<T: TransactionOps> TransactionExt for T {
    fn write_files<'a>(&'a self, files: &'a BTreeMap<Path, Content>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let dirs: BTreeSet<Path> = files
                .iter()
                .map(|(path, content)| match content {
                    Content::Dir(_) => path.clone(),
                    _ => path.parent(),
                })
                .collect();
            let mut made = Vec::with_capacity(dirs.len());
            for dir in &dirs {
                made.push(self.make_dirs(dir));
            }
            try_join_all(made).await?;
            let mut written = Vec::with_capacity(files.len());
            for (path, content) in files {
                written.push(async move {
                    match content {
                        Content::File(bytes) => self.create_or_replace_file(path, bytes).await,
                        Content::Link(target) => self.create_symlink(path, target).await,
                        Content::Dir(_) => Ok(()),
                    }
                });
            }
            try_join_all(written).await.map(drop)
        })
    }

    fn write_file<'a>(&'a self, path: &'a Path, content: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.make_dirs(&path.parent()).await?;
            self.create_or_replace_file(path, content).await
        })
    }

    fn remove_if_present<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            match self.remove(path).await {
                Ok(()) => Ok(true),
                Err(error) if error.is_absent() => Ok(false),
                Err(error) => Err(error),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::prelude::*;
    use super::*;

    // `tokio::spawn` requires the futures of generic functions to be `Send`.

    #[allow(dead_code)]
    fn an_update_can_be_spawned<D: Database>(db: D) {
        tokio::spawn(async move {
            let path: &Path = &"a/b".parse()?;
            db.branch("master")
                .await?
                .update("Change", |transaction| async move {
                    transaction.write_file(path, b"content").await?;
                    transaction.remove_if_present(&"c".parse()?).await.map(drop)
                })
                .await
        });
    }

    #[allow(dead_code)]
    fn a_transaction_can_be_spawned<B: BranchOps>(branch: B, tree: B::Tree) {
        tokio::spawn(async move {
            let path: Path = "a/b".parse()?;
            let files = tree.read_all(&Path::ROOT).await?;
            branch
                .with_transaction(async |transaction| {
                    transaction.write_files(&files).await?;
                    transaction.write_file(&path, b"x").await?;
                    transaction.commit("Again").await
                })
                .await
        });
    }

    #[allow(dead_code)]
    fn waits_can_be_spawned<B: BranchOps>(branch: B) {
        tokio::spawn(async move {
            let path: &Path = &"a/b".parse()?;
            let mut seen = 0;
            branch
                .wait_for_head(|head| {
                    seen += 1;
                    async move {
                        match head {
                            Some(head) if seen > 1 => {
                                head.tree().read(path).await.map(ControlFlow::Break)
                            }
                            _ => Ok(ControlFlow::Continue(())),
                        }
                    }
                })
                .await?;
            branch.wait_for_path(path, async |_| Ok(ControlFlow::Break(()))).await
        });
    }
}
