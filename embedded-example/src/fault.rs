//! The end after a panic or a fault: out of QEMU with exit code 101, into a debugger, or a reset
//! where there is neither.
//!
//! Semihosting is a breakpoint, and nothing tells whether somebody takes it: a debugger sets a bit,
//! QEMU sets none. If nobody does, the breakpoint is a fault, whose handler resets. A breakpoint
//! within that handler would lock the processor up, so the handler is left first.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m::peripheral::SCB;
use cortex_m::peripheral::scb::{Exception, VectActive};

/// Whether the breakpoint was tried.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Ends the program.
pub fn end() -> ! {
    reset_if_ending();
    ENDING.store(true, Ordering::Relaxed);
    if matches!(SCB::vect_active(), VectActive::Exception(Exception::HardFault)) {
        leave();
    }
    breakpoint()
}

/// Called by the handler of faults: nobody took the breakpoint.
pub fn reset_if_ending() {
    if ENDING.load(Ordering::Relaxed) {
        SCB::sys_reset();
    }
}

extern "C" fn breakpoint() -> ! {
    semihosting::process::exit(101)
}

/// The registers that the processor saves when it enters a handler: r0 to r3, r12, lr, pc, xpsr.
#[repr(C, align(8))]
struct Frame([u32; 8]);

/// Returns from the handler of faults, but to `breakpoint`. Where an interrupt is active the
/// processor refuses that with one more fault.
fn leave() -> ! {
    const THUMB: u32 = 1 << 24;
    /// To a program, on the main stack.
    const RETURN: u32 = 0xffff_fff9;
    let pc = breakpoint as extern "C" fn() -> ! as usize as u32;
    let frame = Frame([0, 0, 0, 0, 0, u32::MAX, pc & !1, THUMB]);
    // SAFETY: the frame is aligned and on the stack; what is above it is used no more, and what is
    // below is free.
    unsafe {
        asm!("msr msp, {frame}", "bx {to}", frame = in(reg) &frame, to = in(reg) RETURN, options(noreturn))
    }
}
