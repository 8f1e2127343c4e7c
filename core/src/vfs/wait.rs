//! Tasks that wait for something to happen: any number of them, and all of them sleep.
//!
//! A list has room for the wakers of a few tasks. Further ones form a chain: the list keeps the
//! waker of the last one, which **holds the waker of the one before in its own future**, and so on.
//! A task of the chain that is woken, or gives up, wakes the one whose waker it holds. So a list is
//! small, needs no allocator, and has no limit; a long chain is woken one task after the other.

use core::cell::{Cell, RefCell};
use core::task::Waker;

use embassy_sync::blocking_mutex::CriticalSectionMutex;
use heapless::Vec;

/// How often a list was woken or a chain broken: who has registered before that must register
/// again. One count for all lists: to register once more than is needed does no harm.
static BREAKS: CriticalSectionMutex<Cell<u32>> = CriticalSectionMutex::new(Cell::new(0));

fn count_break() {
    BREAKS.lock(|breaks| breaks.set(breaks.get().wrapping_add(1)));
}

/// The wakers of tasks that wait for one thing: `N` of them are kept here, those of further tasks
/// by each other.
///
/// A file that waits has one: its [`poll_read`](super::File::poll_read) calls
/// [`register`](Waiters::register) and then looks whether there is something to deliver, and
/// whoever makes that calls [`wake`](Waiters::wake).
pub struct Waiters<const N: usize>(CriticalSectionMutex<RefCell<List<N>>>);

struct List<const N: usize> {
    tasks: Vec<Waker, N>,
    /// The end of the chain.
    last: Option<Waker>,
}

/// The part of one task in a list, kept for as long as it waits; dropped when it gives up.
#[derive(Debug, Default)]
pub struct Waiter {
    /// The waker in whose place this task is.
    held: Option<Waker>,
    /// The count of breaks when it took its place in the chain, and what tells its task's waker
    /// from others.
    breaks: u32,
    task: usize,
}

impl Waiter {
    /// A task that is in no list.
    #[must_use]
    pub const fn new() -> Waiter {
        Waiter { held: None, breaks: 0, task: 0 }
    }

    /// Wakes the task whose waker is held: it has to register again.
    fn release(&mut self) {
        if let Some(held) = self.held.take() {
            // After a break every task behind this one finds by itself that it is no longer in a
            // list.
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
    /// A list without tasks.
    #[must_use]
    pub const fn new() -> Waiters<N> {
        Waiters(CriticalSectionMutex::new(RefCell::new(List { tasks: Vec::new(), last: None })))
    }

    /// Has `waker` woken at the next [`wake`](Waiters::wake), unless `waiter` is dropped before. To
    /// be called at every poll that ends in a wait.
    pub fn register(&self, waiter: &mut Waiter, waker: &Waker) {
        let task = waker.data().addr() ^ core::ptr::from_ref(waker.vtable()).addr();
        let current = || waiter.breaks == BREAKS.lock(Cell::get) && waiter.task == task;
        if current() {
            return;
        }
        waiter.release();
        self.0.lock(|list| {
            // Borrowed only within critical sections, in which no waker is woken.
            let List { tasks, last } = &mut *list.borrow_mut();
            if tasks.iter().chain(&*last).any(|known| known.will_wake(waker)) {
                return;
            }
            if let Err(waker) = tasks.push(waker.clone()) {
                waiter.held = last.replace(waker);
                (waiter.breaks, waiter.task) = (BREAKS.lock(Cell::get), task);
            }
        });
    }

    /// Wakes all tasks in the list.
    pub fn wake(&self) {
        let woken = self.0.lock(|list| {
            count_break();
            core::mem::replace(&mut *list.borrow_mut(), List { tasks: Vec::new(), last: None })
        });
        // Outside of the critical section: a waker is code of others.
        woken.tasks.into_iter().chain(woken.last).for_each(Waker::wake);
    }
}

impl<const N: usize> Default for Waiters<N> {
    fn default() -> Self {
        Waiters::new()
    }
}
