//! The identifiers of received webhook deliveries.

use std::collections::{HashSet, VecDeque};

/// The maximum number of identifiers to remember.
const MAX_REMEMBERED: usize = 10_000;

/// The maximum length of an identifier in characters. GitHub's identifiers are 36 characters long.
const MAX_LEN: usize = 128;

/// The identifiers of the most recent deliveries.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    known: HashSet<Box<str>>,
    order: VecDeque<Box<str>>,
}

impl Deliveries {
    /// Adds an identifier. Returns `false` if the identifier was already known.
    pub(super) fn insert(&mut self, id: &str) -> bool {
        let id: Box<str> = id.chars().take(MAX_LEN).collect();
        if !self.known.insert(id.clone()) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_noticed_and_memory_is_limited() {
        let mut deliveries = Deliveries::default();
        for number in 0..2 * MAX_REMEMBERED {
            assert!(deliveries.insert(&number.to_string()));
            assert!(!deliveries.insert(&number.to_string()));
        }
        assert_eq!(deliveries.known.len(), MAX_REMEMBERED);
        assert!(deliveries.insert("0"), "the oldest is forgotten");
    }
}
