//! Lists of tasks that are waiting for an event. Any number of tasks can wait without polling.
//!
//! The tasks in a list form a chain. The list holds the waker of the last task, and each task
//! **holds the waker of the previous task in its own future**. When a task is woken or its future
//! is dropped, the previous task is also woken. The list is therefore small and needs no allocator,
//! yet serves any number of tasks. The tasks in a chain are woken one after another.

use core::cell::Cell;
use core::fmt;
use core::mem::{forget, replace};
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::Waker;

use critical_section::Mutex;

/// A counter that is incremented whenever a task in a list is woken or a chain is broken. When it
/// changes, the tasks that registered earlier must register again. All lists share one counter,
/// because unnecessary registrations are harmless. The counter is written only in critical
/// sections.
static BREAKS: AtomicU32 = AtomicU32::new(0);

fn breaks() -> u32 {
    BREAKS.load(Ordering::Relaxed)
}

/// Must be called in a critical section.
fn count_break() {
    BREAKS.store(breaks().wrapping_add(1), Ordering::Relaxed);
}

/// A list of tasks that are waiting for one event.
///
/// Each file whose reads can wait has a `Waiters` list. The file's
/// [`poll_read`](super::File::poll_read) calls [`register`](Waiters::register) and then checks for
/// data. The code that produces the data calls [`wake`](Waiters::wake).
// The list holds the waker of the last task in the chain.
pub struct Waiters(Mutex<Cell<Option<Waker>>>);

/// The registration of one task in a list. Dropping the registration cancels the wait.
#[derive(Debug, Default)]
pub struct Waiter {
    /// The waker that the list held before this task registered.
    held: Option<Waker>,
    /// The value of [`BREAKS`] when this task joined the chain.
    breaks: u32,
    /// A number that distinguishes this task's waker from other wakers.
    task: usize,
}

impl Waiter {
    /// Creates a registration that is not in any list.
    #[must_use]
    pub const fn new() -> Waiter {
        Waiter { held: None, breaks: 0, task: 0 }
    }

    /// Wakes the task whose waker this registration holds, so that the task registers again.
    fn release(&mut self) {
        if let Some(held) = self.held.take() {
            critical_section::with(|_| {
                // Incrementing the counter makes every later task in the chain register again.
                if breaks() == self.breaks {
                    count_break();
                }
            });
            held.wake();
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.release();
    }
}

impl Waiters {
    /// Creates an empty list.
    #[must_use]
    pub const fn new() -> Waiters {
        Waiters(Mutex::new(Cell::new(None)))
    }

    /// Registers `waker` to be woken by the next call to [`wake`](Waiters::wake), unless `waiter`
    /// is dropped first. Call this method in every poll that returns `Pending`.
    #[inline(never)]
    pub fn register(&self, waiter: &mut Waiter, waker: &Waker) {
        if waiter.breaks == breaks() && waiter.task == task(waker) {
            return;
        }
        waiter.release();
        critical_section::with(|cs| {
            let previous = self.0.borrow(cs).replace(Some(waker.clone()));
            // A task that held its own waker would wake itself forever.
            let held = previous.filter(|previous| !previous.will_wake(waker));
            (waiter.breaks, waiter.task) = (breaks(), task(waker));
            // The old value is `None`, because `release` has taken the waker.
            forget(replace(&mut waiter.held, held));
        });
    }

    /// Wakes all tasks in the list and empties the list.
    #[inline(never)]
    pub fn wake(&self) {
        let woken = critical_section::with(|cs| {
            let woken = self.0.borrow(cs).take();
            // If no task is registered, none needs to register again.
            if woken.is_some() {
                count_break();
            }
            woken
        });
        // The waker is called outside the critical section, because it runs external code.
        if let Some(woken) = woken {
            woken.wake();
        }
    }
}

/// Returns a number that distinguishes a task's waker from other wakers.
fn task(waker: &Waker) -> usize {
    waker.data().addr() ^ core::ptr::from_ref(waker.vtable()).addr()
}

impl Default for Waiters {
    fn default() -> Self {
        Waiters::new()
    }
}

impl fmt::Debug for Waiters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiters").finish_non_exhaustive()
    }
}
