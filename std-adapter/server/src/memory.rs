//! Returns freed memory to the system.
//!
//! The program `datakit` uses mimalloc, which returns whole pages a moment after they were freed,
//! but only while the program allocates or frees. A server may be idle after a burst. So code that
//! frees a lot calls [`report_freed`], and [`return_freed_memory`] then allocates and frees a
//! little until the pages are back. With the C library's allocator, which keeps everything but the
//! end of its heaps, this has no effect and does no harm.

use std::hint::black_box;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Freed bytes that are worth returning.
const THRESHOLD: u64 = 4 << 20;

/// Time from the first report to the first prod, and between prods. The allocator also waits before
/// it returns a page, in case the page is needed again.
const PROD_INTERVAL: Duration = Duration::from_secs(1);

/// Prods after a burst. A page in a thread's cache takes one round longer than its neighbours.
const PRODS: u32 = 4;

/// Bytes that a prod allocates and frees. More than a thread caches.
const PROD_BYTES: usize = 8 << 20;

/// Estimate of the bytes that the end of a connection frees.
pub(crate) const CONNECTION_BYTES: u64 = 256 * 1024;

static FREED: AtomicU64 = AtomicU64::new(0);
static THRESHOLD_REACHED: Notify = Notify::const_new();

/// Reports that about `bytes` bytes were freed.
pub fn report_freed(bytes: u64) {
    let before = FREED.fetch_add(bytes, Relaxed);
    if before < THRESHOLD && before.saturating_add(bytes) >= THRESHOLD {
        THRESHOLD_REACHED.notify_one();
    }
}

/// Returns freed memory to the system within seconds after several mebibytes were freed.
///
/// Never completes. A program spawns it once. It works on a thread of the blocking pool and blocks
/// no other thread.
pub async fn return_freed_memory() {
    loop {
        THRESHOLD_REACHED.notified().await;
        for _ in 0..PRODS {
            tokio::time::sleep(PROD_INTERVAL).await;
            FREED.store(0, Relaxed);
            // A prod that panics returns nothing, and the next one may succeed.
            let _ = tokio::task::spawn_blocking(|| {
                drop(black_box(Vec::<u8>::with_capacity(PROD_BYTES)))
            })
            .await;
        }
    }
}

/// Shared bytes whose last owner does not block while the system unmaps them.
#[derive(Debug)]
pub struct LargeBytes(pub Arc<[u8]>);

/// Unmapping a mebibyte takes a quarter of a millisecond.
const BACKGROUND_BYTES: usize = 1 << 20;

impl Deref for LargeBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for LargeBytes {
    fn drop(&mut self) {
        if self.0.len() >= BACKGROUND_BYTES && Arc::strong_count(&self.0) == 1 {
            drop_in_background(std::mem::take(&mut self.0));
        }
    }
}

/// Drops a large value on a thread of the blocking pool, or here if there is no runtime.
pub fn drop_in_background<T: Send + 'static>(value: T) {
    match Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(value))),
        Err(_) => drop(value),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread::{self, ThreadId};

    use super::*;

    /// Sends the id of the thread that drops it.
    struct SendsThreadId(Sender<ThreadId>);

    impl Drop for SendsThreadId {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }

    #[tokio::test]
    async fn a_large_value_is_dropped_on_another_thread() {
        let (sender, receiver) = channel();
        drop_in_background(SendsThreadId(sender));
        assert_ne!(receiver.recv().unwrap(), thread::current().id());
    }

    #[test]
    fn without_a_runtime_a_value_is_dropped_in_place() {
        let (sender, receiver) = channel();
        drop_in_background(SendsThreadId(sender));
        assert_eq!(receiver.try_recv(), Ok(thread::current().id()));
    }
}
