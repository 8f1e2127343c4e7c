//! Runs the examples against an in-memory server.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../examples/snapshot.rs"]
mod snapshot;
#[allow(dead_code)]
#[path = "../examples/status.rs"]
mod status;

use std::sync::Arc;

use datakit_db::store::MemoryStore;
use datakit_db::{Database, file_tree};
use datakit_server::tree::{Dir, Entry};
use datakit_server::{Limits, Server};

#[tokio::test]
async fn a_status_is_set_and_printed() {
    let address = "tcp://127.0.0.1:0".parse().unwrap();
    let server = Server::bind(&[address], Limits::default()).await.unwrap();
    let url = server.urls().remove(0);
    let database = Database::new(Arc::new(MemoryStore::new())).unwrap();
    let debug = Entry::dir("debug", Dir::new());
    tokio::spawn(
        server.serve(move |_| file_tree(&database, debug.clone()), std::future::pending()),
    );
    assert!(snapshot::run(&url).await.unwrap().is_empty());
    let hash = "0123456789abcdef0123456789abcdef01234567";
    let arguments = ["me/x", hash, "ci/lint", "success"].map(str::to_owned);
    status::run(&url, &arguments).await.unwrap();
    let commit = format!("me/x/commit/{hash}");
    let expected = ["me/x".to_owned(), commit.clone(), format!("{commit}/status/ci/lint success")];
    assert_eq!(snapshot::run(&url).await.unwrap(), expected);
}
