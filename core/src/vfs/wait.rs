//! Lists of tasks that are waiting for an event. Any number of tasks can wait without polling.
//!
//! A list has room for the wakers of a few tasks. Additional tasks form a chain. The list holds the
//! waker of the last task, and each task **holds the waker of the previous task in its own
//! future**. When a chained task is woken or its future is dropped, the previous task is also
//! woken. The list is therefore small and needs no allocator, yet serves any number of tasks. The
//! tasks in a long chain are woken one after another.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::task::Waker;

use embassy_sync::blocking_mutex::CriticalSectionMutex;
use heapless::{Vec, VecView};

/// A counter that is incremented whenever the tasks in a list are woken or a chain is broken. After
/// a change, the tasks that registered earlier must register again. All lists share one counter,
/// because unnecessary registrations are harmless.
static BREAKS: CriticalSectionMutex<Cell<u32>> = CriticalSectionMutex::new(Cell::new(0));

fn count_break() {
    BREAKS.lock(|breaks| breaks.set(breaks.get().wrapping_add(1)));
}

/// A list of tasks that are waiting for one event. The list holds the wakers of `N` tasks, and each
/// additional task holds the waker of the previous task.
///
/// Each file whose reads can wait has a `Waiters` list. The file's
/// [`poll_read`](super::File::poll_read) calls [`register`](Waiters::register) and then checks for
/// data. The code that produces the data calls [`wake`](Waiters::wake).
pub struct Waiters<const N: usize>(CriticalSectionMutex<RefCell<List<N>>>);

struct List<const N: usize> {
    tasks: Vec<Waker, N>,
    /// The waker of the last task in the chain.
    last: Option<Waker>,
}

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
            // Incrementing the counter makes every later task in the chain register again.
            BREAKS.lock(|breaks| {
                if breaks.get() == self.breaks {
                    breaks.set(self.breaks.wrapping_add(1));
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
    /// Creates an empty list.
    #[must_use]
    pub const fn new() -> Waiters<N> {
        Waiters(CriticalSectionMutex::new(RefCell::new(List { tasks: Vec::new(), last: None })))
    }

    /// Registers `waker` to be woken by the next call to [`wake`](Waiters::wake), unless `waiter`
    /// is dropped first. Call this method in every poll that returns `Pending`.
    pub fn register(&self, waiter: &mut Waiter, waker: &Waker) {
        if waiter.breaks == BREAKS.lock(Cell::get) && waiter.task == task(waker) {
            return;
        }
        waiter.release();
        self.0.lock(|list| {
            // The borrow cannot fail: all borrows are made in critical sections, and no waker is
            // called in a critical section.
            let List { tasks, last } = &mut *list.borrow_mut();
            add(tasks.as_mut_view(), last, waiter, waker);
        });
    }

    /// Wakes all tasks in the list and empties the list.
    pub fn wake(&self) {
        let mut woken = self.0.lock(|list| {
            // If no tasks are registered, none need to register again.
            if !(list.borrow().tasks.is_empty() && list.borrow().last.is_none()) {
                count_break();
            }
            core::mem::replace(&mut *list.borrow_mut(), List { tasks: Vec::new(), last: None })
        });
        // The wakers are called outside the critical section, because they run external code.
        wake_all(woken.tasks.as_mut_view(), woken.last);
        // The vector is empty, so dropping it is not necessary, and its drop glue would take up
        // flash.
        core::mem::forget(woken.tasks);
    }
}

/// Adds a waker to a list. This function and [`wake_all`] are compiled only once, for lists of all
/// lengths.
#[inline(never)]
fn add(tasks: &mut VecView<Waker>, last: &mut Option<Waker>, waiter: &mut Waiter, waker: &Waker) {
    if tasks.iter().chain(&*last).any(|known| known.will_wake(waker)) {
        return;
    }
    if let Err(waker) = tasks.push(waker.clone()) {
        (waiter.breaks, waiter.task) = (BREAKS.lock(Cell::get), task(&waker));
        waiter.held = last.replace(waker);
    }
}

/// Wakes all tasks and empties the list.
#[inline(never)]
fn wake_all(tasks: &mut VecView<Waker>, last: Option<Waker>) {
    let mut next = last.or_else(|| tasks.pop());
    while let Some(waker) = next {
        waker.wake();
        next = tasks.pop();
    }
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
