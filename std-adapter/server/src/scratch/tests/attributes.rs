//! Tests for attributes, extended attributes and locks.

use super::*;

#[tokio::test]
async fn symlinks_and_devices_are_recorded() -> Done {
    let tree = Scratch::new();
    let root = tree.root();
    let link = tree.create(&root, name("l"), new(CreateKind::Symlink(b"to/there"))).await?;
    let mut buf = [0; 16];
    assert_eq!((tree.readlink(&link, &mut buf).await?, &buf[..8]), (8, &b"to/there"[..]));
    assert_eq!(tree.readlink(&link, &mut [0; 3]).await, Err(Error::Range));
    assert_eq!(tree.readlink(&root, &mut buf).await, Err(Error::Invalid));
    assert_eq!(tree.stat(&link).await?.mode, 0o777);
    assert_eq!(
        (tree.stat(&link).await?.size, read(&tree, &link).await?),
        (8, b"to/there".to_vec())
    );
    let null = FileType::Char { major: 1, minor: 3 };
    let device = tree.create(&root, name("null"), new(CreateKind::Special(null))).await?;
    assert_eq!(tree.id(&device).kind, null);
    assert_eq!(tree.open(&device, OpenMode::READ).await.unwrap_err(), Error::NotSupported);
    Ok(())
}

#[tokio::test]
async fn an_extended_attribute_changes_when_it_is_flushed() -> Done {
    let tree = Scratch::new();
    let f = file(&tree, &tree.root(), "f", b"").await?;
    assert_eq!(tree.open_xattr(&f, Some(name("user.a"))).await.unwrap_err(), Error::NoData);
    assert_eq!(
        tree.create_xattr(&f, name("user.a"), 3, false, true).await.unwrap_err(),
        Error::NoData
    );
    let open = tree.create_xattr(&f, name("user.a"), 3, true, false).await?;
    tree.write(&open, 0, b"va").await?;
    assert_eq!(tree.flush(&open).await.unwrap_err().errno(), 22);
    assert_eq!(tree.write(&open, 2, b"too long").await.unwrap_err().errno(), 28);
    tree.write(&open, 2, b"l").await?;
    assert_eq!(tree.open_xattr(&f, Some(name("user.a"))).await.unwrap_err(), Error::NoData);
    tree.flush(&open).await?;
    let (value, length) = tree.open_xattr(&f, Some(name("user.a"))).await?;
    let mut buf = [0; 8];
    assert_eq!((length, tree.read(&value, 0, &mut buf).await?, &buf[..3]), (3, 3, &b"val"[..]));
    let (names, length) = tree.open_xattr(&f, None).await?;
    assert_eq!(
        (length, tree.read(&names, 0, &mut buf).await?, &buf[..7]),
        (7, 7, &b"user.a\0"[..])
    );
    assert_eq!(
        tree.create_xattr(&f, name("user.a"), 3, true, false).await.unwrap_err(),
        Error::Exists
    );
    let removal = tree.create_xattr(&f, name("user.a"), 0, false, true).await?;
    tree.flush(&removal).await?;
    assert_eq!(tree.open_xattr(&f, None).await?.1, 0);
    Ok(())
}

#[tokio::test]
async fn locks_conflict_with_those_of_other_owners() -> Done {
    let tree = Scratch::new();
    let f = file(&tree, &tree.root(), "f", b"").await?;
    let (one, two) =
        (tree.open(&f, OpenMode::READ_WRITE).await?, tree.open(&f, OpenMode::READ_WRITE).await?);
    let lock =
        |kind, start, length, process| Lock { kind, start, length, process, client: b"host" };
    assert!(tree.lock(&one, lock(LockKind::Write, 0, 100, 1)).await?);
    assert!(!tree.lock(&two, lock(LockKind::Read, 99, 1, 2)).await?);
    assert!(tree.lock(&two, lock(LockKind::Read, 100, 0, 2)).await?);
    assert!(tree.lock(&one, lock(LockKind::Unlock, 40, 20, 1)).await?);
    assert!(tree.lock(&two, lock(LockKind::Write, 40, 20, 2)).await?);
    let bounds = |lock: Option<Lock<'_>>| lock.map(|lock| (lock.start, lock.length, lock.process));
    assert_eq!(
        tree.get_lock(&two, lock(LockKind::Read, 50, 20, 2), bounds).await?,
        Some((60, 40, 1))
    );
    assert_eq!(tree.get_lock(&two, lock(LockKind::Read, 40, 10, 2), bounds).await?, None);
    tree.close(&one);
    assert!(tree.lock(&two, lock(LockKind::Write, 0, 0, 2)).await?);
    Ok(())
}

#[tokio::test]
async fn set_attr_changes_only_the_given_attributes() -> Done {
    let tree = Scratch::new();
    let f = file(&tree, &tree.root(), "f", b"").await?;
    let time = Time { sec: 5, nsec: 6 };
    let set = SetAttr {
        mode: Some(0o100_755),
        uid: Some(1),
        mtime: Some(SetTime::To(time)),
        ..SetAttr::default()
    };
    tree.set_attr(&f, set).await?;
    let attr = tree.stat(&f).await?;
    assert_eq!((attr.mode, attr.uid, attr.gid, attr.mtime), (0o755, 1, 8, time));
    let size = SetAttr { size: Some(1), mode: Some(0), ..SetAttr::default() };
    assert_eq!(tree.set_attr(&tree.root(), size).await, Err(Error::IsDirectory));
    assert_eq!(tree.stat(&tree.root()).await?.mode, 0o777);
    Ok(())
}
