//! A value in RAM that the program and its files share.

use core::cell::Cell;
use core::future::poll_fn;
use core::task::Poll;

use embassy_sync::blocking_mutex::CriticalSectionMutex;

use crate::vfs::{Waiter, Waiters};

/// A value of the program: all that a [`Param`](super::Param) needs of RAM. May be set from an
/// interrupt.
pub struct Value<T> {
    inner: CriticalSectionMutex<(Cell<T>, Cell<u32>)>,
}

/// Tasks that wait for any value to change. One list for all values: a list for each would triple
/// the RAM of a parameter, and a task woken for another value looks at two numbers and waits on.
static WAITING: Waiters<8> = Waiters::new();

impl<T> Value<T> {
    /// A value, at first `initial`.
    #[must_use]
    pub const fn new(initial: T) -> Value<T> {
        Value { inner: CriticalSectionMutex::new((Cell::new(initial), Cell::new(0))) }
    }

    /// Replaces the value and wakes the tasks that wait for that.
    pub fn set(&self, value: T) {
        let old = self.inner.lock(|(cell, version)| {
            version.set(version.get().wrapping_add(1));
            cell.replace(value)
        });
        WAITING.wake();
        // Not dropped within the critical section: that may take its time.
        drop(old);
    }

    /// How many times it was set, from 0 on again after 2^32.
    pub fn version(&self) -> u32 {
        self.inner.lock(|(_, version)| version.get())
    }

    /// Waits until the version is no longer `seen`: the new version. To be given up at any time,
    /// nothing is lost.
    pub async fn changed(&self, seen: u32) -> u32 {
        let mut waiter = Waiter::new();
        poll_fn(|cx| {
            // First: what is set between these two lines wakes.
            WAITING.register(&mut waiter, cx.waker());
            let version = self.version();
            if version == seen { Poll::Pending } else { Poll::Ready(version) }
        })
        .await
    }
}

impl<T: Clone + Default> Value<T> {
    /// A copy of the value.
    pub fn get(&self) -> T {
        self.with_version().0
    }

    pub(super) fn with_version(&self) -> (T, u32) {
        self.inner.lock(|(cell, version)| {
            // Taken and put back within the critical section: a `Cell` is 4 bytes less than a
            // `RefCell`.
            let value = cell.take();
            let copy = value.clone();
            cell.set(value);
            (copy, version.get())
        })
    }
}
