//! Tests for directories, names, inode numbers and log levels.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datakit_core::vfs::{
    Create, CreateKind, DirEntry, Error, FileType, Id, Name, OpenMode, SetAttr, Vfs,
};

use super::log::{Level, LogSources};
use super::*;

pub(super) type Done = Result<()>;

pub(super) fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

pub(super) async fn walk(tree: &Tree, path: &str) -> Result<EntryPath> {
    let mut inode = tree.root();
    for part in path.split('/') {
        inode = tree.lookup(&inode, name(part)).await?;
    }
    Ok(inode)
}

pub(super) async fn read_at(tree: &Tree, open: &Open, offset: u64, count: usize) -> Result<String> {
    let mut buf = vec![0; count];
    let count = match tree.try_read_now(open, offset, &mut buf) {
        Some(done) => done?,
        None => tree.read(open, offset, &mut buf).await?,
    };
    Ok(String::from_utf8_lossy(&buf[..count]).into_owned())
}

pub(super) async fn read(tree: &Tree, path: &str) -> Result<String> {
    let open = tree.open(&walk(tree, path).await?, OpenMode::READ).await?;
    read_at(tree, &open, 0, 4096).await
}

/// Writes a file using the same requests as `printf TEXT > PATH`.
pub(super) async fn write(tree: &Tree, path: &str, text: &str) -> Result<usize> {
    let open = tree.open(&walk(tree, path).await?, OpenMode::WRITE).await?;
    let written = tree.write(&open, 0, text.as_bytes()).await?;
    let finished = tree.flush(&open).await;
    tree.close(&open);
    finished.map(|()| written)
}

/// Returns a tree whose only entry is `file`, named `f`.
pub(super) fn tree_of(file: impl Leaf + 'static) -> Tree {
    Tree::new([Entry::file("f", file)].into_iter().collect::<Dir>())
}

pub(super) async fn list(tree: &Tree, dir: &EntryPath) -> Result<Vec<String>> {
    let open = tree.open(dir, OpenMode::READ).await?;
    let mut names = Vec::new();
    let mut each = |entry: DirEntry<'_, EntryPath>| {
        names.push(String::from_utf8_lossy(entry.name).into_owned());
        ControlFlow::Continue(())
    };
    tree.readdir(&open, 0, &mut each).await?;
    Ok(names)
}

pub(super) fn new(new: CreateKind<'_>) -> Create<'_> {
    Create { kind: new, mode: 0o664, uid: 0, gid: 0, exclusive: false }
}

#[tokio::test]
async fn v17_list_dirs_refuse_changes() -> Done {
    let file = Entry::file("f", ReadOnlyText::new("text"));
    let inner = Entry::dir("d", ListDir::new(move || vec![file.clone()]));
    let tree = Tree::new(ListDir::new(move || vec![inner.clone()]));
    let dir = walk(&tree, "d").await?;
    for kind in [CreateKind::File, CreateKind::Dir] {
        let error = tree.create(&dir, name("new"), new(kind)).await.unwrap_err();
        assert_eq!(error.to_string(), "Directory is read-only");
    }
    let f = walk(&tree, "d/f").await?;
    assert_eq!(tree.rename(&f, &dir, name("g")).await, Err(Error::ReadOnlyDirectory));
    assert_eq!(tree.remove(&dir).await, Err(Error::ReadOnlyDirectory));
    assert_eq!(tree.remove(&f).await, Err(Error::ReadOnlyFile));
    assert_eq!(tree.lookup(&dir, name("missing")).await.unwrap_err(), Error::NotFound);
    assert_eq!(tree.lookup(&f, name("missing")).await.unwrap_err(), Error::NotDirectory);
    assert!(list(&tree, &dir).await? == ["f"] && tree.strict_walk());
    Ok(())
}

#[tokio::test]
async fn v18_listings_show_changes_in_name_order() -> Done {
    let map = Dir::new();
    let tree = Tree::new(map.clone());
    for called in ["b", "c", "a"] {
        map.insert(Entry::file(called, ReadOnlyText::new(called)));
    }
    assert_eq!(list(&tree, &tree.root()).await?, ["a", "b", "c"]);
    let (open, b) = (tree.open(&tree.root(), OpenMode::READ).await?, walk(&tree, "b").await?);
    map.remove(b"b");
    assert_eq!(list(&tree, &tree.root()).await?, ["a", "c"]);
    // An open directory continues to list the entries that it had when it was opened. A removed
    // file remains usable through an inode that was looked up before the removal.
    let mut count = 0;
    let mut each = |_: DirEntry<'_, EntryPath>| {
        count += 1;
        ControlFlow::Continue(())
    };
    tree.readdir(&open, 1, &mut each).await?;
    assert_eq!((count, tree.stat(&b).await?.size), (2, 1));
    let only = Tree::new(DirOnly(map));
    let error = only.create(&only.root(), name("f"), new(CreateKind::File)).await.unwrap_err();
    assert_eq!(error.to_string(), "Can only contain directories");
    assert_eq!(
        only.create(&only.root(), name("d"), new(CreateKind::Dir)).await.unwrap_err(),
        Error::ReadOnlyDirectory
    );
    Ok(())
}

/// A directory of 1000 files. Counts the entries that it creates for its listings.
#[derive(Clone, Default)]
struct Numbers(Arc<AtomicUsize>);

impl Directory for Numbers {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(Ok((0..1000).filter_map(|index| self.entry(index)).collect()))
    }

    fn open(&self) -> BoxFuture<'_, Box<dyn Listing>> {
        ready(Ok(Box::new(self.clone())))
    }
}

impl Listing for Numbers {
    fn describe(&self, index: usize, with: &mut dyn FnMut(&[u8], Id)) {
        if index < 1000 {
            let id = Id { ino: index as u64, kind: FileType::File, version: 0 };
            with(index.to_string().as_bytes(), id);
        }
    }

    fn entry(&self, index: usize) -> Option<Entry> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let entry = Entry::file(index.to_string(), ReadOnlyText::new("text"));
        (index < 1000).then(|| entry.with_ino(index as u64))
    }
}

#[tokio::test]
async fn a_listing_creates_only_the_entries_that_are_used() -> Done {
    let numbers = Numbers::default();
    let tree = Tree::new(ReadOnly(numbers.clone()));
    let names = list(&tree, &tree.root()).await?;
    assert_eq!((names.len(), names[999].as_str()), (1000, "999"));
    assert_eq!(numbers.0.load(Ordering::Relaxed), 0);
    let open = tree.open(&tree.root(), OpenMode::READ).await?;
    let mut inodes = Vec::new();
    let mut first = |entry: DirEntry<'_, EntryPath>| {
        inodes.push((entry.inode)());
        ControlFlow::Break(())
    };
    tree.readdir(&open, 500, &mut first).await?;
    assert_eq!(inodes.iter().map(|inode| name_of(&tree, inode)).collect::<Vec<_>>(), [b"500"]);
    assert_eq!(tree.stat(&inodes[0]).await?.size, 4);
    assert_eq!(numbers.0.load(Ordering::Relaxed), 1);
    tree.readdir(&open, 1000, &mut |_| panic!("there is no such entry")).await?;
    tree.readdir(&open, u64::MAX, &mut |_| panic!("there is no such entry")).await
}

#[test]
fn v19_inode_numbers_are_unique() {
    let numbers = || (0..1000).map(|_| Entry::dir("d", Empty).ino()).collect::<Vec<_>>();
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(numbers)).collect();
    let all: HashSet<u64> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(all.len(), 4000);
}

#[tokio::test]
async fn lookups_of_one_name_return_one_inode_number() -> Done {
    let tree = tree_of(ReadOnlyText::new("x"));
    let (one, two) = (walk(&tree, "f").await?, walk(&tree, "f").await?);
    assert_eq!(tree.id(&one), tree.id(&two));
    assert_eq!(tree.id(&tree.parent(&one)), tree.id(&tree.root()));
    assert_eq!(tree.id(&tree.parent(&tree.root())), tree.id(&tree.root()));
    assert_eq!(name_of(&tree, &tree.root()), b"/");
    Ok(())
}

/// A directory in which clients can create, rename and remove entries.
#[derive(Clone, Default)]
struct Writable(Arc<Mutex<Vec<Entry>>>);

impl Directory for Writable {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(Ok(self.0.lock().clone()))
    }

    fn create<'a>(&'a self, name: Name<'a>, create: Create<'a>) -> BoxFuture<'a, Entry> {
        let made = match create.kind {
            CreateKind::File => Entry::file(name.as_bytes(), Text::new("")),
            CreateKind::Dir => Entry::dir(name.as_bytes(), Writable::default()),
            CreateKind::Symlink(target) => Entry::symlink(name.as_bytes(), target),
            CreateKind::Special(_) => return ready(Err(Error::NotSupported)),
        };
        self.0.lock().push(made.clone());
        ready(Ok(made))
    }

    fn rename<'a>(&'a self, _: &'a Entry, _: Name<'a>) -> BoxFuture<'a, ()> {
        ready(Ok(()))
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        ready(if self.0.lock().is_empty() { Ok(()) } else { Err(Error::NotEmpty) })
    }

    fn unlink<'a>(&'a self, child: &'a Entry) -> BoxFuture<'a, ()> {
        self.0.lock().retain(|entry| !entry.is_same(child));
        ready(Ok(()))
    }
}

#[tokio::test]
async fn custom_directories_create_rename_and_remove() -> Done {
    let tree = Tree::new(Writable::default());
    let root = tree.root();
    let d = tree.create(&root, name("d"), new(CreateKind::Dir)).await?;
    let link = tree.create(&d, name("l"), new(CreateKind::Symlink(b"target"))).await?;
    let mut buf = [0; 10];
    assert_eq!((tree.readlink(&link, &mut buf).await?, &buf[..6]), (6, &b"target"[..]));
    let f = tree.create(&d, name("f"), new(CreateKind::File)).await?;
    tree.rename(&f, &d, name("g")).await?;
    assert_eq!(tree.id(&walk(&tree, "d/g").await?), tree.id(&f));
    assert_eq!(tree.rename(&f, &root, name("g")).await, Err(Error::CrossDevice));
    assert_eq!(
        tree.rename(&root, &root, name("g")).await.unwrap_err().to_string(),
        "Can't rename /"
    );
    assert_eq!(tree.remove(&d).await, Err(Error::NotEmpty));
    tree.remove(&link).await?;
    assert_eq!(list(&tree, &d).await?, ["g"]);
    let e = tree.create(&root, name("e"), new(CreateKind::Dir)).await?;
    tree.remove(&e).await?;
    assert_eq!(list(&tree, &root).await?, ["d"]);
    assert_eq!(tree.remove(&root).await, Err(Error::NotPermitted));
    Ok(())
}

#[tokio::test]
async fn read_only_directories_show_no_write_bits() -> Done {
    let tree = Tree::new(ReadOnly(Writable::default()));
    let root = tree.root();
    assert_eq!(tree.stat(&root).await?.mode, 0o555);
    assert_eq!(
        tree.create(&root, name("d"), new(CreateKind::Dir)).await.unwrap_err(),
        Error::ReadOnlyDirectory
    );
    Ok(())
}

#[tokio::test]
async fn directories_accept_owners_and_refuse_modes_and_lengths() -> Done {
    let tree = Tree::new(Empty);
    let root = tree.root();
    assert_eq!(tree.stat(&root).await?.mode, 0o775);
    let size = |size| SetAttr { size: Some(size), ..SetAttr::default() };
    assert_eq!(tree.set_attr(&root, size(0)).await, Ok(()));
    assert_eq!(
        tree.set_attr(&root, size(1)).await.unwrap_err().to_string(),
        "Can't set length of a directory"
    );
    let mode = SetAttr { mode: Some(0o700), ..SetAttr::default() };
    assert_eq!(tree.set_attr(&root, mode).await, Err(Error::NotPermitted));
    assert_eq!(tree.set_attr(&root, SetAttr { uid: Some(1), ..SetAttr::default() }).await, Ok(()));
    Ok(())
}

#[tokio::test]
async fn log_level_files_read_and_set_levels() -> Done {
    let sources = LogSources::new();
    let tree = Tree::new(sources.dir());
    let source = sources.register("net", "the network", Level::Warning);
    assert_eq!(read(&tree, "src/net/doc").await?, "the network\n");
    assert_eq!(read(&tree, "src/net/level").await?, "warning\n");
    assert_eq!(write(&tree, "src/net/level", " debug\n").await?, 7);
    assert!(source.enables(Level::Debug));
    let error = write(&tree, "src/net/level", "loud").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown level \"loud\": use one of quiet, app, error, warning, info, debug"
    );
    let level = walk(&tree, "src/net/level").await?;
    let open = tree.open(&level, OpenMode { truncate: true, ..OpenMode::READ_WRITE }).await?;
    assert_eq!((read_at(&tree, &open, 0, 9).await?, source.level()), (String::new(), Level::Debug));
    tree.write(&open, 0, b"app").await?;
    assert_eq!(
        (read_at(&tree, &open, 0, 9).await?, source.level()),
        ("app\n".to_owned(), Level::App)
    );
    assert_eq!(tree.remove(&level).await, Err(Error::NotPermitted));
    sources.register("disk", "", Level::Quiet);
    assert_eq!(list(&tree, &walk(&tree, "src").await?).await?, ["net", "disk"]);
    Ok(())
}

#[test]
fn trees_are_send_and_sync() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Tree>();
    shared::<EntryPath>();
    shared::<Open>();
}

#[tokio::test]
async fn dropping_a_deep_path_does_not_recurse() -> Done {
    /// A directory that contains itself.
    struct Endless(Mutex<Option<Entry>>);
    impl Directory for Arc<Endless> {
        fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
            ready(Ok(self.0.lock().iter().cloned().collect()))
        }
    }
    let endless = Arc::new(Endless(Mutex::new(None)));
    let dir = Entry::dir("d", endless.clone());
    *endless.0.lock() = Some(dir.clone());
    let tree = Tree::with_root(dir);
    let mut inode = tree.root();
    for _ in 0..100_000 {
        inode = tree.lookup(&inode, name("d")).await?;
    }
    drop(inode);
    *endless.0.lock() = None;
    Ok(())
}

fn name_of<V: Vfs>(tree: &V, inode: &V::Inode) -> Vec<u8> {
    let mut found = Vec::new();
    tree.name(inode, &mut |name| found = name.to_vec());
    found
}
