//! Inode numbers, unique within the process, so trees can be combined.
//!
//! Numbers come from a counter or from a hash with a secret of the process. Hashes have the top bit
//! set, so the two never collide. Two hashes collide as rarely as any two hashes of 63 bits.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// Returns the next number of the counter, which starts at 1.
pub fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Returns the number of `name` in the directory `dir`. Different kinds get different numbers.
///
/// Faster than [`hash_of`], for listings: it hashes the name in a single write.
pub fn hash_of_child(dir: u64, kind: u8, name: &[u8]) -> u64 {
    let mut hasher = state().build_hasher();
    hasher.write(name);
    // The name is hashed with the secret, so the rest can be mixed in without it.
    let mixed = hasher.finish() ^ dir.rotate_left(kind.into());
    (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63
}

/// Returns the number of `key`, which is the same for equal keys until the process ends.
pub fn hash_of(key: impl Hash) -> u64 {
    state().hash_one(key) | 1 << 63
}

fn state() -> &'static RandomState {
    static STATE: OnceLock<RandomState> = OnceLock::new();
    STATE.get_or_init(RandomState::new)
}
