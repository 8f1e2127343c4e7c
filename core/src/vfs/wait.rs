//! Lists of tasks that are waiting for an event. Any number of tasks can wait without polling.
//!
//! A list has room for the wakers of a few tasks. Additional tasks form a chain. The list holds the
//! waker of the last task, and each task **holds the waker of the previous task in its own
//! future**. When a chained task is woken or its future is dropped, the previous task is also
//! woken. The list is therefore small and needs no allocator, yet serves any number of tasks. The
//! tasks in a long chain are woken one after another.

use core::cell::Cell;
use core::fmt;
use core::mem::{forget, replace};
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::Waker;

use critical_section::Mutex;

/// A counter that is incremented whenever a task in a list is woken or a chain is broken. After a
/// change, the tasks that registered earlier must register again. All lists share one counter,
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

/// A list of tasks that are waiting for one event. The list holds the wakers of `N` tasks, and each
/// additional task holds the waker of the previous task.
///
/// Each file whose reads can wait has a `Waiters` list. The file's
/// [`poll_read`](super::File::poll_read) calls [`register`](Waiters::register) and then checks for
/// data. The code that produces the data calls [`wake`](Waiters::wake).
pub struct Waiters<const N: usize>([WakerSlot; N]);

/// A task's waker. The last slot of a list holds the waker of the last task in the chain.
pub(crate) type WakerSlot = Mutex<Cell<Option<Waker>>>;

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

impl<const N: usize> Waiters<N> {
    /// Creates an empty list. `N` must not be 0.
    #[must_use]
    pub const fn new() -> Waiters<N> {
        const { assert!(N > 0, "a list holds the waker of at least one task") };
        Waiters([const { Mutex::new(Cell::new(None)) }; N])
    }

    /// Registers `waker` to be woken by the next call to [`wake`](Waiters::wake), unless `waiter`
    /// is dropped first. Call this method in every poll that returns `Pending`.
    pub fn register(&self, waiter: &mut Waiter, waker: &Waker) {
        register_waiter(&self.0, waiter, waker);
    }

    /// Returns the list for [`register_waiter`].
    pub(crate) fn slots(&self) -> &[WakerSlot] {
        &self.0
    }

    /// Wakes all tasks in the list and empties the list.
    pub fn wake(&self) {
        wake(&self.0);
    }
}

/// Wakes all tasks in a list, like [`Waiters::wake`].
fn wake(slots: &[WakerSlot]) {
    for slot in slots {
        let woken = critical_section::with(|cs| {
            let woken = slot.borrow(cs).take();
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

/// Registers a waker in a list, like [`Waiters::register`]. This function is compiled only once for
/// lists of all lengths.
#[inline(never)]
pub(crate) fn register_waiter(slots: &[WakerSlot], waiter: &mut Waiter, waker: &Waker) {
    if waiter.breaks == breaks() && waiter.task == task(waker) {
        return;
    }
    waiter.release();
    critical_section::with(|cs| {
        for (index, slot) in slots.iter().enumerate() {
            let slot = slot.borrow(cs);
            let known = slot.take();
            let is_free = known.as_ref().is_none_or(|known| known.will_wake(waker));
            if is_free || index + 1 == slots.len() {
                forget(slot.replace(Some(waker.clone())));
                if !is_free {
                    (waiter.breaks, waiter.task) = (breaks(), task(waker));
                    forget(replace(&mut waiter.held, known));
                }
                return;
            }
            forget(slot.replace(known));
        }
    });
}

/// Returns a number that distinguishes a task's waker from other wakers.
fn task(waker: &Waker) -> usize {
    waker.data().addr() ^ core::ptr::from_ref(waker.vtable()).addr()
}

impl<const N: usize> Default for Waiters<N> {
    fn default() -> Self {
        Waiters::new()
    }
}

impl<const N: usize> fmt::Debug for Waiters<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiters").finish_non_exhaustive()
    }
}
