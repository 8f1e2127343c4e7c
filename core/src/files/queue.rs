//! A stream of every value, in order.

use core::cell::RefCell;
use core::fmt;
use core::task::{Context, Poll};

use embassy_sync::blocking_mutex::CriticalSectionMutex;
use heapless::Deque;

use super::stream::poll_stream;
use super::write::render;
use crate::vfs::{File, FileStat, OpenFile, OpenMode, Result, Waiters};

/// A stream of the values published since it was opened, each once and in order, of which the last
/// `N` are kept. A reader who is slower than that reads the line `lost 3` in place of the three
/// values that are gone.
pub struct Queue<T, const N: usize, const WAITERS: usize = 4> {
    ring: CriticalSectionMutex<RefCell<Ring<T, N>>>,
    waiters: Waiters<WAITERS>,
    format: fn(&T, &mut dyn fmt::Write) -> fmt::Result,
}

struct Ring<T, const N: usize> {
    kept: Deque<T, N>,
    /// The number of the next value; they wrap around.
    next: u32,
    overruns: u32,
}

/// What a reader gets next.
enum Next<T> {
    Value(T),
    Lost(u32),
    Nothing,
}

impl<T: Clone, const N: usize, const WAITERS: usize> Queue<T, N, WAITERS> {
    /// An empty stream; `format` makes a text of a value, with its newline.
    #[must_use]
    pub const fn new(format: fn(&T, &mut dyn fmt::Write) -> fmt::Result) -> Self {
        let ring = Ring { kept: Deque::new(), next: 0, overruns: 0 };
        Queue {
            ring: CriticalSectionMutex::new(RefCell::new(ring)),
            waiters: Waiters::new(),
            format,
        }
    }

    /// Appends a value, in place of the oldest one where `N` are kept, and wakes the readers. May
    /// be called from an interrupt.
    pub fn publish(&self, value: T) {
        let oldest = self.with(|ring| {
            let oldest = if ring.kept.is_full() { ring.kept.pop_front() } else { None };
            // There is room now; with `N` = 0 there never is, and every reader reads what it lost.
            let _ = ring.kept.push_back(value);
            ring.next = ring.next.wrapping_add(1);
            oldest
        });
        drop(oldest);
        self.waiters.wake();
    }

    /// Values that readers have lost so far, all readers taken together.
    pub fn overruns(&self) -> u32 {
        self.with(|ring| ring.overruns)
    }

    fn refill(&self, open: &mut OpenFile<'_>) -> Result<bool> {
        loop {
            let next = self.with(|ring| ring.after(&mut open.state.next));
            open.state.taken = 0;
            match next {
                Next::Value(value) => render(open.text, |out| (self.format)(&value, out))?,
                Next::Lost(lost) => render(open.text, |out| writeln!(out, "lost {lost}"))?,
                Next::Nothing => {
                    open.text.clear();
                    return Ok(false);
                }
            }
            // A value without a text is skipped: an empty read would say that the stream ends.
            if !open.text.bytes().is_empty() {
                return Ok(true);
            }
        }
    }

    fn with<R>(&self, f: impl FnOnce(&mut Ring<T, N>) -> R) -> R {
        // Borrowed only within a critical section, in which only `T::clone` of others runs.
        self.ring.lock(|ring| f(&mut ring.borrow_mut()))
    }
}

impl<T: Clone, const N: usize> Ring<T, N> {
    /// What comes after the values below `at`, which moves on.
    fn after(&mut self, at: &mut u32) -> Next<T> {
        let behind = self.next.wrapping_sub(*at);
        let kept = self.kept.len() as u32;
        if behind == 0 {
            return Next::Nothing;
        }
        if let Some(lost @ 1..) = behind.checked_sub(kept) {
            *at = at.wrapping_add(lost);
            self.overruns = self.overruns.saturating_add(lost);
            return Next::Lost(lost);
        }
        match self.kept.iter().nth((kept - behind) as usize) {
            Some(value) => {
                *at = at.wrapping_add(1);
                Next::Value(value.clone())
            }
            None => Next::Nothing,
        }
    }
}

impl<T: Clone, const N: usize, const WAITERS: usize> File for Queue<T, N, WAITERS> {
    fn stat(&self) -> FileStat {
        FileStat::new(0).read_only()
    }

    fn open(&self, open: &mut OpenFile<'_>, _: OpenMode) -> Result<()> {
        open.state.next = self.with(|ring| ring.next);
        Ok(())
    }

    fn may_block(&self) -> bool {
        true
    }

    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        cx: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        poll_stream(open, cx, (offset, buf), &self.waiters, |open| self.refill(open))
    }

    fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "stream of every value, of which {} are kept", crate::Decimal::from(N))
    }
}
