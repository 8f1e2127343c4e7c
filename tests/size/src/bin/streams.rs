//! The `tree` image with one `Live` and one `Queue`.
#![no_std]
#![no_main]

use datakit_core::Decimal;
use datakit_core::files::{Live, Queue};
use datakit_core::vfs::file;
use datakit_size::{run, server};

static LIVE: Live<u32> = Live::new(0, |value, out| writeln!(out, "{}", Decimal::from(*value)));
static QUEUE: Queue<u32, 4> = Queue::new(|value, out| writeln!(out, "{}", Decimal::from(*value)));

datakit_size::params!(ROOT: A B C; file("live", &LIVE), file("queue", &QUEUE));

#[cortex_m_rt::entry]
fn main() -> ! {
    LIVE.publish(1);
    QUEUE.publish(1);
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
