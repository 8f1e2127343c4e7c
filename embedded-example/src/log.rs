//! defmt over UART0, one frame per line of log; nothing at all without the feature `log`.

/// Logs at `debug`, `info`, `warn` or `error`, if `log/level` lets it through.
macro_rules! log {
    ($level:ident, $text:literal $(, $arg:expr)* $(,)?) => {{
        #[cfg(feature = "log")]
        if datakit_firmware::facts::LEVEL.get() >= $crate::log::level::$level {
            defmt::$level!($text $(, $arg)*);
        }
        #[cfg(not(feature = "log"))]
        let _ = ($(&$arg,)*);
    }};
}
pub(crate) use log;

/// Which of the levels in `log/level` a line needs.
#[cfg(feature = "log")]
#[allow(non_upper_case_globals, dead_code)]
pub mod level {
    use datakit_core::files::Level;

    pub const debug: Level = Level::Debug;
    pub const info: Level = Level::Info;
    pub const warn: Level = Level::Warning;
    pub const error: Level = Level::Error;
}

#[cfg(feature = "log")]
mod uart {
    use core::cell::UnsafeCell;
    use core::sync::atomic::{AtomicBool, Ordering};

    use critical_section::RestoreState;

    use crate::reg::registers;

    registers! {
        RCGC1 = 0x400F_E104;
        DR = 0x4000_C000;
        /// Flags: bit 5, no room to send.
        FR = 0x4000_C018;
        LCRH = 0x4000_C02C;
        CTL = 0x4000_C030;
    }

    /// Starts the UART, 8 bits, with FIFOs. The speed is QEMU's.
    pub fn start() {
        RCGC1.set(1);
        LCRH.write(0x70);
        CTL.write(0x301);
    }

    fn send(bytes: &[u8]) {
        for byte in bytes {
            while FR.read() & 1 << 5 != 0 {}
            DR.write(u32::from(*byte));
        }
    }

    struct State {
        encoder: defmt::Encoder,
        restore: RestoreState,
    }

    struct Shared(UnsafeCell<State>);

    /// Whether a frame has begun and not ended.
    static BEGUN: AtomicBool = AtomicBool::new(false);

    // SAFETY: only touched between `acquire` and `release`, where interrupts are disabled and there
    // is one core; a fault, which nothing disables, ends in a panic and finds out by `BEGUN`.
    unsafe impl Sync for Shared {}

    static STATE: Shared = Shared(UnsafeCell::new(State {
        encoder: defmt::Encoder::new(),
        restore: RestoreState::invalid(),
    }));

    #[defmt::global_logger]
    struct Uart;

    // SAFETY: `acquire` disables interrupts until `release`, so that frames of different contexts
    // do not mix.
    unsafe impl defmt::Logger for Uart {
        fn acquire() {
            // SAFETY: ended by `release`, which defmt calls once for each `acquire`.
            let restore = unsafe { critical_section::acquire() };
            if BEGUN.swap(true, Ordering::Relaxed) {
                // A fault or a panic while a line is written: there is no way to tell of it.
                crate::fault::end();
            }
            // SAFETY: interrupts are disabled and no other reference lives: each is gone at the end
            // of its statement.
            let state = unsafe { &mut *STATE.0.get() };
            state.restore = restore;
            state.encoder.start_frame(send);
        }

        unsafe fn flush() {}

        unsafe fn release() {
            // SAFETY: as in `acquire`.
            let state = unsafe { &mut *STATE.0.get() };
            state.encoder.end_frame(send);
            let restore = state.restore;
            BEGUN.store(false, Ordering::Relaxed);
            // SAFETY: the state that `acquire` was given.
            unsafe { critical_section::release(restore) }
        }

        unsafe fn write(bytes: &[u8]) {
            // SAFETY: as in `acquire`.
            let state = unsafe { &mut *STATE.0.get() };
            state.encoder.write(bytes, send);
        }
    }

    defmt::timestamp!("{=u64:us}", embassy_time_driver::now());
}

/// Makes the log ready, where there is one.
pub fn start() {
    #[cfg(feature = "log")]
    uart::start();
}

/// The last words: where it happened and why, then the end.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    #[cfg(feature = "log")]
    defmt::error!("{}", defmt::Display2Format(info));
    let _ = info;
    crate::fault::end()
}
