//! Tests for merges and conflicts.

use datakit_client::db::prelude::*;
use datakit_client::db::{Change, Error};

use crate::suite::{on_every_database, path, put};

on_every_database! {
    merges:
    a_merge_combines_both_sides,
    conflicts_must_be_resolved_before_the_commit,
    a_commit_merges_changes_of_other_files,
    a_conflict_at_the_commit_leaves_the_transaction_open,
}

/// Returns the heads of two branches that have a common ancestor and have both changed `file`.
async fn forked<D: Database>(db: &D, ours: &str, theirs: &str) -> (D::Branch, D::Commit) {
    let (master, pr) = (db.branch("master").await.unwrap(), db.branch("pr").await.unwrap());
    let base = put(&master, "file", "base").await;
    pr.fast_forward(&base).await.unwrap();
    let theirs = put(&pr, "file", theirs).await;
    put(&master, "file", ours).await;
    put(&master, "mine", "x").await;
    (master, theirs)
}

pub(crate) async fn a_merge_combines_both_sides<D: Database>(db: D) {
    let (master, theirs) = forked(&db, "base", "theirs").await;
    let ours = master.head().await.unwrap().unwrap();
    let tx = master.transaction().await.unwrap();
    assert_eq!(tx.conflicts().await, Ok(vec![]));
    let merge = tx.merge(&theirs).await.unwrap();
    assert_eq!(merge.conflicts, []);
    assert_eq!(merge.ours.read_file(&path("mine")).await.unwrap(), b"x");
    assert_eq!(merge.theirs.read_file(&path("file")).await.unwrap(), b"theirs");
    assert_eq!(merge.base.read_file(&path("file")).await.unwrap(), b"base");
    assert_eq!(tx.diff(&ours).await.unwrap(), [Change::Updated(path("file"))]);
    assert_eq!(tx.parents().await.unwrap(), [ours.clone(), theirs.clone()]);
    let merged = tx.commit("merged").await.unwrap();
    assert_eq!(merged.parents().await.unwrap(), [ours, theirs.clone()]);
    assert_eq!(merged.diff(&theirs).await.unwrap(), [Change::Added(path("mine"))]);
    assert_eq!(merge.ours.exists(&path("mine")).await, Err(Error::TransactionEnded));
}

pub(crate) async fn conflicts_must_be_resolved_before_the_commit<D: Database>(db: D) {
    let (master, theirs) = forked(&db, "ours", "theirs").await;
    let tx = master.transaction().await.unwrap();
    assert_eq!(tx.merge(&theirs).await.unwrap().conflicts, [path("file")]);
    assert_eq!(tx.conflicts().await.unwrap(), [path("file")]);
    let marker = tx.tree().read_file(&path("file")).await.unwrap();
    assert_eq!(marker, b"** Conflict **\nChanged on both branches\n");
    assert_eq!(tx.commit("").await.map(drop), Err(Error::OpenConflicts));
    assert_eq!(tx.merge(&theirs).await.map(drop), Err(Error::OpenConflicts));
    tx.replace_file(&path("file"), b"both").await.unwrap();
    assert_eq!(tx.conflicts().await.unwrap(), []);
    let merged = tx.commit("").await.unwrap();
    assert_eq!(merged.tree().read_file(&path("file")).await.unwrap(), b"both");
}

pub(crate) async fn a_commit_merges_changes_of_other_files<D: Database>(db: D) {
    let master = db.branch("master").await.unwrap();
    put(&master, "f", "1").await;
    let tx = master.transaction().await.unwrap();
    tx.write_file(&path("g"), b"2").await.unwrap();
    let other = put(&master, "h", "3").await;
    let merged = tx.commit("x").await.unwrap();
    assert_eq!(
        merged.tree().read_dir(&datakit_client::db::Path::ROOT).await.unwrap(),
        ["f", "g", "h"]
    );
    assert!(merged.parents().await.unwrap().contains(&other));
    assert_eq!(master.head().await.unwrap(), Some(merged));
}

pub(crate) async fn a_conflict_at_the_commit_leaves_the_transaction_open<D: Database>(db: D) {
    let master = db.branch("master").await.unwrap();
    put(&master, "f", "base").await;
    let tx = master.transaction().await.unwrap();
    tx.replace_file(&path("f"), b"ours").await.unwrap();
    let head = put(&master, "f", "theirs").await;
    let conflict = tx.commit("a long message").await.map(drop);
    assert_eq!(conflict, Err(Error::Conflict("Changed on both branches: f".to_owned())));
    assert!(!tx.closed());
    assert_eq!(tx.conflicts().await.unwrap(), [path("f")]);
    tx.replace_file(&path("f"), b"theirs").await.unwrap();
    assert_ne!(tx.commit("short").await.unwrap(), head);
}
