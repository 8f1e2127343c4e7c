//! The `tree` image with an asynchronous tree, and with one file whose reads and writes are
//! performed by a task.
#![no_std]
#![no_main]

use datakit_core::Decimal;
use datakit_core::files::{FileRequests, Operation};
use datakit_core::vfs::{Error, async_file};
use datakit_size::{run, server, spawn};

static REQUESTS: FileRequests<4, 16> = FileRequests::new();

datakit_size::params!(ROOT: A B C; async_file("d", &REQUESTS.file(0)));

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| {
        spawn(spawner, serve_file());
        server::start_async(spawner, stack, &ROOT);
    })
}

/// Stores the length of the last value.
#[embassy_executor::task]
async fn serve_file() -> ! {
    let mut length = 0;
    loop {
        let request = REQUESTS.next().await;
        match request.operation() {
            Operation::Read => request.reply(|out| writeln!(out, "{}", Decimal::from(length))),
            Operation::Write("") => request.finish(Err(Error::Invalid)),
            Operation::Write(text) => {
                length = text.len();
                request.finish(Ok(()));
            }
        }
    }
}
