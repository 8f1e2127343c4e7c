//! Inode numbers: one counter for the process, so that trees can be put together without two things
//! of one number.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A number that no inode had before, from 1 on.
pub fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The number of what is called `name` in the directory of number `dir`; what is of another kind
/// has another one. As good as [`of`], and made for listings: the name is hashed at one go.
pub fn below(dir: u64, kind: u8, name: &[u8]) -> u64 {
    let mut hasher = state().build_hasher();
    hasher.write(name);
    // Of names that are hashed with a secret, the rest can be mixed in without one.
    let mixed = hasher.finish() ^ dir.rotate_left(kind.into());
    (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63
}

/// The number of what `key` says, always the same in this process. Of the upper half, in which the
/// counter never gets; that two keys have one number is as likely as with any hash of 63 bits.
pub fn of(key: impl Hash) -> u64 {
    state().hash_one(key) | 1 << 63
}

fn state() -> &'static RandomState {
    static STATE: OnceLock<RandomState> = OnceLock::new();
    STATE.get_or_init(RandomState::new)
}
