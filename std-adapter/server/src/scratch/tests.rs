//! Tests that call the tree's operations directly, without a session.

mod attributes;
mod limits;
mod rename;

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

#[test]
fn the_tree_is_send_and_sync() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Scratch>();
    shared::<Dentry>();
    shared::<OpenFile>();
}
