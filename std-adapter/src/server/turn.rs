//! Turns: how long one connection may keep the thread that it shares with others.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::task::yield_now;

/// What may be done in one turn, in short reads of memory: some 50 microseconds of work. A client that waits for replies has less in
/// flight, so its turns end by themselves.
const TURN: u32 = 512;

/// Bytes that cost as much to send as a short read: a reply of 128 KiB is a turn.
const SENT: usize = 256;
/// The same of bytes received: a batch of 32 writes of 4 KiB is less than a turn.
const RECEIVED: usize = 512;

/// A turn in which single requests take long ends after this. The clock that tells ticks every few milliseconds.
const LONG: Duration = Duration::from_millis(1);

/// The connections of one thread: one that is alone need not stop for others.
#[derive(Default)]
pub(super) struct Neighbours(Cell<usize>);

/// One connection among its neighbours.
pub(super) struct Turn {
    neighbours: Rc<Neighbours>,
    left: Cell<u32>,
    began: Cell<Duration>,
    requests: Cell<u64>,
}

impl Turn {
    pub(super) fn new(neighbours: Rc<Neighbours>) -> Turn {
        neighbours.0.set(neighbours.0.get().saturating_add(1));
        Turn { neighbours, left: Cell::new(0), began: Cell::default(), requests: Cell::new(0) }
    }

    /// The connection is polled: the others had their turn.
    pub(super) fn begin(&self) {
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
        if self.is_over(cost) && self.neighbours.0.get() > 1 {
            // The first poll of this has `cx` woken after a look at the sockets of the others, and after those that are ready.
            return pin!(yield_now()).poll(cx);
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
        self.neighbours.0.set(self.neighbours.0.get().saturating_sub(1));
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
    use std::task::Waker;

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
    fn a_turn_of_long_requests_ends_with_the_time() {
        let turn = Turn::new(Rc::default());
        turn.begin();
        // A tick of the clock is at most 10 ms.
        std::thread::sleep(Duration::from_millis(20));
        assert!(turn.is_over(4) && !turn.is_over(1));
    }
}
