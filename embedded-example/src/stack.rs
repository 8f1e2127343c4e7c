//! How much stack the board has needed so far.

use core::ptr;

use datakit_firmware::facts::Stack;

unsafe extern "C" {
    /// The word above the stack, which grows down.
    static _stack_start: u32;
    /// The lowest word that the stack may use.
    static _stack_end: u32;
}

/// What the start-up code fills the stack with.
const PAINT: u32 = cortex_m_rt::STACK_PAINT_VALUE;

/// Looks for the deepest word that is no longer what it was painted with.
pub fn high_water() -> Stack {
    let end = ptr::addr_of!(_stack_end);
    let start = ptr::addr_of!(_stack_start);
    let size = start.addr().saturating_sub(end.addr());
    // SAFETY: every address from `_stack_end` to `_stack_start` is RAM that is painted, in use, or
    // was in use; reading what is in use gives some value and takes no reference. Volatile: the
    // compiler does not know this memory.
    let unused =
        (0..size / 4).take_while(|word| unsafe { end.add(*word).read_volatile() } == PAINT).count()
            * 4;
    Stack { used: size - unused, size }
}
