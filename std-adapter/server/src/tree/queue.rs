//! Streams that deliver everything, in order.

use parking_lot::Mutex as Lock;
use std::collections::VecDeque;
use std::sync::Arc;

use datakit_core::vfs::{FileStat, OpenMode};
use tokio::sync::{Mutex, Notify};

use super::live::StreamCursor;
use super::{BoxFuture, Leaf, OpenLeaf, ready};

/// Texts that every reader gets one by one, from its open on. Clones are the same queue.
///
/// The queue keeps the last `capacity` texts for all readers together. A reader that is further
/// behind gets `lost N\n` in place of the `N` it missed, and then goes on with the oldest that is
/// left. Offsets and flush marks are those of [`Live`](super::Live).
#[derive(Debug, Clone)]
pub struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capacity: usize,
    texts: Lock<Texts>,
    pushed: Notify,
}

#[derive(Debug, Default)]
struct Texts {
    /// The number of the first one kept.
    first: u64,
    kept: VecDeque<Arc<[u8]>>,
}

impl Queue {
    /// Keeps at most `capacity` texts, at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Queue {
        Queue(Arc::new(Shared {
            capacity: capacity.max(1),
            texts: Lock::default(),
            pushed: Notify::new(),
        }))
    }

    /// Adds a text and wakes all readers. Never waits; an empty text is dropped.
    pub fn push(&self, text: impl AsRef<[u8]>) {
        if text.as_ref().is_empty() {
            return;
        }
        let mut texts = self.0.texts.lock();
        if texts.kept.len() >= self.0.capacity {
            texts.kept.pop_front();
            texts.first = texts.first.saturating_add(1);
        }
        texts.kept.push_back(text.as_ref().into());
        drop(texts);
        self.0.pushed.notify_waiters();
    }

    /// A file that delivers it.
    #[must_use]
    pub fn file(&self) -> impl Leaf + use<> {
        self.clone()
    }
}

impl Texts {
    fn end(&self) -> u64 {
        self.first.saturating_add(self.kept.len() as u64)
    }

    /// The text for a reader that is at `number`, and where it is then.
    fn after(&self, number: u64) -> Option<(Vec<u8>, u64)> {
        if number < self.first {
            return Some((
                format!("lost {}\n", self.first.saturating_sub(number)).into_bytes(),
                self.first,
            ));
        }
        let index = usize::try_from(number.saturating_sub(self.first)).ok()?;
        Some((self.kept.get(index)?.to_vec(), number.saturating_add(1)))
    }
}

impl Leaf for Queue {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(Ok(FileStat::new(0).read_only()))
    }

    fn open(&self, _: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        let next = self.0.texts.lock().end();
        let reader = Reader { next, delivery: StreamCursor::default() };
        ready(Ok(Box::new(Opened { queue: self.0.clone(), reader: Mutex::new(reader) })))
    }
}

struct Opened {
    queue: Arc<Shared>,
    reader: Mutex<Reader>,
}

struct Reader {
    next: u64,
    delivery: StreamCursor,
}

impl OpenLeaf for Opened {
    fn may_block(&self) -> bool {
        true
    }

    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            let reader = &mut *self.reader.lock().await;
            loop {
                // Before the look at the queue: a push after it must not be missed.
                let pushed = self.queue.pushed.notified();
                if let Some(done) = reader.delivery.read(offset, buf) {
                    return done;
                }
                let found = self.queue.texts.lock().after(reader.next);
                match found {
                    Some((text, next)) => {
                        reader.delivery.next(text);
                        reader.next = next;
                    }
                    None => pushed.await,
                }
            }
        })
    }
}
