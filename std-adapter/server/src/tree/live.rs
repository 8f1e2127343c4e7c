//! A stream that delivers the latest value.

use std::fmt;
use std::sync::Arc;

use datakit_core::vfs::{FileStat, OpenMode, Result};
use tokio::sync::watch;

use super::stream::{OpenStream, TextSource};
use super::{BoxFuture, Leaf, OpenLeaf, ready};

/// A value whose changes are streamed to readers. Clones refer to the same value.
///
/// A stream first delivers the value that was current when the file was opened. Once the reader has
/// read that value completely, the stream delivers the latest value as soon as its text differs
/// from the last text delivered. A slow reader skips intermediate values. Use
/// [`Queue`](super::Queue) if every value matters.
#[derive(Debug)]
pub struct Live<T>(Arc<watch::Sender<T>>);

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Live(self.0.clone())
    }
}

impl<T: Send + Sync + 'static> Live<T> {
    /// Creates a live value.
    #[must_use]
    pub fn new(value: T) -> Live<T> {
        Live(Arc::new(watch::Sender::new(value)))
    }

    /// Replaces the value and wakes all readers.
    pub fn publish(&self, value: T) {
        self.0.send_replace(value);
    }

    /// Passes the value to `with`. Calling [`publish`](Live::publish) from `with` causes a
    /// deadlock.
    pub fn with<R>(&self, with: impl FnOnce(&T) -> R) -> R {
        with(&self.0.borrow())
    }

    /// Returns a receiver for code that observes the value without opening a file.
    pub fn subscribe(&self) -> watch::Receiver<T> {
        self.0.subscribe()
    }

    /// Returns the number of open streams and other receivers.
    #[must_use]
    pub fn reader_count(&self) -> usize {
        self.0.receiver_count()
    }

    /// Returns a file that delivers the value formatted by `format`. A value may have any number of
    /// files. Calling [`publish`](Live::publish) from `format` causes a deadlock.
    pub fn file<S: Into<Vec<u8>>>(
        &self,
        format: impl Fn(&T) -> S + Send + Sync + 'static,
    ) -> LiveFile<T> {
        self.try_file(move |value| Ok(format(value)))
    }

    /// Like [`file`](Live::file), but `format` may fail. If `format` fails, the open or read that
    /// called it fails with the same error.
    pub fn try_file<S: Into<Vec<u8>>>(
        &self,
        format: impl Fn(&T) -> Result<S> + Send + Sync + 'static,
    ) -> LiveFile<T> {
        let format = Arc::new(move |value: &T| format(value).map(Into::into));
        LiveFile { live: self.clone(), format }
    }
}

type Format<T> = dyn Fn(&T) -> Result<Vec<u8>> + Send + Sync;

/// A file that delivers a [`Live`] value.
pub struct LiveFile<T> {
    live: Live<T>,
    format: Arc<Format<T>>,
}

impl<T: Send + Sync + 'static> Leaf for LiveFile<T> {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(Ok(FileStat::new(0).read_only()))
    }

    fn open(&self, _: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        let mut values = self.live.subscribe();
        let text = (self.format)(&values.borrow_and_update());
        ready(text.map(|text| {
            let source = LiveValues { values, format: self.format.clone() };
            Box::new(OpenStream::with_first(source, text)) as Box<dyn OpenLeaf>
        }))
    }
}

impl<T: fmt::Debug> fmt::Debug for LiveFile<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveFile").field("live", &self.live).finish_non_exhaustive()
    }
}

struct LiveValues<T> {
    values: watch::Receiver<T>,
    format: Arc<Format<T>>,
}

impl<T: Send + Sync> TextSource for LiveValues<T> {
    async fn next(&mut self, last: &[u8]) -> Result<Option<Vec<u8>>> {
        loop {
            let text = (self.format)(&self.values.borrow_and_update())?;
            if text != last {
                return Ok(Some(text));
            }
            if self.values.changed().await.is_err() {
                // The last handle to the value has been dropped, so no more values will be
                // published. Wait forever, because a live stream never ends.
                std::future::pending::<()>().await;
            }
        }
    }
}
