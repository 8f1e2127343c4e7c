//! The firmware for QEMU's lm3s6965evb machine, a Cortex-M3 board with 256 KiB of flash and 64 KiB
//! of RAM.
//!
//! `cargo run --release` boots the firmware. The firmware's tree can be listed with `datakit -a
//! tcp://127.0.0.1:5641 ls /` or another 9P client:
//!
//! ```text
//! board/  name clock build                params/  blink/ wave/ limits/ net/, help, ctl
//! net/    address mac frames-in ...       sys/     uptime stack wear kick reset ...
//! log/    doc level                       events   one line per event      ticks  light and sensor
//! ```
//!
//! This file contains the executor, the interrupt handlers and the tasks. The library defines the
//! tree.
#![no_std]
#![no_main]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a board that cannot start must stop; no panic here is reachable from the network"
)]

#[cfg(not(feature = "panic-text"))]
mod backtrace;
mod fault;
mod flash;
mod last_run;
mod led;
mod log;
mod mac;
mod net;
mod reg;
mod serve;
mod stack;
mod time;

use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;
use datakit_firmware::board::{self, EventKind};
use datakit_firmware::simulation::Simulation;
use datakit_firmware::{i2c, params, saving, state};
use datakit_persist::{Blocking, Log, Rejected, Store};
use embassy_executor::{Spawner, raw};
use embassy_futures::block_on;
use embassy_futures::select::select;
use embassy_net::Runner;
use embassy_time::{Delay, Duration, Instant, Timer};
use log::log;
use static_cell::StaticCell;

use crate::flash::FileFlash;
use crate::mac::Mac;

#[cortex_m_rt::entry]
fn main() -> ! {
    static EXECUTOR: StaticCell<raw::Executor> = StaticCell::new();
    log::start();
    led::start();
    state::CLOCK_HZ.set(time::CLOCK_HZ);
    state::UPTIME.set(Some(|| Instant::now().as_millis()));
    state::STACK.set(Some(stack::usage));
    state::MEMORY.set(Some(stack::memory));
    last_run::read();
    params::start();
    if let Some(mut core) = cortex_m::Peripherals::take() {
        time::start(&mut core);
    }
    for irq in [time::IRQ, mac::IRQ] {
        // SAFETY: the handlers for both interrupts are ready, and no critical section relies on
        // masking an individual interrupt.
        unsafe { NVIC::unmask(Irq(irq)) };
    }
    let executor = EXECUTOR.init_with(|| raw::Executor::new(core::ptr::null_mut()));
    start(executor.spawner());
    loop {
        WOKEN.store(false, Ordering::Relaxed);
        // SAFETY: this is the only call to `poll`, so `poll` is never called recursively.
        unsafe { executor.poll() };
        // WFI returns if an interrupt is pending, even if interrupts are disabled. An interrupt
        // that is raised between the check and the sleep is therefore not missed. WFE is not used,
        // because it does not put the processor to sleep in QEMU.
        cortex_m::interrupt::free(|_| {
            if !WOKEN.load(Ordering::Relaxed) {
                cortex_m::asm::wfi();
            }
        });
    }
}

/// Starts all tasks. If this function were inlined, the values that it moves into statics would
/// stay on the stack of `main`.
#[inline(never)]
fn start(spawner: Spawner) {
    spawner.spawn(save(load()).expect("spawned once"));
    let (stack, runner) = net::start(Instant::now().as_ticks());
    spawner.spawn(network(runner).expect("spawned once"));
    serve::start(spawner, stack);
    spawner.spawn(blink().expect("spawned once"));
    spawner.spawn(sensor().expect("spawned once"));
    spawner.spawn(restart().expect("spawned once"));
    board::publish_event(EventKind::Boot);
    log!(info, "listening");
}

#[embassy_executor::task]
async fn network(mut runner: Runner<'static, Mac>) -> ! {
    runner.run().await
}

/// The store has room for at most 512 bytes of values.
type BoardStore = Store<Log<Blocking<FileFlash>>, 512>;

/// Sets the parameters to their stored values.
fn load() -> &'static mut BoardStore {
    static STORE: StaticCell<BoardStore> = StaticCell::new();
    let store =
        STORE.init_with(|| Store::new(Blocking(FileFlash::open()), flash::REGION, &params::SET));
    match block_on(store.load(&mut publish_rejected)) {
        Ok(count) => log!(info, "values loaded: {=u32}", u32::from(count)),
        Err(_) => log!(debug, "no flash, so the parameters have their defaults"),
    }
    store
}

/// Saves, loads, and erases the parameters at the request of clients.
#[embassy_executor::task]
async fn save(store: &'static mut BoardStore) -> ! {
    let interval = saving::save_interval_ms;
    datakit_persist::run(store, &saving::REQUESTS, Delay, interval, &mut publish_rejected).await
}

/// Publishes an event for a stored value that was not loaded.
fn publish_rejected(rejected: &Rejected<'_>) {
    board::publish_event(EventKind::NotLoaded(rejected.ordinal));
}

/// Blinks the light and samples the sensor according to the parameters.
#[embassy_executor::task]
async fn blink() -> ! {
    let mut simulation = Simulation::new();
    loop {
        let (lit, wait_ms) = board::step(&mut simulation);
        led::set(lit);
        select(Timer::after_millis(wait_ms.into()), params::timing_changed()).await;
    }
}

/// Processes the requests to the sensor on the I2C bus.
#[embassy_executor::task]
async fn sensor() -> ! {
    i2c::serve_sensor(async |ms| Timer::after_millis(ms.into()).await).await
}

/// Restarts the board after `reset` has been written to `sys/reset`.
#[embassy_executor::task]
async fn restart() -> ! {
    while !state::RESET.get() {
        state::RESET.changed(state::RESET.version()).await;
    }
    log!(warn, "restarting");
    // Leave time to send the reply to the write request.
    Timer::after_millis(100).await;
    // Give the clients time to acknowledge that their connections are being closed.
    state::CONNECTIONS.shut_down(Duration::from_millis(500)).await;
    // Leave time to send the last TCP segments.
    Timer::after_millis(20).await;
    last_run::record_reset();
    cortex_m::peripheral::SCB::sys_reset()
}

/// Whether a task has been woken since the executor was last polled.
static WOKEN: AtomicBool = AtomicBool::new(false);

/// Records that a task has been woken. The executor calls this function.
// SAFETY: embassy-executor requires this name and signature, and this is the only definition.
#[unsafe(export_name = "__pender")]
fn pender(_: *mut ()) {
    WOKEN.store(true, Ordering::Relaxed);
}

/// An interrupt number.
#[derive(Clone, Copy)]
struct Irq(u16);

// SAFETY: each number identifies an interrupt of the LM3S6965.
unsafe impl InterruptNumber for Irq {
    fn number(self) -> u16 {
        self.0
    }
}

/// Handles all of the chip's interrupts.
// SAFETY: outside critical sections, the handler accesses only memory that no other context uses.
#[cortex_m_rt::exception]
unsafe fn DefaultHandler(irq: i16) {
    match u16::try_from(irq) {
        Ok(time::IRQ) => time::on_alarm(),
        Ok(mac::IRQ) => mac::on_interrupt(),
        _ => panic!("interrupt {irq} has no handler"),
    }
}
