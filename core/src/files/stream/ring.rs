//! The most recent values of a stream, and the position of its end.

use core::cell::Cell;
use core::num::NonZeroU32;

use critical_section::{CriticalSection, Mutex};

use crate::vfs::Waiters;

/// A ring buffer of the most recent values of a stream, and the readers that are waiting for the
/// next value. An empty ring buffer is all zeros.
pub(crate) struct Ring<S: ?Sized> {
    end: Mutex<End>,
    waiters: Waiters,
    slots: S,
}

/// A slot in a ring buffer. Slots are filled in order.
pub(crate) type Slot<T> = Mutex<Cell<Content<T>>>;

/// The content of a slot. Unlike `None`, an empty slot is all zeros for every type of value.
#[repr(u8)]
pub(crate) enum Content<T> {
    Empty,
    Value(T),
}

/// The position of the end of a stream, and the numbers of kept and lost values.
pub(crate) struct End {
    /// The sequence number of the next value. It wraps around to 0 after the largest number.
    next: Cell<u32>,
    /// The number of values that readers have lost.
    overruns: Cell<u32>,
    /// The index of the slot for the next value.
    index: Cell<usize>,
    /// The number of values in the ring buffer.
    kept: Cell<usize>,
}

/// The reason that a reader does not receive a value.
// A number instead of an enum, so that a `Result<(), Missed>` fits into one register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missed(NonZeroU32);

impl Missed {
    /// There is no new value.
    pub(crate) const NOTHING: Missed = Missed(NonZeroU32::MAX);

    /// The text of the value does not fit.
    pub(crate) const TOO_LONG: Missed = Missed(NonZeroU32::MIN);

    /// The reader has lost this many values, at least 1.
    fn lost(number: u32) -> Missed {
        Missed(NonZeroU32::MIN.saturating_add(number))
    }

    /// Returns the number of lost values.
    pub(super) fn number(self) -> u32 {
        self.0.get() - 1
    }
}

impl<T, const N: usize> Ring<[Slot<T>; N]> {
    pub(crate) const fn new() -> Self {
        let slots = [const { Mutex::new(Cell::new(Content::Empty)) }; N];
        Ring { end: Mutex::new(End::new(0)), waiters: Waiters::new(), slots }
    }
}

impl<T> Ring<[Slot<T>; 1]> {
    /// Creates a ring buffer with a single slot, which contains `value`.
    pub(crate) const fn with_value(value: T) -> Self {
        let slots = [Mutex::new(Cell::new(Content::Value(value)))];
        Ring { end: Mutex::new(End::new(1)), waiters: Waiters::new(), slots }
    }
}

impl<T: Clone> Ring<[Slot<T>]> {
    /// Appends a value and wakes the readers.
    pub(crate) fn publish(&self, value: T) {
        // The old value is dropped outside the critical section, because its destructor may take a
        // long time.
        drop(critical_section::with(|cs| self.push(cs, value)));
        self.waiters.wake();
    }

    /// Appends a value. If the ring buffer is full, the oldest value is removed and returned. If
    /// the ring buffer has no slots, readers receive only the number of lost values.
    fn push(&self, cs: CriticalSection<'_>, value: T) -> Content<T> {
        let slot = self.slots.get(self.end.borrow(cs).push(self.slots.len()));
        slot.map_or(Content::Empty, |slot| slot.borrow(cs).replace(Content::Value(value)))
    }

    /// Returns a copy of the next value for a reader. Advances `at`, the sequence number of the
    /// reader's next value. With `latest_only`, older values are skipped.
    ///
    /// # Errors
    /// Returns [`Missed::NOTHING`] or the number of values that the reader has lost.
    pub(crate) fn take(&self, at: &mut u32, latest_only: bool) -> Result<T, Missed> {
        critical_section::with(|cs| {
            let index = self.end.borrow(cs).advance(self.slots.len(), at, latest_only)?;
            let slot = self.slots.get(index).ok_or(Missed::NOTHING)?.borrow(cs);
            let content = slot.replace(Content::Empty);
            let value = match &content {
                Content::Value(value) => Ok(value.clone()),
                Content::Empty => Err(Missed::NOTHING),
            };
            slot.set(content);
            value
        })
    }
}

impl<S: ?Sized> Ring<S> {
    /// Returns the sequence number at which a new reader starts.
    pub(crate) fn start(&self, with_kept: bool) -> u32 {
        critical_section::with(|cs| self.end.borrow(cs).start(with_kept))
    }

    pub(crate) fn overruns(&self) -> u32 {
        critical_section::with(|cs| self.end.borrow(cs).overruns())
    }

    pub(crate) fn waiters(&self) -> &Waiters {
        &self.waiters
    }
}

impl End {
    /// Creates the `End` of a stream whose ring buffer holds `kept` values. The ring buffer must be
    /// either empty or full.
    pub(crate) const fn new(kept: usize) -> End {
        End {
            next: Cell::new(kept as u32),
            overruns: Cell::new(0),
            index: Cell::new(0),
            kept: Cell::new(kept),
        }
    }

    /// Returns the sequence number at which a new reader starts.
    pub(crate) fn start(&self, with_kept: bool) -> u32 {
        let kept = if with_kept { self.kept.get() as u32 } else { 0 };
        self.next.get().wrapping_sub(kept)
    }

    /// Counts a new value and returns the index of its slot.
    pub(crate) fn push(&self, capacity: usize) -> usize {
        let index = self.index.get();
        let next = index + 1;
        self.index.set(if next < capacity { next } else { 0 });
        self.kept.set(capacity.min(self.kept.get() + 1));
        self.next.set(self.next.get().wrapping_add(1));
        index
    }

    /// Returns the number of values that readers have lost.
    pub(crate) fn overruns(&self) -> u32 {
        self.overruns.get()
    }

    /// Returns the index of the slot with the next value for a reader. Advances `at`, the sequence
    /// number of the reader's next value. With `latest_only`, older values are skipped.
    ///
    /// # Errors
    /// Returns [`Missed::NOTHING`] or the number of values that the reader has lost.
    pub(crate) fn advance(
        &self,
        capacity: usize,
        at: &mut u32,
        latest_only: bool,
    ) -> Result<usize, Missed> {
        let kept = self.kept.get();
        let mut behind = self.next.get().wrapping_sub(*at) as usize;
        if behind == 0 {
            return Err(Missed::NOTHING);
        }
        if behind > kept {
            let lost = (behind - kept) as u32;
            *at = at.wrapping_add(lost);
            if !latest_only {
                self.overruns.set(self.overruns.get().saturating_add(lost));
                return Err(Missed::lost(lost));
            }
            behind = kept;
        }
        *at = at.wrapping_add(1);
        let end = self.index.get();
        Ok(if behind > end { end + capacity - behind } else { end - behind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_value_is_read_after_the_sequence_number_has_wrapped() {
        let ring = Ring::with_value(5);
        critical_section::with(|cs| ring.end.borrow(cs).next.set(u32::MAX));
        let ring: &Ring<[Slot<u8>]> = &ring;
        ring.publish(6);
        let mut at = ring.start(true);
        assert_eq!((at, ring.take(&mut at, true).ok()), (u32::MAX, Some(6)));
        assert_eq!((at, ring.take(&mut at, true).is_err()), (0, true));
    }
}
