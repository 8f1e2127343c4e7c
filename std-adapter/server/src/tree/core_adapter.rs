//! The files of core in this tree: a device's file served by a desktop, unchanged.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

use datakit_core::vfs::{File, FileStat, OpenFile, OpenMode, OpenState, Result, Text, Waiter};

use super::{BoxFuture, Leaf, OpenLeaf, ready};

/// Any [`File`] of core as a [`Leaf`]. Clones are the same file; any number of readers may wait for
/// it.
#[derive(Clone)]
pub struct CoreFile {
    file: Held,
    bell: Arc<WakerSet>,
}

#[derive(Clone)]
enum Held {
    Shared(Arc<dyn File + Send + Sync>),
    Fixed(&'static (dyn File + Send + Sync)),
}

impl CoreFile {
    /// The tree's own file.
    pub fn new(file: impl File + Send + Sync + 'static) -> CoreFile {
        CoreFile::of(Held::Shared(Arc::new(file)))
    }

    /// A file of a static table.
    #[must_use]
    pub fn fixed(file: &'static (dyn File + Send + Sync)) -> CoreFile {
        CoreFile::of(Held::Fixed(file))
    }

    fn of(file: Held) -> CoreFile {
        CoreFile { file, bell: Arc::default() }
    }
}

impl From<Arc<dyn File + Send + Sync>> for CoreFile {
    fn from(file: Arc<dyn File + Send + Sync>) -> CoreFile {
        CoreFile::of(Held::Shared(file))
    }
}

impl From<Box<dyn File + Send + Sync>> for CoreFile {
    fn from(file: Box<dyn File + Send + Sync>) -> CoreFile {
        CoreFile::of(Held::Shared(file.into()))
    }
}

impl Deref for Held {
    type Target = dyn File + Send + Sync;

    fn deref(&self) -> &Self::Target {
        match self {
            Held::Shared(file) => &**file,
            Held::Fixed(file) => *file,
        }
    }
}

impl Leaf for CoreFile {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(Ok(self.file.stat()))
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        let opened = Opened {
            file: self.file.clone(),
            state: Mutex::default(),
            number: self.bell.opened.fetch_add(1, Ordering::Relaxed),
            bell: self.bell.clone(),
        };
        let done = opened.with(|file, open| file.open(open, mode));
        ready(done.map(|()| Box::new(opened) as Box<dyn OpenLeaf>))
    }

    fn truncate(&self, length: u64) -> BoxFuture<'_, ()> {
        ready(self.file.truncate(length))
    }

    fn chmod(&self, mode: u32) -> BoxFuture<'_, ()> {
        ready(self.file.chmod(mode))
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        ready(self.file.remove())
    }
}

struct Opened {
    file: Held,
    state: Mutex<(GrowingText, OpenState)>,
    number: u64,
    bell: Arc<WakerSet>,
}

/// Wakes all that read one file: core is given one waker for all of them, which wakes them at once
/// and not in turn.
#[derive(Default)]
struct WakerSet {
    /// The number of the next open file.
    opened: AtomicU64,
    /// By the number of the open file: the tree has one read of it at a time.
    waiting: Mutex<HashMap<u64, Waker>>,
}

impl Wake for WakerSet {
    fn wake(self: Arc<WakerSet>) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        waiting.into_values().for_each(Waker::wake);
    }
}

impl Opened {
    fn with<R>(&self, call: impl FnOnce(&dyn File, &mut OpenFile<'_>) -> R) -> R {
        self.with_waiter(&mut Waiter::new(), call)
    }

    fn with_waiter<R>(
        &self,
        waiter: &mut Waiter,
        call: impl FnOnce(&dyn File, &mut OpenFile<'_>) -> R,
    ) -> R {
        let (text, state) = &mut *self.state.lock();
        call(&*self.file, &mut OpenFile { text, state, waiter })
    }
}

impl OpenLeaf for Opened {
    fn may_block(&self) -> bool {
        self.with(|file, _| file.may_block())
    }

    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        if !self.may_block() {
            return Box::pin(poll_fn(move |cx| {
                self.with(|file, open| file.poll_read(open, cx, offset, buf))
            }));
        }
        let bell = Waker::from(self.bell.clone());
        let mut waiter = Waiter::new();
        Box::pin(poll_fn(move |cx| {
            // First: what happens from here on wakes. EntryKind was there before is dropped without the
            // lock.
            let before = self.bell.waiting.lock().insert(self.number, cx.waker().clone());
            drop(before);
            let mut cx = Context::from_waker(&bell);
            self.with_waiter(&mut waiter, |file, open| file.poll_read(open, &mut cx, offset, buf))
        }))
    }

    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move { self.with(|file, open| file.write(open, offset, data)) })
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        ready(self.with(|file, open| file.flush(open)))
    }

    fn close(&self) {
        self.with(|file, open| file.close(open));
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let waker = self.bell.waiting.lock().remove(&self.number);
        drop(waker);
    }
}

/// A text that takes what comes.
#[derive(Default)]
struct GrowingText(Vec<u8>);

impl Text for GrowingText {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl fmt::Write for GrowingText {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.extend_from_slice(s.as_bytes());
        Ok(())
    }
}
