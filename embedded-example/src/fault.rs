//! Stops the firmware after a panic or a fault. QEMU exits with code 101, a debugger stops at a
//! breakpoint, and if neither is present, the board resets.
//!
//! A semihosting call executes a breakpoint instruction. The firmware cannot tell whether anything
//! handles the breakpoint: a debugger sets a status bit, but QEMU does not. If nothing handles the
//! breakpoint, it raises a fault, and the fault handler resets the board. A breakpoint within the
//! fault handler would lock up the processor, so the firmware first returns from the handler.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m::peripheral::SCB;
use cortex_m::peripheral::scb::{Exception, VectActive};

/// Whether the breakpoint was executed.
static EXITING: AtomicBool = AtomicBool::new(false);

/// Stops the program.
pub fn exit() -> ! {
    reset_if_exiting();
    EXITING.store(true, Ordering::Relaxed);
    if matches!(SCB::vect_active(), VectActive::Exception(Exception::HardFault)) {
        return_to_breakpoint();
    }
    breakpoint()
}

/// Resets the board if nothing handled the breakpoint. Called by the fault handler.
pub fn reset_if_exiting() {
    if EXITING.load(Ordering::Relaxed) {
        SCB::sys_reset();
    }
}

extern "C" fn breakpoint() -> ! {
    semihosting::process::exit(101)
}

/// The registers that the processor saves on exception entry: r0 to r3, r12, lr, pc, xpsr.
#[repr(C, align(8))]
struct Frame([u32; 8]);

/// Returns from the fault handler to `breakpoint`. If another interrupt is active, the processor
/// raises another fault instead of returning.
fn return_to_breakpoint() -> ! {
    const THUMB: u32 = 1 << 24;
    /// The EXC_RETURN value for a return to thread mode with the main stack.
    const RETURN: u32 = 0xffff_fff9;
    let pc = breakpoint as extern "C" fn() -> ! as usize as u32;
    let frame = Frame([0, 0, 0, 0, 0, u32::MAX, pc & !1, THUMB]);
    // SAFETY: the frame is aligned and on the stack. The memory above the frame is no longer used,
    // and the memory below the frame is free.
    unsafe {
        asm!("msr msp, {frame}", "bx {to}", frame = in(reg) &frame, to = in(reg) RETURN, options(noreturn))
    }
}
