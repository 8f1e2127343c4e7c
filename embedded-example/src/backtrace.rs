//! The calls that led to a panic. Their addresses take up no flash, unlike the messages and the
//! locations of all possible panics. `addr2line` finds the source lines on the host.

use core::arch::asm;
use core::fmt::{self, Write};
use core::ptr;

use crate::stack;

/// The maximum number of calls. The addresses of this many calls fit into the text of a panic.
const CALLS_MAX: usize = 8;

/// The lowest of the special return addresses that make the processor return from an exception.
const EXC_RETURN_MIN: u32 = 0xff00_0000;

/// Writes the addresses of up to `CALLS_MAX` calls that have not returned yet, innermost first.
///
/// On this target, a function that calls another function stores its caller's frame pointer and its
/// own return address in two successive words. The function then sets the frame pointer (r7) to the
/// address of the first word.
#[inline(always)]
pub fn write(out: &mut dyn Write) -> fmt::Result {
    let mut frame: *const u32;
    // SAFETY: the instruction only reads a register.
    unsafe { asm!("mov {}, r7", out(reg) frame, options(nomem, nostack, preserves_flags)) };
    let stack = stack::addresses();
    for _ in 0..CALLS_MAX {
        if !stack.contains(&frame) || !stack.contains(&frame.wrapping_add(1)) || !frame.is_aligned()
        {
            break;
        }
        // SAFETY: both words are aligned and within the stack, which is readable RAM. Volatile
        // reads create no references, so it does not matter that the memory is in use.
        let (caller, returns_to) = unsafe { (frame.read_volatile(), frame.add(1).read_volatile()) };
        // An exception handler has a special return address, which is skipped. The lowest bit of
        // any other return address marks Thumb code, and the halfword before that address belongs
        // to the call instruction.
        if returns_to < EXC_RETURN_MIN {
            out.write_str(" ")?;
            write_address((returns_to & !1).wrapping_sub(2), out)?;
        }
        frame = ptr::with_exposed_provenance(caller as usize);
    }
    Ok(())
}

/// Writes an address such as `0x1a2b`.
pub fn write_address(address: u32, out: &mut dyn Write) -> fmt::Result {
    out.write_str("0x")?;
    // Skip leading zeros. The standard library's formatting code takes up 570 bytes of flash.
    let digits = (u32::BITS - (address | 1).leading_zeros()).div_ceil(4);
    (0..digits).rev().try_for_each(|place| {
        let digit = (address >> (4 * place)) as u8 & 15;
        out.write_char(char::from(digit + if digit < 10 { b'0' } else { b'a' - 10 }))
    })
}
