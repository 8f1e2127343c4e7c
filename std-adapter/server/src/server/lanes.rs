//! Lanes for a crew that grows: nearly every connection has one worker for ever.

use std::cell::OnceCell;
use std::iter::once;

use datakit_core::serve::{RequestSlot, SlotStorage};

/// One lane in place; the others are made together, when the second is asked for.
pub(super) struct Lanes {
    first: RequestSlot,
    others: OnceCell<Box<[RequestSlot]>>,
    most: u32,
}

impl Lanes {
    /// At most `most` lanes, at least the two that a request that waits and the one behind it need.
    pub(super) fn new(most: usize) -> Lanes {
        Lanes {
            first: RequestSlot::new(),
            others: OnceCell::new(),
            most: u32::try_from(most).unwrap_or(u32::MAX).max(2),
        }
    }
}

impl SlotStorage for Lanes {
    fn capacity(&self) -> usize {
        self.most as usize
    }

    fn slot(&self, number: usize) -> Option<&RequestSlot> {
        let Some(number) = number.checked_sub(1) else { return Some(&self.first) };
        self.others.get_or_init(|| (1..self.most).map(|_| RequestSlot::new()).collect()).get(number)
    }

    fn first(&self, number: usize) -> impl Iterator<Item = &RequestSlot> {
        once(&self.first).chain(self.others.get().into_iter().flatten()).take(number)
    }
}
