//! Open streams: what [`Live`](super::Live), [`Queue`](super::Queue) and streams of your own share.

use std::fmt;
use std::future::Future;

use datakit_core::vfs::{Error, Result, mark_follows};
use tokio::sync::Mutex;

use super::{BoxFuture, OpenLeaf};

/// A source of the texts that a stream delivers to one reader, one after the other.
pub trait TextSource: Send {
    /// Waits for the next text. `last` is the text before it, empty at first. An empty text is
    /// skipped; `None` ends the stream.
    ///
    /// # Cancel safety
    /// Dropping the future loses no text.
    fn next(&mut self, last: &[u8]) -> impl Future<Output = Result<Option<Vec<u8>>>> + Send;
}

/// An open file that delivers the texts of a [`TextSource`].
///
/// A read delivers bytes of one text only. Once a text is read to its end, a read of zero bytes
/// [marks](mark_follows) that nothing more is ready, and the read after that waits. Offsets count
/// the bytes delivered since the open; any other offset is [`Error::Seek`].
pub struct OpenStream<S>(Mutex<StreamReader<S>>);

struct StreamReader<S> {
    source: S,
    cursor: TextCursor,
    ended: bool,
}

impl<S: TextSource> OpenStream<S> {
    /// Creates a stream whose first text comes from `source`.
    pub fn new(source: S) -> OpenStream<S> {
        OpenStream::with_first(source, Vec::new())
    }

    /// Creates a stream that delivers `text` before those of `source`.
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

/// The text that is being delivered, and the position of the reader in it. A read that waits
/// changes nothing here.
#[derive(Default)]
struct TextCursor {
    text: Vec<u8>,
    /// Bytes of `text` that were delivered.
    taken: usize,
    /// Bytes delivered since the open: the offset of the next read.
    delivered: u64,
    /// The next read is the flush mark.
    mark: bool,
}

impl TextCursor {
    /// Reads from the current text; `None` if all of it was delivered.
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
