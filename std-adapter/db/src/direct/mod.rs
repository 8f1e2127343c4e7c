//! A database that implements the traits of `datakit_client::db` without a server.

mod any;
mod branch;
mod commit;
mod error;
mod fetch;
mod transaction;
mod tree;
mod watch;

use std::collections::HashSet;
use std::fmt::{self, Debug};
use std::path::Path;
use std::sync::Arc;

use datakit_client::ByteString;
use datakit_client::db::{self, Result};
use datakit_core::vfs::User;
use parking_lot::Mutex;

pub use any::{AnyBranch, AnyCommit, AnyDb, AnyTransaction, AnyTree, AnyUrl};
pub use branch::DirectBranch;
pub use commit::DirectCommit;
pub use transaction::DirectTransaction;
pub use tree::DirectTree;

use crate::identity::Identity;
use crate::store::{GitStore, MemoryStore};
use crate::{BranchName, Database, Id};

/// A database that this process accesses directly, without a server.
///
/// Programs that are generic over [`db::Database`] can use either this type or a server. Clones
/// share the database.
///
/// ```
/// use datakit_client::db::prelude::*;
/// use datakit_db::DirectDb;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("notes");
/// let db = DirectDb::open(&path).await?;
/// let master = db.branch("master").await?;
/// let transaction = master.transaction().await?;
/// transaction.write_file(&"etc/motd".parse()?, b"hello\n").await?;
/// let head = transaction.commit("First").await?;
/// assert_eq!(head.tree().read_file(&"etc/motd".parse()?).await?, b"hello\n");
/// # Ok(()) }
/// ```
///
/// - A watch immediately reports changes made by this process. Changes made by other programs are
///   reported after a short delay.
/// - Only one process at a time can open a repository with [`DirectDb::open`] or serve it. Programs
///   such as `git` can use the repository at the same time.
/// - Methods that wait for the disk run on tokio's blocking threads. Changes to a transaction are
///   made in memory, but may require reading directories from the disk.
/// - A commit may still complete after its future is dropped. [`db::Database::close`] waits for
///   such commits.
#[derive(Clone)]
pub struct DirectDb {
    database: Database,
    author: Identity,
    /// The branches for which handles have been created. These branches are listed even if they
    /// have no commits.
    created: Arc<Mutex<HashSet<BranchName>>>,
}

impl DirectDb {
    /// Wraps an open database. Commits have the author that the database assigns to anonymous
    /// users, which is `datakit <datakit@mobyproject.org>` by default.
    #[must_use]
    pub fn new(database: Database) -> DirectDb {
        let author = database.authors().of(User::default());
        DirectDb { database, author, created: Arc::default() }
    }

    /// Opens the Git repository at `path`, or creates a bare repository if none exists. See
    /// [`GitStore::open`].
    ///
    /// # Errors
    /// Returns [`db::Error::Backend`] if the repository cannot be used or another process has
    /// opened it.
    pub async fn open(path: impl AsRef<Path>) -> Result<DirectDb> {
        let path = path.as_ref().to_owned();
        let open = move || Ok(DirectDb::new(Database::new(Arc::new(GitStore::open(&path)?))?));
        let opened = tokio::task::spawn_blocking(open).await;
        opened.unwrap_or_else(|error| Err(crate::Error::store_from("cannot open", error).into()))
    }

    /// Creates an empty database in memory. The content is lost when the last handle is dropped.
    ///
    /// # Errors
    /// Returns [`db::Error::Backend`] if the database cannot be created.
    pub fn in_memory() -> Result<DirectDb> {
        Ok(DirectDb::new(Database::new(Arc::new(MemoryStore::new()))?))
    }

    /// Sets the author and committer of all commits made with this handle and its future clones.
    #[must_use]
    pub fn with_author(self, author: Identity) -> DirectDb {
        DirectDb { author, ..self }
    }

    /// Returns the database.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Runs `work` on a thread that is allowed to block on disk I/O.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> crate::Result<T> + Send + 'static,
    ) -> Result<T> {
        Ok(self.database.run(work).await?)
    }
}

impl db::Database for DirectDb {
    type Branch = DirectBranch;
    type Commit = DirectCommit;
    type Transaction = DirectTransaction;
    type Tree = DirectTree;

    async fn branches(&self) -> Result<Vec<ByteString>> {
        let heads = self.run(Database::heads).await?;
        let mut names: Vec<_> = heads.into_iter().map(|(name, _)| name).collect();
        names.extend(self.created.lock().iter().cloned());
        names.sort();
        names.dedup();
        Ok(names.iter().map(|name| name.as_bytes().into()).collect())
    }

    async fn branch(&self, name: impl AsRef<[u8]> + Send) -> Result<DirectBranch> {
        let name = BranchName::new(name)?;
        let checked = name.clone();
        self.run(move |database| match database.store().conflicting_branch(&checked)? {
            Some(other) => Err(crate::Error::BranchConflict { branch: checked.to_string(), other }),
            None => Ok(()),
        })
        .await?;
        self.created.lock().insert(name.clone());
        Ok(DirectBranch::new(self, &name))
    }

    async fn remove_branch(&self, name: impl AsRef<[u8]> + Send) -> Result<()> {
        let name = BranchName::new(name)?;
        db::BranchOps::remove(&DirectBranch::new(self, &name)).await
    }

    async fn commit(&self, hash: impl AsRef<[u8]> + Send) -> Result<DirectCommit> {
        let id = Id::parse(hash.as_ref())?;
        self.run(move |database| database.objects().named_commit(id).map(drop)).await?;
        Ok(self.commit_with_id(id))
    }

    fn commit_with_id(&self, id: Id) -> DirectCommit {
        DirectCommit::new(&self.database, id)
    }

    fn tree(&self, id: impl AsRef<[u8]>) -> DirectTree {
        DirectTree::named(&self.database, id.as_ref())
    }

    async fn fetch(&self, url: &str, branch: &str) -> Result<DirectCommit> {
        Ok(self.commit_with_id(fetch::fetch(&self.database, url, branch).await?))
    }

    async fn close(self) {
        self.database.drain().await;
    }
}

impl Debug for DirectDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectDb")
            .field("database", &self.database)
            .field("author", &self.author)
            .finish_non_exhaustive()
    }
}
