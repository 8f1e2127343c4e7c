//! Tests for renames.

use super::*;

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

/// Polls an operation once and returns its result. Operations on a scratch tree never wait, so a
/// single poll is enough.
fn now<T>(call: impl Future<Output = T>) -> T {
    match std::pin::pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("an operation waits"),
    }
}

/// Checks that each entry below `dir` has the correct parent, and returns the number of entries.
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
                // Ignore errors because most of these random operations fail.
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
