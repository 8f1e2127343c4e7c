//! The `set` image, whose parameters are also saved to flash. The flash driver is a stub.
#![no_std]
#![no_main]

use datakit_core::params::{Ctl, ParamSet, Replies, Schema};
use datakit_core::vfs::file;
use datakit_persist::{Region, Requests, Store, run};
use datakit_size::{run as run_tasks, server, spawn};
use embassy_time::Delay;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use static_cell::StaticCell;

static REPLIES: Replies<3> = Replies::new();
datakit_size::params!(ROOT: A B C;
    file("schema", &Schema::new(&SET)),
    file("ctl", &Ctl::new(&SET, &REPLIES)));
static SET: ParamSet = ParamSet::new(&ROOT).store(&REQUESTS);
static REQUESTS: Requests = Requests::new();
const REGION: Region = Region::new::<Stub>(0..4096, 1024);

/// The store. The size of this symbol is the amount of RAM that the store uses.
#[unsafe(export_name = "STORE")]
static STORE: StaticCell<Store<Stub, 64>> = StaticCell::new();

#[cortex_m_rt::entry]
fn main() -> ! {
    run_tasks(|spawner, stack| {
        spawn(spawner, keep_parameters());
        server::start(spawner, stack, &ROOT);
    })
}

#[embassy_executor::task]
async fn keep_parameters() -> ! {
    let store = STORE.init(Store::new(Stub, REGION, &SET));
    let _ = store.load(&mut |_| ()).await;
    run(store, &REQUESTS, Delay, || 5000, &mut |_| ()).await
}

/// A flash driver that ignores all requests. The arguments are hidden from the optimizer.
struct Stub;

impl ErrorType for Stub {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Stub {
    const READ_SIZE: usize = 4;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        core::hint::black_box((offset, bytes));
        Ok(())
    }

    fn capacity(&self) -> usize {
        4096
    }
}

impl NorFlash for Stub {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 1024;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        core::hint::black_box((from, to));
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        core::hint::black_box((offset, bytes));
        Ok(())
    }
}
