//! State that the drivers write and that clients read through files in the tree. On the host, there
//! are no drivers, so the state keeps its initial values.

use core::sync::atomic::{AtomicU32, Ordering};

use datakit_core::files::{Level, Value};
use datakit_core::vfs::FixedText;
use datakit_embassy::Connections;

/// The board's IP address. QEMU's user network forwards connections to this address.
pub const ADDRESS: [u8; 4] = [10, 0, 2, 15];
/// The length, in bits, of the network prefix of [`ADDRESS`].
pub const PREFIX: u8 = 24;
/// The maximum number of clients that are served at the same time.
pub const CLIENTS: usize = 3;

/// The number of Ethernet frames received since boot.
pub static FRAMES_IN: Counter = Counter::new();
/// The number of Ethernet frames transmitted since boot.
pub static FRAMES_OUT: Counter = Counter::new();
/// The number of received Ethernet frames that were dropped.
pub static FRAMES_DROPPED: Counter = Counter::new();
/// The connected clients.
pub static CONNECTIONS: Connections<CLIENTS> = Connections::new();
/// The core clock frequency in Hz.
pub static CLOCK_HZ: Value<u32> = Value::new(0);
/// The Ethernet address.
pub static MAC: Value<[u8; 6]> = Value::new([0; 6]);
/// The log level.
pub static LEVEL: Value<Level> = Value::new(Level::Info);
/// The cause of the last reset.
pub static RESET_CAUSE: Value<&'static str> = Value::new("unknown");
/// The location and the message of the panic that ended the last run. The text is empty if the last
/// run did not end with a panic.
pub static LAST_PANIC: Value<FixedText<PANIC_MAX>> = Value::new(FixedText::new());
/// The maximum length of a panic message, in bytes.
pub const PANIC_MAX: usize = 92;
/// Whether a client has requested a restart.
pub static RESET: Value<bool> = Value::new(false);

/// A function that reads a value from the hardware, or `None` if there is no hardware.
pub type Probe<T> = Option<fn() -> T>;

/// The function that returns the number of milliseconds since boot.
pub static UPTIME: Value<Probe<u64>> = Value::new(None);
/// The function that measures the peak stack usage.
pub static STACK: Value<Probe<StackUsage>> = Value::new(None);

/// The function that returns the sizes of the RAM regions.
pub static MEMORY: Value<Probe<MemoryUsage>> = Value::new(None);

/// The sizes of the RAM regions, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUsage {
    /// The size of all statics. The firmware has no heap.
    pub statics: usize,
    /// The size of the stack.
    pub stack: usize,
    /// The size of the unused RAM.
    pub free: usize,
}

/// The peak stack usage since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StackUsage {
    /// The peak usage, in bytes.
    pub used: usize,
    /// The size of the stack, in bytes.
    pub size: usize,
}

/// Returns the number of milliseconds since boot, or 0 if there is no clock.
pub fn uptime_ms() -> u64 {
    UPTIME.get().map_or(0, |probe| probe())
}

/// A counter that interrupt handlers may change. The counter wraps around on overflow.
#[derive(Debug)]
pub struct Counter(AtomicU32);

impl Counter {
    const fn new() -> Counter {
        Counter(AtomicU32::new(0))
    }

    /// Returns the current count.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds 1.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
