//! Tests for the callbacks, attributes and clunk hooks that a tree's author can set.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datakit_core::vfs::{Create, CreateKind, Error, Name, OpenMode, SetAttr, Time, Vfs};

use super::tests::{Done, list, name, new, read, tree_of, walk};
use super::*;

/// Returns a directory in which clients can create, rename and remove entries.
fn notes() -> (Dir, CallbackDir) {
    let notes = Dir::new();
    let [files, dirs, removed, renamed] = [(); 4].map(|()| notes.clone());
    let dir = CallbackDir::over(notes.clone())
        .create(move |name, create| match create.kind {
            CreateKind::Symlink(target) => {
                files.try_insert(Entry::symlink(name.as_bytes(), target))
            }
            _ => files.try_insert(Entry::file(name.as_bytes(), Text::new(""))),
        })
        .mkdir(move |name, _| dirs.try_insert(Entry::dir(name.as_bytes(), Dir::new())))
        .remove(move |entry| removed.remove(entry.name()).map(drop).ok_or(Error::NotFound))
        .rename(move |entry, name| {
            let text = renamed.remove(entry.name()).ok_or(Error::NotFound)?;
            renamed.insert_as(name.as_bytes(), text);
            Ok(())
        });
    (notes, dir)
}

#[tokio::test]
async fn callbacks_create_rename_and_remove() -> Done {
    let (notes, dir) = notes();
    let tree = Tree::new(dir);
    let root = tree.root();
    let file = tree.create(&root, name("file"), new(CreateKind::File)).await?;
    let dir = tree.create(&root, name("dir"), new(CreateKind::Dir)).await?;
    let link = tree.create(&root, name("link"), new(CreateKind::Symlink(b"file"))).await?;
    assert_eq!(list(&tree, &root).await?, ["dir", "file", "link"]);
    assert_eq!(
        tree.create(&root, name("dir"), new(CreateKind::File)).await.unwrap_err(),
        Error::Exists
    );
    tree.rename(&file, &root, name("new")).await?;
    assert_eq!(tree.id(&walk(&tree, "new").await?), tree.id(&file));
    // The callback replaces the entry's own `remove` method, which would refuse to remove the
    // entry.
    for inode in [&file, &dir, &link] {
        tree.remove(inode).await?;
    }
    assert!(notes.is_empty() && list(&tree, &root).await?.is_empty());
    assert_eq!(tree.remove(&file).await, Err(Error::NotFound));
    Ok(())
}

#[tokio::test]
async fn callbacks_may_wait() -> Done {
    let dir = CallbackDir::new()
        .lookup(|name| {
            let name = name.as_bytes().to_vec();
            Box::pin(async move {
                tokio::task::yield_now().await;
                Ok(Entry::file(&name, ReadOnlyText::new(&name)))
            })
        })
        .remove(|_| -> BoxFuture<'static, ()> { Box::pin(async { Err(Error::Busy) }) });
    let tree = Tree::new(dir);
    assert_eq!(read(&tree, "anything").await?, "anything");
    assert_eq!(tree.remove(&walk(&tree, "x").await?).await, Err(Error::Busy));
    assert!(list(&tree, &tree.root()).await?.is_empty(), "entries that are found are not listed");
    Ok(())
}

#[tokio::test]
async fn lookups_search_the_list_without_a_callback() -> Done {
    let entry = Entry::file("f", ReadOnlyText::new("text"));
    let tree = Tree::new(CallbackDir::new().read_dir(move || Ok(vec![entry.clone()])));
    assert_eq!(read(&tree, "f").await?, "text");
    assert_eq!(read(&tree, "g").await, Err(Error::NotFound));
    assert_eq!(list(&tree, &tree.root()).await?, ["f"]);
    Ok(())
}

#[tokio::test]
async fn operations_without_a_callback_are_refused() -> Done {
    let tree = Tree::new(CallbackDir::new());
    let root = tree.root();
    let make = async |tree: &Tree, kind| {
        tree.create(&tree.root(), name("new"), new(kind)).await.unwrap_err().to_string()
    };
    assert_eq!(make(&tree, CreateKind::File).await, "Directory is read-only");
    assert_eq!(make(&tree, CreateKind::Dir).await, "Directory is read-only");
    assert_eq!(tree.stat(&root).await?.mode, READ_ONLY_DIR_MODE);

    let tree =
        Tree::new(CallbackDir::new().mkdir(|name, _| Ok(Entry::dir(name.as_bytes(), Empty))));
    assert_eq!(make(&tree, CreateKind::File).await, "Can only contain directories");
    assert_eq!(tree.stat(&tree.root()).await?.mode, 0o775);
    let made = tree.create(&tree.root(), name("made"), new(CreateKind::Dir)).await?;
    assert_eq!(tree.rename(&made, &tree.root(), name("x")).await, Err(Error::ReadOnlyDirectory));
    assert_eq!(tree.remove(&made).await, Err(Error::ReadOnlyDirectory));
    Ok(())
}

#[tokio::test]
async fn authors_set_attributes() -> Done {
    let day = |days: i64| Time { sec: days * 86_400, nsec: 0 };
    let attributes = Attributes::new().mode(0o100_600).owner(7, 8).size(99).times(day(1));
    let file = Entry::file("f", Text::new("text")).with_attributes(attributes);
    let tree = Tree::new(Dir::from_iter([file.clone()]));
    let f = walk(&tree, "f").await?;
    let attr = tree.stat(&f).await?;
    assert_eq!((attr.mode, attr.uid, attr.gid, attr.size), (0o600, 7, 8, 99));
    assert_eq!([attr.atime, attr.mtime, attr.ctime], [day(1); 3]);
    assert_eq!(read(&tree, "f").await?, "text", "the size that is shown does not cut reads");

    file.set_attributes(Attributes::new().atime(day(1)).mtime(day(2)).ctime(day(3)));
    let attr = tree.stat(&f).await?;
    assert_eq!((attr.mode, attr.uid, attr.size), (0o664, 0, 4), "the rest is the file's again");
    assert_eq!([attr.atime, attr.mtime, attr.ctime], [day(1), day(2), day(3)]);
    assert_eq!((&*file.name(), tree.set_attr(&f, SetAttr::default()).await), (&b"f"[..], Ok(())));
    Ok(())
}

fn counted(file: impl Leaf + 'static) -> (Arc<AtomicUsize>, Tree) {
    let calls = Arc::new(AtomicUsize::new(0));
    let hook = calls.clone();
    let file = file.on_clunk(move || {
        hook.fetch_add(1, Ordering::Relaxed);
    });
    (calls, tree_of(file))
}

#[tokio::test]
async fn clunk_hooks_run_when_the_last_open_file_goes() -> Done {
    let (calls, tree) = counted(Text::new("text"));
    let calls = || calls.load(Ordering::Relaxed);
    let f = walk(&tree, "f").await?;
    tree.stat(&f).await?;
    let (one, two) = (tree.open(&f, OpenMode::READ).await?, tree.open(&f, OpenMode::WRITE).await?);
    let request_in_flight = two.clone();
    tree.close(&one);
    assert_eq!(calls(), 0);
    tree.close(&two);
    assert_eq!(calls(), 1);
    drop((one, two, request_in_flight));
    assert_eq!(calls(), 1);
    let again = tree.open(&f, OpenMode::READ).await?;
    // Code that uses the tree without a session may drop an open file without closing it.
    drop(again);
    assert_eq!(calls(), 2);
    Ok(())
}

#[tokio::test]
async fn a_failed_open_does_not_run_the_clunk_hook() -> Done {
    let (calls, tree) = counted(Status::new(|| Err::<Vec<u8>, _>(Error::Io)));
    let f = walk(&tree, "f").await?;
    assert_eq!(tree.open(&f, OpenMode::READ).await.err(), Some(Error::Io));
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    Ok(())
}

#[test]
fn public_types_implement_debug() {
    let entry = Entry::dir("d", CallbackDir::new().read_dir(|| Ok(Vec::new())));
    assert_eq!(format!("{entry:?}"), format!("Dir {} \"d\"", entry.ino()));
    let dir =
        format!("{:?}", CallbackDir::new().mkdir(|_: Name<'_>, _: Create<'_>| Err(Error::Io)));
    assert!(dir.contains("mkdir: true") && dir.contains("over: false"), "{dir}");
    let open = format!("{:?}", Text::new("x").on_clunk(|| {}));
    assert!(open.contains("open: 0"), "{open}");
}
