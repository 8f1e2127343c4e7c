//! Measures the board's stack usage.

use core::ptr;

use datakit_firmware::state::StackUsage;

unsafe extern "C" {
    /// The word above the stack, which grows downwards.
    static _stack_start: u32;
    /// The lowest word of the stack.
    static _stack_end: u32;
}

/// The pattern that the startup code fills the stack with.
const PAINT: u32 = cortex_m_rt::STACK_PAINT_VALUE;

/// Returns the peak stack usage, measured down to the lowest overwritten word.
pub fn usage() -> StackUsage {
    let end = ptr::addr_of!(_stack_end);
    let start = ptr::addr_of!(_stack_start);
    let size = start.addr().saturating_sub(end.addr());
    // SAFETY: every address from `_stack_end` to `_stack_start` is readable RAM. Volatile reads
    // create no references, so the memory may be in use.
    let unused =
        (0..size / 4).take_while(|word| unsafe { end.add(*word).read_volatile() } == PAINT).count()
            * 4;
    StackUsage { used: size - unused, size }
}
