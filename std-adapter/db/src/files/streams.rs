//! Streams about a branch: where it is, where it went, what is at a path of it.

use std::sync::Arc;

use datakit_core::vfs::{FileStat, OpenMode, Result};
use tokio::sync::{Mutex, watch};

use super::branch::{BranchHandle, tree_of};
use super::quota::Permit;
use super::{Keeping, line};
use crate::branch::{self, BranchWatch, Lagged};
use crate::counters::GaugeGuard;
use crate::model::tree::TreeNode;
use crate::{Database, Error, Id};
use datakit_server::tree::{BoxFuture, Leaf, OpenLeaf, StreamCursor, ready};

/// What an open stream keeps: the branch that it follows, and its place among the streams that are
/// counted.
struct StreamGuards {
    branch: BranchWatch,
    _counted: GaugeGuard,
    _permit: Permit,
}

impl BranchHandle {
    /// What another program did is seen before the first line.
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

fn nothing_known() -> BoxFuture<'static, FileStat> {
    ready(Ok(FileStat::new(0).read_only()))
}

/// `head.live`: the head, and then each other one; those that come and go between two reads are
/// skipped.
pub(super) struct HeadLive(pub(super) Arc<BranchHandle>);

impl Leaf for HeadLive {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        nothing_known()
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        Box::pin(async move {
            let guards = self.0.open_stream()?;
            let open = guards.branch.head_watch().file(|head| line(*head)).open(mode).await?;
            Ok(Box::new(Keeping { open, _kept: guards }) as Box<dyn OpenLeaf>)
        })
    }
}

/// `reflog`: each head from the open on. It ends for who does not read it for too long.
pub(super) struct Reflog(pub(super) Arc<BranchHandle>);

impl Leaf for Reflog {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        nothing_known()
    }

    fn open(&self, _: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        ready((|| {
            let guards = self.0.open_stream()?;
            let reader = LogReader {
                moves: guards.branch.log(),
                delivery: StreamCursor::default(),
                ended: false,
            };
            Ok(Box::new(OpenLog { reader: Mutex::new(reader), _guards: guards })
                as Box<dyn OpenLeaf>)
        })())
    }
}

struct OpenLog {
    reader: Mutex<LogReader>,
    _guards: StreamGuards,
}

struct LogReader {
    moves: branch::LogReader,
    delivery: StreamCursor,
    ended: bool,
}

impl OpenLeaf for OpenLog {
    fn may_block(&self) -> bool {
        true
    }

    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            let reader = &mut *self.reader.lock().await;
            loop {
                if let Some(done) = reader.delivery.read(offset, buf) {
                    return done;
                }
                if reader.ended {
                    return Ok(0);
                }
                match reader.moves.next().await {
                    Ok(head) => reader.delivery.next(line(head).into()),
                    // A log with a gap would be taken for a whole one.
                    Err(Lagged) => reader.ended = true,
                }
            }
        })
    }
}

/// `tree.live`: what is at a path of a branch, and then each time that it is something else.
pub(super) struct TreeLive {
    pub(super) handle: Arc<BranchHandle>,
    pub(super) path: Vec<u8>,
}

impl Leaf for TreeLive {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        nothing_known()
    }

    fn open(&self, _: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        ready((|| {
            let guards = self.handle.open_stream()?;
            let mut heads = guards.branch.head_watch().subscribe();
            let (database, path) = (self.handle.database.clone(), self.path.clone());
            let text = what_is_at(&database, *heads.borrow_and_update(), &path)?;
            let delivery = StreamCursor::of(text.into());
            let reader = Mutex::new(TreeReader { heads, delivery });
            Ok(Box::new(OpenTree { database, path, reader, _guards: guards }) as Box<dyn OpenLeaf>)
        })())
    }
}

struct OpenTree {
    database: Database,
    path: Vec<u8>,
    reader: Mutex<TreeReader>,
    _guards: StreamGuards,
}

struct TreeReader {
    heads: watch::Receiver<Option<Id>>,
    delivery: StreamCursor,
}

impl OpenLeaf for OpenTree {
    fn may_block(&self) -> bool {
        true
    }

    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            let reader = &mut *self.reader.lock().await;
            loop {
                if let Some(done) = reader.delivery.read(offset, buf) {
                    return done;
                }
                let head = *reader.heads.borrow_and_update();
                let text = what_is_at(&self.database, head, &self.path)?.into_bytes();
                if text != reader.delivery.text {
                    reader.delivery.next(text);
                } else if reader.heads.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        })
    }
}

/// `D-HASH`, `F-HASH`, `X-HASH` or `L-HASH`, or nothing, and a newline.
fn what_is_at(database: &Database, head: Option<Id>, path: &[u8]) -> Result<String> {
    let node = match tree_of(database, head)?.get(database.objects(), path) {
        Ok(node) => node,
        Err(Error::NotFound | Error::NotDirectory) => return Ok("\n".to_owned()),
        Err(error) => return Err(error.into()),
    };
    let id = |node: &TreeNode| -> crate::Result<Id> {
        match node {
            // Nothing of it is new: it was just read.
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
