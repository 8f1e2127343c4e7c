//! Tests for database URLs and for repositories that other programs use at the same time.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use datakit_client::config::ConfigReader;
use datakit_client::db::Error;
use datakit_client::db::prelude::*;
use datakit_db::store::GitStore;
use datakit_db::{AnyDb, AnyUrl, Database as Opened, DirectDb};

use crate::suite::{self, TIMEOUT, path, put};

fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Bob", "-c", "user.email=bob@example.com"])
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn watches_see_commits_by_git() {
    let fixture = suite::repository().await;
    let dir = fixture.dir.as_ref().unwrap().path().join("repository");
    let master = fixture.db.branch("master").await.unwrap();
    let first = put(&master, "d/f", "1").await;
    let mut heads = master.watch_head().await.unwrap();
    let mut values = master.watch_path(&path("d/g")).await.unwrap();
    assert_eq!(heads.next().await.unwrap().unwrap(), Some(first.clone()));
    assert!(values.next().await.unwrap().unwrap().is_none());

    let clone = tempfile::tempdir().unwrap();
    git(clone.path(), &["clone", "-q", dir.to_str().unwrap(), "."]);
    std::fs::write(clone.path().join("d/g"), "by git").unwrap();
    git(clone.path(), &["add", "."]);
    git(clone.path(), &["commit", "-q", "-m", "By git"]);
    git(clone.path(), &["push", "-q", "origin", "HEAD:master"]);

    let head = tokio::time::timeout(TIMEOUT, heads.next()).await.unwrap().unwrap().unwrap();
    let head = head.unwrap();
    assert_eq!(head.details().await.unwrap().author, "Bob <bob@example.com>");
    assert_eq!(head.parents().await.unwrap(), [first]);
    let value = tokio::time::timeout(TIMEOUT, values.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(value.unwrap().into_file().unwrap(), b"by git");
}

#[tokio::test]
async fn a_configuration_follows_a_repository_by_url() {
    let dir = tempfile::tempdir().unwrap();
    let url = AnyUrl(format!("git://{}", dir.path().display()));
    let config = ConfigReader::follow(url, "master").unwrap();
    let mut level = config.value(path("level"), "info".to_owned());
    tokio::time::timeout(TIMEOUT, config.ready()).await.unwrap();
    assert_eq!(level.get(), "info");

    let work = tempfile::tempdir().unwrap();
    git(work.path(), &["init", "-q", "."]);
    std::fs::write(work.path().join("level"), "debug\n").unwrap();
    git(work.path(), &["add", "."]);
    git(work.path(), &["commit", "-q", "-m", "By git"]);
    git(work.path(), &["push", "-q", dir.path().to_str().unwrap(), "HEAD:master"]);
    assert_eq!(tokio::time::timeout(TIMEOUT, level.changed()).await.unwrap(), "debug");
}

#[tokio::test]
async fn git_reads_what_was_committed() {
    let fixture = suite::repository().await;
    let dir = fixture.dir.as_ref().unwrap().path().join("repository");
    let db = fixture.db.clone().with_author("CI <ci@example.com>".parse().unwrap());
    put(&db.branch("master").await.unwrap(), "d/f", "1").await;
    assert_eq!(git(&dir, &["show", "master:d/f"]), "1");
    assert_eq!(git(&dir, &["log", "-1", "--format=%an %ae %cn", "master"]), "CI ci@example.com CI");
    git(&dir, &["fsck", "--strict"]);
}

#[tokio::test]
async fn a_served_database_is_used_directly_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Opened::new(Arc::new(GitStore::open(dir.path()).unwrap())).unwrap();
    let url = suite::serve(opened.clone()).await;
    let direct = DirectDb::new(opened).branch("master").await.unwrap();
    let server = AnyDb::connect(&url.to_string()).await.unwrap();
    let mut heads = direct.watch_head().await.unwrap();
    assert_eq!(heads.next().await.unwrap().unwrap(), None);
    let head = put(&server.branch("master").await.unwrap(), "f", "1").await;
    assert_eq!(heads.next().await.unwrap().unwrap().unwrap().id(), head.id());
}

#[tokio::test]
async fn urls_name_servers_and_repositories() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("git://{}", dir.path().display());
    let db = AnyDb::connect(&url).await.unwrap();
    assert!(matches!(db, AnyDb::Direct(_)));
    // A repository cannot be opened twice at the same time.
    assert!(matches!(AnyDb::connect(&url).await, Err(Error::Backend(_))));
    let head = put(&db.branch("master").await.unwrap(), "f", "1").await;
    drop(db);

    let fixture = suite::server().await;
    let server = AnyDb::connect(&fixture.url.unwrap().to_string()).await.unwrap();
    assert!(matches!(server, AnyDb::Server(_)));
    let master = server.branch("master").await.unwrap();
    let error = master.fast_forward(&head).await.unwrap_err();
    assert_eq!(error.to_string(), "the commit belongs to another database");
    // A connection is closed when its last handle is dropped.
    drop(master);
    server.close().await;

    for (url, error) in [
        ("git://", "invalid URL `git://`: no path, use git:///srv/notes"),
        ("ftp://x", "invalid endpoint `ftp://x`: unknown scheme"),
    ] {
        let refused = AnyDb::connect(url).await.unwrap_err().to_string();
        assert!(refused.starts_with(error), "{refused}");
    }
    assert!(matches!(AnyDb::connect("tcp://127.0.0.1:1").await, Err(Error::Client(_))));
}
