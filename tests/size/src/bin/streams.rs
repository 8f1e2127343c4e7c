//! The `tree` image with one `Live` and one `Queue`.
#![no_std]
#![no_main]

use core::fmt::{self, Write};

use datakit_core::Decimal;
use datakit_core::files::{Live, Queue};
use datakit_core::vfs::file;
use datakit_size::{run, server};

static LIVE: Live<u32> = Live::new(0);
static QUEUE: Queue<u32, 4> = Queue::new();

datakit_size::params!(ROOT: A B C; file("live", &LIVE.file(line)), file("queue", &QUEUE.file(line)));

fn line(value: &u32, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "{}", Decimal::from(*value))
}

#[cortex_m_rt::entry]
fn main() -> ! {
    LIVE.publish(1);
    QUEUE.publish(1);
    run(|spawner, stack| server::start(spawner, stack, &ROOT))
}
