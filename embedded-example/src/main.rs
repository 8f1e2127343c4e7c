//! The board: QEMU's lm3s6965evb, a Cortex-M3 with 256 KiB of flash and 64 KiB of RAM.
//!
//! `cargo run --release` boots it; `datakit -a tcp://127.0.0.1:5641 ls` or any other 9P client
//! looks around:
//!
//! ```text
//! board/  name clock build                params/  blink/ wave/ limits/ net/ and help, what each parameter takes
//! net/    address mac frames-in ...       sys/     uptime stack connections, and reset: write `reset` to it
//! log/    doc level                       events   what happened, each once      ticks  the light and the sensor, live
//! ```
//!
//! Here are the executor, the interrupts and the tasks; what the board *is* stands in the library
//! beside it.
#![no_std]
#![no_main]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a board that cannot start stops at once; nothing of it is reachable from the network"
)]

mod fault;
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
use cortex_m_rt::ExceptionFrame;
use datakit_firmware::board::{self, What};
use datakit_firmware::signal::Signal;
use datakit_firmware::{facts, params};
use embassy_executor::{Spawner, raw};
use embassy_futures::select::select;
use embassy_net::Runner;
use embassy_time::{Instant, Timer};
use log::log;
use static_cell::{ConstStaticCell, StaticCell};

use crate::mac::Mac;
use crate::serve::{Hall, Opened, Seat, Tree};

#[cortex_m_rt::entry]
fn main() -> ! {
    static EXECUTOR: StaticCell<raw::Executor> = StaticCell::new();
    log::start();
    led::start();
    facts::CLOCK_HZ.set(time::CLOCK_HZ);
    facts::UPTIME.set(Some(|| Instant::now().as_millis()));
    facts::STACK.set(Some(stack::high_water));
    if let Some(mut core) = cortex_m::Peripherals::take() {
        time::start(&mut core);
    }
    for irq in [time::IRQ, mac::IRQ] {
        // SAFETY: both handlers are in place, and no critical section of ours is made of masked
        // interrupts.
        unsafe { NVIC::unmask(Irq(irq)) };
    }
    let executor = EXECUTOR.init_with(|| raw::Executor::new(core::ptr::null_mut()));
    start(executor.spawner());
    loop {
        WOKEN.store(false, Ordering::Relaxed);
        // SAFETY: from here only, so never from within itself.
        unsafe { executor.poll() };
        // An interrupt between the look and the sleep ends the sleep at once, even while it is
        // disabled. Not WFE: QEMU does not sleep in it.
        cortex_m::interrupt::free(|_| {
            if !WOKEN.load(Ordering::Relaxed) {
                cortex_m::asm::wfi();
            }
        });
    }
}

/// Starts every task of the board. Not inlined: what it moves to its place is not to stay on the
/// stack of `main`.
#[inline(never)]
fn start(spawner: Spawner) {
    static TREE: StaticCell<Tree> = StaticCell::new();
    static MEMORY: [ConstStaticCell<Seat>; serve::SEATS] =
        [const { ConstStaticCell::new(Seat::new()) }; serve::SEATS];
    static OPENED: StaticCell<Opened> = StaticCell::new();
    let tree = (&*TREE.init_with(|| Tree::new(&board::ROOT)), &*OPENED.init_with(Opened::new));
    let (stack, runner) = net::start(Instant::now().as_ticks());
    spawner.spawn(network(runner).expect("spawned once"));
    let hall = serve::start(stack);
    for number in 0..net::SOCKETS {
        spawner.spawn(door(hall, number).expect("as many as there are sockets"));
    }
    for (number, memory) in MEMORY.iter().enumerate() {
        spawner.spawn(seat(hall, number, tree, memory.take()).expect("as many as there are seats"));
    }
    spawner.spawn(blink().expect("spawned once"));
    spawner.spawn(restart().expect("spawned once"));
    board::tell(What::Boot);
    log!(info, "listening");
}

#[embassy_executor::task]
async fn network(mut runner: Runner<'static, Mac>) -> ! {
    runner.run().await
}

#[embassy_executor::task(pool_size = net::SOCKETS)]
async fn door(hall: &'static Hall, number: usize) -> ! {
    serve::door(hall, number).await
}

#[embassy_executor::task(pool_size = serve::SEATS)]
async fn seat(
    hall: &'static Hall,
    number: usize,
    tree: (&'static Tree, &'static Opened),
    memory: &'static mut Seat,
) -> ! {
    serve::seat(hall, number, tree, memory).await
}

/// Blinks and samples, as the parameters say.
#[embassy_executor::task]
async fn blink() -> ! {
    let mut signal = Signal::new();
    loop {
        let (lit, wait_ms) = board::step(&mut signal);
        led::set(lit);
        select(Timer::after_millis(wait_ms.into()), params::retimed()).await;
    }
}

/// Restarts when the tree was asked to.
#[embassy_executor::task]
async fn restart() -> ! {
    while !facts::RESET.get() {
        facts::RESET.changed(facts::RESET.version()).await;
    }
    log!(warn, "restarting");
    // The reply to the one who asked is still to be sent.
    Timer::after_millis(100).await;
    facts::CLOSING.set(true);
    // Every client is to see the end of its connection; one that does not acknowledge it is not
    // waited for.
    for _ in 0..50 {
        Timer::after_millis(10).await;
        if facts::CONNECTIONS.get() == 0 {
            break;
        }
    }
    // The last segments are still to go out.
    Timer::after_millis(20).await;
    cortex_m::peripheral::SCB::sys_reset()
}

/// Whether a task was woken since the executor last looked.
static WOKEN: AtomicBool = AtomicBool::new(false);

/// Called by the executor when a task is woken.
// SAFETY: the name and signature that embassy-executor asks for; there is one.
#[unsafe(export_name = "__pender")]
fn pender(_: *mut ()) {
    WOKEN.store(true, Ordering::Relaxed);
}

/// An interrupt by its number.
#[derive(Clone, Copy)]
struct Irq(u16);

// SAFETY: the number is the interrupt's, of those that the LM3S6965 has.
unsafe impl InterruptNumber for Irq {
    fn number(self) -> u16 {
        self.0
    }
}

/// Every interrupt of the chip ends up here.
// SAFETY: it touches no memory that another context uses without a critical section.
#[cortex_m_rt::exception]
unsafe fn DefaultHandler(irq: i16) {
    match u16::try_from(irq) {
        Ok(time::IRQ) => time::on_alarm(),
        Ok(mac::IRQ) => mac::on_interrupt(),
        _ => panic!("interrupt {irq} has no handler"),
    }
}

/// What no other handler took: memory that is not there, an instruction that is none, a stack
/// beyond its end.
// SAFETY: it never returns to what it interrupted, and the log, the one thing they share, is not
// begun twice.
#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    fault::reset_if_ending();
    panic!("fault at {:#x}", frame.pc())
}
