//! Streams about a branch: where it is, where it went, what is at a path of it.

use std::sync::Arc;

use datakit_core::vfs::{FileStat, OpenMode, Result};
use tokio::sync::{Mutex, watch};

use super::branch::{Slot, tree_of};
use super::quota::Taken;
use super::{Keeping, line};
use crate::branch::{self, Following, Lagged};
use crate::counters::Counted;
use crate::model::tree::Node;
use crate::{Database, Error, Id};
use datakit_server::tree::{BoxFuture, Leaf, OpenLeaf, StreamCursor, ready};

/// What an open stream keeps: the branch that it follows, and its place among the streams that are
/// counted.
struct Kept {
    branch: Following,
    _counted: Counted,
    _taken: Taken,
}

impl Slot {
    /// What another program did is seen before the first line.
    fn keep(&self) -> Result<Kept> {
        let taken = self.quota.watches.take()?;
        let branch = self.branch().follow()?;
        Ok(Kept {
            branch,
            _counted: self.database.count(|counters| &counters.watches),
            _taken: taken,
        })
    }
}

fn nothing_known() -> BoxFuture<'static, FileStat> {
    ready(Ok(FileStat::new(0).read_only()))
}

/// `head.live`: the head, and then each other one; those that come and go between two reads are
/// skipped.
pub(super) struct HeadLive(pub(super) Arc<Slot>);

impl Leaf for HeadLive {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        nothing_known()
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        Box::pin(async move {
            let kept = self.0.keep()?;
            let open = kept.branch.shown().file(|head| line(*head)).open(mode).await?;
            Ok(Box::new(Keeping { open, _kept: kept }) as Box<dyn OpenLeaf>)
        })
    }
}

/// `reflog`: each head from the open on. It ends for who does not read it for too long.
pub(super) struct Reflog(pub(super) Arc<Slot>);

impl Leaf for Reflog {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        nothing_known()
    }

    fn open(&self, _: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        ready((|| {
            let kept = self.0.keep()?;
            let reader = LogReader {
                moves: kept.branch.log(),
                delivery: StreamCursor::default(),
                ended: false,
            };
            Ok(Box::new(OpenLog { reader: Mutex::new(reader), _kept: kept }) as Box<dyn OpenLeaf>)
        })())
    }
}

struct OpenLog {
    reader: Mutex<LogReader>,
    _kept: Kept,
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
    pub(super) slot: Arc<Slot>,
    pub(super) path: Vec<u8>,
}

impl Leaf for TreeLive {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        nothing_known()
    }

    fn open(&self, _: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        ready((|| {
            let kept = self.slot.keep()?;
            let mut heads = kept.branch.shown().subscribe();
            let (database, path) = (self.slot.database.clone(), self.path.clone());
            let text = what_is_at(&database, *heads.borrow_and_update(), &path)?;
            let delivery = StreamCursor::of(text.into());
            let reader = Mutex::new(TreeReader { heads, delivery });
            Ok(Box::new(OpenTree { database, path, reader, _kept: kept }) as Box<dyn OpenLeaf>)
        })())
    }
}

struct OpenTree {
    database: Database,
    path: Vec<u8>,
    reader: Mutex<TreeReader>,
    _kept: Kept,
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
    let id = |node: &Node| -> crate::Result<Id> {
        match node {
            // Nothing of it is new: it was just read.
            Node::Dir(dir) => dir.write(&mut Vec::new()),
            Node::File(file) => file.content.id(),
            Node::Submodule(id) => Ok(*id),
        }
    };
    match node.mode().letter() {
        Some(letter) => Ok(format!("{letter}-{}\n", id(&node)?)),
        None => Ok("\n".to_owned()),
    }
}
