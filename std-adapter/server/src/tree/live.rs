//! Streams that follow a value: the latest matters, what was missed does not.

use std::sync::Arc;

use datakit_core::vfs::{Error, FileStat, OpenMode, Result, mark_follows};
use tokio::sync::{Mutex, watch};

use super::{BoxFuture, Leaf, OpenLeaf, ready};

/// A value that streams follow. Clones are the same value.
///
/// A stream delivers the value of its open first, and then, whenever all of that has been read, the
/// latest one that looks different from what was delivered last. A read of zero bytes
/// [marks](marked) that there is no more for now.
#[derive(Debug)]
pub struct Live<T>(Arc<watch::Sender<T>>);

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Live(self.0.clone())
    }
}

impl<T: Send + Sync + 'static> Live<T> {
    /// Starts with `value`.
    #[must_use]
    pub fn new(value: T) -> Live<T> {
        Live(Arc::new(watch::Sender::new(value)))
    }

    /// Replaces the value and wakes all readers.
    pub fn publish(&self, value: T) {
        self.0.send_replace(value);
    }

    /// Shows `with` the value. It must not publish.
    pub fn with<R>(&self, with: impl FnOnce(&T) -> R) -> R {
        with(&self.0.borrow())
    }

    /// Follows it.
    pub fn subscribe(&self) -> watch::Receiver<T> {
        self.0.subscribe()
    }

    /// Open streams that follow it.
    #[must_use]
    pub fn reader_count(&self) -> usize {
        self.0.receiver_count()
    }

    /// A file that delivers the value as `format` writes it; any number of them may follow one
    /// value. `format` must not publish.
    pub fn file<S: Into<Vec<u8>>>(
        &self,
        format: impl Fn(&T) -> S + Send + Sync + 'static,
    ) -> Stream<T> {
        Stream {
            live: Live(self.0.clone()),
            format: Arc::new(move |value: &T| format(value).into()),
        }
    }
}

type Format<T> = dyn Fn(&T) -> Vec<u8> + Send + Sync;

/// A file that delivers a [`Live`] value.
pub struct Stream<T> {
    live: Live<T>,
    format: Arc<Format<T>>,
}

impl<T: Send + Sync + 'static> Leaf for Stream<T> {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(Ok(FileStat::new(0).read_only()))
    }

    fn open(&self, _: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        let mut values = self.live.0.subscribe();
        let text = (self.format)(&values.borrow_and_update());
        let reader = Reader { values, delivery: StreamCursor::of(text) };
        ready(Ok(Box::new(Opened { format: self.format.clone(), reader: Mutex::new(reader) })))
    }
}

struct Opened<T> {
    format: Arc<Format<T>>,
    reader: Mutex<Reader<T>>,
}

struct Reader<T> {
    values: watch::Receiver<T>,
    delivery: StreamCursor,
}

impl<T: Send + Sync> OpenLeaf for Opened<T> {
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
                let text = (self.format)(&reader.values.borrow_and_update());
                if text != reader.delivery.text {
                    reader.delivery.next(text);
                } else if reader.values.changed().await.is_err() {
                    // Nobody can publish any more, and a stream has no end.
                    std::future::pending::<()>().await;
                }
            }
        })
    }
}

/// The text that a stream delivers to one reader, and how far it is. Nothing of it changes while a
/// read waits.
#[derive(Default)]
pub struct StreamCursor {
    /// The text that is being read.
    pub text: Vec<u8>,
    taken: usize,
    /// Bytes delivered since the open: where the next read must be.
    delivered: u64,
    /// The next read is the empty one.
    mark: bool,
}

impl StreamCursor {
    /// Begins with `text`.
    pub fn of(text: Vec<u8>) -> StreamCursor {
        StreamCursor { text, ..StreamCursor::default() }
    }

    /// EntryKind a read gets at once; `None` where it has to wait for the next text.
    pub fn read(&mut self, offset: u64, buf: &mut [u8]) -> Option<Result<usize>> {
        if offset != self.delivered {
            return Some(Err(Error::Seek));
        }
        if buf.is_empty() {
            return Some(Ok(0));
        }
        if std::mem::take(&mut self.mark) {
            return Some(Ok(0));
        }
        let rest = self.text.get(self.taken..).filter(|rest| !rest.is_empty())?;
        let count = rest.len().min(buf.len());
        buf.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        self.taken = self.taken.saturating_add(count);
        self.delivered = self.delivered.saturating_add(count as u64);
        self.mark = count == rest.len() && mark_follows(count, buf.len());
        Some(Ok(count))
    }

    /// Goes on with `text`, once all of the last one was read.
    pub fn next(&mut self, text: Vec<u8>) {
        self.text = text;
        self.taken = 0;
    }
}
