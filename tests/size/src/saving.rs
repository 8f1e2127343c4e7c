//! Saves the values of a parameter set to flash. The flash driver is a stub.

use datakit_core::params::ParamSet;
#[cfg(not(feature = "sequential-storage"))]
use datakit_persist::Log;
use datakit_persist::{Region, Requests, Store, run};
use datakit_size::spawn;
use embassy_executor::Spawner;
use embassy_time::Delay;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use static_cell::StaticCell;

/// The requests to the task that saves the values.
pub(crate) static REQUESTS: Requests = Requests::new();
const REGION: Region = Region::new::<Stub>(0..4096, 1024);

/// The store. The size of this symbol is the amount of RAM that the store uses.
#[unsafe(export_name = "STORE")]
static STORE: StaticCell<Store<Format, 64>> = StaticCell::new();

#[cfg(not(feature = "sequential-storage"))]
type Format = Log<Stub>;
#[cfg(feature = "sequential-storage")]
type Format = datakit_persist::SequentialStorage<Stub>;

fn new_store(set: &'static ParamSet) -> Store<Format, 64> {
    #[cfg(not(feature = "sequential-storage"))]
    return Store::new(Stub, REGION, set);
    #[cfg(feature = "sequential-storage")]
    return Store::with_sequential_storage(Stub, REGION, set);
}

/// Starts the task that loads the values and saves them on request.
pub(crate) fn start(spawner: Spawner, set: &'static ParamSet) {
    spawn(spawner, keep_parameters(set));
}

#[embassy_executor::task]
async fn keep_parameters(set: &'static ParamSet) -> ! {
    let store = STORE.init(new_store(set));
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
