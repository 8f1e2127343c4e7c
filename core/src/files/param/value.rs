//! Values shared by the program and its files.

use core::cell::Cell;
use core::fmt;
use core::future::poll_fn;
use core::task::Poll;

use embassy_sync::blocking_mutex::CriticalSectionMutex;

use super::change_count::count_change;
use crate::vfs::{Client, Waiter, Waiters};

/// A value shared by the program and its files. It can be set from an interrupt handler. The value
/// is the only part of a [`Param`](super::Param) that takes up RAM.
pub struct Value<T> {
    inner: CriticalSectionMutex<(Cell<T>, Cell<u32>)>,
}

/// The tasks that are waiting for a value to change. One list serves all values, because a separate
/// list for each value would triple the RAM that a parameter needs. If a different value changes, a
/// waiting task wakes up, compares two version numbers, and waits again.
static WAITERS: Waiters = Waiters::new();

/// Returns the list of tasks that are woken when any value changes.
#[cfg(feature = "params")]
pub(crate) fn waiters() -> &'static Waiters {
    &WAITERS
}

impl<T> Value<T> {
    /// Creates a value with the given initial value.
    #[must_use]
    pub const fn new(initial: T) -> Value<T> {
        Value { inner: CriticalSectionMutex::new((Cell::new(initial), Cell::new(0))) }
    }

    /// Replaces the value and wakes the tasks that are waiting for a change.
    pub fn set(&self, value: T) {
        // Drop the old value outside the critical section, because its destructor may take a long
        // time.
        drop(self.replace(value));
        self.notify(Client::PROGRAM);
    }

    /// Replaces the value without waking any tasks, and returns the old value. The caller must call
    /// [`notify`](Value::notify) afterwards.
    pub(crate) fn replace(&self, value: T) -> T {
        self.inner.lock(|(cell, version)| {
            version.set(version.get().wrapping_add(1));
            count_change();
            cell.replace(value)
        })
    }

    /// Wakes the tasks that are waiting for a change, and tells the observers that `client` set the
    /// value.
    pub(crate) fn notify(&self, client: Client) {
        notify(self.address(), client);
    }

    /// Returns the address of the value, which identifies it.
    pub(crate) fn address(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Returns the number of times that the value has been set, modulo 2^32.
    pub fn version(&self) -> u32 {
        self.inner.lock(|(_, version)| version.get())
    }

    /// Waits until the [version](Value::version) differs from `seen` and returns the new version.
    ///
    /// # Cancel safety
    /// No change is lost if the future is dropped, because the next call detects changes that have
    /// occurred in the meantime.
    pub async fn changed(&self, seen: u32) -> u32 {
        wait_for_change(|| self.version(), seen).await
    }
}

/// Wakes the tasks that are waiting for any value to change, and tells the observers that `client`
/// set the value at this address.
pub(super) fn notify(address: usize, client: Client) {
    #[cfg(feature = "params")]
    crate::params::notify_observers(address, client);
    #[cfg(not(feature = "params"))]
    let _ = (address, client);
    WAITERS.wake();
}

/// Waits until a version differs from `seen`, and returns the new version. The version must change
/// only if a value is set.
pub(in crate::files) async fn wait_for_change(version: impl Fn() -> u32, seen: u32) -> u32 {
    let mut waiter = Waiter::new();
    poll_fn(|cx| {
        // Register before comparing the versions, so that a change between the two steps wakes the
        // task.
        WAITERS.register(&mut waiter, cx.waker());
        let version = version();
        if version == seen { Poll::Pending } else { Poll::Ready(version) }
    })
    .await
}

impl<T: Clone + Default> Value<T> {
    /// Returns a copy of the value.
    pub fn get(&self) -> T {
        self.get_with_version().0
    }

    pub(in crate::files) fn get_with_version(&self) -> (T, u32) {
        self.inner.lock(|(cell, version)| {
            // Take the value out of the cell, clone it and put it back, all within the critical
            // section. A `RefCell` would allow cloning in place but is 4 bytes larger than a
            // `Cell`.
            let value = cell.take();
            let copy = value.clone();
            cell.set(value);
            (copy, version.get())
        })
    }
}

impl<T: Clone + Default + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Value").field(&self.get()).finish()
    }
}
