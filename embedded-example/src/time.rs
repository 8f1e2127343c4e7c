//! The tickless time driver for `embassy-time`.
//!
//! `now` reads SysTick, which wraps around every 1.34 s, and a timer block that counts seconds.
//! Neither raises interrupts, so the clock wakes the processor only for alarms. With a 1 kHz tick
//! interrupt instead, the clock would fall behind whenever the host is busy. The alarm is a one-shot
//! timer block that fires at the next expiration time.

use core::cell::{Cell, RefCell};
use core::task::Waker;

use cortex_m::Peripherals;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use critical_section::{CriticalSection, Mutex};
use datakit_firmware::cycles::{TOP, cycles};
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

use crate::reg::registers;

/// The interrupt for half A of timer block 0.
pub const IRQ: u16 = 19;

/// The core clock frequency, in Hz, after a reset in QEMU.
pub const CLOCK_HZ: u32 = 12_500_000;

/// 25 cycles equal 2 embassy-time ticks. A tick is one microsecond.
const CYCLES: u64 = 25;
const TICKS: u64 = 2;

registers! {
    RCGC1 = 0x400F_E104;
    /// The timer block for the alarm.
    CFG = 0x4003_0000;
    TAMR = 0x4003_0004;
    CTL = 0x4003_000C;
    IMR = 0x4003_0018;
    ICR = 0x4003_0024;
    TAILR = 0x4003_0028;
    /// The timer block that counts seconds.
    SECONDS_CFG = 0x4003_1000;
    SECONDS_CTL = 0x4003_100C;
    SECONDS_TAMATCHR = 0x4003_1030;
    SECONDS_TAR = 0x4003_1048;
}

/// Starts the clock. Call this function once, before the first task runs.
pub fn start(core: &mut Peripherals) {
    core.SYST.set_clock_source(SystClkSource::Core);
    core.SYST.set_reload(TOP);
    core.SYST.clear_current();
    core.SYST.enable_counter();

    RCGC1.set(0b11 << 16);
    // The clock relies on the seconds starting after SysTick. QEMU needs no 32 kHz crystal for this
    // mode, which the data sheet calls real-time clock mode.
    SECONDS_CFG.write(1);
    SECONDS_TAMATCHR.write(u32::MAX);
    // In QEMU, a reset of the board does not stop this timer or change the number of seconds.
    SECONDS_CTL.write(0);
    SECONDS_CTL.write(1);
    critical_section::with(|cs| CLOCK.start.borrow(cs).set(SECONDS_TAR.read()));

    CTL.write(0);
    CFG.write(0);
    TAMR.write(1);
    IMR.write(1);
}

/// Handles the alarm: wakes the expired timers and sets the next alarm.
pub fn on_alarm() {
    ICR.write(1);
    critical_section::with(|cs| CLOCK.arm(cs));
}

struct Clock {
    /// The number of seconds in `SECONDS_TAR` when the clock was started.
    start: Mutex<Cell<u32>>,
    /// The most recent result of `now`, in cycles.
    latest: Mutex<Cell<u64>>,
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static CLOCK: Clock = Clock {
    start: Mutex::new(Cell::new(0)),
    latest: Mutex::new(Cell::new(0)),
    queue: Mutex::new(RefCell::new(Queue::new())),
});

impl Driver for Clock {
    fn now(&self) -> u64 {
        critical_section::with(|cs| {
            // The seconds are read first. They may then be too low for the value of SysTick, but
            // not too high.
            let seconds = SECONDS_TAR.read().wrapping_sub(self.start.borrow(cs).get());
            let least = u64::from(seconds) * u64::from(CLOCK_HZ);
            let latest = self.latest.borrow(cs);
            latest.set(cycles(latest.get(), SYST::get_current(), least));
            latest.get() * TICKS / CYCLES
        })
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            if self.queue.borrow_ref_mut(cs).schedule_wake(at, waker) {
                self.arm(cs);
            }
        });
    }
}

impl Clock {
    /// Wakes the expired timers and sets the alarm for the next timer.
    fn arm(&self, cs: CriticalSection<'_>) {
        let now = self.now();
        let due = self.queue.borrow_ref_mut(cs).next_expiration(now);
        CTL.write(0);
        if due == u64::MAX {
            return;
        }
        // An alarm that exceeds the timer's range fires early, finds no expired timers and is set
        // again. The extra cycle compensates for rounding in the division, so that an alarm within
        // the range does not fire early.
        let cycles = due.saturating_sub(now).saturating_mul(CYCLES) / TICKS + 1;
        TAILR.write(u32::try_from(cycles).unwrap_or(u32::MAX));
        CTL.write(1);
    }
}
