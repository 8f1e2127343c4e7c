//! What one worker at a time has: the reader, the writer.

use core::cell::Cell;
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};

/// Taken and given back by hand: a worker that ends with it has ended the connection, so that
/// nothing must be given back for it.
pub(super) struct Baton<T> {
    there: Cell<Option<T>>,
    next: Waiting,
}

impl<T> Baton<T> {
    pub(super) fn new(value: T) -> Self {
        Baton { there: Cell::new(Some(value)), next: Waiting::default() }
    }

    /// Waits until it is there.
    pub(super) async fn take(&self) -> T {
        poll_fn(|cx| {
            let taken = self.there.take();
            if taken.is_none() {
                self.next.wait(cx);
            }
            taken.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    pub(super) fn give(&self, value: T) {
        self.there.set(Some(value));
        self.next.wake();
    }

    /// A look at it, if it is there.
    pub(super) fn with<X>(&self, look: impl FnOnce(&mut T) -> X) -> Option<X> {
        let mut there = self.there.take();
        let seen = there.as_mut().map(look);
        self.there.set(there);
        seen
    }

    pub(super) fn is_taken(&self) -> bool {
        self.with(|_| ()).is_none()
    }
}

/// Workers that wait. One waker is enough: all workers of a connection are polled by one task.
#[derive(Default)]
pub(super) struct Waiting(Cell<Option<Waker>>);

impl Waiting {
    /// Whether nobody did so far.
    pub(super) fn wait(&self, cx: &Context<'_>) -> bool {
        let waker = self.0.take();
        let first = waker.is_none();
        self.0.set(
            waker.filter(|waker| waker.will_wake(cx.waker())).or_else(|| Some(cx.waker().clone())),
        );
        first
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }
}
