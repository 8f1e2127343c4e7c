//! Tests for transactions, including changes, commits, aborts and retries.

use std::collections::BTreeMap;

use datakit_client::db::prelude::*;
use datakit_client::db::{Change, Content, EntryKind, Error, Path, Stat};

use crate::suite::{on_every_database, path, put};

on_every_database! {
    transactions:
    files_are_created_changed_and_removed,
    missing_and_misplaced_entries_are_refused,
    directories_are_created_with_their_parents,
    an_ended_transaction_refuses_calls,
    a_dropped_transaction_is_aborted,
    a_closure_must_end_its_transaction,
    updates_are_retried_until_they_fit,
    only_one_fast_forward_commit_succeeds,
    an_update_can_change_nothing,
    many_files_are_written_and_read,
    parents_can_be_replaced,
    diffs_list_the_changed_files,
}

async fn text<T: TransactionOps>(transaction: &T, file: &str) -> String {
    String::from_utf8(transaction.tree().read_file(&path(file)).await.unwrap()).unwrap()
}

async fn kind<T: TransactionOps>(transaction: &T, file: &str) -> EntryKind {
    transaction.tree().stat(&path(file)).await.unwrap().unwrap().kind
}

pub(crate) async fn files_are_created_changed_and_removed<D: Database>(db: D) {
    let master = db.branch("master").await.unwrap();
    let tx = master.transaction().await.unwrap();
    tx.create_file(&path("f"), b"what another file replaces", false).await.unwrap();
    tx.create_file(&path("f"), b"long content", true).await.unwrap();
    assert_eq!(text(&tx, "f").await, "long content");
    tx.replace_file(&path("f"), b"short").await.unwrap();
    assert_eq!(text(&tx, "f").await, "short");
    tx.create_or_replace_file(&path("f"), b"shorter").await.unwrap();
    assert_eq!(kind(&tx, "f").await, EntryKind::Exec);
    tx.set_executable(&path("f"), false).await.unwrap();
    assert_eq!(kind(&tx, "f").await, EntryKind::File);
    tx.truncate(&path("f"), 2).await.unwrap();
    assert_eq!(text(&tx, "f").await, "sh");
    tx.truncate(&path("f"), 4).await.unwrap();
    assert_eq!(text(&tx, "f").await, "sh\0\0");
    tx.truncate(&path("f"), 0).await.unwrap();
    assert_eq!(text(&tx, "f").await, "");

    for target in ["replaced", "f"] {
        tx.create_symlink(&path("l"), target).await.unwrap();
    }
    assert_eq!(kind(&tx, "l").await, EntryKind::Link);
    tx.create_file(&path("l"), b"file", false).await.unwrap();
    assert_eq!(kind(&tx, "l").await, EntryKind::File);
    tx.create_symlink(&path("l"), "f").await.unwrap();
    tx.set_executable(&path("l"), true).await.unwrap();
    assert_eq!((text(&tx, "l").await.as_str(), kind(&tx, "l").await), ("f", EntryKind::Exec));
    tx.remove(&path("l")).await.unwrap();

    let deep = Path::from_names((0..30).map(|name| name.to_string())).unwrap();
    tx.make_dirs(&deep.parent()).await.unwrap();
    tx.create_file(&deep, &vec![b'x'; 300_000], false).await.unwrap();
    let head = tx.commit("Several things\n\nand a body").await.unwrap();
    assert_eq!(head.tree().read_file(&deep).await.unwrap().len(), 300_000);
    assert_eq!(head.message().await.unwrap(), "Several things\n\nand a body");

    // A file that has already been committed can be changed.
    let tx = master.transaction().await.unwrap();
    tx.truncate(&deep, 3).await.unwrap();
    tx.remove(&path("f")).await.unwrap();
    let head = tx.commit("Shorten").await.unwrap();
    assert_eq!(head.tree().read_file(&deep).await.unwrap(), b"xxx");
    assert_eq!(head.tree().read_dir(&Path::ROOT).await.unwrap(), ["0"]);
}

pub(crate) async fn missing_and_misplaced_entries_are_refused<D: Database>(db: D) {
    let tx = db.branch("master").await.unwrap().transaction().await.unwrap();
    tx.create_file(&path("f"), b"", false).await.unwrap();
    tx.create_dir(&path("d")).await.unwrap();
    assert_eq!(tx.create_dir(&path("d")).await, Err(Error::Exists));
    assert_eq!(tx.create_dir(&path("f")).await, Err(Error::Exists));
    assert_eq!(tx.create_dir(&path("none/x")).await, Err(Error::NotFound));
    assert_eq!(tx.create_dir(&path("f/x")).await, Err(Error::NotDirectory));
    assert_eq!(tx.create_file(&path("d"), b"", false).await, Err(Error::IsDirectory));
    assert_eq!(tx.create_file(&path("none/x"), b"", false).await, Err(Error::NotFound));
    assert_eq!(tx.create_file(&path("f/x"), b"", false).await, Err(Error::NotDirectory));
    assert_eq!(tx.create_symlink(&path("d"), "f").await, Err(Error::IsDirectory));
    assert_eq!(tx.replace_file(&path("d"), b"").await, Err(Error::IsDirectory));
    assert_eq!(tx.replace_file(&path("none"), b"").await, Err(Error::NotFound));
    assert_eq!(tx.create_or_replace_file(&path("d"), b"").await, Err(Error::IsDirectory));
    assert_eq!(tx.truncate(&path("d"), 0).await, Err(Error::IsDirectory));
    assert_eq!(tx.truncate(&path("d"), 1).await, Err(Error::IsDirectory));
    assert_eq!(tx.truncate(&path("none"), 1).await, Err(Error::NotFound));
    assert_eq!(tx.set_executable(&path("d"), true).await, Err(Error::IsDirectory));
    assert_eq!(tx.set_executable(&path("none"), true).await, Err(Error::NotFound));
    assert_eq!(tx.remove(&path("none")).await, Err(Error::NotFound));
    assert_eq!(tx.remove_if_present(&path("none")).await, Ok(false));
    assert_eq!(tx.remove_if_present(&path("d")).await, Ok(true));
    for refused in [
        tx.create_dir(&Path::ROOT).await,
        tx.create_file(&Path::ROOT, b"", false).await,
        tx.replace_file(&Path::ROOT, b"").await,
        tx.truncate(&Path::ROOT, 0).await,
        tx.remove(&Path::ROOT).await,
    ] {
        assert!(matches!(refused, Err(Error::InvalidPath { .. })), "{refused:?}");
    }
    assert!(tx.create_file(&path(".git"), b"", false).await.is_err());
}

pub(crate) async fn directories_are_created_with_their_parents<D: Database>(db: D) {
    let tx = db.branch("master").await.unwrap().transaction().await.unwrap();
    tx.make_dirs(&Path::ROOT).await.unwrap();
    tx.make_dirs(&path("a/b/c")).await.unwrap();
    tx.make_dirs(&path("a/b/c")).await.unwrap();
    tx.make_dirs(&path("a/b/d/e")).await.unwrap();
    assert_eq!(tx.tree().read_dir(&path("a/b")).await.unwrap(), ["c", "d"]);
    tx.create_file(&path("f"), b"", false).await.unwrap();
    assert_eq!(tx.make_dirs(&path("f")).await, Err(Error::NotDirectory));
    assert_eq!(tx.make_dirs(&path("f/x/y")).await, Err(Error::NotDirectory));
    // Git does not store empty directories.
    let head = tx.commit("").await.unwrap();
    assert_eq!(head.tree().read_dir(&Path::ROOT).await.unwrap(), ["f"]);
}

pub(crate) async fn an_ended_transaction_refuses_calls<D: Database>(db: D) {
    let master = db.branch("master").await.unwrap();
    for commit in [true, false] {
        let tx = master.transaction().await.unwrap();
        let tree = tx.tree();
        assert!(!tx.closed());
        match commit {
            true => drop(tx.commit("").await.unwrap()),
            false => tx.abort().await,
        }
        assert!(tx.closed());
        assert_eq!(tx.create_file(&path("f"), b"", false).await, Err(Error::TransactionEnded));
        assert_eq!(tx.create_symlink(&path("f"), "x").await, Err(Error::TransactionEnded));
        assert_eq!(tx.remove(&path("f")).await, Err(Error::TransactionEnded));
        assert_eq!(tx.make_dirs(&path("a/b")).await, Err(Error::TransactionEnded));
        assert_eq!(tx.commit("again").await.map(drop), Err(Error::TransactionEnded));
        assert_eq!(tx.conflicts().await, Err(Error::TransactionEnded));
        assert_eq!(tx.parents().await.map(drop), Err(Error::TransactionEnded));
        assert_eq!(tx.set_parents(&[]).await, Err(Error::TransactionEnded));
        assert_eq!(tree.exists(&path("f")).await, Err(Error::TransactionEnded));
        assert_eq!(tree.read_dir(&Path::ROOT).await, Err(Error::TransactionEnded));
        tx.abort().await;
        tx.abort().await;
    }
}

pub(crate) async fn a_dropped_transaction_is_aborted<D: Database>(db: D) {
    let master = db.branch("master").await.unwrap();
    let tx = master.transaction().await.unwrap();
    tx.create_file(&path("f"), b"", false).await.unwrap();
    let tree = tx.tree();
    drop(tx);
    assert_eq!(tree.exists(&path("f")).await, Err(Error::TransactionEnded));
    assert_eq!(master.head().await, Ok(None));
}

pub(crate) async fn a_closure_must_end_its_transaction<D: Database>(db: D) {
    let master = db.branch("master").await.unwrap();
    let file = path("f");
    let open = master
        .with_transaction::<_, Error>(async |tx| tx.create_file(&file, b"x", false).await)
        .await;
    assert_eq!(open, Err(Error::TransactionOpen));
    let failed = master.with_transaction::<_, Error>(async |tx| tx.remove(&file).await).await;
    assert_eq!(failed, Err(Error::NotFound));
    let aborted = master.with_transaction::<_, Error>(async |tx| {
        tx.abort().await;
        Ok("aborted")
    });
    assert_eq!(aborted.await, Ok("aborted"));
    assert_eq!(master.head().await, Ok(None));
    let committed = master.with_transaction::<_, Error>(async |tx| tx.commit("x").await).await;
    assert_eq!(master.head().await.unwrap(), Some(committed.unwrap()));
}

pub(crate) async fn updates_are_retried_until_they_fit<D: Database>(db: D) {
    const TASKS: usize = 4;
    const UPDATES: usize = 5;
    let add = async |branch: D::Branch, task: usize| {
        let (file, line) = (&path("dir/file"), &format!("task {task}\n"));
        for _ in 0..UPDATES {
            let update = branch.update("Add a line", |tx| async move {
                let text = tx.tree().read_file_if_present(file).await?.unwrap_or_default();
                tx.write_file(file, &[text.as_slice(), line.as_bytes()].concat()).await
            });
            assert!(update.await.unwrap().is_some());
        }
    };
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let master = db.branch("master").await.unwrap();
        tasks.spawn(add(master, task));
    }
    tasks.join_all().await;
    let head = db.branch("master").await.unwrap().head().await.unwrap().unwrap();
    let text = head.tree().read_file(&path("dir/file")).await.unwrap();
    assert_eq!(text.split(|byte| *byte == b'\n').count() - 1, TASKS * UPDATES);
}

pub(crate) async fn only_one_fast_forward_commit_succeeds<D: Database>(db: D) {
    let master = db.branch("master").await.unwrap();
    let (first, second) =
        (master.transaction().await.unwrap(), master.transaction().await.unwrap());
    for tx in [&first, &second] {
        tx.write_file(&path("lock"), b"taken").await.unwrap();
    }
    let head = first.commit_fast_forward("Take").await.unwrap();
    assert_eq!(second.commit_fast_forward("Take").await.map(drop), Err(Error::NotFastForward));
    assert!(first.closed() && !second.closed());
    assert_eq!(master.head().await.unwrap(), Some(head));
}

pub(crate) async fn an_update_can_change_nothing<D: Database>(db: D) {
    let master = db.branch("master").await.unwrap();
    let nothing = master.update("Nothing", |tx| async move {
        tx.abort().await;
        Ok(())
    });
    assert_eq!(nothing.await, Ok(None));
    let failed = master.update("Fail", |tx| async move { tx.remove(&path("none")).await });
    assert_eq!(failed.await, Err(Error::NotFound));
    assert_eq!(master.head().await, Ok(None));
}

pub(crate) async fn many_files_are_written_and_read<D: Database>(db: D) {
    let mut files = BTreeMap::new();
    for number in 0..500 {
        let file = path(&format!("dir/{}/{}/{number}", number % 7, number % 3));
        files.insert(file, Content::File(number.to_string().into_bytes()));
    }
    files.insert(path("dir/link"), Content::Link("0/0/0".into()));
    let master = db.branch("master").await.unwrap();
    let tx = master.transaction().await.unwrap();
    tx.write_files(&files).await.unwrap();
    assert_eq!(tx.tree().read_all(&path("dir")).await.unwrap(), files);
    let head = tx.commit("Many").await.unwrap();
    assert_eq!(head.tree().read_all(&Path::ROOT).await.unwrap(), files);
    let some = head.tree().read_all(&path("dir/3/0")).await.unwrap();
    assert_eq!(some.len(), (0..500).filter(|number| number % 21 == 3).count());
    let one = path("dir/3/0/3");
    assert_eq!(head.tree().read_all(&one).await.unwrap().len(), 1);
    assert_eq!(head.tree().read_all(&path("none")).await, Err(Error::NotFound));

    // If one write fails, the whole call fails with that error.
    let tx = master.transaction().await.unwrap();
    files.insert(path("dir/link/below"), Content::File(Vec::new()));
    assert_eq!(tx.write_files(&files).await, Err(Error::NotDirectory));
}

pub(crate) async fn parents_can_be_replaced<D: Database>(db: D) {
    let head = put(&db.branch("master").await.unwrap(), "f", "1").await;
    let tx = db.branch("dev").await.unwrap().transaction().await.unwrap();
    assert_eq!(tx.parents().await, Ok(vec![]));
    tx.set_parents(std::slice::from_ref(&head)).await.unwrap();
    assert_eq!(tx.parents().await, Ok(vec![head.clone()]));
    let made = tx.commit("x").await.unwrap();
    assert_eq!(made.parents().await, Ok(vec![head]));
}

pub(crate) async fn diffs_list_the_changed_files<D: Database>(db: D) {
    let master = db.branch("master").await.unwrap();
    put(&master, "kept", "1").await;
    put(&master, "d/removed", "1").await;
    let old = put(&master, "d/updated", "1").await;
    let tx = master.transaction().await.unwrap();
    tx.remove(&path("d/removed")).await.unwrap();
    tx.set_executable(&path("d/updated"), true).await.unwrap();
    tx.create_file(&path("added"), b"1", false).await.unwrap();
    let changes = [
        Change::Added(path("added")),
        Change::Removed(path("d/removed")),
        Change::Updated(path("d/updated")),
    ];
    assert_eq!(tx.diff(&old).await.unwrap(), changes);
    let new = tx.commit("").await.unwrap();
    assert_eq!(new.diff(&old).await.unwrap(), changes);
    assert_eq!(new.diff(&new).await.unwrap(), []);
    assert_eq!(
        new.tree().stat(&path("d/updated")).await.unwrap(),
        Some(Stat { kind: EntryKind::Exec, size: 1 })
    );
}
