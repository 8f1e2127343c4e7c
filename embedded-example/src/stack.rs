//! Measures the board's RAM usage.

use core::ops::Range;
use core::ptr;

use datakit_firmware::state::{MemoryUsage, StackUsage};

unsafe extern "C" {
    /// The word above the stack, which grows downward.
    static _stack_start: u32;
    /// The lowest word of the stack.
    static _stack_end: u32;
    /// The lowest word of the RAM region for statics.
    static _ram_start: u32;
    /// The first word after the RAM region that contains the statics.
    static _ram_end: u32;
    /// The first word after the last static.
    static __sheap: u32;
}

/// Returns the address range of the stack.
pub fn addresses() -> Range<*const u32> {
    ptr::addr_of!(_stack_end)..ptr::addr_of!(_stack_start)
}

/// Returns the sizes of the RAM regions.
pub fn memory() -> MemoryUsage {
    let [start, end, used] =
        [ptr::addr_of!(_ram_start), ptr::addr_of!(_ram_end), ptr::addr_of!(__sheap)]
            .map(<*const u32>::addr);
    MemoryUsage {
        statics: used.saturating_sub(start),
        stack: usage().size,
        free: end.saturating_sub(used),
    }
}

/// The pattern with which the startup code fills the stack.
const PAINT: u32 = cortex_m_rt::STACK_PAINT_VALUE;

/// Returns the peak stack usage, measured down to the lowest overwritten word.
pub fn usage() -> StackUsage {
    let Range { start: end, end: start } = addresses();
    let size = start.addr().saturating_sub(end.addr());
    // SAFETY: every address from `_stack_end` to `_stack_start` is readable RAM. Volatile reads
    // create no references, so it does not matter that the memory is in use.
    let unused =
        (0..size / 4).take_while(|word| unsafe { end.add(*word).read_volatile() } == PAINT).count()
            * 4;
    StackUsage { used: size - unused, size }
}
