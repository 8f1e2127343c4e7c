//! Stops the firmware after a panic or a fault. QEMU exits with code 101, and a debugger stops at a
//! breakpoint. Without QEMU or a debugger, the board resets.
//!
//! A semihosting call executes a breakpoint instruction. The firmware cannot determine whether the
//! breakpoint will be handled: a debugger sets a status bit, but QEMU does not. An unhandled
//! breakpoint raises a fault, and the fault handler resets the board. Executing a breakpoint within
//! the fault handler would lock up the processor, so the firmware returns from the handler first.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m::peripheral::SCB;
use cortex_m::peripheral::scb::{Exception, VectActive};

/// Whether [`exit`] has been called.
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

/// Resets the board if the breakpoint was not handled. The fault handler calls this function.
pub fn reset_if_exiting() {
    if EXITING.load(Ordering::Relaxed) {
        SCB::sys_reset();
    }
}

extern "C" fn breakpoint() -> ! {
    semihosting::process::exit(101)
}

/// The registers that the processor saves on exception entry: r0 to r3, r12, lr, pc and xpsr.
#[repr(C, align(8))]
struct Frame([u32; 8]);

/// Returns from the fault handler to `breakpoint`. If another interrupt is active, the processor
/// raises another fault instead.
fn return_to_breakpoint() -> ! {
    const THUMB: u32 = 1 << 24;
    /// The EXC_RETURN value for a return to thread mode with the main stack.
    const RETURN: u32 = 0xffff_fff9;
    let pc = breakpoint as extern "C" fn() -> ! as usize as u32;
    let frame = Frame([0, 0, 0, 0, 0, u32::MAX, pc & !1, THUMB]);
    // SAFETY: the frame is aligned and on the stack. The stack above the frame is no longer needed,
    // and the stack below the frame is unused.
    unsafe {
        asm!("msr msp, {frame}", "bx {to}", frame = in(reg) &frame, to = in(reg) RETURN, options(noreturn))
    }
}
