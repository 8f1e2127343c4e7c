//! The board's tree.

use core::sync::atomic::{AtomicU32, Ordering};

/// Frames through the network driver since boot.
#[derive(Debug)]
pub struct Frames {
    received: AtomicU32,
    sent: AtomicU32,
    dropped: AtomicU32,
}

/// The counters of the one driver that this board has.
pub static FRAMES: Frames = Frames { received: AtomicU32::new(0), sent: AtomicU32::new(0), dropped: AtomicU32::new(0) };

impl Frames {
    /// One came in.
    pub fn received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// One went out.
    pub fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// One came in and could not be taken.
    pub fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}
