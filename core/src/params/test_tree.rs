//! Functions that tests use to read and write the files in a tree.

use core::sync::atomic::{AtomicBool, Ordering};
use std::string::String;
use std::sync::Arc;
use std::task::Wake;

use embassy_futures::block_on;

use crate::vfs::{Client, Name, OpenMode, Result, StaticTree, Vfs};

/// A tree whose open files have small buffers, so that tests can exceed the limits.
pub(super) type Tree = StaticTree<8, 64>;

/// Opens the file at `path` as the program, calls `with` and closes the file.
pub(super) fn read_with<R>(
    tree: &Tree,
    path: &str,
    with: impl AsyncFnOnce(&Tree, &<Tree as Vfs>::Open) -> R,
) -> R {
    as_client(tree, Client::PROGRAM, path, with)
}

/// Opens the file at `path` as `client`, calls `with` and closes the file.
pub(super) fn as_client<R>(
    tree: &Tree,
    client: Client,
    path: &str,
    with: impl AsyncFnOnce(&Tree, &<Tree as Vfs>::Open) -> R,
) -> R {
    let open = tree.open_as(client, &find(tree, path), OpenMode::READ_WRITE).unwrap();
    let result = block_on(with(tree, &open));
    tree.close(&open);
    result
}

/// Returns the file or directory at `path`.
pub(super) fn find(tree: &Tree, path: &str) -> <Tree as Vfs>::Inode {
    block_on(async {
        let mut inode = tree.root();
        for name in path.split('/') {
            inode = tree.lookup(&inode, Name::new(name.as_bytes()).unwrap()).await.unwrap();
        }
        inode
    })
}

/// Reads a whole file, with reads of at most `size` bytes.
pub(super) fn read_all(tree: &Tree, path: &str, size: usize) -> String {
    read_all_as(tree, Client::PROGRAM, path, size)
}

/// Reads a whole file as `client`, with reads of at most `size` bytes.
pub(super) fn read_all_as(tree: &Tree, client: Client, path: &str, size: usize) -> String {
    as_client(tree, client, path, async |tree, open| {
        let (mut text, mut buf) = (String::new(), std::vec![0; size]);
        loop {
            let count = tree.read(open, text.len() as u64, &mut buf).await.unwrap();
            if count == 0 {
                return text;
            }
            text.push_str(core::str::from_utf8(&buf[..count]).unwrap());
        }
    })
}

/// Writes `text` to the file at `path` as `client`.
pub(super) fn write_as(tree: &Tree, client: Client, path: &str, text: &str) -> Result<()> {
    as_client(tree, client, path, async |tree, open| {
        tree.write(open, 0, text.as_bytes()).await?;
        tree.flush(open).await
    })
}

/// A waker that records whether it was called.
#[derive(Default)]
pub(super) struct Woken(pub(super) AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
