//! Streams that report changes to the head of a branch, to its reflog, or to the node at a path.

use std::sync::Arc;

use datakit_core::vfs::{FileStat, OpenMode, Result};

use super::branch_handle::BranchHandle;
use super::hash_text::line;
use super::quota::{Guarded, Permit};
use crate::branch::{self, BranchWatch, Lagged};
use crate::counters::GaugeGuard;
use crate::model::tree::{Tree, TreeNode};
use crate::{Database, Error, Id};
use datakit_server::tree::{BoxFuture, Leaf, OpenLeaf, OpenStream, TextSource, ready};

/// The resources that an open stream holds: a subscription to the branch, a permit, and a guard
/// that counts the stream as open.
struct StreamGuards {
    branch: BranchWatch,
    _counted: GaugeGuard,
    _permit: Permit,
}

impl BranchHandle {
    /// Subscribes to the branch, and publishes any changes by other programs that have not been
    /// detected yet.
    fn open_stream(&self) -> Result<StreamGuards> {
        let permit = self.quota.watches.acquire()?;
        let branch = self.branch().watch()?;
        Ok(StreamGuards {
            branch,
            _counted: self.database.count(|counters| &counters.watches),
            _permit: permit,
        })
    }
}

fn unknown_length() -> BoxFuture<'static, FileStat> {
    ready(Ok(FileStat::new(0).read_only()))
}

/// The `head.live` file, which streams the branch's heads, beginning with the current head. If the
/// head changes multiple times between two reads, only the latest head is reported.
pub(super) struct HeadLive(pub(super) Arc<BranchHandle>);

impl Leaf for HeadLive {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        unknown_length()
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        Box::pin(async move {
            let guards = self.0.open_stream()?;
            let open = guards.branch.head_watch().file(|head| line(*head)).open(mode).await?;
            Ok(Box::new(Guarded { open, _guard: guards }) as Box<dyn OpenLeaf>)
        })
    }
}

/// The `reflog` file, which streams every head to which the branch moves after the file is opened.
/// The stream ends if the reader falls too far behind.
pub(super) struct Reflog(pub(super) Arc<BranchHandle>);

impl Leaf for Reflog {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        unknown_length()
    }

    fn open(&self, _: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        ready(self.0.open_stream().map(|guards| {
            let heads = Heads { moves: guards.branch.log(), _guards: guards };
            Box::new(OpenStream::new(heads)) as Box<dyn OpenLeaf>
        }))
    }
}

/// The source of the heads that a client reads from an open `reflog` file.
struct Heads {
    moves: branch::MoveLogReader,
    _guards: StreamGuards,
}

impl TextSource for Heads {
    async fn next(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.moves.next().await {
            Ok(head) => Ok(Some(line(head).into())),
            // End the stream, so that a log with a gap does not look complete.
            Err(Lagged) => Ok(None),
        }
    }
}

/// The `tree.live` file, which streams the hash of the node at a path in the branch: first the
/// current hash, then each new one.
pub(super) struct TreeLive {
    pub(super) handle: Arc<BranchHandle>,
    pub(super) path: Vec<u8>,
}

impl Leaf for TreeLive {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        unknown_length()
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        Box::pin(async move {
            let guards = self.handle.open_stream()?;
            let (database, path) = (self.handle.database.clone(), self.path.clone());
            let text = move |head: &Option<Id>| node_line(&database, *head, &path);
            let open = guards.branch.head_watch().try_file(text).open(mode).await?;
            Ok(Box::new(Guarded { open, _guard: guards }) as Box<dyn OpenLeaf>)
        })
    }
}

/// Returns a line of the form `D-HASH`, `F-HASH`, `X-HASH` or `L-HASH`. Returns an empty line if
/// there is no file or directory at `path`.
fn node_line(database: &Database, head: Option<Id>, path: &[u8]) -> Result<String> {
    let node = match Tree::of_commit(database.objects(), head)?.get(database.objects(), path) {
        Ok(node) => node,
        Err(Error::NotFound | Error::NotDirectory) => return Ok("\n".to_owned()),
        Err(error) => return Err(error.into()),
    };
    let id = |node: &TreeNode| -> crate::Result<Id> {
        match node {
            // The directory was just read from the store, so it has no uncommitted content.
            TreeNode::Dir(dir) => dir.write(&mut Vec::new()),
            TreeNode::File(file) => file.content.id(),
            TreeNode::Submodule(id) => Ok(*id),
        }
    };
    match node.mode().letter() {
        Some(letter) => Ok(format!("{letter}-{}\n", id(&node)?)),
        None => Ok("\n".to_owned()),
    }
}
