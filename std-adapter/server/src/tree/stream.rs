//! Open streams, as used by [`Live`](super::Live), [`Queue`](super::Queue) and custom streams.

use std::fmt;
use std::future::Future;

use datakit_core::vfs::{Error, Result, mark_follows};
use tokio::sync::Mutex;

use super::{BoxFuture, OpenLeaf};

/// A source of text items that a stream delivers to one reader, in order.
pub trait TextSource: Send {
    /// Waits for the next item. `last` is the previous item, or empty on the first call. The stream
    /// skips empty items and ends when this method returns `None`.
    ///
    /// # Cancel safety
    /// Dropping the future does not lose an item.
    fn next(&mut self, last: &[u8]) -> impl Future<Output = Result<Option<Vec<u8>>>> + Send;
}

/// An open file that delivers the items of a [`TextSource`].
///
/// A read never returns bytes from more than one item. After the end of an item, a read may return
/// 0 bytes as a [flush mark](mark_follows) to signal that no more data is ready. The read after a
/// flush mark waits for the next item. The offset of a read must be the number of bytes delivered
/// since the file was opened. A read at an unexpected offset fails with [`Error::Seek`].
pub struct OpenStream<S>(Mutex<StreamReader<S>>);

struct StreamReader<S> {
    source: S,
    cursor: TextCursor,
    ended: bool,
}

impl<S: TextSource> OpenStream<S> {
    /// Creates a stream that delivers the items from `source`.
    pub fn new(source: S) -> OpenStream<S> {
        OpenStream::with_first(source, Vec::new())
    }

    /// Creates a stream that delivers `text` before the items from `source`.
    pub fn with_first(source: S, text: Vec<u8>) -> OpenStream<S> {
        let cursor = TextCursor { text, ..TextCursor::default() };
        OpenStream(Mutex::new(StreamReader { source, cursor, ended: false }))
    }
}

impl<S: TextSource> OpenLeaf for OpenStream<S> {
    fn may_block(&self) -> bool {
        true
    }

    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            let StreamReader { source, cursor, ended } = &mut *self.0.lock().await;
            loop {
                if let Some(done) = cursor.read(offset, buf) {
                    return done;
                }
                if *ended {
                    return Ok(0);
                }
                match source.next(&cursor.text).await? {
                    Some(text) => cursor.replace_text(text),
                    None => *ended = true,
                }
            }
        })
    }
}

impl<S> fmt::Debug for OpenStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenStream").finish_non_exhaustive()
    }
}

/// The item that is being delivered and the reader's position in it. A pending read does not change
/// the position.
#[derive(Default)]
struct TextCursor {
    text: Vec<u8>,
    /// How many bytes of `text` have been delivered so far.
    taken: usize,
    /// How many bytes have been delivered since the file was opened, which is also the offset of
    /// the next read.
    delivered: u64,
    /// Whether the next read returns the flush mark.
    mark: bool,
}

impl TextCursor {
    /// Reads from the current item. Returns `None` if the item has been delivered completely.
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Option<Result<usize>> {
        if offset != self.delivered {
            return Some(Err(Error::Seek));
        }
        if buf.is_empty() || std::mem::take(&mut self.mark) {
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

    fn replace_text(&mut self, text: Vec<u8>) {
        self.text = text;
        self.taken = 0;
    }
}
