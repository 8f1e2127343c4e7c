//! Stops the firmware after a panic or a fault. QEMU exits with code 101, and a debugger stops at a
//! breakpoint. Without QEMU or a debugger, the board resets.
//!
//! A semihosting call executes a breakpoint instruction. The firmware cannot determine whether the
//! breakpoint will be handled: a debugger sets a status bit, but QEMU does not. An unhandled
//! breakpoint raises a fault, and the fault handler resets the board. Executing a breakpoint within
//! the fault handler would lock up the processor, so the firmware returns from the handler first.
//!
//! [`try_semihosting`] makes the fault handler skip unhandled breakpoints.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use cortex_m::peripheral::SCB;
use cortex_m::peripheral::scb::{Exception, VectActive};
use cortex_m_rt::ExceptionFrame;

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

/// The value is 1 if the fault handler skips the instruction that raised the fault, and 0
/// otherwise.
static SKIPS_BREAKPOINTS: AtomicU32 = AtomicU32::new(0);

/// Runs a closure that uses semihosting. Each semihosting operation returns -1 if neither QEMU nor
/// a debugger handles it.
pub fn try_semihosting<R>(call: impl FnOnce() -> R) -> R {
    // Interrupts are disabled, because a fault in a handler must not be skipped.
    cortex_m::interrupt::free(|_| {
        SKIPS_BREAKPOINTS.store(1, Ordering::SeqCst);
        let result = call();
        SKIPS_BREAKPOINTS.store(0, Ordering::SeqCst);
        result
    })
}

// The exception handler. A breakpoint instruction is two bytes long, and a semihosting call returns
// its result in r0. The saved registers are r0 to r3, r12, lr, pc and xpsr.
global_asm!(
    ".section .text.HardFault, \"ax\"",
    ".global HardFault",
    ".type HardFault, %function",
    ".thumb_func",
    "HardFault:",
    "mrs r0, msp",
    "movw r1, #:lower16:{skips}",
    "movt r1, #:upper16:{skips}",
    "ldr r1, [r1]",
    "cbz r1, 0f",
    "ldr r1, [r0, #24]",
    "adds r1, #2",
    "str r1, [r0, #24]",
    "mov r1, #-1",
    "str r1, [r0]",
    "bx lr",
    "0: b {handler}",
    ".size HardFault, . - HardFault",
    skips = sym SKIPS_BREAKPOINTS,
    handler = sym hard_fault,
);

/// Handles accesses to unmapped memory, invalid instructions and stack overflows. This function
/// shares only the log with the interrupted code, and the log never starts a line while another
/// line is being written.
#[cfg_attr(
    feature = "panic-text",
    expect(clippy::panic, reason = "the interrupted code cannot continue")
)]
extern "C" fn hard_fault(frame: &ExceptionFrame) -> ! {
    reset_if_exiting();
    #[cfg(feature = "panic-text")]
    panic!("fault at {:#x}", frame.pc());
    #[cfg(not(feature = "panic-text"))]
    {
        crate::last_run::record_fault(frame.pc());
        exit()
    }
}

/// Resets the board if the breakpoint was not handled. The fault handler calls this function.
fn reset_if_exiting() {
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
/// raises a new fault instead.
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
