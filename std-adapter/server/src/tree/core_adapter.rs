//! An adapter that lets a desktop server serve a device's files unchanged.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

use datakit_core::vfs::{
    Client, File, FileStat, OpenFile, OpenMode, OpenState, Result, Text, Waiter,
};
use parking_lot::Mutex;

use super::{BoxFuture, Leaf, OpenLeaf, ready};

/// A [`Leaf`] that wraps a core [`File`]. Clones refer to the same file. Any number of reads can
/// wait for data concurrently.
#[derive(Clone)]
pub struct CoreFile {
    file: FileRef,
    wakers: Arc<WakerSet>,
}

#[derive(Clone)]
enum FileRef {
    Shared(Arc<dyn File + Send + Sync>),
    Static(&'static (dyn File + Send + Sync)),
}

impl CoreFile {
    /// Wraps a file.
    pub fn new(file: impl File + Send + Sync + 'static) -> CoreFile {
        CoreFile::with_ref(FileRef::Shared(Arc::new(file)))
    }

    /// Wraps a static file, for example a file from a
    /// [`StaticTree`](datakit_core::vfs::StaticTree).
    #[must_use]
    pub fn from_static(file: &'static (dyn File + Send + Sync)) -> CoreFile {
        CoreFile::with_ref(FileRef::Static(file))
    }

    fn with_ref(file: FileRef) -> CoreFile {
        CoreFile { file, wakers: Arc::default() }
    }
}

impl From<Arc<dyn File + Send + Sync>> for CoreFile {
    fn from(file: Arc<dyn File + Send + Sync>) -> CoreFile {
        CoreFile::with_ref(FileRef::Shared(file))
    }
}

impl From<Box<dyn File + Send + Sync>> for CoreFile {
    fn from(file: Box<dyn File + Send + Sync>) -> CoreFile {
        CoreFile::with_ref(FileRef::Shared(file.into()))
    }
}

impl fmt::Debug for CoreFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreFile").field("stat", &self.file.stat()).finish_non_exhaustive()
    }
}

impl Deref for FileRef {
    type Target = dyn File + Send + Sync;

    fn deref(&self) -> &Self::Target {
        match self {
            FileRef::Shared(file) => &**file,
            FileRef::Static(file) => *file,
        }
    }
}

impl Leaf for CoreFile {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(Ok(self.file.stat()))
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        let open = OpenCoreFile {
            file: self.file.clone(),
            state: Mutex::default(),
            number: self.wakers.next_number.fetch_add(1, Ordering::Relaxed),
            wakers: self.wakers.clone(),
        };
        let done = open.with_file(|file, open| file.open(open, mode));
        ready(done.map(|()| Box::new(open) as Box<dyn OpenLeaf>))
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

struct OpenCoreFile {
    file: FileRef,
    state: Mutex<(GrowingText, OpenState)>,
    /// The number that identifies this open file in `wakers`.
    number: u64,
    wakers: Arc<WakerSet>,
}

/// The wakers of all reads that are waiting for data from one file. A core file has room for only a
/// few wakers, so the adapter registers a single waker that wakes all waiting reads.
#[derive(Default)]
struct WakerSet {
    /// The number to assign to the next open file.
    next_number: AtomicU64,
    /// The wakers, keyed by the number of the open file. One waker per open file is enough, because
    /// the tree runs the reads of an open file one at a time.
    waiting: Mutex<HashMap<u64, Waker>>,
}

impl Wake for WakerSet {
    fn wake(self: Arc<WakerSet>) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        waiting.into_values().for_each(Waker::wake);
    }
}

impl OpenCoreFile {
    fn with_file<R>(&self, call: impl FnOnce(&dyn File, &mut OpenFile<'_>) -> R) -> R {
        self.with_waiter(&mut Waiter::new(), call)
    }

    fn with_waiter<R>(
        &self,
        waiter: &mut Waiter,
        call: impl FnOnce(&dyn File, &mut OpenFile<'_>) -> R,
    ) -> R {
        let (text, state) = &mut *self.state.lock();
        call(&*self.file, &mut OpenFile { text, state, waiter, client: Client::PROGRAM })
    }
}

impl OpenLeaf for OpenCoreFile {
    fn may_block(&self) -> bool {
        self.with_file(|file, _| file.may_block())
    }

    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        if !self.may_block() {
            return Box::pin(poll_fn(move |cx| {
                self.with_file(|file, open| file.poll_read(open, cx, offset, buf))
            }));
        }
        let all = Waker::from(self.wakers.clone());
        let mut waiter = Waiter::new();
        Box::pin(poll_fn(move |cx| {
            // Register the waker before the poll, so that an event during the poll wakes the
            // reader. Drop the previous waker only after the lock has been released.
            let previous = self.wakers.waiting.lock().insert(self.number, cx.waker().clone());
            drop(previous);
            let mut cx = Context::from_waker(&all);
            self.with_waiter(&mut waiter, |file, open| file.poll_read(open, &mut cx, offset, buf))
        }))
    }

    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move { self.with_file(|file, open| file.write(open, offset, data)) })
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        ready(self.with_file(|file, open| file.flush(open)))
    }

    fn close(&self) {
        self.with_file(|file, open| file.close(open));
    }
}

impl Drop for OpenCoreFile {
    fn drop(&mut self) {
        let waker = self.wakers.waiting.lock().remove(&self.number);
        drop(waker);
    }
}

/// A [`Text`] that grows as needed.
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
