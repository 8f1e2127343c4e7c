//! Runs the examples against an in-memory server.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../examples/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../examples/config.rs"]
mod config;
#[allow(dead_code)]
#[path = "../examples/database.rs"]
mod database;
#[allow(dead_code)]
#[path = "../examples/watch.rs"]
mod watch;

use std::sync::Arc;
use std::time::Duration;

use config::Settings;
use datakit_client::Url;
use datakit_client::db::Db;
use datakit_db::store::MemoryStore;
use datakit_db::{Database, file_tree};
use datakit_server::tree::{Dir, Entry};
use datakit_server::{Limits, Scratch, Server};

async fn bind() -> (Server, Url) {
    let url = "tcp://127.0.0.1:0".parse().unwrap();
    let server = Server::bind(&[url], Limits::default()).await.unwrap();
    let url = server.urls().remove(0);
    (server, url)
}

async fn serve_database() -> Url {
    let (server, url) = bind().await;
    let database = Database::new(Arc::new(MemoryStore::new())).unwrap();
    let debug = Entry::dir("debug", Dir::new());
    tokio::spawn(
        server.serve(move |_| file_tree(&database, debug.clone()), std::future::pending()),
    );
    url
}

#[tokio::test]
async fn client_writes_reads_and_lists() {
    let (server, url) = bind().await;
    let tree = Scratch::new();
    tokio::spawn(server.serve(move |_| tree.clone(), std::future::pending()));
    assert_eq!(client::run(&url).await.unwrap(), ["hello, world", "File greeting"]);
}

#[tokio::test]
async fn database_commits_to_master() {
    let url = serve_database().await;
    let head = database::run(&url).await.unwrap();
    assert_eq!(head.message().await.unwrap(), "Set the log level");
    let master = Db::connect(&url).await.unwrap().branch("master").await.unwrap();
    assert_eq!(master.head().await.unwrap(), Some(head));
}

#[tokio::test]
async fn watch_prints_heads_and_values() {
    let url = serve_database().await;
    let head = database::run(&url).await.unwrap();
    let mut output = Vec::new();
    watch::run(&url, "master", None, 1, &mut output).await.unwrap();
    let path = "etc/app/level".parse().unwrap();
    watch::run(&url, "master", Some(path), 1, &mut output).await.unwrap();
    let expected = format!("{} Set the log level\netc/app/level: File(\"debug\\n\")\n", head.id());
    assert_eq!(String::from_utf8(output).unwrap(), expected);
}

#[tokio::test]
async fn config_shows_settings_and_changes() {
    let settings = Settings::open(serve_database().await).await.unwrap();
    assert_eq!(settings.show(), "MTU 1500, IPv6 true, proxy none");
    settings.record.set("jumbo frames", &settings.mtu, 9000).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), settings.record.wait()).await.unwrap().unwrap();
    assert_eq!(settings.show(), "MTU 9000, IPv6 true, proxy none");
}
