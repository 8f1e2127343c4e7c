//! A record's open branches and watches in a connected database.

use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::task::Poll;

use futures_core::Stream;
use tokio::sync::Mutex;

use super::field::Assignment;
use super::layout::Layout;
use crate::db::concurrent::try_join_all;
use crate::db::prelude::*;
use crate::db::{Error, Path, PathValue, Result, Watch};

/// A watch on a directory. Each value is a tree of type `T`.
type DirWatch<T> = Watch<Option<PathValue<T>>>;

/// The branches that a record uses in a connected database.
pub(super) struct Session<D: Database> {
    pub(super) lookup: Vec<D::Branch>,
    pub(super) defaults: D::Branch,
    pub(super) state: D::Branch,
    /// The watches on the record's directory, one per lookup branch.
    watches: Mutex<Vec<DirWatch<D::Tree>>>,
    /// `true` until the record has been read for the first time in this session.
    pub(super) is_unread: AtomicBool,
}

impl<D: Database> Session<D> {
    /// Opens the branches. Creates an initial commit in each branch that does not have any commits.
    pub(super) async fn open(db: &D, layout: &Layout) -> Result<Session<D>> {
        let (mut lookup, mut watches) = (Vec::new(), Vec::new());
        for name in &layout.lookup {
            let branch = open_branch(db, name).await?;
            let mut watch = branch.watch_path(&layout.dir).await?;
            // Skip the first value, because it is the current state rather than a change.
            watch.next().await.ok_or(Error::StreamEnded)??;
            lookup.push(branch);
            watches.push(watch);
        }
        Ok(Session {
            lookup,
            defaults: open_branch(db, &layout.defaults).await?,
            state: open_branch(db, &layout.state).await?,
            watches: Mutex::new(watches),
            is_unread: AtomicBool::new(true),
        })
    }

    /// Waits until the record's directory changes in a lookup branch.
    pub(super) async fn changed(&self) -> Result<()> {
        let mut watches = self.watches.lock().await;
        std::future::poll_fn(|cx| {
            for watch in watches.iter_mut() {
                if let Poll::Ready(value) = Pin::new(watch).poll_next(cx) {
                    return Poll::Ready(value.unwrap_or(Err(Error::StreamEnded)).map(drop));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Reads the files at `paths`, each from the first lookup branch that contains it.
    pub(super) async fn read(&self, paths: &[Path]) -> Result<Vec<Option<String>>> {
        let mut trees = Vec::new();
        for branch in &self.lookup {
            trees.extend(tree_of(branch).await?);
        }
        let mut reads = Vec::with_capacity(paths.len());
        for path in paths {
            reads.push(first_text(&trees, path));
        }
        try_join_all(reads).await
    }
}

async fn open_branch<D: Database>(db: &D, name: &str) -> Result<D::Branch> {
    let branch = db.branch(name).await?;
    if branch.head().await?.is_none() {
        let marker = &Path::parse("branch-created")?;
        let create = |transaction: std::sync::Arc<D::Transaction>| async move {
            transaction.write_file(marker, b"").await
        };
        branch.update("Creating branch", create).await?;
    }
    Ok(branch)
}

async fn tree_of<B: BranchOps>(branch: &B) -> Result<Option<B::Tree>> {
    Ok(branch.head().await?.map(|head| head.tree()))
}

/// Reads a file as text and removes surrounding white space. Returns `None` if the path does not
/// exist or is not a file.
pub(super) async fn text_at<T: TreeOps>(tree: &T, path: &Path) -> Result<Option<String>> {
    let bytes = tree.read_file_if_present(path).await?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
}

async fn first_text<T: TreeOps>(trees: &[T], path: &Path) -> Result<Option<String>> {
    for tree in trees {
        if let Some(text) = text_at(tree, path).await? {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// Commits the assignments if at least one of them changes a value.
pub(super) async fn write<B: BranchOps>(
    branch: &B,
    assignments: &[Assignment],
    message: &str,
) -> Result<()> {
    if let Some(tree) = tree_of(branch).await? {
        let mut texts = Vec::with_capacity(assignments.len());
        for assignment in assignments {
            texts.push(text_at(&tree, &assignment.path));
        }
        let texts = try_join_all(texts).await?;
        if texts.iter().zip(assignments).all(|(text, assignment)| *text == assignment.text) {
            return Ok(());
        }
    }
    let write = |transaction: std::sync::Arc<B::Transaction>| async move {
        for Assignment { path, text } in assignments {
            match text {
                Some(text) => transaction.write_file(path, text.as_bytes()).await?,
                None => drop(transaction.remove_if_present(path).await?),
            }
        }
        Ok(())
    };
    branch.update(message, write).await.map(drop)
}

/// Commits the defaults for keys that the branch does not contain. If a default is `None`, the key
/// is removed.
pub(super) async fn fill_in<B: BranchOps>(branch: &B, defaults: &[Assignment]) -> Result<()> {
    let Some(tree) = &tree_of(branch).await? else { return Ok(()) };
    let mut missing = Vec::new();
    for default in defaults {
        let is_present = text_at(tree, &default.path).await?.is_some();
        if is_present != default.text.is_some() {
            missing.push(default.clone());
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|default| default.path.to_string()).collect();
    write(branch, &missing, &format!("fill-in default for {}", names.join(", "))).await
}
