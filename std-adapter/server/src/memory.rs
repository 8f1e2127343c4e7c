//! Functions that return freed memory to the operating system.
//!
//! The `datakit` program uses mimalloc, which returns whole pages to the system shortly after they
//! are freed. However, mimalloc returns pages only when the program allocates or frees memory. As a
//! result, a server that becomes idle after a burst of requests would keep its freed memory.
//! Therefore, code that frees a lot of memory calls [`report_freed`]. The [`return_freed_memory`]
//! future then allocates and frees memory a few times until the pages have been returned. If the
//! program uses the C library's allocator instead, these functions are harmless but provide no
//! benefit.

use std::hint::black_box;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

/// The number of bytes that must be freed before memory is returned to the system.
const THRESHOLD: u64 = 4 << 20;

/// The delay before each short-lived allocation. These allocations make the allocator return freed
/// pages to the operating system. The delay is necessary because the allocator keeps a freed page
/// for some time.
const PROD_INTERVAL: Duration = Duration::from_secs(1);

/// The number of short-lived allocations to make after memory has been freed. A single allocation
/// is not enough, because pages in a thread's cache are returned later than other pages.
const PRODS: u32 = 4;

/// The number of bytes in each short-lived allocation. This size exceeds that of a thread's cache.
const PROD_BYTES: usize = 8 << 20;

/// The estimated number of bytes freed by closing a connection.
pub(crate) const CONNECTION_BYTES: u64 = 256 * 1024;

static FREED: AtomicU64 = AtomicU64::new(0);
static THRESHOLD_REACHED: Notify = Notify::const_new();

/// Reports that approximately `bytes` bytes were freed.
pub fn report_freed(bytes: u64) {
    let before = FREED.fetch_add(bytes, Relaxed);
    if before < THRESHOLD && before.saturating_add(bytes) >= THRESHOLD {
        THRESHOLD_REACHED.notify_one();
    }
}

/// Returns freed memory to the system a few seconds after several mebibytes have been freed.
///
/// The future never completes. A program should spawn this future once. Memory is returned on a
/// thread of the blocking pool so that other threads are not blocked.
pub async fn return_freed_memory() {
    loop {
        THRESHOLD_REACHED.notified().await;
        for _ in 0..PRODS {
            tokio::time::sleep(PROD_INTERVAL).await;
            FREED.store(0, Relaxed);
            // Ignore a panic in the allocation, because the next allocation may succeed.
            let _ = tokio::task::spawn_blocking(|| {
                drop(black_box(Vec::<u8>::with_capacity(PROD_BYTES)))
            })
            .await;
        }
    }
}

/// Shared bytes. Large values are dropped in the background so that the last owner does not have to
/// wait for the system to unmap the memory.
#[derive(Debug)]
pub struct LargeBytes(pub Arc<[u8]>);

/// The minimum size of a value to drop in the background. Unmapping a mebibyte takes about a
/// quarter of a millisecond.
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

/// Drops a large value on a thread of the blocking pool, or on the current thread if there is no
/// runtime.
pub fn drop_in_background<T: Send + 'static>(value: T) {
    drop_boxed(Box::new(value));
}

fn drop_boxed(value: Box<dyn Send>) {
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

    /// A value that sends the id of the thread on which it is dropped.
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
