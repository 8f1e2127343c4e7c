//! The slots for requests in flight. Each worker has one slot, which contains the tag of the
//! worker's current request.

use core::cell::Cell;
use core::future::{Future, poll_fn};
use core::task::{Context, Poll, Waker};

use crate::session::Aborts;
use crate::wire::Tag;

/// The state of one request in flight. A slot occupies four bytes of the memory that the
/// connection's owner provides.
#[derive(Debug, Default)]
pub struct RequestSlot {
    tag: Cell<u16>,
    state: Cell<u8>,
}

/// The slot contains a request, and the slot's tag is valid.
const BUSY: u8 = 1;
/// The request has been cancelled and must be dropped.
const CANCELLED: u8 = 2;
/// The request is waiting for a file.
const WAITING: u8 = 4;

impl RequestSlot {
    /// Creates an idle slot.
    #[must_use]
    pub const fn new() -> RequestSlot {
        RequestSlot { tag: Cell::new(0), state: Cell::new(0) }
    }

    fn tag(&self) -> Option<Tag> {
        self.is(BUSY).then(|| Tag(self.tag.get()))
    }

    fn is(&self, bit: u8) -> bool {
        self.state.get() & bit != 0
    }

    fn set(&self, bit: u8) {
        self.state.set(self.state.get() | bit);
    }

    /// Clears a bit and returns whether the bit was set.
    fn clear(&self, bit: u8) -> bool {
        self.state.replace(self.state.get() & !bit) & bit != 0
    }
}

/// The slots provided by a connection's owner. They are stored in an array or in memory that grows
/// with the number of workers.
pub trait SlotStorage {
    /// Returns the maximum number of slots.
    fn capacity(&self) -> usize;

    /// Returns the slot at `index`. A given index always refers to the same slot.
    fn slot(&self, index: usize) -> Option<&RequestSlot>;

    /// Returns the existing slots whose indices are less than `count`.
    fn first(&self, count: usize) -> impl Iterator<Item = &RequestSlot>;
}

impl SlotStorage for [RequestSlot] {
    fn capacity(&self) -> usize {
        self.len()
    }

    fn slot(&self, index: usize) -> Option<&RequestSlot> {
        self.get(index)
    }

    fn first(&self, count: usize) -> impl Iterator<Item = &RequestSlot> {
        self.iter().take(count)
    }
}

/// All slots of one connection.
pub(super) struct Slots<'a, L: SlotStorage + ?Sized> {
    storage: &'a L,
    /// The number of slots that have been used at least once. A search skips the slots that have
    /// never been used.
    used: Cell<usize>,
    busy: Cell<usize>,
    waiting: Cell<usize>,
    /// Whether requests that need to wait are refused.
    full: Cell<bool>,
    /// The waker of the worker that is waiting in [`abort`](Slots::abort).
    aborter: WakerCell,
}

impl<'a, L: SlotStorage + ?Sized> Slots<'a, L> {
    /// Creates the slots for a new connection. The storage is cleared, because the previous
    /// connection may have been closed while requests were in flight.
    pub(super) fn new(storage: &'a L) -> Slots<'a, L> {
        storage.first(usize::MAX).for_each(|slot| slot.state.set(0));
        Slots {
            storage,
            used: Cell::new(0),
            busy: Cell::new(0),
            waiting: Cell::new(0),
            full: Cell::new(false),
            aborter: WakerCell::default(),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.storage.capacity()
    }

    /// Returns the slot with this index.
    pub(super) fn slot(&self, index: usize) -> Option<&'a RequestSlot> {
        self.used.set(self.used.get().max(index.saturating_add(1)));
        self.storage.slot(index)
    }

    fn used_slots(&self) -> impl Iterator<Item = &'a RequestSlot> {
        self.storage.first(self.used.get())
    }

    /// Stores a request in a slot. Returns `false` if the request's tag is already in flight.
    pub(super) fn start_request(&self, slot: &RequestSlot, tag: Tag) -> bool {
        let fresh = !self.is_in_flight(tag);
        self.busy.set(self.busy.get().saturating_add(1));
        slot.tag.set(tag.0);
        slot.state.set(BUSY);
        fresh
    }

    /// Returns whether a request with this tag is in flight. NOTAG is never in flight.
    pub(super) fn is_in_flight(&self, tag: Tag) -> bool {
        tag != Tag::NONE
            && self.busy.get() > 0
            && self.used_slots().any(|slot| slot.tag() == Some(tag))
    }

    /// Frees a slot whose request has been answered or cancelled.
    pub(super) fn finish_request(&self, slot: &RequestSlot) {
        if !slot.clear(BUSY) {
            return;
        }
        self.busy.set(self.busy.get().saturating_sub(1));
        slot.clear(CANCELLED);
        self.aborter.wake();
    }

    /// Returns the number of requests in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.busy.get()
    }

    pub(super) fn is_cancelled(&self, slot: &RequestSlot) -> bool {
        slot.is(CANCELLED)
    }

    /// Marks the request as waiting for a file and returns `true`, or returns `false` if the
    /// request must not wait. A request must not wait if the requests in all other slots are
    /// already waiting, or if the owner has called [`set_full`](Slots::set_full).
    pub(super) fn may_wait(&self, slot: &RequestSlot) -> bool {
        if !slot.is(WAITING) {
            let waiting = self.waiting.get().saturating_add(1);
            if self.full.get() || waiting >= self.storage.capacity() {
                return false;
            }
            self.waiting.set(waiting);
            slot.set(WAITING);
        }
        true
    }

    pub(super) fn set_full(&self, full: bool) {
        self.full.set(full);
    }

    /// Records that the request is no longer waiting for a file.
    pub(super) fn resume(&self, slot: &RequestSlot) {
        if slot.clear(WAITING) {
            self.waiting.set(self.waiting.get().saturating_sub(1));
        }
    }

    /// Cancels the requests that `aborts` selects, except the request in the `own` slot, and waits
    /// until their slots are free.
    pub(super) fn abort(&self, own: &RequestSlot, aborts: Aborts) -> impl Future<Output = ()> {
        let is_aborted = move |slot: &&RequestSlot| match aborts {
            Aborts::None => false,
            Aborts::One(tag) => slot.tag() == Some(tag),
            Aborts::All => slot.tag().is_some(),
        };
        let aborted = move || {
            self.used_slots().filter(move |slot| !core::ptr::eq(*slot, own)).filter(is_aborted)
        };
        aborted().for_each(|slot| slot.set(CANCELLED));
        poll_fn(move |cx| {
            // The cancellation mark is cleared when the slot's worker moves on to the next request.
            if !aborted().any(|slot| slot.is(CANCELLED)) {
                return Poll::Ready(());
            }
            // A worker notices a cancellation only when it is polled. Wake the current task,
            // because it polls all workers.
            if self.aborter.register(cx) {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
    }
}

/// The waker of the task that runs the workers. One waker is enough, because a single task polls
/// all workers of a connection.
#[derive(Default)]
pub(super) struct WakerCell(Cell<Option<Waker>>);

impl WakerCell {
    /// Stores the waker from `cx`. Returns whether the cell was previously empty.
    pub(super) fn register(&self, cx: &Context<'_>) -> bool {
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
