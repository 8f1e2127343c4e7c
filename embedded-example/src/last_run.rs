//! Stores the reason that a run of the firmware ended, so that the next run can show it. The reason
//! is stored in RAM that the startup code does not initialize. After a power failure, the content
//! of this RAM is random, so a checksum shows whether the content is valid.

use core::cell::UnsafeCell;
use core::fmt::Write;
use core::mem::MaybeUninit;
use core::panic::PanicInfo;

#[cfg(feature = "panic-text")]
use datakit_core::Decimal;
use datakit_core::vfs::{FixedText, Text, Window};
use datakit_firmware::state::{LAST_PANIC, PANIC_MAX, RESET_CAUSE};

#[cfg(not(feature = "panic-text"))]
use crate::backtrace;
use crate::reg::registers;

registers! {
    /// The reset cause register. Each bit represents one reset cause. Writing 0 clears the
    /// register.
    RESC = 0x400F_E05C;
}

/// The names of the bits in the reset cause register, starting with bit 0.
const CAUSES: [&str; 6] =
    ["external reset", "power-on", "brown-out", "watchdog", "software", "low voltage of the core"];

/// The reason that a run ended.
#[derive(Clone, Copy)]
#[repr(C)]
struct Record {
    checksum: u32,
    cause: u32,
    /// The length of the text in bytes.
    len: u32,
    text: [u8; PANIC_MAX],
}

/// The values of [`Record::cause`].
const RESET_COMMAND: u32 = 1;
const PANIC: u32 = 2;

struct RecordCell(UnsafeCell<MaybeUninit<Record>>);

// SAFETY: the record is accessed only while interrupts are disabled on the only core.
unsafe impl Sync for RecordCell {}

// SAFETY: the linker script of cortex-m-rt places the section in RAM, and the section contains only
// this static.
#[unsafe(link_section = ".uninit.LAST_RUN")]
static LAST_RUN: RecordCell = RecordCell(UnsafeCell::new(MaybeUninit::uninit()));

/// Publishes the reason that the last run ended, and erases the stored copy so that only one run
/// shows it.
pub fn read() {
    cortex_m::interrupt::free(|_| {
        let record = LAST_RUN.0.get().cast::<Record>();
        // SAFETY: every bit pattern is a valid record. A volatile read returns what the memory
        // contains, even though this run has not written to it.
        let last = unsafe { record.read_volatile() };
        // SAFETY: interrupts are disabled, so there is no other access.
        unsafe { record.write_volatile(Record { checksum: 0, ..last }) };
        if last.checksum != last.sum() {
            let bits = RESC.read();
            let causes = CAUSES.iter().enumerate();
            let cause = causes.rev().find(|(bit, _)| bits & 1 << bit != 0);
            RESET_CAUSE.set(cause.map_or("unknown", |(_, name)| name));
        } else if last.cause == PANIC {
            RESET_CAUSE.set("panic");
            let mut text = FixedText::new();
            // The text fits, because `text` has the same capacity as the text of a record.
            let _ = text.extend(last.text.get(..last.len as usize).unwrap_or_default());
            LAST_PANIC.set(text);
        } else {
            RESET_CAUSE.set("reset command");
        }
        RESC.write(0);
    });
}

/// Records that a client has requested the next reset.
pub fn record_reset() {
    write(RESET_COMMAND, |_| {});
}

/// Records a panic's location and message, removing the start of a long path and the end of a long
/// message.
#[cfg(feature = "panic-text")]
pub fn record_panic(info: &PanicInfo<'_>) {
    const PATH_MAX: usize = 40;
    write(PANIC, |out| {
        if let Some(location) = info.location() {
            let file = location.file();
            let start = file.len().saturating_sub(PATH_MAX);
            let _ = out.write_str(file.get(start..).unwrap_or(file));
            let _ = write!(out, ":{}: ", Decimal::from(location.line()));
        }
        let _ = write!(out, "{}", info.message());
    });
}

/// Records the addresses of the calls that led to a panic.
#[cfg(not(feature = "panic-text"))]
pub fn record_panic(_: &PanicInfo<'_>) {
    write(PANIC, |out| {
        let _ = out.write_str("panic at");
        let _ = backtrace::write(out);
    });
}

/// Records the address of the instruction that raised a fault, and the addresses of the calls that
/// led to it.
#[cfg(not(feature = "panic-text"))]
pub fn record_fault(pc: u32) {
    write(PANIC, |out| {
        let _ = out.write_str("fault at ");
        let _ = backtrace::write_address(pc, out);
        let _ = backtrace::write(out);
    });
}

fn write(cause: u32, text: impl FnOnce(&mut Window<'_>)) {
    let mut record = Record { checksum: 0, cause, len: 0, text: [0; PANIC_MAX] };
    let mut window = Window::new(0, &mut record.text);
    text(&mut window);
    record.len = window.filled() as u32;
    record.checksum = record.sum();
    // SAFETY: interrupts are disabled, so there is no other access.
    cortex_m::interrupt::free(|_| unsafe {
        LAST_RUN.0.get().cast::<Record>().write_volatile(record);
    });
}

impl Record {
    /// Returns the FNV-1a hash of all fields except the checksum. The hash is never 0.
    fn sum(&self) -> u32 {
        let words = [self.cause, self.len].into_iter().flat_map(u32::to_le_bytes);
        let hash = words
            .chain(self.text)
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        hash.max(1)
    }
}
