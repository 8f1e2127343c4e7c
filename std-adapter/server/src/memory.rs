//! Memory that was freed goes back to the system.
//!
//! The program `datakit` allocates with mimalloc, which returns whole pages a moment after they
//! were freed, but only while something is allocated or freed. After a burst a server may be idle.
//! So code that frees much reports it here, and [`give_back`] then allocates and frees a little,
//! until the pages have gone. With the allocator of the C library, which keeps what is not at the
//! end of one of its heaps, this has no effect and does no harm.

use std::hint::black_box;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Bytes freed that are worth returning.
const MUCH: u64 = 4 << 20;

/// Time between the first report and the first prod, and between prods. The allocator, too, waits a
/// little before it returns a page, in case the page is needed again.
const GATHER: Duration = Duration::from_secs(1);

/// Prods after a burst. A page that a thread keeps for itself goes back one round after the pages
/// around it.
const PRODS: u32 = 4;

/// Bytes allocated and freed by a prod: more than a thread keeps for itself.
const PROD: usize = 8 << 20;

/// Bytes that the end of a connection may free.
pub const CONNECTION: u64 = 256 * 1024;

static FREED: AtomicU64 = AtomicU64::new(0);
static MUCH_FREED: Notify = Notify::const_new();

/// Reports that about this many bytes were freed.
pub fn freed(bytes: u64) {
    let before = FREED.fetch_add(bytes, Relaxed);
    if before < MUCH && before.saturating_add(bytes) >= MUCH {
        MUCH_FREED.notify_one();
    }
}

/// Returns freed memory to the system within seconds after some mebibytes were freed. Never ends; a
/// program spawns it once. It works on a thread of the blocking pool and holds up no other thread.
pub async fn give_back() {
    loop {
        MUCH_FREED.notified().await;
        for _ in 0..PRODS {
            tokio::time::sleep(GATHER).await;
            FREED.store(0, Relaxed);
            // A prod that panicked has returned nothing, and the next one may.
            let _ = tokio::task::spawn_blocking(|| drop(black_box(Vec::<u8>::with_capacity(PROD))))
                .await;
        }
    }
}

/// Bytes, perhaps many. The last one to have them does not wait until the system has them back.
pub struct Shared(pub Arc<[u8]>);

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

/// Drops something large on a thread of the blocking pool, or here where there is no runtime.
pub fn drop_apart<T: Send + 'static>(large: T) {
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
