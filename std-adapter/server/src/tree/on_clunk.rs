//! A file that calls a hook whenever the file's last open fid is closed.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datakit_core::vfs::{FileStat, FileType, OpenMode, Result, Time};
use parking_lot::Mutex;

use super::{BoxFuture, ClientNumber, Entry, Leaf, OpenLeaf};

/// A file with a clunk hook, created by [`Leaf::on_clunk`].
pub struct OnClunk<L> {
    leaf: L,
    hook: Arc<Hook>,
}

struct Hook {
    /// The number of guards, one for each open file.
    open: AtomicUsize,
    call: Box<dyn Fn() + Send + Sync>,
}

/// A guard that increments the number of open files when created and decrements it when dropped.
/// Dropping the last guard calls the hook.
struct OpenGuard(Arc<Hook>);

impl OpenGuard {
    fn new(hook: &Arc<Hook>) -> OpenGuard {
        hook.open.fetch_add(1, Ordering::Relaxed);
        OpenGuard(hook.clone())
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        // `AcqRel` makes the effects of all previous close operations visible to the hook.
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            (self.0.call)();
        }
    }
}

impl<L> OnClunk<L> {
    pub(super) fn new(leaf: L, hook: impl Fn() + Send + Sync + 'static) -> OnClunk<L> {
        OnClunk { leaf, hook: Arc::new(Hook { open: AtomicUsize::new(0), call: Box::new(hook) }) }
    }

    /// Adds a guard to the file that `opening` returns.
    fn with_guard<'a>(
        &'a self,
        opening: BoxFuture<'a, Box<dyn OpenLeaf>>,
    ) -> BoxFuture<'a, Box<dyn OpenLeaf>> {
        let hook = &self.hook;
        Box::pin(async move {
            let file = opening.await?;
            let guard = Mutex::new(Some(OpenGuard::new(hook)));
            Ok(Box::new(OpenWithGuard { file, guard }) as Box<dyn OpenLeaf>)
        })
    }
}

impl<L: fmt::Debug> fmt::Debug for OnClunk<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.hook.open.load(Ordering::Relaxed);
        f.debug_struct("OnClunk").field("leaf", &self.leaf).field("open", &open).finish()
    }
}

impl<L: Leaf> Leaf for OnClunk<L> {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        self.leaf.stat()
    }

    fn try_stat_now(&self) -> Option<Result<(FileStat, Option<Time>)>> {
        self.leaf.try_stat_now()
    }

    fn kind(&self) -> FileType {
        self.leaf.kind()
    }

    fn target(&self) -> BoxFuture<'_, Vec<u8>> {
        self.leaf.target()
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        self.with_guard(self.leaf.open(mode))
    }

    fn open_by<'a>(
        &'a self,
        mode: OpenMode,
        client: &'a ClientNumber,
    ) -> BoxFuture<'a, Box<dyn OpenLeaf>> {
        self.with_guard(self.leaf.open_by(mode, client))
    }

    fn truncate(&self, length: u64) -> BoxFuture<'_, ()> {
        self.leaf.truncate(length)
    }

    fn chmod(&self, mode: u32) -> BoxFuture<'_, ()> {
        self.leaf.chmod(mode)
    }

    fn mtime(&self) -> Option<Time> {
        self.leaf.mtime()
    }

    fn current_parent(&self) -> Option<Entry> {
        self.leaf.current_parent()
    }

    fn as_any(&self) -> Option<&dyn Any> {
        self.leaf.as_any()
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        self.leaf.remove()
    }
}

struct OpenWithGuard {
    file: Box<dyn OpenLeaf>,
    /// The guard, or `None` once the file has been closed. A request in flight may hold a reference
    /// to the open file after the file has been closed.
    guard: Mutex<Option<OpenGuard>>,
}

impl OpenLeaf for OpenWithGuard {
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        self.file.read(offset, buf)
    }

    fn may_block(&self) -> bool {
        self.file.may_block()
    }

    fn try_read_now(&self, offset: u64, buf: &mut [u8]) -> Option<Result<usize>> {
        self.file.try_read_now(offset, buf)
    }

    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, usize> {
        self.file.write(offset, data)
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        self.file.flush()
    }

    fn close(&self) {
        self.file.close();
        let guard = self.guard.lock().take();
        // The guard is not dropped until the lock has been released, because dropping the guard may
        // run the hook.
        drop(guard);
    }
}
