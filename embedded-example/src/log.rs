//! The log. Each line is appended to the `log/tail` file. With the `log` feature, it is also
//! written to UART0 as one defmt frame.

/// Logs a line at the `debug`, `info`, `warn`, or `error` level if the `log/level` file enables
/// that level. The line may end with one number.
macro_rules! log {
    ($level:ident, $text:literal $(, $arg:expr)* $(,)?) => {{
        if datakit_firmware::state::LEVEL.get() >= $crate::log::level::$level {
            #[cfg(feature = "log")]
            defmt::$level!($text $(, $arg)*);
            $crate::log::append(stringify!($level), $text, [$($arg)*].first().copied());
        }
    }};
}
pub(crate) use log;

/// Appends a line to `log/tail`. The number replaces the text `{=u32}`.
pub fn append(level: &'static str, text: &'static str, number: Option<u32>) {
    let text = text.split_once('{').map_or(text, |(text, _)| text);
    datakit_firmware::board::log_line(level, text, number);
}

/// Maps each defmt level to the value of `log/level` that enables it.
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
        /// The flag register. Bit 5 is set while the transmit FIFO is full.
        FR = 0x4000_C018;
        LCRH = 0x4000_C02C;
        CTL = 0x4000_C030;
    }

    /// Initializes the UART with 8 data bits and enables its FIFOs. QEMU ignores the baud rate.
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

    struct LoggerState {
        encoder: defmt::Encoder,
        restore: RestoreState,
    }

    struct LoggerCell(UnsafeCell<LoggerState>);

    /// Whether a frame has been started but not yet completed.
    static IN_FRAME: AtomicBool = AtomicBool::new(false);

    // SAFETY: the state is accessed only between `acquire` and `release`, while interrupts are
    // disabled on the only core. Disabling interrupts does not prevent faults. If a fault occurs
    // while a frame is being written, the fault handler panics, and `IN_FRAME` makes `acquire` exit
    // before it accesses the state.
    unsafe impl Sync for LoggerCell {}

    static STATE: LoggerCell = LoggerCell(UnsafeCell::new(LoggerState {
        encoder: defmt::Encoder::new(),
        restore: RestoreState::invalid(),
    }));

    #[defmt::global_logger]
    struct Uart;

    // SAFETY: interrupts are disabled from `acquire` to `release`, so frames from different
    // contexts are not interleaved.
    unsafe impl defmt::Logger for Uart {
        fn acquire() {
            // SAFETY: defmt calls `release` once for each `acquire`.
            let restore = unsafe { critical_section::acquire() };
            if IN_FRAME.swap(true, Ordering::Relaxed) {
                // A fault or panic that occurs while a line is being logged cannot itself be
                // logged.
                crate::fault::exit();
            }
            // SAFETY: interrupts are disabled. No other reference exists, because every method
            // drops the reference that it creates.
            let state = unsafe { &mut *STATE.0.get() };
            state.restore = restore;
            state.encoder.start_frame(send);
        }

        unsafe fn flush() {}

        unsafe fn release() {
            // SAFETY: see `acquire`.
            let state = unsafe { &mut *STATE.0.get() };
            state.encoder.end_frame(send);
            let restore = state.restore;
            IN_FRAME.store(false, Ordering::Relaxed);
            // SAFETY: `restore` was returned by the matching call to `critical_section::acquire`.
            unsafe { critical_section::release(restore) }
        }

        unsafe fn write(bytes: &[u8]) {
            // SAFETY: see `acquire`.
            let state = unsafe { &mut *STATE.0.get() };
            state.encoder.write(bytes, send);
        }
    }

    defmt::timestamp!("{=u64:us}", embassy_time_driver::now());
}

/// Initializes logging if the `log` feature is enabled.
pub fn start() {
    #[cfg(feature = "log")]
    uart::start();
}

/// Stores the panic's location and message for the next run, logs both, and exits.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    crate::last_run::record_panic(info);
    #[cfg(feature = "log")]
    defmt::error!("{}", defmt::Display2Format(info));
    crate::fault::exit()
}
