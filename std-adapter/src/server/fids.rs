//! The fid table of a desktop: hashed, with a limit.

use std::collections::HashMap;

use datakit_core::session::{Fid, Fids};
use datakit_core::vfs::Vfs;

/// At most `most` fids.
pub(super) struct FidMap<V: Vfs> {
    map: HashMap<u32, Fid<V>, Spread>,
    most: usize,
}

impl<V: Vfs> FidMap<V> {
    pub(super) fn new(most: usize) -> FidMap<V> {
        FidMap { map: HashMap::with_hasher(Spread::default()), most }
    }
}

impl<V: Vfs> Fids<V> for FidMap<V> {
    fn get(&self, number: u32) -> Option<&Fid<V>> {
        self.map.get(&number)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Fid<V>> {
        self.map.get_mut(&number)
    }

    fn insert(&mut self, number: u32, fid: Fid<V>) -> Result<(), Fid<V>> {
        if self.map.len() >= self.most {
            return Err(fid);
        }
        self.map.insert(number, fid);
        Ok(())
    }

    fn remove(&mut self, number: u32) -> Option<Fid<V>> {
        self.map.remove(&number)
    }

    fn pop(&mut self) -> Option<Fid<V>> {
        let number = self.map.keys().next().copied()?;
        self.map.remove(&number)
    }

    fn len(&self) -> usize {
        self.map.len()
    }
}

/// Hashes a number by one multiplication with a secret of the table: a peer chooses its fids, and must not choose collisions.
#[derive(Clone)]
struct Spread(u64);

impl Default for Spread {
    fn default() -> Spread {
        use std::hash::{BuildHasher, RandomState};
        thread_local! {
            static SECRET: u64 = RandomState::new().hash_one(0u8) | 1;
        }
        Spread(SECRET.with(|secret| *secret))
    }
}

impl std::hash::BuildHasher for Spread {
    type Hasher = Spreading;

    fn build_hasher(&self) -> Spreading {
        Spreading(self.0)
    }
}

struct Spreading(u64);

impl std::hash::Hasher for Spreading {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32((*byte).into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        let wide = u128::from(self.0 ^ u64::from(number)) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (wide >> 64) as u64 ^ wide as u64;
    }
}
