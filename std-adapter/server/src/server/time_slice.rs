//! Time slices, which limit how much work a connection may do before other connections on the same
//! thread can run.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::task::yield_now;

/// The budget of a time slice. A short read from memory costs 1, and the entire budget corresponds
/// to about 50 µs of work. A client that waits for replies does not use up a slice, because its
/// connection yields when there are no more requests.
const SLICE: u32 = 512;

/// The number of sent bytes that cost as much as one short read. A reply of 128 KiB uses up a
/// slice.
const SENT_PER_UNIT: usize = 256;
/// The number of received bytes that cost as much as one short read. A batch of 32 writes of 4 KiB
/// each uses less than a whole slice.
const RECEIVED_PER_UNIT: usize = 512;

/// The maximum duration of a time slice that contains expensive requests. The duration is measured
/// with a coarse clock that ticks every few milliseconds.
const MAX_DURATION: Duration = Duration::from_millis(1);

thread_local! {
    /// The current thread's queue.
    static RUN_QUEUE: Rc<RunQueue> = Rc::default();
}

/// The queue of the connections that share a thread. A connection does not need to yield if it is
/// the only one on the thread.
#[derive(Default)]
struct RunQueue {
    connections: Cell<usize>,
    last_number: Cell<u64>,
    /// Connections that have used up their slices but have more work to do. One queued connection
    /// continues after each poll of the reactor. A client with few requests therefore waits for at
    /// most one slice, regardless of the number of connections. The first connection in the queue
    /// always has a scheduled wake-up.
    ready: RefCell<VecDeque<(u64, Waker)>>,
}

impl RunQueue {
    fn enqueue(&self, number: u64, waker: &Waker) {
        let mut ready = self.ready.borrow_mut();
        ready.push_back((number, waker.clone()));
        if ready.len() == 1 {
            wake_later(waker);
        }
    }

    fn dequeue(&self, number: u64) {
        let mut ready = self.ready.borrow_mut();
        ready.retain(|(queued, _)| *queued != number);
        // Wake the connection that is now first in the queue, because nothing else wakes it. Waking
        // a task twice is harmless.
        if let Some((_, waker)) = ready.front() {
            wake_later(waker);
        }
    }
}

/// Schedules the waker to be called after the reactor has been polled and the tasks that became
/// ready have run.
fn wake_later(waker: &Waker) {
    let _ = pin!(yield_now()).poll(&mut Context::from_waker(waker));
}

/// A connection's time slice.
pub(super) struct TimeSlice {
    queue: Rc<RunQueue>,
    number: u64,
    is_queued: Cell<bool>,
    budget: Cell<u32>,
    started: Cell<Duration>,
    requests: Cell<u64>,
}

impl TimeSlice {
    /// Creates the time slice for a new connection on this thread.
    pub(super) fn new() -> TimeSlice {
        TimeSlice::in_queue(RUN_QUEUE.with(Rc::clone))
    }

    fn in_queue(queue: Rc<RunQueue>) -> TimeSlice {
        queue.connections.set(queue.connections.get().saturating_add(1));
        let number = queue.last_number.get().wrapping_add(1);
        queue.last_number.set(number);
        let (budget, started, requests) = (Cell::new(0), Cell::default(), Cell::new(0));
        TimeSlice { queue, number, is_queued: Cell::new(false), budget, started, requests }
    }

    /// Starts the next slice. The connection calls this method each time it is polled.
    pub(super) fn start(&self) {
        self.leave_queue();
        self.budget.set(SLICE);
        self.started.set(now());
    }

    /// Removes the connection from the queue of connections waiting for a slice.
    pub(super) fn leave_queue(&self) {
        if self.is_queued.take() {
            self.queue.dequeue(self.number);
        }
    }

    pub(super) fn spend_sent(&self, bytes: usize) {
        self.spend(bytes / SENT_PER_UNIT);
    }

    pub(super) fn spend_received(&self, bytes: usize) {
        self.spend(bytes / RECEIVED_PER_UNIT);
    }

    /// Counts a request. Returns `Pending` if the slice is used up and other connections share the
    /// thread.
    pub(super) fn poll_request(&self, cost: u32, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_used_up(cost) && self.queue.connections.get() > 1 {
            if !self.is_queued.replace(true) {
                self.queue.enqueue(self.number, cx.waker());
            }
            return Poll::Pending;
        }
        self.spend(cost as usize);
        self.requests.set(self.requests.get().wrapping_add(1));
        Poll::Ready(())
    }

    /// Returns the number of requests counted so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Returns whether the slice has been used up. The clock is read only for expensive requests,
    /// because reading it costs as much as a short read from memory.
    fn is_used_up(&self, cost: u32) -> bool {
        self.budget.get() == 0
            || (cost > 1 && now().saturating_sub(self.started.get()) >= MAX_DURATION)
    }

    fn spend(&self, cost: usize) {
        self.budget.set(self.budget.get().saturating_sub(u32::try_from(cost).unwrap_or(u32::MAX)));
    }
}

impl Drop for TimeSlice {
    fn drop(&mut self) {
        self.leave_queue();
        self.queue.connections.set(self.queue.connections.get().saturating_sub(1));
    }
}

fn now() -> Duration {
    // Use the coarse clock because reading the precise clock takes as long as some requests.
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::MonotonicCoarse;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    Duration::try_from(clock_gettime(CLOCK)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many requests of the given cost fit in one slice.
    fn requests(slice: &TimeSlice, cost: u32) -> usize {
        slice.start();
        let mut cx = Context::from_waker(Waker::noop());
        (0..10_000).take_while(|_| slice.poll_request(cost, &mut cx).is_ready()).count()
    }

    #[test]
    fn requests_and_bytes_use_up_a_slice_unless_the_connection_is_alone() {
        let slice = TimeSlice::new();
        assert_eq!(requests(&slice, 1), 10_000);
        let other = TimeSlice::new();
        assert_eq!(requests(&slice, 1), 512);
        slice.start();
        slice.spend_received(32 * 4119);
        assert!(!slice.is_used_up(1));
        slice.spend_sent(131_083);
        assert!(slice.is_used_up(1));
        drop(other);
        assert_eq!(requests(&slice, 1), 10_000);
    }

    #[test]
    fn used_up_slices_queue_until_they_start_or_the_connection_ends() {
        let queue = Rc::<RunQueue>::default();
        let slices = [(); 3].map(|()| TimeSlice::in_queue(queue.clone()));
        let ready = || queue.ready.borrow().iter().map(|(number, _)| *number).collect::<Vec<_>>();
        slices.iter().for_each(|slice| assert!(requests(slice, 1) > 0));
        assert_eq!(ready(), [1, 2, 3]);
        slices[0].start();
        assert_eq!(ready(), [2, 3]);
        assert!(requests(&slices[0], 1) > 0);
        assert_eq!(ready(), [2, 3, 1]);
        slices[2].leave_queue();
        drop(slices);
        assert_eq!(ready(), [0; 0]);
    }

    #[test]
    fn time_uses_up_a_slice_of_expensive_requests() {
        let slice = TimeSlice::new();
        slice.start();
        // The clock ticks at least every 10 ms.
        std::thread::sleep(Duration::from_millis(20));
        assert!(slice.is_used_up(4) && !slice.is_used_up(1));
    }
}
