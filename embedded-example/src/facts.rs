//! What the board and its tree tell each other. Drivers write, files read; on the host all of it
//! stays as it is at boot.

use core::sync::atomic::{AtomicU32, Ordering};

use datakit_core::files::{Level, Value};

/// The board's address: QEMU's user network forwards to it.
pub const ADDRESS: [u8; 4] = [10, 0, 2, 15];
/// Bits of [`ADDRESS`] that name the network.
pub const PREFIX: u8 = 24;

/// Frames that came in since boot.
pub static FRAMES_IN: Counter = Counter::new();
/// Frames that went out since boot.
pub static FRAMES_OUT: Counter = Counter::new();
/// Frames that came in and were dropped since boot.
pub static FRAMES_DROPPED: Counter = Counter::new();
/// Clients that are connected.
pub static CONNECTIONS: Counter = Counter::new();
/// Core clock, Hz.
pub static CLOCK_HZ: Value<u32> = Value::new(0);
/// The Ethernet address.
pub static MAC: Value<[u8; 6]> = Value::new([0; 6]);
/// How much is logged.
pub static LEVEL: Value<Level> = Value::new(Level::Info);
/// Set when a restart was asked for.
pub static RESET: Value<bool> = Value::new(false);

/// Set when every connection is to end: the board restarts.
pub static CLOSING: Value<bool> = Value::new(false);

/// A question to the hardware; `None` where there is none.
pub type Ask<T> = Option<fn() -> T>;

/// Milliseconds since boot.
pub static UPTIME: Value<Ask<u64>> = Value::new(None);
/// The stack's high-water mark.
pub static STACK: Value<Ask<Stack>> = Value::new(None);

/// How much stack the board has needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stack {
    /// Bytes in use at the worst moment since boot.
    pub used: usize,
    /// Bytes that there are.
    pub size: usize,
}

/// Milliseconds since boot; 0 where there is no clock.
pub fn uptime_ms() -> u64 {
    UPTIME.get().map_or(0, |ask| ask())
}

/// A number that an interrupt may change, too. Wraps.
#[derive(Debug)]
pub struct Counter(AtomicU32);

impl Counter {
    const fn new() -> Counter {
        Counter(AtomicU32::new(0))
    }

    /// What it is now.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
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
