//! A database that is opened by URL, either on a server or in a local repository.

use datakit_client::config::Connect;
use datakit_client::db::{
    BackendError, BranchOps, Change, CommitOps, Content, Database, Db, Details, Error, Id,
    MergeResult, Path, PathValue, Result, Stat, TransactionOps, TreeOps, Watch,
};
use datakit_client::db::{Branch, Commit, Transaction, Tree};
use datakit_client::{ByteString, Url};

use super::{DirectBranch, DirectCommit, DirectDb, DirectTransaction, DirectTree};

/// A database on a server or in a Git repository on this machine.
///
/// ```no_run
/// use datakit_client::db::prelude::*;
/// use datakit_db::AnyDb;
///
/// # async fn example() -> datakit_client::db::Result<()> {
/// let url = std::env::args().nth(1).unwrap_or_else(|| "tcp://127.0.0.1:5640".to_owned());
/// let db = AnyDb::connect(&url).await?;
/// for name in db.branches().await? {
///     println!("{name}");
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AnyDb {
    /// A database on a server.
    Server(Db),
    /// A database that this process opened without a server.
    Direct(DirectDb),
}

/// A branch in an [`AnyDb`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AnyBranch {
    /// A branch on a server.
    Server(Branch),
    /// A branch in a database that this process opened without a server.
    Direct(DirectBranch),
}

/// A commit in an [`AnyDb`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnyCommit {
    /// A commit on a server.
    Server(Commit),
    /// A commit in a database that this process opened without a server.
    Direct(DirectCommit),
}

/// A transaction in an [`AnyDb`].
#[derive(Debug)]
#[non_exhaustive]
pub enum AnyTransaction {
    /// A transaction on a server.
    Server(Transaction),
    /// A transaction in a database that this process opened without a server.
    Direct(DirectTransaction),
}

/// A readable tree in an [`AnyDb`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AnyTree {
    /// A tree on a server.
    Server(Tree),
    /// A tree in a database that this process opened without a server.
    Direct(DirectTree),
}

/// Evaluates `$call` with `$inner` bound to the variant's value.
macro_rules! either {
    ($this:expr, $inner:ident => $call:expr) => {
        match $this {
            Self::Server($inner) => $call,
            Self::Direct($inner) => $call,
        }
    };
}

/// Like `either!`, but wraps the result in the corresponding variant of `$any`.
macro_rules! wrap {
    ($this:expr, $any:ident, $inner:ident => $call:expr) => {
        match $this {
            Self::Server($inner) => $call.map($any::Server),
            Self::Direct($inner) => $call.map($any::Direct),
        }
    };
}

/// Like `either!`, but also binds `$of` to the value of the `$commit` variant. Evaluates to an
/// error if `$this` and `$commit` are different variants.
macro_rules! with_commit {
    ($this:expr, $commit:expr, $inner:ident, $of:ident => $call:expr) => {
        match ($this, $commit) {
            (Self::Server($inner), AnyCommit::Server($of)) => $call,
            (Self::Direct($inner), AnyCommit::Direct($of)) => $call,
            _ => Err(other_database()),
        }
    };
}

fn other_database() -> Error {
    Error::Backend(BackendError::new("the commit belongs to another database"))
}

impl AnyDb {
    /// Opens the database at a URL. For a URL of the form `git://PATH`, opens the Git repository at
    /// `PATH` with [`DirectDb::open`]. For any other URL, such as `tcp://HOST:PORT`, `unix://PATH`
    /// or `file://PATH`, connects to a server with [`Db::connect`].
    ///
    /// # Errors
    /// Returns [`Error::Backend`] if the URL is invalid or the repository cannot be used, or
    /// [`Error::Client`] if the connection cannot be established.
    pub async fn connect(url: &str) -> Result<AnyDb> {
        match url.strip_prefix("git://") {
            Some("") => {
                let reason = format!("invalid URL `{url}`: no path, use git:///srv/notes");
                Err(Error::Backend(BackendError::new(reason)))
            }
            Some(path) => DirectDb::open(path).await.map(AnyDb::Direct),
            None => {
                let url: Url = url.parse().map_err(|e| Error::Backend(BackendError::new(e)))?;
                Db::connect(&url).await.map(AnyDb::Server)
            }
        }
    }
}

/// The URL of a database on a server or in a repository. A configuration is read from this
/// database. See [`AnyDb::connect`].
///
/// ```no_run
/// use datakit_client::config::ConfigReader;
/// use datakit_db::AnyUrl;
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let config = ConfigReader::follow(AnyUrl("git:///srv/notes".to_owned()), "master")?;
/// let level = config.value("log/level".parse()?, "info".to_owned());
/// # let _ = level;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnyUrl(
    /// The text of the URL.
    pub String,
);

impl Connect for AnyUrl {
    type Database = AnyDb;

    async fn connect(&self) -> Result<AnyDb> {
        AnyDb::connect(&self.0).await
    }
}

impl From<Db> for AnyDb {
    fn from(db: Db) -> AnyDb {
        AnyDb::Server(db)
    }
}

impl From<DirectDb> for AnyDb {
    fn from(db: DirectDb) -> AnyDb {
        AnyDb::Direct(db)
    }
}

impl Database for AnyDb {
    type Branch = AnyBranch;
    type Commit = AnyCommit;
    type Transaction = AnyTransaction;
    type Tree = AnyTree;

    async fn branches(&self) -> Result<Vec<ByteString>> {
        either!(self, db => db.branches().await)
    }

    async fn branch(&self, name: impl AsRef<[u8]> + Send) -> Result<AnyBranch> {
        wrap!(self, AnyBranch, db => db.branch(name).await)
    }

    async fn remove_branch(&self, name: impl AsRef<[u8]> + Send) -> Result<()> {
        either!(self, db => db.remove_branch(name).await)
    }

    async fn commit(&self, hash: impl AsRef<[u8]> + Send) -> Result<AnyCommit> {
        wrap!(self, AnyCommit, db => db.commit(hash).await)
    }

    fn commit_with_id(&self, id: Id) -> AnyCommit {
        match self {
            AnyDb::Server(db) => AnyCommit::Server(db.commit_with_id(id)),
            AnyDb::Direct(db) => AnyCommit::Direct(db.commit_with_id(id)),
        }
    }

    fn tree(&self, id: impl AsRef<[u8]>) -> AnyTree {
        match self {
            AnyDb::Server(db) => AnyTree::Server(db.tree(id)),
            AnyDb::Direct(db) => AnyTree::Direct(db.tree(id)),
        }
    }

    async fn fetch(&self, url: &str, branch: &str) -> Result<AnyCommit> {
        wrap!(self, AnyCommit, db => db.fetch(url, branch).await)
    }

    async fn close(self) {
        either!(self, db => db.close().await);
    }
}

impl BranchOps for AnyBranch {
    type Commit = AnyCommit;
    type Transaction = AnyTransaction;
    type Tree = AnyTree;

    fn name(&self) -> ByteString {
        either!(self, branch => branch.name())
    }

    async fn head(&self) -> Result<Option<AnyCommit>> {
        Ok(match self {
            AnyBranch::Server(branch) => branch.head().await?.map(AnyCommit::Server),
            AnyBranch::Direct(branch) => branch.head().await?.map(AnyCommit::Direct),
        })
    }

    async fn remove(&self) -> Result<()> {
        either!(self, branch => branch.remove().await)
    }

    async fn fast_forward(&self, to: &AnyCommit) -> Result<()> {
        with_commit!(self, to, branch, to => branch.fast_forward(to).await)
    }

    async fn transaction(&self) -> Result<AnyTransaction> {
        wrap!(self, AnyTransaction, branch => branch.transaction().await)
    }

    async fn watch_head(&self) -> Result<Watch<Option<AnyCommit>>> {
        Ok(match self {
            AnyBranch::Server(branch) => any_heads(branch.watch_head().await?, AnyCommit::Server),
            AnyBranch::Direct(branch) => any_heads(branch.watch_head().await?, AnyCommit::Direct),
        })
    }

    async fn watch_path(&self, path: &Path) -> Result<Watch<Option<PathValue<AnyTree>>>> {
        Ok(match self {
            AnyBranch::Server(branch) => {
                let values = branch.watch_path(path).await?;
                values.map(|value| value.map(|value| value.map_tree(AnyTree::Server)))
            }
            AnyBranch::Direct(branch) => {
                let values = branch.watch_path(path).await?;
                values.map(|value| value.map(|value| value.map_tree(AnyTree::Direct)))
            }
        })
    }

    async fn reflog(&self) -> Result<Watch<Option<AnyCommit>>> {
        Ok(match self {
            AnyBranch::Server(branch) => any_heads(branch.reflog().await?, AnyCommit::Server),
            AnyBranch::Direct(branch) => any_heads(branch.reflog().await?, AnyCommit::Direct),
        })
    }
}

fn any_heads<C: Send + 'static>(
    heads: Watch<Option<C>>,
    any: fn(C) -> AnyCommit,
) -> Watch<Option<AnyCommit>> {
    heads.map(move |head| head.map(any))
}

fn any_commits<C>(commits: Vec<C>, any: fn(C) -> AnyCommit) -> Vec<AnyCommit> {
    commits.into_iter().map(any).collect()
}

impl CommitOps for AnyCommit {
    type Tree = AnyTree;

    fn id(&self) -> Id {
        either!(self, commit => commit.id())
    }

    fn tree(&self) -> AnyTree {
        match self {
            AnyCommit::Server(commit) => AnyTree::Server(commit.tree()),
            AnyCommit::Direct(commit) => AnyTree::Direct(commit.tree()),
        }
    }

    async fn message(&self) -> Result<String> {
        either!(self, commit => commit.message().await)
    }

    async fn parents(&self) -> Result<Vec<AnyCommit>> {
        Ok(match self {
            AnyCommit::Server(commit) => any_commits(commit.parents().await?, AnyCommit::Server),
            AnyCommit::Direct(commit) => any_commits(commit.parents().await?, AnyCommit::Direct),
        })
    }

    async fn diff(&self, old: &AnyCommit) -> Result<Vec<Change>> {
        with_commit!(self, old, commit, old => commit.diff(old).await)
    }

    async fn details(&self) -> Result<Details<AnyCommit>> {
        Ok(match self {
            AnyCommit::Server(commit) => commit.details().await?.map_commits(AnyCommit::Server),
            AnyCommit::Direct(commit) => commit.details().await?.map_commits(AnyCommit::Direct),
        })
    }
}

impl TreeOps for AnyTree {
    async fn read(&self, path: &Path) -> Result<Content> {
        either!(self, tree => tree.read(path).await)
    }

    async fn read_up_to(&self, path: &Path, limit: u64) -> Result<Content> {
        either!(self, tree => tree.read_up_to(path, limit).await)
    }

    async fn read_file(&self, path: &Path) -> Result<Vec<u8>> {
        either!(self, tree => tree.read_file(path).await)
    }

    async fn read_file_range(&self, path: &Path, offset: u64, length: usize) -> Result<Vec<u8>> {
        either!(self, tree => tree.read_file_range(path, offset, length).await)
    }

    async fn read_dir(&self, path: &Path) -> Result<Vec<ByteString>> {
        either!(self, tree => tree.read_dir(path).await)
    }

    async fn read_link(&self, path: &Path) -> Result<ByteString> {
        either!(self, tree => tree.read_link(path).await)
    }

    async fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        either!(self, tree => tree.stat(path).await)
    }
}

impl TransactionOps for AnyTransaction {
    type Commit = AnyCommit;
    type Tree = AnyTree;

    fn tree(&self) -> AnyTree {
        match self {
            AnyTransaction::Server(transaction) => AnyTree::Server(transaction.tree()),
            AnyTransaction::Direct(transaction) => AnyTree::Direct(transaction.tree()),
        }
    }

    async fn create_dir(&self, path: &Path) -> Result<()> {
        either!(self, transaction => transaction.create_dir(path).await)
    }

    async fn make_dirs(&self, path: &Path) -> Result<()> {
        either!(self, transaction => transaction.make_dirs(path).await)
    }

    async fn create_file(&self, path: &Path, content: &[u8], executable: bool) -> Result<()> {
        either!(self, transaction => transaction.create_file(path, content, executable).await)
    }

    async fn create_symlink(&self, path: &Path, target: impl AsRef<[u8]> + Send) -> Result<()> {
        either!(self, transaction => transaction.create_symlink(path, target).await)
    }

    async fn replace_file(&self, path: &Path, content: &[u8]) -> Result<()> {
        either!(self, transaction => transaction.replace_file(path, content).await)
    }

    async fn create_or_replace_file(&self, path: &Path, content: &[u8]) -> Result<()> {
        either!(self, transaction => transaction.create_or_replace_file(path, content).await)
    }

    async fn set_executable(&self, path: &Path, executable: bool) -> Result<()> {
        either!(self, transaction => transaction.set_executable(path, executable).await)
    }

    async fn remove(&self, path: &Path) -> Result<()> {
        either!(self, transaction => transaction.remove(path).await)
    }

    async fn truncate(&self, path: &Path, length: u64) -> Result<()> {
        either!(self, transaction => transaction.truncate(path, length).await)
    }

    async fn parents(&self) -> Result<Vec<AnyCommit>> {
        Ok(match self {
            Self::Server(inner) => any_commits(inner.parents().await?, AnyCommit::Server),
            Self::Direct(inner) => any_commits(inner.parents().await?, AnyCommit::Direct),
        })
    }

    async fn set_parents(&self, parents: &[AnyCommit]) -> Result<()> {
        match self {
            AnyTransaction::Server(transaction) => {
                let commit = |parent: &AnyCommit| match parent {
                    AnyCommit::Server(commit) => Ok(commit.clone()),
                    AnyCommit::Direct(_) => Err(other_database()),
                };
                let parents: Vec<_> = parents.iter().map(commit).collect::<Result<_>>()?;
                transaction.set_parents(&parents).await
            }
            AnyTransaction::Direct(transaction) => {
                let commit = |parent: &AnyCommit| match parent {
                    AnyCommit::Direct(commit) => Ok(commit.clone()),
                    AnyCommit::Server(_) => Err(other_database()),
                };
                let parents: Vec<_> = parents.iter().map(commit).collect::<Result<_>>()?;
                transaction.set_parents(&parents).await
            }
        }
    }

    async fn set_author(&self, author: &str) -> Result<()> {
        either!(self, transaction => transaction.set_author(author).await)
    }

    async fn diff(&self, old: &AnyCommit) -> Result<Vec<Change>> {
        with_commit!(self, old, transaction, old => transaction.diff(old).await)
    }

    async fn merge(&self, theirs: &AnyCommit) -> Result<MergeResult<AnyTree>> {
        match (self, theirs) {
            (AnyTransaction::Server(transaction), AnyCommit::Server(theirs)) => {
                Ok(transaction.merge(theirs).await?.map_trees(AnyTree::Server))
            }
            (AnyTransaction::Direct(transaction), AnyCommit::Direct(theirs)) => {
                Ok(transaction.merge(theirs).await?.map_trees(AnyTree::Direct))
            }
            _ => Err(other_database()),
        }
    }

    async fn conflicts(&self) -> Result<Vec<Path>> {
        either!(self, transaction => transaction.conflicts().await)
    }

    async fn commit(&self, message: &str) -> Result<AnyCommit> {
        wrap!(self, AnyCommit, transaction => transaction.commit(message).await)
    }

    async fn commit_fast_forward(&self, message: &str) -> Result<AnyCommit> {
        wrap!(self, AnyCommit, transaction => transaction.commit_fast_forward(message).await)
    }

    async fn abort(&self) {
        either!(self, transaction => transaction.abort().await);
    }

    fn closed(&self) -> bool {
        either!(self, transaction => transaction.closed())
    }
}
