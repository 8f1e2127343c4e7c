//! Tests for branches and commits.

use datakit_client::db::prelude::*;
use datakit_client::db::{Error, Id};

use crate::suite::{names, on_every_database, path, put};

on_every_database! {
    branches:
    branches_are_listed_moved_and_removed,
    a_branch_without_commits_has_no_head,
    a_branch_can_exclude_a_name,
    commits_are_found_by_their_hash,
    details_match_the_commit,
    a_fetch_copies_a_branch,
    a_failed_fetch_says_why,
}

pub(crate) async fn branches_are_listed_moved_and_removed<D: Database>(db: D) {
    let master = db.branch("master").await.unwrap();
    let first = put(&master, "f", "1").await;
    let second = put(&master, "f", "2").await;
    let other = db.branch("feature/100%").await.unwrap();
    assert_eq!(other.name(), "feature/100%");
    other.fast_forward(&first).await.unwrap();
    other.fast_forward(&second).await.unwrap();
    assert_eq!(other.fast_forward(&first).await, Err(Error::NotFastForward));
    assert_eq!(other.head().await.unwrap(), Some(second));
    assert_eq!(names(&db.branches().await.unwrap()), ["feature/100%", "master"]);

    other.remove().await.unwrap();
    assert_eq!(names(&db.branches().await.unwrap()), ["master"]);
    assert_eq!(other.head().await, Err(Error::NotFound));
    assert_eq!(other.remove().await, Err(Error::NotFound));
    assert_eq!(other.transaction().await.map(drop), Err(Error::NotFound));
    assert_eq!(other.watch_head().await.map(drop), Err(Error::NotFound));
    assert_eq!(db.remove_branch("none").await, Err(Error::NotFound));
    db.remove_branch("master").await.unwrap();
    assert!(db.branches().await.unwrap().is_empty());
    for bad in ["", "..", "a b", "/x"] {
        assert!(matches!(db.branch(bad).await, Err(Error::InvalidBranch(_))), "{bad}");
        assert!(matches!(db.remove_branch(bad).await, Err(Error::InvalidBranch(_))), "{bad}");
    }
}

pub(crate) async fn a_branch_without_commits_has_no_head<D: Database>(db: D) {
    let master = db.branch("master").await.unwrap();
    assert_eq!(master.head().await, Ok(None));
    assert_eq!(names(&db.branches().await.unwrap()), ["master"]);
    master.remove().await.unwrap();
    assert!(db.branches().await.unwrap().is_empty());
}

pub(crate) async fn a_branch_can_exclude_a_name<D: Database>(db: D) {
    put(&db.branch("a").await.unwrap(), "f", "1").await;
    assert_eq!(db.branch("a/b").await.map(drop), Err(Error::Exists));
}

pub(crate) async fn commits_are_found_by_their_hash<D: Database>(db: D) {
    let invalid = "hello".parse::<Id>().unwrap_err();
    assert_eq!(db.commit("hello").await, Err(Error::InvalidHash(invalid)));
    assert_eq!(db.commit(Id::EMPTY_TREE.to_string()).await, Err(Error::NotFound));
    let head = put(&db.branch("master").await.unwrap(), "f", "1").await;
    assert_eq!(db.commit(format!("{}\n", head.id())).await, Ok(head));
}

pub(crate) async fn details_match_the_commit<D: Database>(db: D) {
    let master = db.branch("master").await.unwrap();
    let first = put(&master, "f", "1").await;
    let second = put(&master, "f", "2").await;
    assert_eq!(first.parents().await, Ok(vec![]));
    assert_eq!(second.parents().await, Ok(vec![first.clone()]));
    let details = second.details().await.unwrap();
    assert_eq!((details.id, details.parents), (second.id(), vec![first]));
    assert_eq!(details.author, "datakit <datakit@mobyproject.org>");
    assert_eq!((details.message.as_str(), details.date.get(..2)), ("Put f", Some("20")));

    let transaction = master.transaction().await.unwrap();
    transaction.set_author("Alice <alice@example.com> 1700000000 +0000").await.unwrap();
    assert!(transaction.set_author("Alice").await.is_err());
    let third = transaction.commit("").await.unwrap();
    let details = third.details().await.unwrap();
    assert_eq!(details.author, "Alice <alice@example.com>");
    assert_eq!(details.date, "2023-11-14T22:13:20+00:00");
    assert_eq!(third.message().await.unwrap(), "(no commit message)");
}

pub(crate) async fn a_fetch_copies_a_branch<D: Database>(db: D) {
    let dir = tempfile::tempdir().unwrap();
    let head = {
        let source = datakit_db::DirectDb::open(dir.path()).await.unwrap();
        put(&source.branch("topic").await.unwrap(), "f", "1").await.id()
    };
    let url = dir.path().to_str().unwrap();
    let fetched = db.fetch(url, "topic").await.unwrap();
    assert_eq!(fetched.id(), head);
    let copy = db.branch("copy").await.unwrap();
    copy.fast_forward(&fetched).await.unwrap();
    assert_eq!(fetched.tree().read_file(&path("f")).await.unwrap(), b"1");
}

pub(crate) async fn a_failed_fetch_says_why<D: Database>(db: D) {
    let error = db.fetch("/nonexistent/repository", "master").await.map(drop).unwrap_err();
    let start = "error: cannot fetch /nonexistent/repository: fatal: ";
    assert!(error.to_string().starts_with(start), "{error}");
    let error = db.fetch("", "master").await.map(drop).unwrap_err();
    assert_eq!(error.to_string(), "error: remote url is not defined");
}
