//! Inode numbers that are unique across all trees in the process.
//!
//! An inode number is either taken from a counter or computed as a hash keyed with a random secret.
//! The most significant bit of a hash is set, so a hash never equals a number from the counter. Two
//! hashes collide with a probability of about 1 in 2^63.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// Returns the next number from the counter, which starts at 1.
pub fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Returns the inode number of `name` in the directory with inode number `dir`. The number also
/// depends on `kind`.
///
/// This function is called for every entry in a directory listing. `hash_of_child` is faster than
/// [`hash_of`], because it hashes the name with a single call to `write`.
pub fn hash_of_child(dir: u64, kind: u8, name: &[u8]) -> u64 {
    let mut hasher = state().build_hasher();
    hasher.write(name);
    // The hash of the name already depends on the secret, so `dir` and `kind` do not need to be
    // hashed.
    let mixed = hasher.finish() ^ dir.rotate_left(kind.into());
    (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63
}

/// Returns the inode number of `key`. Equal keys have equal numbers until the process exits.
pub fn hash_of(key: impl Hash) -> u64 {
    state().hash_one(key) | 1 << 63
}

fn state() -> &'static RandomState {
    static STATE: OnceLock<RandomState> = OnceLock::new();
    STATE.get_or_init(RandomState::new)
}
