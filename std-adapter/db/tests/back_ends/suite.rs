//! Creates the databases that the generic tests use.

#![allow(dead_code)]

use std::sync::Arc;
use std::time::Duration;

use datakit_client::db::{self, Db, Path};
use datakit_client::{ByteString, Client, Dialect, Options, Url};
use datakit_db::store::MemoryStore;
use datakit_db::{AnyDb, Database, DirectDb, file_tree};
use datakit_server::tree::{Dir, Entry};
use datakit_server::{Limits, Server};
use tempfile::TempDir;

/// The time limit for each step of a test.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// An empty database, with the URL of its server or the directory of its repository.
pub(crate) struct Fixture<D> {
    pub(crate) db: D,
    pub(crate) url: Option<Url>,
    pub(crate) dir: Option<TempDir>,
}

impl<D> Fixture<D> {
    fn map<E>(self, f: impl FnOnce(D) -> E) -> Fixture<E> {
        Fixture { db: f(self.db), url: self.url, dir: self.dir }
    }
}

/// Starts a server with an in-memory database and connects to it.
pub(crate) async fn server() -> Fixture<Db> {
    server_in(Dialect::Unix).await
}

/// Like [`server`], but connects with the given dialect.
pub(crate) async fn server_in(dialect: Dialect) -> Fixture<Db> {
    let url = serve(Database::new(Arc::new(MemoryStore::new())).unwrap()).await;
    let client = Client::connect(&url, Options::default().dialect(dialect)).await.unwrap();
    Fixture { db: Db::new(client), url: Some(url), dir: None }
}

/// Serves a database until the test ends.
pub(crate) async fn serve(database: Database) -> Url {
    let url = "tcp://127.0.0.1:0".parse().unwrap();
    let server = Server::bind(&[url], Limits::default()).await.unwrap();
    let url = server.urls().remove(0);
    let debug = Entry::dir("debug", Dir::new());
    tokio::spawn(
        server.serve(move |_| file_tree(&database, debug.clone()), std::future::pending()),
    );
    url
}

/// Opens a database in a new Git repository.
pub(crate) async fn repository() -> Fixture<DirectDb> {
    let dir = tempfile::tempdir().unwrap();
    let db = DirectDb::open(dir.path().join("repository")).await.unwrap();
    Fixture { db, url: None, dir: Some(dir) }
}

/// Creates an in-memory database.
pub(crate) async fn memory() -> Fixture<DirectDb> {
    Fixture { db: DirectDb::in_memory().unwrap(), url: None, dir: None }
}

/// Like [`server`], but returns an [`AnyDb`].
pub(crate) async fn any_server() -> Fixture<AnyDb> {
    server().await.map(AnyDb::from)
}

/// Like [`repository`], but returns an [`AnyDb`].
pub(crate) async fn any_repository() -> Fixture<AnyDb> {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("git://{}", dir.path().join("repository").display());
    Fixture { db: AnyDb::connect(&url).await.unwrap(), url: None, dir: Some(dir) }
}

/// Defines tests that run generic functions against every kind of database.
macro_rules! on_every_database {
    ($module:ident: $($case:ident),* $(,)?) => {
        on_every_database!(@ server $module $($case)*);
        on_every_database!(@ repository $module $($case)*);
        on_every_database!(@ memory $module $($case)*);
        on_every_database!(@ any_server $module $($case)*);
        on_every_database!(@ any_repository $module $($case)*);
    };
    (@ $kind:ident $module:ident $($case:ident)*) => {
        mod $kind {
            $(
                #[tokio::test]
                async fn $case() {
                    let fixture = crate::suite::$kind().await;
                    // Spawn a task to check that the futures of generic functions are `Send`.
                    let case = tokio::spawn(crate::$module::$case(fixture.db.clone()));
                    tokio::time::timeout(crate::suite::TIMEOUT, case).await.unwrap().unwrap();
                }
            )*
        }
    };
}
pub(crate) use on_every_database;

pub(crate) fn path(text: &str) -> Path {
    text.parse().unwrap()
}

/// Commits one file.
pub(crate) async fn put<B: db::BranchOps>(branch: &B, file: &str, content: &str) -> B::Commit {
    use db::prelude::*;

    let transaction = branch.transaction().await.unwrap();
    transaction.write_file(&path(file), content.as_bytes()).await.unwrap();
    transaction.commit(&format!("Put {file}")).await.unwrap()
}

pub(crate) fn names(names: &[ByteString]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}
