//! Inode numbers: one counter for the process, so that trees can be put together without two things of one number.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A number that no inode had before, from 1 on.
pub(crate) fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The number of what `key` says, always the same in this process. Of the upper half, in which the counter never gets; that two keys
/// have one number is as likely as with any hash of 63 bits.
pub(crate) fn of(key: impl Hash) -> u64 {
    static HASHER: OnceLock<RandomState> = OnceLock::new();
    HASHER.get_or_init(RandomState::new).hash_one(key) | 1 << 63
}
