//! Memory that was freed goes back to the system.
//!
//! Large pieces do so by themselves: they are mapped. Small ones lie in the heaps of the C library, which keeps what is not at the end of
//! one. So whatever frees many of them says so here, and [`give_back`] has the heaps searched when it has come to some mebibytes.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Allocations from this size on are mapped: more than what requests are answered in, which would be mapped again and again.
const LARGE: u32 = 128 * 1024;

/// Worth a search of the heaps.
const MUCH: u64 = 4 << 20;

/// Between the first report and the search: what is freed together is given back together.
const GATHER: Duration = Duration::from_secs(1);

/// What the end of a connection may free.
pub(crate) const CONNECTION: u64 = 256 * 1024;

static FREED: AtomicU64 = AtomicU64::new(0);
static MUCH_FREED: Notify = Notify::const_new();

/// Has large allocations of this process mapped, so that they go back to the system when they are freed. For the start of a program.
pub fn map_large() {
    datakit_heap::map_from(LARGE);
}

/// About so many bytes were freed, in small pieces.
pub(crate) fn freed(bytes: u64) {
    let before = FREED.fetch_add(bytes, Relaxed);
    if before < MUCH && before.saturating_add(bytes) >= MUCH {
        MUCH_FREED.notify_one();
    }
}

/// Gives freed memory back to the system, a second or so after some mebibytes were freed. Never ends; for one task of a program. The heaps
/// are searched on a thread for work that waits.
pub async fn give_back() {
    loop {
        MUCH_FREED.notified().await;
        tokio::time::sleep(GATHER).await;
        FREED.store(0, Relaxed);
        // A search that panicked has searched nothing, and the next one may.
        let _ = tokio::task::spawn_blocking(datakit_heap::trim).await;
    }
}

/// Bytes, perhaps many. The last one to have them does not wait until the system has them back.
pub(crate) struct Shared(pub(crate) Arc<[u8]>);

/// Bytes that take a quarter of a millisecond to unmap.
const LONG: usize = 1 << 20;

impl Deref for Shared {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.0.len() >= LONG && Arc::strong_count(&self.0) == 1 {
            drop_apart(std::mem::take(&mut self.0));
        }
    }
}

/// Drops something large on a thread for work that waits; at once where there is no runtime.
pub(crate) fn drop_apart<T: Send + 'static>(large: T) {
    match Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(large))),
        Err(_) => drop(large),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread::{self, ThreadId};

    use super::*;

    /// Tells which thread dropped it.
    struct Told(std::sync::mpsc::Sender<ThreadId>);

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }

    #[tokio::test]
    async fn large_things_are_dropped_on_another_thread() {
        let (tell, told) = channel();
        drop_apart(Told(tell));
        assert_ne!(told.recv().unwrap(), thread::current().id());
    }

    #[test]
    fn without_a_runtime_they_are_dropped_at_once() {
        let (tell, told) = channel();
        drop_apart(Told(tell));
        assert_eq!(told.try_recv(), Ok(thread::current().id()));
    }
}
