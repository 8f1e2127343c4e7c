//! Saves all values when a fixed time has passed since a change.

use core::fmt;

use datakit_core::params::{Event, Observer, ParamStore, StoreAction, StoreOutcomes, StoreRequest};
use datakit_core::vfs::{Client, Result};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embedded_hal_async::delay::DelayNs;

/// Saves all values when a fixed time has passed since a change. Register it with
/// [`observe`](datakit_core::params::observe), and call [`run`](Autosave::run) in a task.
pub struct Autosave {
    changed: Signal<CriticalSectionRawMutex, ()>,
}

impl Autosave {
    /// Creates an `Autosave` that has not recorded any changes.
    #[must_use]
    pub const fn new() -> Autosave {
        Autosave { changed: Signal::new() }
    }

    /// After a change, waits for `after_ms` milliseconds and then asks `store` to save all values.
    /// Further changes during this time do not extend it. If the store refuses the request or the
    /// save fails, the request is repeated after the same delay. Never returns.
    pub async fn run(
        &'static self,
        store: &dyn ParamStore,
        mut delay: impl DelayNs,
        after_ms: fn() -> u32,
    ) -> ! {
        loop {
            self.changed.wait().await;
            delay.delay_ms(after_ms()).await;
            self.changed.reset();
            let all = StoreAction::Save(0..u16::MAX);
            if store.start(StoreRequest::by_client(all, Client::PROGRAM, self)).is_err() {
                self.changed.signal(());
            }
        }
    }
}

impl StoreOutcomes for Autosave {
    fn finished(&'static self, _: Client, outcome: Result<&dyn fmt::Display>) {
        if outcome.is_err() {
            self.changed.signal(());
        }
    }
}

impl Observer for Autosave {
    fn notify(&self, event: &Event<'_>) {
        if let Event::Changed { .. } = event {
            self.changed.signal(());
        }
    }
}

impl Default for Autosave {
    fn default() -> Self {
        Autosave::new()
    }
}

impl fmt::Debug for Autosave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Autosave").finish_non_exhaustive()
    }
}
