//! A client of the database: branches, commits, transactions and watches over 9P.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use datakit_client::db::{Db, Result};
//! # use datakit_db::{Database, file_tree, store::Memory};
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
//!     // Whoever needs it waits for it.
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
//! #     let database = Database::new(std::sync::Arc::new(Memory::new())).unwrap();
//! #     let debug = Entry::dir("debug", Dir::new());
//! #     let served = server.serve(move |_| file_tree(&database, debug.clone()), std::future::pending());
//! #     tokio::select! {
//! #         done = example(&url) => done.unwrap(),
//! #         _ = served => unreachable!(),
//! #     }
//! # }
//! ```
//!
//! - All handles share one connection and may be used by many tasks at a time; the requests are
//!   pipelined.
//! - A future that is dropped flushes its request and gives its fid back. A [`Transaction`] that is
//!   dropped is aborted, a [`Watch`] ends.
//! - A lost connection fails everything with [`Error::Client`]; connect again and make the handles
//!   anew.
//! - The original server, written in OCaml, is served as well. What it does differently is said
//!   where it matters; besides, it cannot reach or list branches with a slash in their names.

mod at;
mod branch;
mod branch_name;
mod commit;
mod error;
mod escape;
mod history;
mod id;
mod path;
#[cfg(test)]
mod tests;
mod transaction;
mod tree;
mod watch;

use std::hash::{BuildHasher, Hasher, RandomState};

pub use branch::Branch;
pub use branch_name::{BranchName, InvalidBranchName};
pub use commit::{Change, Commit, Details};
pub use error::{Error, Result};
pub use escape::{escape, unescape};
pub use history::History;
pub use id::{Id, InvalidId};
pub use path::Path;
use tokio::runtime::Handle;
pub use transaction::{Merge, Transaction};
pub use tree::{Content, EntryKind, Stat, Tree};
pub use watch::{PathValue, Watch};

use self::at::At;
use super::{ByteString, Client, Dialect, Options};
use datakit_server::Url;

/// A database on a server. Clones share the connection.
#[derive(Clone)]
pub struct Db {
    client: Client,
}

impl Db {
    /// Connects in 9P2000.u, in which the server tells the reasons of its errors.
    ///
    /// # Errors
    /// Those of [`Client::connect`].
    pub async fn connect(url: &Url) -> Result<Db> {
        Ok(Db::new(Client::connect(url, Db::options()).await?))
    }

    /// What to ask a server for: 9P2000.u, and the rest as usual.
    #[must_use]
    pub fn options() -> Options {
        Options::default().dialect(Dialect::Unix)
    }

    /// The database of a connection that is there.
    ///
    /// In 9P2000.L, which sends no reasons, a conflict cannot be told from other errors:
    /// [`Error::Conflict`], [`Error::OpenConflicts`], [`Error::NotFastForward`] and
    /// [`Error::InvalidHash`] are [`Error::Client`]. In 9P2000 there are no symbolic links to make.
    #[must_use]
    pub fn new(client: Client) -> Db {
        Db { client }
    }

    /// The connection.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits until the connection is closed, see [`Client::close`].
    pub async fn close(self) {
        self.client.close().await;
    }

    fn at(&self, name: &str) -> At {
        At::root(&self.client).to(name)
    }

    /// The names of the branches, sorted: those that have commits, and those that this connection
    /// has asked for.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn branches(&self) -> Result<Vec<ByteString>> {
        let names = self.at("branch").list().await?;
        let mut names: Vec<ByteString> = names
            .iter()
            .map(|name| ByteString::from(&*branch_name::unescape(name.as_bytes())))
            .collect();
        names.sort();
        Ok(names)
    }

    /// A branch, whether it is there or not: it is there for others with its first commit.
    ///
    /// # Errors
    /// [`Error::InvalidBranch`] for a name that Git refuses.
    pub async fn branch(&self, name: impl AsRef<[u8]>) -> Result<Branch> {
        let branch = self.named(name)?;
        // Succeeds also for a branch that is there.
        self.at("branch").mkdir(branch.at().name()).await?;
        Ok(branch)
    }

    fn named(&self, name: impl AsRef<[u8]>) -> Result<Branch> {
        let name =
            BranchName::new(name).map_err(|error| Error::InvalidBranch(error.to_string()))?;
        Ok(Branch::new(&self.client, name))
    }

    /// Removes a branch.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::InvalidBranch`].
    pub async fn remove_branch(&self, name: impl AsRef<[u8]>) -> Result<()> {
        self.named(name)?.remove().await
    }

    /// The commit of a hash.
    ///
    /// # Errors
    /// [`Error::InvalidHash`] for another text; [`Error::NotFound`] when there is no such
    /// commit.
    pub async fn commit(&self, hash: impl AsRef<[u8]>) -> Result<Commit> {
        let id = Id::parse(hash.as_ref()).map_err(|error| Error::InvalidHash(error.to_string()))?;
        self.at("commits").to(id.to_string()).read().await?;
        Ok(Commit::new(&self.client, id))
    }

    /// The tree of an id as it stands in `tree.live`: `D-` and the hash of a tree. Of the id of a
    /// file, which starts with `F-`, `X-` or `L-`, the root is the file. Nothing is asked here: an
    /// id that is none fails when the tree is read.
    #[must_use]
    pub fn tree(&self, id: impl AsRef<[u8]>) -> Tree {
        Tree::new(self.at("trees").to(id))
    }

    /// Has the server fetch a branch of another repository. No branch of the database moves by it.
    ///
    /// Waits for as long as the server needs. The server keeps what it fetched from being collected
    /// only until this returns: have a branch lead to it soon.
    ///
    /// # Errors
    /// [`Error::Client`] with the server's reason: no such branch there, or nobody to fetch from.
    pub async fn fetch(&self, url: &str, branch: &str) -> Result<Commit> {
        let (remotes, name) = (self.at("remotes"), unique());
        let remote = Remote(Some(remotes.to(&name)));
        remotes.mkdir(&name).await?;
        let at = remotes.to(&name);
        at.to("url").replace(url.as_bytes()).await?;
        at.to("fetch").command(branch).await?;
        let head = commit::hash(&at.to("head").read_text().await?)?;
        remote.remove().await;
        Ok(Commit::new(&self.client, head))
    }
}

/// A remote that goes with its fetch, also with one that failed or that nobody waits for any more.
struct Remote(Option<At>);

impl Remote {
    /// The original server keeps it.
    async fn remove(mut self) {
        if let Some(at) = self.0.take() {
            let _ = at.remove().await;
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let (Some(at), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move { at.remove().await });
        }
    }
}

/// A name that nobody else on the connection uses: 63 random bits in decimal.
fn unique() -> String {
    (RandomState::new().build_hasher().finish() >> 1).to_string()
}
