//! The parts of the firmware shared by all images, such as the network driver, the clock and the
//! executor. Each image adds the code to be measured.
#![no_std]

// The following modules are part of the firmware and refer to their crate as `datakit_firmware`, so
// this crate must also be available under that name.
extern crate self as datakit_firmware;

#[path = "../../../embedded-example/src/cycles.rs"]
pub mod cycles;
#[path = "../../../embedded-example/src/mac.rs"]
mod mac;
#[path = "../../../embedded-example/src/reg.rs"]
mod reg;
#[path = "../../../embedded-example/src/time.rs"]
#[allow(dead_code, reason = "the firmware shows its clock rate in a file")]
mod time;

pub mod server;
pub mod state;

use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;
use embassy_executor::{SpawnToken, Spawner, raw};
use embassy_net::{Config, Ipv4Address, Ipv4Cidr, Runner, Stack, StackResources, StaticConfigV4};
use static_cell::{ConstStaticCell, StaticCell};

use crate::mac::{Buffers, Mac};

/// The number of sockets in every image.
pub const SOCKETS: usize = 3;

/// The size of each socket buffer in bytes. Each socket has a receive buffer and a transmit buffer.
pub const SOCKET: usize = 1460;

/// Runs the network and the tasks spawned by `start`, and never returns.
pub fn run(start: impl FnOnce(Spawner, Stack<'static>)) -> ! {
    static EXECUTOR: StaticCell<raw::Executor> = StaticCell::new();
    if let Some(mut core) = cortex_m::Peripherals::take() {
        time::start(&mut core);
    }
    for irq in [time::IRQ, mac::IRQ] {
        // SAFETY: the handlers of both interrupts are ready, and no critical section relies on
        // masking the interrupts.
        unsafe { NVIC::unmask(Irq(irq)) };
    }
    let executor = EXECUTOR.init_with(|| raw::Executor::new(core::ptr::null_mut()));
    let (stack, runner) = network();
    spawn(executor.spawner(), drive(runner));
    start(executor.spawner(), stack);
    loop {
        WOKEN.store(false, Ordering::Relaxed);
        // SAFETY: `poll` is called only here, so it is never called recursively.
        unsafe { executor.poll() };
        cortex_m::interrupt::free(|_| {
            if !WOKEN.load(Ordering::Relaxed) {
                cortex_m::asm::wfi();
            }
        });
    }
}

/// Spawns a task. Spawning cannot fail, because the images' task pools are large enough.
pub fn spawn<S, E: core::fmt::Debug>(spawner: Spawner, task: Result<SpawnToken<S>, E>) {
    if let Ok(task) = task {
        spawner.spawn(task);
    }
}

fn network() -> (Stack<'static>, Runner<'static, Mac>) {
    static BUFFERS: ConstStaticCell<Buffers> = ConstStaticCell::new(Buffers::new());
    static RESOURCES: StaticCell<StackResources<SOCKETS>> = StaticCell::new();
    let config = StaticConfigV4 {
        address: Ipv4Cidr::new(Ipv4Address::new(10, 0, 2, 15), 24),
        gateway: Some(Ipv4Address::new(10, 0, 2, 2)),
        dns_servers: Default::default(),
    };
    let mac = Mac::start(BUFFERS.take());
    embassy_net::new(mac, Config::ipv4_static(config), RESOURCES.init_with(StackResources::new), 1)
}

#[embassy_executor::task]
async fn drive(mut runner: Runner<'static, Mac>) -> ! {
    runner.run().await
}

static WOKEN: AtomicBool = AtomicBool::new(false);

// SAFETY: embassy-executor requires this name and signature, and this is the only definition.
#[unsafe(export_name = "__pender")]
fn pender(_: *mut ()) {
    WOKEN.store(true, Ordering::Relaxed);
}

#[derive(Clone, Copy)]
struct Irq(u16);

// SAFETY: every `Irq` contains the number of an interrupt on the LM3S6965.
unsafe impl InterruptNumber for Irq {
    fn number(self) -> u16 {
        self.0
    }
}

// SAFETY: outside critical sections, the handler accesses only memory that no other code accesses.
#[cortex_m_rt::exception]
unsafe fn DefaultHandler(irq: i16) {
    match u16::try_from(irq) {
        Ok(time::IRQ) => time::on_alarm(),
        Ok(mac::IRQ) => mac::on_interrupt(),
        _ => semihosting::process::exit(102),
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    semihosting::process::exit(101)
}
