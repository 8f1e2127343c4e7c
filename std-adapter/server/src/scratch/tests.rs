//! Tests that call the tree's operations directly, without a session.

use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use datakit_core::vfs::{FileType, LockKind, SetTime, Time};

use super::*;

type Done = Result<()>;

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

fn new(new: CreateKind<'_>) -> Create<'_> {
    Create { kind: new, mode: 0o644, uid: 7, gid: 8, exclusive: false }
}

async fn file(tree: &Scratch, dir: &Dentry, called: &str, content: &[u8]) -> Result<Dentry> {
    let inode = tree.create(dir, name(called), new(CreateKind::File)).await?;
    let open = tree.open(&inode, OpenMode::READ_WRITE).await?;
    assert_eq!(tree.write(&open, 0, content).await?, content.len());
    tree.close(&open);
    Ok(inode)
}

async fn read(tree: &Scratch, inode: &Dentry) -> Result<Vec<u8>> {
    let open = tree.open(inode, OpenMode::READ).await?;
    let mut buf = vec![0; 4096];
    let count = tree.read(&open, 0, &mut buf).await?;
    buf.truncate(count);
    Ok(buf)
}

async fn list(tree: &Scratch, dir: &Dentry) -> Result<Vec<String>> {
    let open = tree.open(dir, OpenMode::READ).await?;
    let mut names = Vec::new();
    let mut each = |entry: DirEntry<'_, Dentry>| {
        names.push(String::from_utf8_lossy(entry.name).into_owned());
        ControlFlow::Continue(())
    };
    tree.readdir(&open, 0, &mut each).await?;
    Ok(names)
}

#[tokio::test]
async fn a_lookup_returns_the_inode_number_of_the_create() -> Done {
    let tree = Scratch::new();
    let made = file(&tree, &tree.root(), "a", b"abc").await?;
    let found = tree.lookup(&tree.root(), name("a")).await?;
    assert_eq!(tree.id(&made), tree.id(&found));
    let attr = tree.stat(&found).await?;
    assert_eq!((attr.size, attr.mode, attr.uid, attr.gid, attr.nlink), (3, 0o644, 7, 8, 1));
    assert!(attr.mtime.sec > 1_000_000_000);
    assert_eq!(tree.lookup(&tree.root(), name("b")).await.unwrap_err(), Error::NotFound);
    assert_eq!(tree.lookup(&made, name("b")).await.unwrap_err(), Error::NotDirectory);
    Ok(())
}

#[tokio::test]
async fn rename_across_directories_keeps_the_inode() -> Done {
    let tree = Scratch::new();
    let root = tree.root();
    let (a, b) = (
        tree.create(&root, name("a"), new(CreateKind::Dir)).await?,
        tree.create(&root, name("b"), new(CreateKind::Dir)).await?,
    );
    let f = file(&tree, &a, "f", b"content").await?;
    let old = file(&tree, &b, "g", b"old").await?;
    tree.rename(&f, &b, name("g")).await?;
    assert_eq!((list(&tree, &a).await?, list(&tree, &b).await?), (vec![], vec!["g".to_owned()]));
    assert_eq!(tree.id(&tree.lookup(&b, name("g")).await?).ino, tree.id(&f).ino);
    assert_eq!(name_of(&tree, &f), b"g");
    assert_eq!(tree.id(&tree.parent(&f)).ino, tree.id(&b).ino);
    assert_eq!((read(&tree, &old).await?, tree.stat(&old).await?.nlink), (b"old".to_vec(), 0));
    assert_eq!(tree.id(&tree.parent(&old)).ino, tree.id(&root).ino);
    assert_eq!(tree.remove(&old).await, Err(Error::NotFound));
    Ok(())
}

#[tokio::test]
async fn rename_of_a_directory_follows_rename_2() -> Done {
    let tree = Scratch::new();
    let root = tree.root();
    let a = tree.create(&root, name("a"), new(CreateKind::Dir)).await?;
    let b = tree.create(&a, name("b"), new(CreateKind::Dir)).await?;
    assert_eq!(tree.stat(&a).await?.nlink, 3);
    assert_eq!(tree.rename(&a, &b, name("c")).await.unwrap_err().errno(), 22);
    assert_eq!(tree.rename(&a, &a, name("c")).await.unwrap_err().errno(), 22);
    assert_eq!(tree.rename(&root, &a, name("c")).await, Err(Error::Busy));
    let full = tree.create(&root, name("full"), new(CreateKind::Dir)).await?;
    let f = file(&tree, &full, "f", b"").await?;
    assert_eq!(tree.rename(&a, &root, name("full")).await, Err(Error::NotEmpty));
    assert_eq!(tree.rename(&a, &full, name("f")).await, Err(Error::NotDirectory));
    assert_eq!(tree.rename(&f, &root, name("a")).await, Err(Error::IsDirectory));
    tree.remove(&f).await?;
    tree.rename(&a, &root, name("full")).await?;
    assert_eq!(list(&tree, &root).await?, ["full"]);
    assert_eq!(
        tree.create(&full, name("x"), new(CreateKind::File)).await.unwrap_err(),
        Error::NotFound
    );
    assert_eq!(tree.id(&tree.lookup(&a, name("b")).await?).ino, tree.id(&b).ino);
    Ok(())
}

#[tokio::test]
async fn an_open_file_outlives_its_name() -> Done {
    let tree = Scratch::new();
    let f = file(&tree, &tree.root(), "f", b"still here").await?;
    let open = tree.open(&f, OpenMode::READ_WRITE).await?;
    tree.remove(&f).await?;
    assert_eq!(tree.lookup(&tree.root(), name("f")).await.unwrap_err(), Error::NotFound);
    let mut buf = [0; 32];
    assert_eq!(tree.read(&open, 6, &mut buf).await?, 4);
    assert_eq!(tree.write(&open, 10, b"!").await?, 1);
    assert_eq!(tree.stat(&f).await?.size, 11);
    Ok(())
}

#[tokio::test]
async fn holes_read_as_zeros() -> Done {
    let tree = Scratch::with_limit(1 << 20);
    let f = file(&tree, &tree.root(), "f", b"start").await?;
    let open = tree.open(&f, OpenMode::READ_WRITE).await?;
    let far = 1u64 << 40;
    assert_eq!(tree.write(&open, far, b"end").await?, 3);
    assert_eq!(tree.stat(&f).await?.size, far + 3);
    let mut buf = [1; 8];
    assert_eq!(tree.read(&open, 3, &mut buf).await?, 8);
    assert_eq!(&buf, b"rt\0\0\0\0\0\0");
    assert_eq!(tree.read(&open, far - 5, &mut buf).await?, 8);
    assert_eq!(&buf, b"\0\0\0\0\0end");
    assert_eq!(tree.read(&open, far + 3, &mut buf).await?, 0);
    tree.set_attr(&f, SetAttr { size: Some(2), ..SetAttr::default() }).await?;
    tree.set_attr(&f, SetAttr { size: Some(4), ..SetAttr::default() }).await?;
    assert_eq!(read(&tree, &f).await?, b"st\0\0");
    assert_eq!(tree.write(&open, u64::MAX, b"x").await, Err(Error::TooLarge));
    Ok(())
}

#[tokio::test]
async fn random_writes_and_truncations_equal_those_of_a_vector() -> Done {
    let tree = Scratch::new();
    let f = file(&tree, &tree.root(), "f", b"").await?;
    let open = tree.open(&f, OpenMode::READ_WRITE).await?;
    let (mut model, mut random) = (Vec::new(), 1u64);
    let mut below = |limit: u64| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % limit
    };
    for step in 0..300u32 {
        if step % 10 == 9 {
            let size = below(300_000);
            tree.set_attr(&f, SetAttr { size: Some(size), ..SetAttr::default() }).await?;
            model.resize(size as usize, 0);
        } else {
            let (at, data) =
                (below(200_000) as usize, vec![step as u8; below(100_000) as usize + 1]);
            assert_eq!(tree.write(&open, at as u64, &data).await?, data.len());
            model.resize(model.len().max(at + data.len()), 0);
            model[at..at + data.len()].copy_from_slice(&data);
        }
        let at = below(300_000) as usize;
        let mut buf = vec![0xff; below(150_000) as usize];
        let count = tree.read(&open, at as u64, &mut buf).await?;
        assert!(
            buf[..count] == *model.get(at..model.len().min(at + buf.len())).unwrap_or_default(),
            "step {step}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn appends_go_to_the_end() -> Done {
    let tree = Scratch::new();
    let f = file(&tree, &tree.root(), "log", b"one ").await?;
    let open = tree.open(&f, OpenMode { append: true, ..OpenMode::WRITE }).await?;
    tree.write(&open, 0, b"two ").await?;
    assert_eq!(tree.try_write_now(&open, 0, b"three"), Some(Ok(5)));
    assert_eq!(read(&tree, &f).await?, b"one two three");
    let version = tree.id(&f).version;
    tree.open(&f, OpenMode { truncate: true, ..OpenMode::WRITE }).await?;
    assert_eq!(read(&tree, &f).await?, b"");
    assert_ne!(tree.id(&f).version, version);
    Ok(())
}

#[tokio::test]
async fn create_of_an_existing_name_fails_and_changes_nothing() -> Done {
    let tree = Scratch::new();
    let root = tree.root();
    let f = file(&tree, &root, "f", b"abc").await?;
    let exclusive = Create { exclusive: true, ..new(CreateKind::File) };
    assert_eq!(tree.create(&root, name("f"), exclusive).await.unwrap_err(), Error::Exists);
    assert_eq!(
        tree.create(&root, name("f"), new(CreateKind::Dir)).await.unwrap_err(),
        Error::Exists
    );
    assert_eq!(read(&tree, &f).await?, b"abc");
    assert_eq!(
        tree.create(&root, name("f"), new(CreateKind::File)).await.unwrap_err(),
        Error::Exists
    );
    assert_eq!(read(&tree, &f).await?, b"abc");
    Ok(())
}

#[tokio::test]
async fn hard_links_share_one_inode() -> Done {
    let tree = Scratch::new();
    let root = tree.root();
    let f = file(&tree, &root, "f", b"abc").await?;
    tree.link(&f, &root, name("g")).await?;
    let g = tree.lookup(&root, name("g")).await?;
    assert_eq!((tree.id(&g).ino, tree.stat(&g).await?.nlink), (tree.id(&f).ino, 2));
    assert_eq!(tree.link(&f, &root, name("g")).await, Err(Error::Exists));
    assert_eq!(tree.link(&root, &root, name("h")).await, Err(Error::NotPermitted));
    // rename(2) does nothing if both names refer to the same file.
    tree.rename(&f, &root, name("g")).await?;
    assert_eq!(list(&tree, &root).await?, ["f", "g"]);
    tree.remove(&f).await?;
    assert_eq!((tree.stat(&g).await?.nlink, read(&tree, &g).await?), (1, b"abc".to_vec()));
    Ok(())
}

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
    // Renaming an entry to a longer name uses up the last bytes of the budget.
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
async fn a_failed_rename_is_not_charged() -> Done {
    let tree = Scratch::with_limit(1 << 20);
    let root = tree.root();
    let (a, full) = (tree.create(&root, name("a"), new(CreateKind::Dir)).await?, "f".repeat(255));
    let dir = tree.create(&root, name(&full), new(CreateKind::Dir)).await?;
    file(&tree, &dir, "x", b"").await?;
    let before = tree.statfs().await?;
    assert_eq!(tree.rename(&a, &root, name(&full)).await, Err(Error::NotEmpty));
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
async fn a_listing_survives_the_removal_of_listed_entries() -> Done {
    let tree = Scratch::new();
    let root = tree.root();
    for i in 0..100 {
        file(&tree, &root, &i.to_string(), b"").await?;
    }
    let (open, mut cookie, mut shown) = (tree.open(&root, OpenMode::READ).await?, 0, 0);
    loop {
        let (mut batch, from) = (Vec::new(), cookie);
        let mut each = |entry: DirEntry<'_, Dentry>| {
            batch.push((entry.inode)());
            cookie = entry.next;
            if batch.len() == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        tree.readdir(&open, from, &mut each).await?;
        if batch.is_empty() {
            break;
        }
        for inode in batch {
            shown += 1;
            tree.remove(&inode).await?;
        }
    }
    assert_eq!((shown, list(&tree, &root).await?.len()), (100, 0));
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

#[test]
fn the_tree_is_send_and_sync() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Scratch>();
    shared::<Dentry>();
    shared::<OpenFile>();
}

/// Returns the result of an operation. Operations on a scratch tree never wait, so a single poll is
/// enough.
fn now<T>(call: impl Future<Output = T>) -> T {
    match std::pin::pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("an operation waits"),
    }
}

/// Counts the entries below `dir`, and checks their parents.
fn count(tree: &Scratch, dir: &Dentry) -> u64 {
    let open = now(tree.open(dir, OpenMode::READ)).unwrap();
    let mut below = Vec::new();
    let mut each = |entry: DirEntry<'_, Dentry>| {
        below.push((entry.inode)());
        ControlFlow::Continue(())
    };
    now(tree.readdir(&open, 0, &mut each)).unwrap();
    let subdirs = below.iter().filter(|inode| tree.id(inode).kind == FileType::Dir).count();
    assert_eq!(now(tree.stat(dir)).unwrap().nlink as usize, subdirs + 2);
    below.iter().fold(0, |sum, inode| {
        assert_eq!(tree.id(&tree.parent(inode)).ino, tree.id(dir).ino);
        sum + 1 + if tree.id(inode).kind == FileType::Dir { count(tree, inode) } else { 0 }
    })
}

#[test]
fn concurrent_renames_never_create_a_cycle() {
    let tree = Scratch::new();
    let mover = |seed: u64| {
        let tree = tree.clone();
        move || {
            let mut random = seed;
            let mut below = |limit: u64| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) % limit
            };
            let mut known = vec![tree.root()];
            for _ in 0..3000 {
                let (one, two) =
                    (below(known.len() as u64) as usize, below(known.len() as u64) as usize);
                let called = below(20).to_string();
                let kind = if below(3) == 0 { CreateKind::File } else { CreateKind::Dir };
                // Most of these operations fail, which is fine.
                match below(4) {
                    0 => drop(now(tree.rename(&known[one], &known[two], name(&called)))),
                    1 => drop(now(tree.remove(&known[one]))),
                    2 => known.extend(now(tree.lookup(&known[one], name(&called)))),
                    _ => known.extend(now(tree.create(&known[one], name(&called), new(kind)))),
                }
            }
        }
    };
    let threads: Vec<_> = (1..5).map(|seed| std::thread::spawn(mover(seed))).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // The root is not counted, because it has its own budget.
    assert_eq!(count(&tree, &tree.root()), tree.0.budget.inodes());
}

fn name_of<V: Vfs>(tree: &V, inode: &V::Inode) -> Vec<u8> {
    let mut found = Vec::new();
    tree.name(inode, &mut |name| found = name.to_vec());
    found
}
