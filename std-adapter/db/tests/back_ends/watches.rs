//! Tests for watching branches and paths, and for waiting for a value.

use std::ops::ControlFlow;
use std::time::Duration;

use datakit_client::db::prelude::*;
use datakit_client::db::{Error, Path, PathValue, Watch};

use crate::suite::{on_every_database, path, put};

on_every_database! {
    watches:
    heads_and_moves_are_watched,
    values_at_a_path_are_watched,
    waits_end_when_their_closure_says_so,
}

async fn next<T: Send + 'static>(watch: &mut Watch<T>) -> T {
    watch.next().await.unwrap().unwrap()
}

pub(crate) async fn heads_and_moves_are_watched<D: Database>(db: D) {
    let master = db.branch("master").await.unwrap();
    let mut heads = master.watch_head().await.unwrap();
    let mut moves = master.reflog().await.unwrap();
    assert_eq!(next(&mut heads).await, None);
    // Dropping the future returned by `next` does not lose a value.
    assert!(tokio::time::timeout(Duration::from_millis(10), heads.next()).await.is_err());
    assert!(tokio::time::timeout(Duration::from_millis(10), moves.next()).await.is_err());
    let first = put(&master, "f", "1").await;
    assert_eq!(next(&mut heads).await.as_ref(), Some(&first));
    let second = put(&master, "f", "2").await;
    master.remove().await.unwrap();
    assert_eq!(next(&mut moves).await, Some(first));
    assert_eq!(next(&mut moves).await, Some(second));
    assert_eq!(next(&mut moves).await, None);
    while next(&mut heads).await.is_some() {}
}

async fn show<T: TreeOps>(value: Option<PathValue<T>>) -> String {
    match value {
        Some(PathValue::Dir(tree)) => format!("{:?}", tree.read_dir(&Path::ROOT).await.unwrap()),
        other => format!("{other:?}"),
    }
}

pub(crate) async fn values_at_a_path_are_watched<D: Database>(db: D) {
    let master = db.branch("master").await.unwrap();
    let mut values = master.watch_path(&path("d/f")).await.unwrap();
    let mut root = master.watch_path(&Path::ROOT).await.unwrap();
    assert_eq!(show(next(&mut values).await).await, "None");
    next(&mut root).await;
    put(&master, "d/f", "1").await;
    assert_eq!(show(next(&mut values).await).await, "Some(File(\"1\"))");
    assert_eq!(show(next(&mut root).await).await, "[\"d\"]");
    // A change at a different path is not reported.
    put(&master, "elsewhere", "1").await;
    assert_eq!(show(next(&mut root).await).await, "[\"d\", \"elsewhere\"]");
    let change = |change: usize| {
        let master = master.clone();
        async move {
            let tx = master.transaction().await.unwrap();
            let file = path("d/f");
            match change {
                0 => tx.set_executable(&file, true).await.unwrap(),
                1 => tx.create_symlink(&file, "target").await.unwrap(),
                2 => {
                    tx.remove(&file).await.unwrap();
                    tx.write_file(&path("d/f/g"), b"2").await.unwrap();
                }
                _ => tx.remove(&path("d")).await.unwrap(),
            }
            tx.commit("").await.unwrap();
        }
    };
    for (number, value) in
        ["Some(Exec(\"1\"))", "Some(Link(\"target\"))", "[\"g\"]", "None"].into_iter().enumerate()
    {
        change(number).await;
        assert_eq!(show(next(&mut values).await).await, value);
    }
}

pub(crate) async fn waits_end_when_their_closure_says_so<D: Database>(db: D) {
    let master = &db.branch("master").await.unwrap();
    let mut seen = 0;
    let waited = master.wait_for_head(|head| {
        seen += 1;
        async move {
            match head {
                Some(head) => Ok(ControlFlow::Break(head)),
                None => {
                    put(master, "f", "1").await;
                    Ok(ControlFlow::Continue(()))
                }
            }
        }
    });
    let head = waited.await.unwrap();
    assert_eq!(seen, 2);
    assert_eq!(master.head().await.unwrap(), Some(head));
    let file = path("f");
    let value = master
        .wait_for_path(&file, async |value| {
            Ok(value.map_or(ControlFlow::Continue(()), ControlFlow::Break))
        })
        .await
        .unwrap();
    assert_eq!(value.into_file().unwrap(), b"1");
    let failed = master.wait_for_head::<(), _>(async |_| Err(Error::NotFile)).await;
    assert_eq!(failed, Err(Error::NotFile));
    let blocked = master.wait_for_path::<(), _>(&file, async |_| Ok(ControlFlow::Continue(())));
    assert!(tokio::time::timeout(Duration::from_millis(50), blocked).await.is_err());
}
