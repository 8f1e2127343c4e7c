//! The task that processes the requests to a store.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use datakit_core::Decimal;
use datakit_core::params::{ParamStore, StoreAction, StoreRequest};
use datakit_core::vfs;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embedded_hal_async::delay::DelayNs;

use crate::{Backend, Rejected, Store};

/// A queue for one request to a store. While one request is waiting, further requests are refused.
///
/// Files in a tree make requests through the [`ParamStore`] trait, and the task that calls [`run`]
/// processes them.
pub struct Requests {
    waiting: Signal<CriticalSectionRawMutex, StoreRequest>,
    erases: AtomicU32,
}

impl Requests {
    /// Creates an empty queue.
    #[must_use]
    pub const fn new() -> Requests {
        Requests { waiting: Signal::new(), erases: AtomicU32::new(0) }
    }

    /// Returns how many times a block of the flash has been erased since the flash was first used.
    /// The number is updated after each request, and is 0 until [`run`] is called. The blocks are
    /// used in turn, so dividing this number by the number of blocks gives the number of erases per
    /// block.
    pub fn erases(&self) -> u32 {
        self.erases.load(Ordering::Relaxed)
    }
}

impl Default for Requests {
    fn default() -> Self {
        Requests::new()
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("erases", &self.erases()).finish_non_exhaustive()
    }
}

impl ParamStore for Requests {
    fn start(&self, request: StoreRequest) -> vfs::Result<()> {
        if self.waiting.signaled() {
            return Err(vfs::Error::Busy.with_message(format_args!("a request is already waiting")));
        }
        // If an interrupt handler has made a request since the check, that request is dropped, and
        // its client receives an error.
        self.waiting.signal(request);
        Ok(())
    }
}

/// Processes the requests to a store. Values that cannot be loaded are passed to `rejected`. Never
/// returns. [Load](Store::load) the stored values before calling this function.
///
/// `interval_ms` returns the minimum time between two saves, in milliseconds. After all values have
/// been erased, this time is multiplied by the number of blocks. If a request arrives before this
/// time has elapsed, it waits, so that clients cannot wear out the flash with frequent requests.
/// The first request also waits. Otherwise, a client that can restart the device could bypass the
/// limit. If the interval changes during a wait, the new interval applies after at most 1 s or 1/64
/// of the old interval, whichever is longer.
pub async fn run<B: Backend, const BUFFER: usize>(
    store: &mut Store<B, BUFFER>,
    requests: &Requests,
    mut delay: impl DelayNs,
    interval_ms: fn() -> u32,
    rejected: &mut dyn FnMut(&Rejected<'_>),
) -> ! {
    // The last request before the restart may have been an erase.
    let mut waits = if store.is_erased() { store.blocks() } else { 1 };
    loop {
        requests.erases.store(store.erases(), Ordering::Relaxed);
        let mut waited = 0;
        loop {
            let interval = interval_ms();
            let remaining = interval.saturating_mul(waits).saturating_sub(waited);
            if remaining == 0 {
                break;
            }
            // The wait is divided into steps, so that a new interval applies to it.
            let step = remaining.min((interval / 64).max(1000));
            delay.delay_ms(step).await;
            waited += step;
        }
        let request = requests.waiting.wait().await;
        let outcome = store.carry_out(&request, rejected).await;
        let count = *outcome.as_ref().unwrap_or(&u16::MAX);
        let verb;
        (verb, waits) = match request.action() {
            StoreAction::Save(_) => ("saved ", u32::from(count != 0)),
            StoreAction::Load => ("loaded ", 0),
            StoreAction::Erase => ("erased ", store.blocks()),
        };
        let done = Done { verb, count };
        request.finish(match outcome {
            Ok(_) => Ok(&done),
            Err(error) => Err(vfs::Error::Io.with_message(error)),
        });
    }
}

/// The number of values that a request has loaded, saved or erased.
struct Done {
    verb: &'static str,
    count: u16,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb)?;
        Decimal::from(self.count).fmt(f)?;
        f.write_str(if self.count == 1 { " value" } else { " values" })
    }
}
