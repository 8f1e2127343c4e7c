//! An adapter that lets a desktop server serve `datakit-core` files.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use datakit_core::vfs::{
    Client, Error, File, FileStat, FileTable, OpenFile, OpenMode, OpenState, Result, Waiter,
};
use parking_lot::Mutex;

use super::growing_text::GrowingText;
use super::open_async::OpenAsyncFile;
use super::{BoxFuture, ClientNumber, Leaf, OpenLeaf, ready};

/// A [`Leaf`] that wraps a core [`File`]. Clones refer to the same file. Any number of reads can
/// wait for data concurrently.
///
/// The text of an open file has at most 64 KiB. The file refuses a value or a command that a client
/// writes in pieces if all pieces together are longer. The texts of all open files of a connection
/// have at most 4 MiB.
#[derive(Clone)]
pub struct CoreFile {
    file: FileRef,
    wakers: Arc<WakerSet>,
}

#[derive(Clone)]
enum FileRef {
    Shared(Arc<dyn File + Send + Sync>),
    Static(&'static (dyn File + Sync)),
    Indexed(&'static (dyn FileTable + Sync), u16),
}

impl CoreFile {
    /// Wraps a file.
    pub fn new(file: impl File + Send + Sync + 'static) -> CoreFile {
        CoreFile::with_ref(FileRef::Shared(Arc::new(file)))
    }

    /// Wraps a static file, for example a file from a
    /// [`StaticTree`](datakit_core::vfs::StaticTree).
    #[must_use]
    pub fn from_static(file: &'static (dyn File + Sync)) -> CoreFile {
        CoreFile::with_ref(FileRef::Static(file))
    }

    /// Wraps the file with the given index in a table of files. Use this function for a
    /// [`TaskFile`](datakit_core::files::TaskFile), which is a table that contains one file at
    /// index 0.
    #[must_use]
    pub fn from_table(table: &'static (dyn FileTable + Sync), index: u16) -> CoreFile {
        CoreFile::with_ref(FileRef::Indexed(table, index))
    }

    fn with_ref(file: FileRef) -> CoreFile {
        CoreFile { file, wakers: Arc::default() }
    }

    fn open_as(&self, mode: OpenMode, number: ClientNumber) -> Result<Box<dyn OpenLeaf>> {
        if let FileRef::Indexed(table, index) = self.file
            && let Some(file) = table.async_file(index)
        {
            return Ok(Box::new(OpenAsyncFile::open(file, mode, number)?));
        }
        let open = OpenCoreFile {
            file: self.file.clone(),
            client: number.get()?,
            follows: mode.follows(),
            state: Mutex::new((GrowingText::new(&number), OpenState::default())),
            _number: number,
            reader: self.wakers.next_reader.fetch_add(1, Ordering::Relaxed),
            wakers: self.wakers.clone(),
        };
        open.with_file(|file, open| file.open(open, mode))?;
        Ok(Box::new(open))
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
        let stat = self.file.with(|file| Ok(file.stat()));
        f.debug_struct("CoreFile").field("stat", &stat).finish_non_exhaustive()
    }
}

impl FileRef {
    /// Passes the file to `with` and returns the result.
    ///
    /// # Errors
    /// Returns [`Error::BadFile`] if a table contains no file with this index.
    fn with<R>(&self, with: impl FnOnce(&dyn File) -> Result<R>) -> Result<R> {
        match self {
            FileRef::Shared(file) => with(&**file),
            FileRef::Static(file) => with(*file),
            FileRef::Indexed(table, index) => {
                let (mut with, mut result) = (Some(with), Err(Error::BadFile));
                table.with_file(*index, &mut |file: &dyn File| {
                    if let Some(with) = with.take() {
                        result = with(file);
                    }
                });
                result
            }
        }
    }
}

impl Leaf for CoreFile {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(self.file.with(|file| Ok(file.stat())))
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        ready(self.open_as(mode, ClientNumber::default()))
    }

    fn open_by<'a>(
        &'a self,
        mode: OpenMode,
        client: &'a ClientNumber,
    ) -> BoxFuture<'a, Box<dyn OpenLeaf>> {
        ready(self.open_as(mode, client.clone()))
    }

    fn truncate(&self, length: u64) -> BoxFuture<'_, ()> {
        ready(self.file.with(|file| file.truncate(length)))
    }

    fn chmod(&self, mode: u32) -> BoxFuture<'_, ()> {
        ready(self.file.with(|file| file.chmod(mode)))
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        ready(self.file.with(|file| file.remove()))
    }
}

struct OpenCoreFile {
    file: FileRef,
    client: Client,
    follows: bool,
    /// Keeps the client's number in use while the file is open.
    _number: ClientNumber,
    state: Mutex<(GrowingText, OpenState)>,
    /// This open file's key in `wakers`.
    reader: u64,
    wakers: Arc<WakerSet>,
}

/// The wakers of all reads waiting for data from one file. A `datakit-core` file has room for only
/// a few wakers, so the adapter registers a single waker that wakes all waiting reads.
#[derive(Default)]
struct WakerSet {
    /// The number to assign to the next open file.
    next_reader: AtomicU64,
    /// The wakers, keyed by the number of the open file. One waker per open file is enough, because
    /// the tree runs an open file's reads one at a time.
    waiting: Mutex<HashMap<u64, Waker>>,
}

impl Wake for WakerSet {
    fn wake(self: Arc<WakerSet>) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        waiting.into_values().for_each(Waker::wake);
    }
}

impl OpenCoreFile {
    fn with_file<R>(
        &self,
        call: impl FnOnce(&dyn File, &mut OpenFile<'_>) -> Result<R>,
    ) -> Result<R> {
        self.with_waiter(&mut Waiter::new(), call)
    }

    fn with_waiter<R>(
        &self,
        waiter: &mut Waiter,
        call: impl FnOnce(&dyn File, &mut OpenFile<'_>) -> Result<R>,
    ) -> Result<R> {
        let (text, state) = &mut *self.state.lock();
        let open =
            &mut OpenFile { text, state, waiter, client: self.client, follows: self.follows };
        self.file.with(|file| call(file, open))
    }

    fn poll_read(
        &self,
        waiter: &mut Waiter,
        cx: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        let read = self.with_waiter(waiter, |file, open| Ok(file.poll_read(open, cx, offset, buf)));
        read.unwrap_or_else(|error| Poll::Ready(Err(error)))
    }
}

impl OpenLeaf for OpenCoreFile {
    fn may_block(&self) -> bool {
        self.follows || self.file.with(|file| Ok(file.may_block())).unwrap_or(false)
    }

    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        let mut waiter = Waiter::new();
        if !self.may_block() {
            return Box::pin(poll_fn(move |cx| self.poll_read(&mut waiter, cx, offset, buf)));
        }
        let all = Waker::from(self.wakers.clone());
        Box::pin(poll_fn(move |cx| {
            // Register the waker before polling so that an event during the poll wakes the reader.
            // Drop the previous waker only after the lock has been released.
            let previous = self.wakers.waiting.lock().insert(self.reader, cx.waker().clone());
            drop(previous);
            self.poll_read(&mut waiter, &mut Context::from_waker(&all), offset, buf)
        }))
    }

    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move { self.with_file(|file, open| file.write(open, offset, data)) })
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        ready(self.with_file(|file, open| file.flush(open)))
    }

    fn close(&self) {
        // An error occurs only if the table no longer contains the file.
        let _ = self.with_waiter(&mut Waiter::new(), |file, open| {
            file.close(open);
            Ok(())
        });
    }
}

impl Drop for OpenCoreFile {
    fn drop(&mut self) {
        let waker = self.wakers.waiting.lock().remove(&self.reader);
        drop(waker);
    }
}
