//! Tests for the limit on the texts of a connection's open files.

use std::sync::atomic::{AtomicUsize, Ordering};

use datakit_core::files;
use datakit_core::vfs::{Error, OpenMode, Vfs};

use super::tests::{Done, tree_of, walk};
use super::*;

/// The number of texts of 64 KiB that a connection's open files may have.
const FULL_TEXTS: usize = 64;

struct Stored;

impl Value for Stored {
    fn read(&self) -> BoxFuture<'_, Option<Vec<u8>>> {
        ready(Ok(None))
    }

    fn write(&self, _: Vec<u8>) -> BoxFuture<'_, ()> {
        ready(Ok(()))
    }
}

/// Opens the file as often as the limit allows, and fills the open files with incomplete texts.
async fn fill(tree: &Tree) -> Result<Vec<Open>> {
    let mut opened = Vec::new();
    for _ in 0..FULL_TEXTS {
        let open = tree.open(&walk(tree, "f").await?, OpenMode::READ_WRITE).await?;
        assert_eq!(tree.write(&open, 0, &[b'x'; 65_536]).await, Ok(65_536));
        opened.push(open);
    }
    Ok(opened)
}

/// Fills the open files of one connection. Checks that the limit applies, and that it does not
/// apply to other connections or after a file has been closed.
async fn check(file: impl Leaf + 'static) -> Done {
    let tree = tree_of(file);
    let (one, other) = (tree.for_client("one"), tree.for_client("other"));
    let mut opened = fill(&one).await?;
    let refused = one.open(&walk(&one, "f").await?, OpenMode::READ_WRITE).await?;
    let error = one.write(&refused, 0, b"x").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the open files may have at most 4194304 bytes of text; close some of them"
    );
    assert_eq!(error.errno(), Error::NoSpace.errno());
    let open = other.open(&walk(&other, "f").await?, OpenMode::READ_WRITE).await?;
    assert_eq!(other.write(&open, 0, b"x").await, Ok(1));
    let closed = opened.pop().unwrap();
    one.close(&closed);
    drop(closed);
    assert_eq!(one.write(&refused, 0, b"x").await, Ok(1));
    Ok(())
}

#[tokio::test]
async fn incomplete_commands_are_limited() -> Done {
    check(Command::new(|_| Ok(""))).await
}

#[tokio::test]
async fn incomplete_values_are_limited() -> Done {
    check(Kv::new(Stored)).await
}

/// A file of `datakit-core` runs a command immediately if there is no room to keep it.
#[tokio::test]
async fn incomplete_commands_to_core_files_are_limited() -> Done {
    static COMMANDS: AtomicUsize = AtomicUsize::new(0);
    let tree = tree_of(CoreFile::new(files::Command::<1>::new(|_, _| {
        COMMANDS.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })))
    .for_client("one");
    let mut opened = fill(&tree).await?;
    let open = tree.open(&walk(&tree, "f").await?, OpenMode::READ_WRITE).await?;
    // The first command runs. After one file has been closed, there is room to keep the second one.
    for (closed, commands) in [(0, 1), (1, 1)] {
        opened.truncate(FULL_TEXTS - closed);
        assert_eq!(tree.write(&open, 0, b"x").await, Ok(1));
        assert_eq!(COMMANDS.load(Ordering::Relaxed), commands);
    }
    Ok(())
}

#[tokio::test]
async fn computed_texts_are_limited() -> Done {
    let tree = tree_of(Status::new(|| Ok(vec![b'x'; 1 << 20]))).for_client("one");
    let file = walk(&tree, "f").await?;
    let mut opened = Vec::new();
    for _ in 0..4 {
        opened.push(tree.open(&file, OpenMode::READ).await?);
    }
    assert_eq!(
        tree.open(&file, OpenMode::READ).await.err().map(|e| e.errno()),
        Some(Error::NoSpace.errno())
    );
    opened.pop();
    tree.open(&file, OpenMode::READ).await?;
    Ok(())
}

#[tokio::test]
async fn a_computed_text_above_the_limit_can_be_opened_once() -> Done {
    let tree = tree_of(Status::new(|| Ok(vec![b'x'; 5 << 20]))).for_client("one");
    let file = walk(&tree, "f").await?;
    let open = tree.open(&file, OpenMode::READ).await?;
    assert!(tree.open(&file, OpenMode::READ).await.is_err());
    drop(open);
    tree.open(&file, OpenMode::READ).await?;
    Ok(())
}

#[tokio::test]
async fn connections_without_a_name_share_a_limit() -> Done {
    let tree = tree_of(Status::new(|| Ok(vec![b'x'; 1 << 20])));
    let file = walk(&tree, "f").await?;
    let mut opened = Vec::new();
    for _ in 0..64 {
        opened.push(tree.clone().open(&file, OpenMode::READ).await?);
    }
    assert!(tree.open(&file, OpenMode::READ).await.is_err());
    // `serve_tree` uses a handle for each connection.
    tree.clone().for_connection().open(&file, OpenMode::READ).await?;
    Ok(())
}
