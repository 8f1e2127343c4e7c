//! Turns: how long one connection may keep the thread that it shares with others.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::task::yield_now;

/// What may be done in one turn, in short reads of memory: some 50 microseconds of work. A client
/// that waits for replies has less in flight, so its turns end by themselves.
const TURN: u32 = 512;

/// Bytes that cost as much to send as a short read: a reply of 128 KiB is a turn.
const SENT: usize = 256;
/// The same of bytes received: a batch of 32 writes of 4 KiB is less than a turn.
const RECEIVED: usize = 512;

/// A turn in which single requests take long ends after this. The clock that tells ticks every few
/// milliseconds.
const LONG: Duration = Duration::from_millis(1);

/// The connections of one thread: one that is alone need not stop for others.
#[derive(Default)]
pub(super) struct Neighbours {
    count: Cell<usize>,
    last: Cell<u64>,
    /// Those whose turn has ended and that have more to do. One of them goes on between two looks
    /// at the sockets, so that a client which asks for little waits for one turn, however many
    /// there are. The first is about to be woken.
    queue: RefCell<VecDeque<(u64, Waker)>>,
}

impl Neighbours {
    fn enqueue(&self, number: u64, waker: &Waker) {
        let mut queue = self.queue.borrow_mut();
        queue.push_back((number, waker.clone()));
        if queue.len() == 1 {
            wake_later(waker);
        }
    }

    fn dequeue(&self, number: u64) {
        let mut queue = self.queue.borrow_mut();
        queue.retain(|(queued, _)| *queued != number);
        // Nothing else wakes it: if another was the first, this wakes the first once more, which
        // does no harm.
        if let Some((_, waker)) = queue.front() {
            wake_later(waker);
        }
    }
}

/// Wakes after a look at the sockets, and after those that are ready.
fn wake_later(waker: &Waker) {
    let _ = pin!(yield_now()).poll(&mut Context::from_waker(waker));
}

/// One connection among its neighbours.
pub(super) struct Turn {
    neighbours: Rc<Neighbours>,
    number: u64,
    queued: Cell<bool>,
    left: Cell<u32>,
    began: Cell<Duration>,
    requests: Cell<u64>,
}

impl Turn {
    pub(super) fn new(neighbours: Rc<Neighbours>) -> Turn {
        neighbours.count.set(neighbours.count.get().saturating_add(1));
        let number = neighbours.last.get().wrapping_add(1);
        neighbours.last.set(number);
        let (left, began, requests) = (Cell::new(0), Cell::default(), Cell::new(0));
        Turn { neighbours, number, queued: Cell::new(false), left, began, requests }
    }

    /// It waits for no turn any more.
    pub(super) fn leave(&self) {
        if self.queued.take() {
            self.neighbours.dequeue(self.number);
        }
    }

    /// The connection is polled: the others had their turn.
    pub(super) fn begin(&self) {
        self.leave();
        self.left.set(TURN);
        self.began.set(now());
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.spend(bytes / SENT);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.spend(bytes / RECEIVED);
    }

    /// Counts a request; pending when the turn is over.
    pub(super) fn poll(&self, cost: u32, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_over(cost) && self.neighbours.count.get() > 1 {
            if !self.queued.replace(true) {
                self.neighbours.enqueue(self.number, cx.waker());
            }
            return Poll::Pending;
        }
        self.spend(cost as usize);
        self.requests.set(self.requests.get().wrapping_add(1));
        Poll::Ready(())
    }

    /// Requests that were taken so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Short reads are counted, and not worth a look at the clock.
    fn is_over(&self, cost: u32) -> bool {
        self.left.get() == 0 || (cost > 1 && now().saturating_sub(self.began.get()) >= LONG)
    }

    fn spend(&self, cost: usize) {
        self.left.set(self.left.get().saturating_sub(u32::try_from(cost).unwrap_or(u32::MAX)));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.leave();
        self.neighbours.count.set(self.neighbours.count.get().saturating_sub(1));
    }
}

fn now() -> Duration {
    // The exact clock costs as much as some requests do.
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::MonotonicCoarse;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    Duration::try_from(clock_gettime(CLOCK)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests of this cost in one turn.
    fn requests(turn: &Turn, cost: u32) -> usize {
        turn.begin();
        let mut cx = Context::from_waker(Waker::noop());
        (0..10_000).take_while(|_| turn.poll(cost, &mut cx).is_ready()).count()
    }

    #[test]
    fn a_turn_ends_with_requests_or_bytes_unless_nobody_waits() {
        let neighbours = Rc::<Neighbours>::default();
        let turn = Turn::new(neighbours.clone());
        assert_eq!(requests(&turn, 1), 10_000);
        let other = Turn::new(neighbours);
        assert_eq!(requests(&turn, 1), 512);
        turn.begin();
        turn.received(32 * 4119);
        assert!(!turn.is_over(1));
        turn.sent(131_083);
        assert!(turn.is_over(1));
        drop(other);
        assert_eq!(requests(&turn, 1), 10_000);
    }

    #[test]
    fn turns_that_have_ended_are_in_a_queue_until_the_next_begins_or_the_connection_goes() {
        let neighbours = Rc::<Neighbours>::default();
        let turns = [(); 3].map(|()| Turn::new(neighbours.clone()));
        let queued =
            || neighbours.queue.borrow().iter().map(|(number, _)| *number).collect::<Vec<_>>();
        turns.iter().for_each(|turn| assert!(requests(turn, 1) > 0));
        assert_eq!(queued(), [1, 2, 3]);
        turns[0].begin();
        assert_eq!(queued(), [2, 3]);
        assert!(requests(&turns[0], 1) > 0);
        assert_eq!(queued(), [2, 3, 1]);
        turns[2].leave();
        drop(turns);
        assert_eq!(queued(), [0; 0]);
    }

    #[test]
    fn a_turn_of_long_requests_ends_with_the_time() {
        let turn = Turn::new(Rc::default());
        turn.begin();
        // A tick of the clock is at most 10 ms.
        std::thread::sleep(Duration::from_millis(20));
        assert!(turn.is_over(4) && !turn.is_over(1));
    }
}
