//! Tests for the cases C2 to C7 listed in `tests/README.md`. The tests for C1 are in the module
//! that defines `Path`.

use std::ops::ControlFlow;
use std::time::Duration;

use super::super::{Content, EntryKind, Error, Id, Stat, Tree};
use super::{Served, TIMEOUT, path, within};

#[tokio::test]
async fn c2_aborts_a_transaction_that_the_closure_leaves_open() {
    let served = Served::start().await;
    let master = served.db().await.branch("master").await.unwrap();
    let begun = master
        .with_transaction::<_, Error>(async |tx| tx.create_file(&path("f"), b"x", false).await)
        .await;
    assert_eq!(begun, Err(Error::TransactionOpen));
    assert_eq!(served.transactions(), 0);

    let failed = master.with_transaction(async |tx| tx.remove(&path("none")).await).await;
    assert_eq!(failed, Err(Error::NotFound));
    assert_eq!(served.transactions(), 0);
    assert_eq!(master.head().await, Ok(None));

    let aborted = master.with_transaction(async |tx| {
        tx.abort().await;
        Ok::<_, Error>("aborted")
    });
    assert_eq!(aborted.await, Ok("aborted"));
}

/// `tokio::spawn` checks that the futures returned by async closures are `Send`.
#[tokio::test]
async fn c2_a_transaction_runs_in_a_spawned_task() {
    let served = Served::start().await;
    let master = served.db().await.branch("master").await.unwrap();
    let committed = tokio::spawn(async move {
        let made = master.with_transaction(async |tx| {
            tx.create_file(&path("f"), b"x", false).await?;
            tx.commit("message").await
        });
        made.await
    });
    assert_eq!(committed.await.unwrap().unwrap().message().await.unwrap(), "message");
}

#[tokio::test]
async fn c3_refuses_calls_after_the_end_of_a_transaction() {
    let served = Served::start().await;
    let master = served.db().await.branch("master").await.unwrap();
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
        assert_eq!(tx.remove(&path("f")).await, Err(Error::TransactionEnded));
        assert_eq!(tx.make_dirs(&path("a/b")).await, Err(Error::TransactionEnded));
        assert_eq!(tx.commit("again").await, Err(Error::TransactionEnded));
        assert_eq!(tx.conflicts().await, Err(Error::TransactionEnded));
        assert_eq!(tree.exists(&path("f")).await, Err(Error::TransactionEnded));
        tx.abort().await;
        tx.abort().await;
    }
    assert_eq!(
        master.head().await.unwrap().unwrap().message().await.unwrap(),
        "(no commit message)"
    );
}

#[tokio::test]
async fn c3_dropping_a_transaction_aborts_it() {
    let served = Served::start().await;
    let master = served.db().await.branch("master").await.unwrap();
    let tx = master.transaction().await.unwrap();
    tx.create_file(&path("f"), b"", false).await.unwrap();
    drop(tx);
    within("the abort", || served.transactions() == 0).await;
    // Dropping the future that starts a transaction must also abort the transaction.
    let _ = tokio::time::timeout(Duration::from_micros(300), master.transaction()).await;
    within("the abort", || served.transactions() == 0).await;
}

#[tokio::test]
async fn c4_refuses_hashes_that_are_not_commits() {
    let served = Served::start().await;
    let db = served.db().await;
    let invalid = "hello".parse::<Id>().unwrap_err();
    assert_eq!(db.commit("hello").await, Err(Error::InvalidHash(invalid)));
    assert_eq!(db.commit("4b825dc642cb6eb9a060e54bf8d69288fbee4904").await, Err(Error::NotFound));
    let head =
        db.branch("master").await.unwrap().transaction().await.unwrap().commit("x").await.unwrap();
    assert_eq!(db.commit(format!("{}\n", head.id())).await, Ok(head));
}

#[tokio::test]
async fn c5_waits_for_a_path() {
    let served = Served::start().await;
    let db = served.db().await;
    let master = db.branch("master").await.unwrap();
    let mut seen = Vec::new();
    let file = path("d/f");
    let waited = master.wait_for_path(&file, async |value| {
        seen.push(format!("{value:?}"));
        let executable = seen.len() == 2;
        if seen.len() > 2 {
            return Ok(ControlFlow::Break(seen.clone()));
        }
        let made = master.with_transaction(async |tx| {
            tx.make_dirs(&path("d")).await?;
            tx.create_file(&file, b"content", executable).await?;
            tx.commit("").await
        });
        made.await.map(|_| ControlFlow::Continue(()).map_break(|()| Vec::new()))
    });
    let seen = tokio::time::timeout(TIMEOUT, waited).await.unwrap().unwrap();
    assert_eq!(seen, ["None", "Some(File(\"content\"))", "Some(Exec(\"content\"))"]);
}

/// Dropping the future has the same effect as turning off the `Lwt_switch` in the OCaml client.
#[tokio::test]
async fn c5_dropping_a_blocked_wait_ends_it() {
    let served = Served::start().await;
    let master = served.db().await.branch("master").await.unwrap();
    let none = path("none/at/all");
    let blocked = master.wait_for_path(&none, async |value| {
        assert!(value.is_none());
        Ok(ControlFlow::<()>::Continue(()))
    });
    assert!(tokio::time::timeout(Duration::from_millis(50), blocked).await.is_err());
    within("the clunk", || {
        served.only_the_root() && served.database.counters().watches.value() == 0
    })
    .await;
    // The wait also ends if the closure returns an error.
    let error = master.wait_for_head::<()>(async |_| Err(Error::NotFile)).await;
    assert_eq!(error, Err(Error::NotFile));
    within("the clunk", || {
        served.only_the_root() && served.database.counters().watches.value() == 0
    })
    .await;
}

#[tokio::test]
async fn c6_distinguishes_entry_kinds() {
    let served = Served::start().await;
    let master = served.db().await.branch("master").await.unwrap();
    let tx = master.transaction().await.unwrap();
    tx.create_dir(&path("d")).await.unwrap();
    tx.create_file(&path("d/f"), b"12345", false).await.unwrap();
    tx.create_file(&path("d/x"), b"#!", true).await.unwrap();
    tx.create_symlink(&path("d/l"), "../else where").await.unwrap();
    check_entry_kinds(&tx.tree()).await;
    check_entry_kinds(&tx.commit("").await.unwrap().tree()).await;
}

async fn check_entry_kinds(tree: &Tree) {
    for absent in ["none", "none/none", "d/none", "d/f/none"] {
        assert_eq!(tree.stat(&path(absent)).await, Ok(None));
        assert_eq!(tree.exists(&path(absent)).await, Ok(false));
        assert_eq!(tree.exists_file(&path(absent)).await, Ok(false));
    }
    assert_eq!(tree.read(&path("none")).await, Err(Error::NotFound));
    assert_eq!(tree.read_file(&path("d/f/none")).await, Err(Error::NotDirectory));
    for (at, kind, size) in [
        ("d", EntryKind::Dir, 0),
        ("d/f", EntryKind::File, 5),
        ("d/x", EntryKind::Exec, 2),
        ("d/l", EntryKind::Link, 13),
    ] {
        assert_eq!(tree.stat(&path(at)).await, Ok(Some(Stat { kind, size })));
        assert_eq!(tree.exists_dir(&path(at)).await, Ok(kind == EntryKind::Dir));
        assert_eq!(tree.exists_file(&path(at)).await, Ok(kind != EntryKind::Dir));
    }
    assert_eq!(tree.read_file(&path("d")).await, Err(Error::NotFile));
    assert_eq!(tree.read_file(&path("d/l")).await, Err(Error::NotFile));
    assert_eq!(tree.read_dir(&path("d/f")).await, Err(Error::NotDirectory));
    assert_eq!(tree.read_link(&path("d/f")).await, Err(Error::NotSymlink));
    assert_eq!(tree.read_link(&path("d")).await, Err(Error::NotSymlink));
    assert_eq!(tree.read_file(&path("d/x")).await.unwrap(), b"#!");
    for (offset, length, expected) in
        [(0, 9, "#!"), (0, 1, "#"), (1, 1, "!"), (1, 0, ""), (2, 9, ""), (1 << 40, 9, "")]
    {
        let part = tree.read_file_range(&path("d/x"), offset, length).await;
        assert_eq!(part.unwrap(), expected.as_bytes(), "{length} bytes at {offset}");
    }
    assert_eq!(tree.read_file_range(&path("d"), 0, 1).await, Err(Error::NotFile));
    assert_eq!(tree.read_file_range(&path("d/l"), 0, 1).await, Err(Error::NotFile));
    assert_eq!(tree.read(&path("d/f")).await, Ok(Content::File(b"12345".to_vec())));
    assert_eq!(tree.read(&path("d/l")).await, Ok(Content::Link("../else where".into())));
    assert_eq!(
        tree.read(&path("d")).await,
        Ok(Content::Dir(vec!["f".into(), "l".into(), "x".into()]))
    );
}

#[tokio::test]
async fn c7_failed_calls_leave_no_fids() {
    let served = Served::start().await;
    let db = served.db().await;
    let tx = db.branch("master").await.unwrap().transaction().await.unwrap();
    tx.create_dir(&path("d")).await.unwrap();
    for _ in 0..1000 {
        tx.create_file(&path("f"), b"", false).await.unwrap();
        tx.remove(&path("f")).await.unwrap();
        assert_eq!(tx.remove(&path("f")).await, Err(Error::NotFound));
        assert_eq!(tx.create_file(&path("d"), b"", false).await, Err(Error::IsDirectory));
        assert_eq!(tx.create_dir(&path("d")).await, Err(Error::Exists));
    }
    within("the clunks", || served.only_the_root()).await;
}
