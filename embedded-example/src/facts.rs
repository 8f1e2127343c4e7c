//! What the hardware tells the tree. The drivers write it, files read it; on the host it stays as it is at boot.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A number that drivers change and files show.
#[derive(Debug)]
pub struct Fact(AtomicU32);

impl Fact {
    const fn new() -> Fact {
        Fact(AtomicU32::new(0))
    }

    /// What it is now.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Makes it `value`.
    pub fn set(&self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn subtract(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Frames that came in since boot.
pub static FRAMES_IN: Fact = Fact::new();
/// Frames that went out since boot.
pub static FRAMES_OUT: Fact = Fact::new();
/// Frames that came in and were dropped since boot.
pub static FRAMES_DROPPED: Fact = Fact::new();
/// Bytes of stack in use at the worst moment since boot.
pub static STACK_USED: Fact = Fact::new();
/// Bytes of stack that there are.
pub static STACK_SIZE: Fact = Fact::new();
/// Clients that are connected.
pub static CONNECTIONS: Fact = Fact::new();
/// Milliseconds since boot; comes round after 49 days.
pub static UPTIME_MS: Fact = Fact::new();
/// Core clock, Hz.
pub static CLOCK_HZ: Fact = Fact::new();

/// A restart was asked for.
pub static RESET: AtomicBool = AtomicBool::new(false);

/// An Ethernet address.
#[derive(Debug)]
pub struct Mac {
    high: Fact,
    low: Fact,
}

/// The address of the board's only network interface.
pub static MAC: Mac = Mac { high: Fact::new(), low: Fact::new() };

impl Mac {
    /// The six bytes, first one first.
    pub fn get(&self) -> [u8; 6] {
        let [a, b, c, d] = self.high.get().to_be_bytes();
        let [e, f, ..] = self.low.get().to_be_bytes();
        [a, b, c, d, e, f]
    }

    /// Set once, when the driver starts.
    pub fn set(&self, [a, b, c, d, e, f]: [u8; 6]) {
        self.high.set(u32::from_be_bytes([a, b, c, d]));
        self.low.set(u32::from_be_bytes([e, f, 0, 0]));
    }
}
