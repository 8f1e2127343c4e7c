//! Tests for reading trees.

use datakit_client::db::prelude::*;
use datakit_client::db::{Content, EntryKind, Error, Id, Path, Stat};

use crate::suite::{on_every_database, path, put};

on_every_database! {
    trees:
    entries_have_kinds,
    trees_are_found_by_their_id,
}

pub(crate) async fn entries_have_kinds<D: Database>(db: D) {
    let tx = db.branch("master").await.unwrap().transaction().await.unwrap();
    tx.create_dir(&path("d")).await.unwrap();
    tx.create_file(&path("d/f"), b"12345", false).await.unwrap();
    tx.create_file(&path("d/x"), b"#!", true).await.unwrap();
    tx.create_symlink(&path("d/l"), "../else where").await.unwrap();
    check_kinds(&tx.tree()).await;
    check_kinds(&tx.commit("").await.unwrap().tree()).await;
}

async fn check_kinds<T: TreeOps>(tree: &T) {
    for absent in ["none", "none/none", "d/none", "d/f/none"] {
        assert_eq!(tree.stat(&path(absent)).await, Ok(None));
        assert_eq!(tree.exists(&path(absent)).await, Ok(false));
        assert_eq!(tree.exists_file(&path(absent)).await, Ok(false));
        assert_eq!(tree.exists_dir(&path(absent)).await, Ok(false));
        assert_eq!(tree.read_file_if_present(&path(absent)).await, Ok(None));
    }
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
    assert_eq!(tree.read(&path("none")).await, Err(Error::NotFound));
    assert_eq!(tree.read_file(&path("d/f/none")).await, Err(Error::NotDirectory));
    assert_eq!(tree.read_file(&path("d")).await, Err(Error::NotFile));
    assert_eq!(tree.read_file(&path("d/l")).await, Err(Error::NotFile));
    assert_eq!(tree.read_dir(&path("d/f")).await, Err(Error::NotDirectory));
    assert_eq!(tree.read_link(&path("d/f")).await, Err(Error::NotSymlink));
    assert_eq!(tree.read_link(&path("d")).await, Err(Error::NotSymlink));
    assert_eq!(tree.read_file(&path("d/x")).await.unwrap(), b"#!");
    assert_eq!(tree.read(&path("d/f")).await, Ok(Content::File(b"12345".to_vec())));
    assert_eq!(tree.read(&path("d/l")).await, Ok(Content::Link("../else where".into())));
    let names = vec!["f".into(), "l".into(), "x".into()];
    assert_eq!(tree.read(&path("d")).await, Ok(Content::Dir(names)));
}

pub(crate) async fn trees_are_found_by_their_id<D: Database>(db: D) {
    put(&db.branch("master").await.unwrap(), "f", "hello\n").await;
    // The hashes of a blob that contains the line `hello` and of a tree that contains this blob as
    // `f`.
    let blob = "ce013625030ba8dba906f756967f9e9ca394464a";
    let tree = db.tree("D-63f4b7f6d8a1e3d6a6a2a9f4a4f0e5b1c6f0d0a1");
    assert_eq!(tree.read_dir(&Path::ROOT).await, Err(Error::NotFound));
    for (letter, kind) in [("F", EntryKind::File), ("X", EntryKind::Exec), ("L", EntryKind::Link)] {
        let tree = db.tree(format!("{letter}-{blob}"));
        let stat = Stat { kind, size: 6 };
        assert_eq!(tree.stat(&Path::ROOT).await, Ok(Some(stat)));
    }
    let file = db.tree(format!("F-{blob}"));
    assert_eq!(file.read_file(&Path::ROOT).await.unwrap(), b"hello\n");
    assert_eq!(file.read_file(&path("x")).await, Err(Error::NotDirectory));
    for absent in ["", "x", "D-", "Q-ce013625030ba8dba906f756967f9e9ca394464a"] {
        assert_eq!(db.tree(absent).stat(&path("x")).await, Ok(None), "{absent}");
    }
    let empty = db.tree(format!("D-{}", Id::EMPTY_TREE));
    assert!(empty.read_dir(&Path::ROOT).await.unwrap().is_empty());
}
