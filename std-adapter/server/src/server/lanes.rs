//! Lanes for a crew that grows: nearly every connection has one worker for ever.

use std::cell::OnceCell;
use std::iter::once;

use datakit_core::serve::{Lane, Lend};

/// One lane in place; the others are made together, when the second is asked for.
pub(super) struct Lanes {
    first: Lane,
    others: OnceCell<Box<[Lane]>>,
    most: u32,
}

impl Lanes {
    /// At most `most` lanes, at least the two that a request that waits and the one behind it need.
    pub(super) fn new(most: usize) -> Lanes {
        Lanes {
            first: Lane::new(),
            others: OnceCell::new(),
            most: u32::try_from(most).unwrap_or(u32::MAX).max(2),
        }
    }
}

impl Lend for Lanes {
    fn most(&self) -> usize {
        self.most as usize
    }

    fn lane(&self, number: usize) -> Option<&Lane> {
        let Some(number) = number.checked_sub(1) else { return Some(&self.first) };
        self.others.get_or_init(|| (1..self.most).map(|_| Lane::new()).collect()).get(number)
    }

    fn below(&self, number: usize) -> impl Iterator<Item = &Lane> {
        once(&self.first).chain(self.others.get().into_iter().flatten()).take(number)
    }
}
