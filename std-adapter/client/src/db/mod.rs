//! A client for the DataKit database. The client accesses branches, commits, transactions and
//! watches over 9P.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use datakit_client::db::{Db, Result};
//! # use datakit_db::{Database, file_tree, store::MemoryStore};
//! # use datakit_server::{Limits, Server};
//! # use datakit_server::tree::{Dir, Entry};
//! # use datakit_server::Url;
//!
//! async fn example(url: &Url) -> Result<()> {
//!     let db = Db::connect(url).await?;
//!     let master = db.branch("master").await?;
//!
//!     let transaction = master.transaction().await?;
//!     transaction.make_dirs(&"etc/app".parse()?).await?;
//!     transaction.create_file(&"etc/app/level".parse()?, b"debug", false).await?;
//!     let head = transaction.commit("Say more").await?;
//!
//!     assert_eq!(master.head().await?.as_ref(), Some(&head));
//!     assert_eq!(head.tree().read_file(&"etc/app/level".parse()?).await?, b"debug");
//!     assert_eq!(head.message().await?, "Say more");
//!
//!     // Waits until the file exists.
//!     let level = master
//!         .wait_for_path(&"etc/app/level".parse()?, async |value| {
//!             Ok(value.map_or(ControlFlow::Continue(()), ControlFlow::Break))
//!         })
//!         .await?;
//!     println!("{level:?}");
//!     Ok(())
//! }
//! # #[tokio::main]
//! # async fn main() {
//! #     let server = Server::bind(&["tcp://127.0.0.1:0".parse().unwrap()], Limits::default()).await.unwrap();
//! #     let url = server.urls().remove(0);
//! #     let database = Database::new(std::sync::Arc::new(MemoryStore::new())).unwrap();
//! #     let debug = Entry::dir("debug", Dir::new());
//! #     let served = server.serve_tree(move |_| file_tree(&database, debug.clone()), std::future::pending());
//! #     tokio::select! {
//! #         done = example(&url) => done.unwrap(),
//! #         _ = served => unreachable!(),
//! #     }
//! # }
//! ```
//!
//! - All handles share one connection. Multiple tasks can use the handles concurrently, and
//!   requests are pipelined.
//! - Dropping a future cancels its request and releases its fid. Dropping a [`Transaction`] aborts
//!   it, and dropping a [`Watch`] stops it.
//! - If the connection is lost, all calls fail with [`Error::Client`]. To recover, connect again.
//! - Programs that are generic over the [`Database`] trait also run without a server, directly on a
//!   Git repository or in memory. See the `datakit-db` crate.
//! - The client also works with the original server, which is written in OCaml. If a method behaves
//!   differently on the original server, its documentation describes the difference. Branches with
//!   a slash in their name cannot be listed or accessed on the original server.

mod branch;
mod branch_name;
mod commit;
pub(crate) mod concurrent;
mod error;
mod escape;
mod ext;
mod history;
mod id;
mod merge_result;
mod ops;
mod ops_client;
mod path;
mod ref_format;
mod remote_path;
#[cfg(test)]
mod tests;
mod transaction;
mod tree;
mod watch;

pub use branch::Branch;
pub use branch_name::{BranchName, InvalidBranchName};
pub use commit::{Change, Commit, Details};

pub use error::{BackendError, Error, Result};
pub use escape::{escape, unescape};
pub use ext::{BoxFuture, BranchExt, TransactionExt, TreeExt};
pub use history::History;
pub use id::{Id, InvalidId};
pub use merge_result::MergeResult;
pub use ops::{BranchOps, CommitOps, Database, TransactionOps, TreeOps};
pub use path::Path;
pub use ref_format::ref_name_fault;
use tokio::runtime::Handle;
pub use transaction::Transaction;
pub use tree::{Content, EntryKind, Stat, Tree};
pub use watch::{PathValue, Watch};

use self::commit::parse_id;
use self::remote_path::{RemotePath, unique_name};
use super::{ByteString, Client, Options, Url};

/// The database traits. Import all database traits with `use datakit_client::db::prelude::*`.
pub mod prelude {
    pub use super::{
        BranchExt, BranchOps, CommitOps, Database, TransactionExt, TransactionOps, TreeExt, TreeOps,
    };
}

/// A database on a server. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Db {
    client: Client,
}

impl Db {
    /// Connects with the default [`Options`].
    ///
    /// # Errors
    /// Returns [`Error::Client`] if the connection cannot be established or if the server refuses
    /// the attach.
    pub async fn connect(url: &Url) -> Result<Db> {
        Ok(Db::new(Client::connect(url, Options::default()).await?))
    }

    /// Creates a handle from an existing connection. The root of the connection must be the root of
    /// a database.
    ///
    /// The recommended dialect is 9P2000.u. 9P2000.L error replies contain no text, so in this
    /// dialect [`Error::Conflict`], [`Error::OpenConflicts`], [`Error::NotFastForward`] and
    /// [`Error::InvalidHash`] are reported as [`Error::Client`]. Symbolic links cannot be created
    /// in 9P2000.
    #[must_use]
    pub fn new(client: Client) -> Db {
        Db { client }
    }

    /// Returns the connection.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Closes the connection. See [`Client::close`].
    pub async fn close(self) {
        self.client.close().await;
    }

    fn root_entry(&self, name: &str) -> RemotePath {
        RemotePath::root(&self.client).join(name)
    }

    /// Returns the sorted names of all branches. A branch without commits is included only if this
    /// connection has created a handle to it.
    ///
    /// # Errors
    /// Returns [`Error::Client`] if the server refuses the request.
    pub async fn branches(&self) -> Result<Vec<ByteString>> {
        let names = self.root_entry("branch").list().await?;
        let mut names: Vec<ByteString> = names
            .iter()
            .map(|name| ByteString::from(&*branch_name::unescape(name.as_bytes())))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Returns a handle to a branch, which does not have to exist yet. Other clients do not see a
    /// new branch until it has a commit.
    ///
    /// # Errors
    /// Returns [`Error::InvalidBranch`] if the name is not a valid Git branch name.
    pub async fn branch(&self, name: impl AsRef<[u8]>) -> Result<Branch> {
        let name = BranchName::new(name)?;
        // Creating the directory also succeeds if the branch already exists.
        self.root_entry("branch").mkdir(name.to_file_name()).await?;
        Ok(Branch::new(&self.client, name))
    }

    /// Removes a branch.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the branch does not exist, or [`Error::InvalidBranch`] if the
    /// name is not a valid Git branch name.
    pub async fn remove_branch(&self, name: impl AsRef<[u8]>) -> Result<()> {
        Branch::new(&self.client, BranchName::new(name)?).remove().await
    }

    /// Returns the commit with the given hash.
    ///
    /// # Errors
    /// Returns [`Error::InvalidHash`] if the text is not a hash, or [`Error::NotFound`] if there is
    /// no such commit.
    pub async fn commit(&self, hash: impl AsRef<[u8]>) -> Result<Commit> {
        let id = Id::parse(hash.as_ref())?;
        self.root_entry("commits").join(id.to_string()).read().await?;
        Ok(Commit::new(&self.client, id))
    }

    /// Returns a handle to the commit with the given id. This method does not send a request. If
    /// the commit does not exist, an error is returned only when the handle is used.
    #[must_use]
    pub fn commit_with_id(&self, id: Id) -> Commit {
        Commit::new(&self.client, id)
    }

    /// Returns the tree with the given id. The id of a directory is `D-` followed by the hash of a
    /// tree, as in the `tree.live` file. If the id starts with `F-`, `X-` or `L-`, the root of the
    /// returned tree is a file. This method does not send a request. If the id is invalid, an error
    /// is returned only when the tree is read.
    #[must_use]
    pub fn tree(&self, id: impl AsRef<[u8]>) -> Tree {
        Tree::new(self.root_entry("trees").join(id))
    }

    /// Makes the server fetch a branch from another repository. The fetch does not change any
    /// branch of this database.
    ///
    /// Waits until the server has finished fetching. Once this method has returned, the server no
    /// longer protects the fetched commits from garbage collection. To keep them, promptly point a
    /// branch at the returned commit.
    ///
    /// # Errors
    /// Returns [`Error::InvalidBranch`] if the name is not a valid Git branch name, or
    /// [`Error::Client`] with the server's error, for example if the branch does not exist.
    pub async fn fetch(&self, url: &str, branch: &str) -> Result<Commit> {
        // The server ignores an empty command, so `head` would never contain a hash.
        BranchName::new(branch)?;
        let (remotes, name) = (self.root_entry("remotes"), unique_name());
        let dir = remotes.join(&name);
        let guard = RemoteGuard(Some(dir.clone()));
        remotes.mkdir(&name).await?;
        dir.join("url").replace(url.as_bytes()).await?;
        dir.join("fetch").explained_command(branch).await?;
        let head = parse_id(&dir.join("head").read_text().await?)?;
        guard.remove().await;
        Ok(Commit::new(&self.client, head))
    }
}

/// A guard that removes a remote's directory after the fetch, even if the fetch fails or is
/// cancelled.
struct RemoteGuard(Option<RemotePath>);

impl RemoteGuard {
    /// Removes the directory. Ignores errors, because the original server refuses to remove a
    /// remote's directory.
    async fn remove(mut self) {
        if let Some(dir) = self.0.take() {
            let _ = dir.remove().await;
        }
    }
}

impl Drop for RemoteGuard {
    fn drop(&mut self) {
        if let (Some(dir), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move { dir.remove().await });
        }
    }
}
