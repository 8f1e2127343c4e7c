//! A 9P server with two streams and 16 tasks that wait for values. The `polls` file contains the
//! number of times that these tasks have been polled.
#![no_std]
#![no_main]

use core::fmt::Write;
use core::sync::atomic::{AtomicU32, Ordering};

use datakit_core::files::{Live, Param, Queue, Status, Value};
use datakit_core::vfs::{Dir, file};
use datakit_size::{run, server, spawn};

const TASKS: usize = 16;

static POLLS: AtomicU32 = AtomicU32::new(0);
static A: Value<u32> = Value::new(0);
static B: Value<u32> = Value::new(0);
static LIVE: Live<u32> = Live::new(0);
static QUEUE: Queue<u32, 4> = Queue::new();

static ROOT: Dir = Dir::new(&[
    file("a", &Param::new(&A)),
    file("b", &Param::new(&B)),
    file("live", &LIVE.file(|value, out| writeln!(out, "{value}"))),
    file("queue", &QUEUE.file(|value, out| writeln!(out, "{value}"))),
    file(
        "polls",
        &Status::new(|out: &mut dyn Write| writeln!(out, "{}", POLLS.load(Ordering::Relaxed))),
    ),
]);

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| {
        for number in 0..TASKS {
            spawn(spawner, wait(number));
        }
        server::start(spawner, stack, &ROOT);
    })
}

/// Waits for changes to one of the values. The first task also publishes its value to both streams.
#[embassy_executor::task(pool_size = TASKS)]
async fn wait(number: usize) -> ! {
    let value = if number.is_multiple_of(2) { &A } else { &B };
    let mut seen = value.version();
    loop {
        let mut changed = core::pin::pin!(value.changed(seen));
        seen = core::future::poll_fn(|cx| {
            POLLS.fetch_add(1, Ordering::Relaxed);
            changed.as_mut().poll(cx)
        })
        .await;
        if number == 0 {
            LIVE.publish(value.get());
            QUEUE.publish(value.get());
        }
    }
}
