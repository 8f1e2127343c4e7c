//! The fid table of a desktop: hashed, with a limit.

use std::collections::HashMap;
use std::collections::hash_map::IntoIter;

use datakit_core::session::{Fid, Fids};
use datakit_core::vfs::Vfs;

/// At most `most` fids.
pub(super) struct FidMap<V: Vfs> {
    map: HashMap<u32, Fid<V>, Spread>,
    /// Those that were there when all began to go.
    leaving: IntoIter<u32, Fid<V>>,
    most: usize,
}

impl<V: Vfs> FidMap<V> {
    pub(super) fn new(most: usize) -> FidMap<V> {
        FidMap { map: HashMap::with_hasher(Spread::default()), leaving: IntoIter::default(), most }
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
        if self.len() >= self.most {
            return Err(fid);
        }
        self.map.insert(number, fid);
        Ok(())
    }

    fn remove(&mut self, number: u32) -> Option<Fid<V>> {
        self.map.remove(&number)
    }

    fn pop(&mut self) -> Option<Fid<V>> {
        // To look for any fid in the map again and again would take its size squared.
        if self.leaving.len() == 0 {
            self.leaving = std::mem::replace(&mut self.map, HashMap::with_hasher(Spread::default())).into_iter();
        }
        self.leaving.next().map(|(_, fid)| fid)
    }

    fn len(&self) -> usize {
        self.map.len() + self.leaving.len()
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

#[cfg(test)]
mod tests {
    use datakit_core::session::{Limits, Session};
    use datakit_core::wire::{Dialect, Fid, List, Numeric, Tag, Tmessage as T};

    use super::*;
    use crate::scratch::Scratch;

    #[tokio::test]
    async fn many_fids_go_one_by_one_as_fast_as_they_came() {
        let tree = Scratch::new();
        let session = Session::new(&tree, FidMap::new(100_000), Limits::default());
        let mut buf = [0; 512];
        let ask = async |request: &T<'_>, buf: &mut [u8]| {
            let len = request.encode(Tag(1), Dialect::Legacy, buf).unwrap_or(0);
            session.answer(buf, len).await;
        };
        ask(&T::Version { msize: 8192, version: "9P2000".into() }, &mut buf).await;
        let (uname, aname) = ("u".into(), "".into());
        ask(&T::Attach { fid: Fid(0), afid: Fid::NONE, uname, aname, n_uname: Numeric::NONE }, &mut buf).await;
        let began = std::time::Instant::now();
        for newfid in 1..100_000 {
            ask(&T::Walk { fid: Fid(0), newfid: Fid(newfid), wnames: List::Slice(&[]) }, &mut buf).await;
        }
        let (came, began) = (began.elapsed(), std::time::Instant::now());
        assert_eq!(session.fids(), 100_000);
        session.hang_up().await;
        assert_eq!(session.fids(), 0);
        assert!(began.elapsed() < came * 3, "{came:?} to come, {:?} to go", began.elapsed());
    }
}
