//! A counter that shows whether any value has changed since a given time.

use core::sync::atomic::{AtomicU32, Ordering};

/// The number of changes so far, modulo 2^32. It is written only in critical sections.
static CHANGES: AtomicU32 = AtomicU32::new(0);

/// Counts a change to a parameter's value or to a staged value in a transaction. Must be called in
/// a critical section.
pub(crate) fn count_change() {
    CHANGES.store(change_count().wrapping_add(1), Ordering::Relaxed);
}

/// Returns the number of changes so far, modulo 2^32.
pub(crate) fn change_count() -> u32 {
    CHANGES.load(Ordering::Relaxed)
}
