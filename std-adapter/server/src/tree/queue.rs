//! A stream that delivers every published item.

use std::collections::VecDeque;
use std::sync::Arc;

use datakit_core::vfs::{FileStat, OpenMode, Result};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::stream::{OpenStream, TextSource};
use super::{BoxFuture, Leaf, OpenLeaf, ready};

/// A bounded queue of text items. A reader receives every item published after the reader opened
/// the file. Clones refer to the same queue.
///
/// The queue keeps the last `capacity` items, which all readers share. A reader that falls more
/// than `capacity` items behind receives the line `lost N` in place of the `N` missed items. The
/// reader then continues with the oldest remaining item. Use [`Live`](super::Live) if only the
/// latest item matters.
#[derive(Debug, Clone)]
pub struct Queue(Arc<QueueInner>);

#[derive(Debug)]
struct QueueInner {
    capacity: usize,
    texts: Mutex<Texts>,
    published: Notify,
}

#[derive(Debug, Default)]
struct Texts {
    /// The sequence number of the oldest item in `kept`.
    first: u64,
    kept: VecDeque<Arc<[u8]>>,
}

impl Queue {
    /// Creates a queue that keeps the last `capacity` items. A capacity of 0 is treated as 1.
    #[must_use]
    pub fn new(capacity: usize) -> Queue {
        Queue(Arc::new(QueueInner {
            capacity: capacity.max(1),
            texts: Mutex::default(),
            published: Notify::new(),
        }))
    }

    /// Appends an item and wakes all readers. This method never waits. An empty item is ignored.
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
        self.0.published.notify_waiters();
    }

    /// Returns a file that delivers the items in the queue.
    #[must_use]
    pub fn file(&self) -> impl Leaf + use<> {
        self.clone()
    }
}

impl Texts {
    /// Returns the sequence number of the next item to be published.
    fn end(&self) -> u64 {
        self.first.saturating_add(self.kept.len() as u64)
    }

    /// Returns the text for a reader that expects item `number`, and the sequence number of the
    /// item at which the reader continues.
    fn text_at(&self, number: u64) -> Option<(Vec<u8>, u64)> {
        if let Some(lost @ 1..) = self.first.checked_sub(number) {
            return Some((format!("lost {lost}\n").into_bytes(), self.first));
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
        ready(Ok(Box::new(OpenStream::new(QueueReader { queue: self.0.clone(), next }))))
    }
}

struct QueueReader {
    queue: Arc<QueueInner>,
    /// The sequence number of the next item to deliver.
    next: u64,
}

impl TextSource for QueueReader {
    async fn next(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>> {
        loop {
            // Create the future before checking the queue so that an item published after the check
            // is not missed.
            let published = self.queue.published.notified();
            let found = self.queue.texts.lock().text_at(self.next);
            if let Some((text, next)) = found {
                self.next = next;
                return Ok(Some(text));
            }
            published.await;
        }
    }
}
