//! Tests for limits on memory and on the number of files.

use super::*;

#[tokio::test]
async fn writes_above_the_limit_fail_and_removal_frees_the_space() -> Done {
    let tree = Scratch::with_limit(1 << 20);
    let before = tree.statfs().await?;
    let f = file(&tree, &tree.root(), "f", b"").await?;
    let open = tree.open(&f, OpenMode::READ_WRITE).await?;
    let taken = tree.write(&open, 0, &vec![1; 2 << 20]).await?;
    assert!(taken > 900_000 && taken % 65536 == 0, "{taken}");
    assert_eq!(tree.write(&open, taken as u64, &[1; 65536]).await, Err(Error::NoSpace));
    tree.remove(&f).await?;
    drop((f, open));
    assert_eq!(tree.statfs().await?, before);
    Ok(())
}

#[tokio::test]
async fn every_type_of_file_is_charged_until_it_is_removed() -> Done {
    const LIMIT: u64 = 1 << 20;
    let long = "l".repeat(255);
    for (what, kind) in [
        ("files", CreateKind::File),
        ("directories", CreateKind::Dir),
        ("links", CreateKind::Symlink(&[b't'; 4000])),
        ("pipes", CreateKind::Special(FileType::Fifo)),
    ] {
        let tree = Scratch::with_limit(LIMIT);
        let (root, before) = (tree.root(), tree.statfs().await?);
        assert_eq!(before.blocks * u64::from(before.block_size), LIMIT);
        let mut made = Vec::new();
        let full = loop {
            match tree.create(&root, name(&made.len().to_string()), new(kind)).await {
                Ok(inode) if made.len() < 2000 => made.push(inode),
                Ok(_) => panic!("{what} cost nothing"),
                Err(error) => break error,
            }
        };
        let left = tree.statfs().await?;
        assert_eq!((full, left.free), (Error::NoSpace, 0), "{what}");
        for inode in made {
            tree.remove(&inode).await?;
        }
        assert_eq!(tree.statfs().await?, before, "{what}");
    }
    let tree = Scratch::with_limit(LIMIT);
    let f = file(&tree, &tree.root(), "f", b"").await?;
    let before = tree.statfs().await?;
    let mut links = 0;
    while tree.link(&f, &tree.root(), name(&links.to_string())).await.is_ok() {
        links += 1;
        assert!(links < 3000, "names cost nothing");
    }
    // Renaming an entry to a longer name uses up the last bytes in the budget.
    let first = tree.lookup(&tree.root(), name("0")).await?;
    let other = tree.lookup(&tree.root(), name("1")).await?;
    let renamed = (
        tree.rename(&first, &tree.root(), name(&long)).await,
        tree.rename(&other, &tree.root(), name(&long[1..])).await,
    );
    assert!(renamed.0.is_err() || renamed.1.is_err(), "a longer name costs nothing: {renamed:?}");
    for inode in [first, other] {
        tree.remove(&inode).await?;
    }
    for link in 2..links {
        tree.remove(&tree.lookup(&tree.root(), name(&link.to_string())).await?).await?;
    }
    assert_eq!(tree.statfs().await?, before);
    Ok(())
}

#[tokio::test]
async fn extended_attributes_are_charged_while_they_are_open() -> Done {
    let tree = Scratch::with_limit(1 << 20);
    let f = file(&tree, &tree.root(), "f", b"").await?;
    let before = tree.statfs().await?;
    let mut writing = Vec::new();
    let full = loop {
        match tree.create_xattr(&f, name("user.a"), 60_000, false, false).await {
            Ok(open) if writing.len() < 20 => writing.push(open),
            Ok(_) => panic!("values that are only announced cost nothing"),
            Err(error) => break error,
        }
    };
    assert_eq!((full, writing.len()), (Error::NoSpace, 17));
    writing.truncate(1);
    let mut reading = Vec::new();
    while let Ok(open) = tree.create_xattr(&f, name("user.a"), 60_000, false, false).await {
        assert!(reading.len() < 20, "values that are only read cost nothing");
        tree.write(&open, 0, &[1; 60_000]).await?;
        tree.flush(&open).await?;
        reading.push(tree.open_xattr(&f, Some(name("user.a"))).await?.0);
    }
    drop((writing, reading));
    tree.flush(&tree.create_xattr(&f, name("user.a"), 0, false, false).await?).await?;
    assert_eq!(tree.statfs().await?, before);
    Ok(())
}

#[tokio::test]
async fn the_list_of_attribute_names_has_a_limit() -> Done {
    let tree = Scratch::new();
    let f = file(&tree, &tree.root(), "f", b"").await?;
    let set = async |number: usize| {
        let called = format!("user.{number:0>200}");
        let open = tree.create_xattr(&f, name(&called), 1, false, false).await?;
        tree.write(&open, 0, b"x").await?;
        tree.flush(&open).await
    };
    for number in 0..65536 / 206 {
        set(number).await?;
    }
    assert_eq!(set(1000).await.unwrap_err().errno(), 28);
    set(0).await?;
    assert!(tree.open_xattr(&f, None).await?.1 <= 65536);
    Ok(())
}

#[tokio::test]
async fn the_number_of_locked_ranges_has_a_limit() -> Done {
    let tree = Scratch::with_limit(1 << 20);
    let f = file(&tree, &tree.root(), "f", b"").await?;
    let open = tree.open(&f, OpenMode::READ_WRITE).await?;
    let lock = |kind, start, length| Lock { kind, start, length, process: 1, client: b"host" };
    let before = tree.statfs().await?;
    assert!(tree.lock(&open, lock(LockKind::Write, 0, 0)).await?);
    let mut holes = 0;
    while tree.lock(&open, lock(LockKind::Unlock, 2 * holes + 1, 1)).await.is_ok() {
        holes += 1;
        assert!(holes < 5000, "no limit to the pieces of a lock");
    }
    assert!(holes > 1000, "{holes}");
    tree.close(&open);
    assert_eq!(tree.statfs().await?, before);
    Ok(())
}

#[tokio::test]
async fn a_directory_holds_a_hundred_thousand_entries() -> Done {
    let tree = Scratch::new();
    let root = tree.root();
    for i in 0..100_000 {
        tree.create(&root, name(&i.to_string()), new(CreateKind::File)).await?;
    }
    assert!(list(&tree, &root).await?.iter().enumerate().all(|(i, name)| *name == i.to_string()));
    let middle = tree.lookup(&root, name("50000")).await?;
    tree.remove(&middle).await?;
    let open = tree.open(&root, OpenMode::READ).await?;
    let (start, mut count) = (Instant::now(), 0);
    let mut each = |_: DirEntry<'_, Dentry>| {
        count += 1;
        if count == 1000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    tree.readdir(&open, 70_000, &mut each).await?;
    println!("1000 entries in {:?}", start.elapsed());
    assert_eq!(count, 1000);
    Ok(())
}

#[tokio::test]
async fn a_deep_tree_is_dropped_without_recursion() -> Done {
    let tree = Scratch::new();
    let mut dir = tree.root();
    for _ in 0..100_000 {
        dir = tree.create(&dir, name("d"), new(CreateKind::Dir)).await?;
    }
    drop(tree);
    Ok(())
}
