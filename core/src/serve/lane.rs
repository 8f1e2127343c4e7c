//! What is in flight: a lane for each worker, with the tag it answers.

use core::cell::Cell;
use core::future::poll_fn;
use core::task::Poll;

use super::baton::Waiting;
use crate::session::Aborts;
use crate::wire::Tag;

/// One request in flight: part of the memory that the owner of a connection provides.
///
/// A connection may have many of them and use one: four bytes each.
#[derive(Debug, Default)]
pub struct Lane {
    tag: Cell<u16>,
    state: Cell<u8>,
}

/// The tag of a lane counts.
const BUSY: u8 = 1;
/// Its request is to be dropped.
const CANCELLED: u8 = 2;
/// Its request waits inside a file.
const WAITS: u8 = 4;

impl Lane {
    /// An idle lane.
    #[must_use]
    pub const fn new() -> Lane {
        Lane { tag: Cell::new(0), state: Cell::new(0) }
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

    /// Clears a bit: whether it was set.
    fn clear(&self, bit: u8) -> bool {
        self.state.replace(self.state.get() & !bit) & bit != 0
    }
}

/// The lanes that the owner of a connection provides, numbered from 0: an array, or as many as the
/// crew has come to need.
pub trait Lend {
    /// How many there can be.
    fn most(&self) -> usize;

    /// The lane of this number: the same one each time.
    fn lane(&self, number: usize) -> Option<&Lane>;

    /// Those below `number` that there are.
    fn below(&self, number: usize) -> impl Iterator<Item = &Lane>;
}

impl Lend for [Lane] {
    fn most(&self) -> usize {
        self.len()
    }

    fn lane(&self, number: usize) -> Option<&Lane> {
        self.get(number)
    }

    fn below(&self, number: usize) -> impl Iterator<Item = &Lane> {
        self.iter().take(number)
    }
}

/// All lanes of one connection.
pub(super) struct Lanes<'a, L: Lend + ?Sized> {
    lanes: &'a L,
    /// Lanes that were ever used: a crew that never grew is searched in no time.
    used: Cell<usize>,
    busy: Cell<usize>,
    waiting: Cell<usize>,
    /// No further request may wait.
    full: Cell<bool>,
    /// Who waits for a lane to become empty.
    flusher: Waiting,
}

impl<'a, L: Lend + ?Sized> Lanes<'a, L> {
    /// Empties the lanes: the connection that had them before may have ended with requests in
    /// flight.
    pub(super) fn new(lanes: &'a L) -> Lanes<'a, L> {
        lanes.below(usize::MAX).for_each(|lane| lane.state.set(0));
        Lanes {
            lanes,
            used: Cell::new(0),
            busy: Cell::new(0),
            waiting: Cell::new(0),
            full: Cell::new(false),
            flusher: Waiting::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lanes.most()
    }

    /// The lane of this number.
    pub(super) fn lane(&self, number: usize) -> Option<&'a Lane> {
        self.used.set(self.used.get().max(number.saturating_add(1)));
        self.lanes.lane(number)
    }

    fn used(&self) -> impl Iterator<Item = &'a Lane> {
        self.lanes.below(self.used.get())
    }

    /// Puts a request into a lane; false when its tag is in flight already.
    pub(super) fn enter(&self, lane: &Lane, tag: Tag) -> bool {
        let fresh = !self.holds(tag);
        self.busy.set(self.busy.get().saturating_add(1));
        lane.tag.set(tag.0);
        lane.state.set(BUSY);
        fresh
    }

    /// Whether a request with this tag is in flight. The tag of Tversion is nobody's.
    pub(super) fn holds(&self, tag: Tag) -> bool {
        tag != Tag::NONE && self.busy.get() > 0 && self.used().any(|lane| lane.tag() == Some(tag))
    }

    /// The request is answered and its reply in the output, or it was cancelled.
    pub(super) fn leave(&self, lane: &Lane) {
        if !lane.clear(BUSY) {
            return;
        }
        self.busy.set(self.busy.get().saturating_sub(1));
        lane.clear(CANCELLED);
        self.flusher.wake();
    }

    /// How many requests are in flight.
    pub(super) fn busy(&self) -> usize {
        self.busy.get()
    }

    pub(super) fn cancelled(&self, lane: &Lane) -> bool {
        lane.is(CANCELLED)
    }

    /// Notes that a lane waits inside a file; false when every other lane does, and this one must
    /// not.
    pub(super) fn wait(&self, lane: &Lane) -> bool {
        if !lane.is(WAITS) {
            let waiting = self.waiting.get().saturating_add(1);
            if self.full.get() || waiting >= self.lanes.most() {
                return false;
            }
            self.waiting.set(waiting);
            lane.set(WAITS);
        }
        true
    }

    pub(super) fn set_full(&self, full: bool) {
        self.full.set(full);
    }

    pub(super) fn go_on(&self, lane: &Lane) {
        if lane.clear(WAITS) {
            self.waiting.set(self.waiting.get().saturating_sub(1));
        }
    }

    /// Cancels what a request in `own` aborts; returns when the lanes of these are empty.
    pub(super) async fn abort(&self, own: &Lane, aborts: Aborts) {
        if aborts == Aborts::None {
            return;
        }
        let hit = |lane: &&Lane| match aborts {
            Aborts::None => false,
            Aborts::One(tag) => lane.tag() == Some(tag),
            Aborts::All => lane.tag().is_some(),
        };
        let hit = || self.used().filter(|lane| !core::ptr::eq(*lane, own)).filter(hit);
        hit().for_each(|lane| lane.set(CANCELLED));
        poll_fn(|cx| {
            // A lane that went on to its next request has no mark any more.
            if !hit().any(|lane| lane.is(CANCELLED)) {
                return Poll::Ready(());
            }
            // A lane's worker looks at its mark when it is polled next, and this task polls it.
            if self.flusher.wait(cx) {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
    }
}
