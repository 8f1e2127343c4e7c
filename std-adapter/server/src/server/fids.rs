//! A connection's fid table: a vector if there are only a few fids, and a hash map otherwise.

use std::collections::HashMap;
use std::collections::hash_map::IntoIter;

use datakit_core::session::{FidEntry, FidTable};
use datakit_core::vfs::Vfs;

/// The maximum number of fids in a vector. Searching a vector of this size is as fast as hashing.
/// In the vector, a fid takes up a quarter of the memory that it would need in a hash map.
const FEW: usize = 8;

/// A table of at most `max` fids.
pub(super) struct FidMap<V: Vfs> {
    table: FidStorage<V>,
    /// The remaining entries of the hash map, once `pop` has started to drain the map.
    drained: Option<Box<IntoIter<u32, FidEntry<V>>>>,
    max: usize,
}

enum FidStorage<V: Vfs> {
    /// A vector of at most [`FEW`] fids.
    Few(Vec<(u32, FidEntry<V>)>),
    #[expect(clippy::box_collection, reason = "a connection with few fids stays small")]
    Many(Box<HashMap<u32, FidEntry<V>, FidHasher>>),
}

impl<V: Vfs> FidMap<V> {
    pub(super) fn new(max: usize) -> FidMap<V> {
        FidMap { table: FidStorage::Few(Vec::new()), drained: None, max }
    }
}

impl<V: Vfs> FidTable<V> for FidMap<V> {
    fn get(&self, number: u32) -> Option<&FidEntry<V>> {
        match &self.table {
            FidStorage::Few(few) => few.iter().find(|(n, _)| *n == number).map(|(_, fid)| fid),
            FidStorage::Many(many) => many.get(&number),
        }
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut FidEntry<V>> {
        match &mut self.table {
            FidStorage::Few(few) => few.iter_mut().find(|(n, _)| *n == number).map(|(_, fid)| fid),
            FidStorage::Many(many) => many.get_mut(&number),
        }
    }

    fn insert(&mut self, number: u32, fid: FidEntry<V>) -> Result<(), FidEntry<V>> {
        if self.len() >= self.max {
            return Err(fid);
        }
        match &mut self.table {
            FidStorage::Few(few) if few.len() < FEW => {
                // `push` would allocate space for four fids, but most connections use only one.
                if few.len() == few.capacity() {
                    few.reserve_exact(few.len().max(1));
                }
                few.push((number, fid));
            }
            FidStorage::Few(few) => {
                self.table =
                    FidStorage::Many(Box::new(few.drain(..).chain([(number, fid)]).collect()))
            }
            FidStorage::Many(many) => {
                many.insert(number, fid);
            }
        }
        Ok(())
    }

    fn remove(&mut self, number: u32) -> Option<FidEntry<V>> {
        match &mut self.table {
            FidStorage::Few(few) => {
                let at = few.iter().position(|(n, _)| *n == number)?;
                Some(few.swap_remove(at).1)
            }
            FidStorage::Many(many) => many.remove(&number),
        }
    }

    fn pop(&mut self) -> Option<FidEntry<V>> {
        if let Some((_, fid)) = self.drained.as_mut().and_then(|drained| drained.next()) {
            return Some(fid);
        }
        // Finding an arbitrary entry in a hash map takes linear time, so turn the map into an
        // iterator.
        match std::mem::replace(&mut self.table, FidStorage::Few(Vec::new())) {
            FidStorage::Few(mut few) => {
                self.drained = None;
                let fid = few.pop();
                self.table = FidStorage::Few(few);
                fid.map(|(_, fid)| fid)
            }
            FidStorage::Many(many) => {
                let mut drained = Box::new(many.into_iter());
                let fid = drained.next();
                self.drained = Some(drained);
                fid.map(|(_, fid)| fid)
            }
        }
    }

    fn len(&self) -> usize {
        let table = match &self.table {
            FidStorage::Few(few) => few.len(),
            FidStorage::Many(many) => many.len(),
        };
        table + self.drained.as_ref().map_or(0, |drained| drained.len())
    }
}

/// A hasher that multiplies a fid by a secret. The secret prevents the peer from choosing fids that
/// collide.
#[derive(Clone)]
struct FidHasher(u64);

impl Default for FidHasher {
    fn default() -> FidHasher {
        use std::hash::{BuildHasher, RandomState};
        thread_local! {
            static SECRET: u64 = RandomState::new().hash_one(0u8) | 1;
        }
        FidHasher(SECRET.with(|secret| *secret))
    }
}

impl std::hash::BuildHasher for FidHasher {
    type Hasher = FidHash;

    fn build_hasher(&self) -> FidHash {
        FidHash(self.0)
    }
}

struct FidHash(u64);

impl std::hash::Hasher for FidHash {
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

    type TestSession<'v> = Session<'v, Scratch, FidMap<Scratch>>;

    async fn ask(session: &TestSession<'_>, request: &T<'_>) {
        let mut buf = [0; 512];
        let len = request.encode(Tag(1), Dialect::Legacy, &mut buf).unwrap_or(0);
        session.answer(&mut buf, len).await;
    }

    async fn walk(session: &TestSession<'_>, newfids: std::ops::Range<u32>) {
        for newfid in newfids {
            ask(session, &T::Walk { fid: Fid(0), newfid: Fid(newfid), wnames: List::Slice(&[]) })
                .await;
        }
    }

    /// Returns a session in which fid 0 refers to the root.
    async fn attached(tree: &Scratch) -> TestSession<'_> {
        let session = Session::new(tree, FidMap::new(100_000), Limits::default());
        ask(&session, &T::Version { msize: 8192, version: "9P2000".into() }).await;
        let (uname, aname) = ("u".into(), "".into());
        ask(
            &session,
            &T::Attach { fid: Fid(0), afid: Fid::NONE, uname, aname, n_uname: Numeric::NONE },
        )
        .await;
        session
    }

    #[tokio::test]
    async fn the_table_changes_from_a_vector_to_a_map_and_back() {
        let tree = Scratch::new();
        let session = attached(&tree).await;
        for count in [FEW, FEW + 1, 3 * FEW] {
            let count = count as u32;
            walk(&session, 1..count).await;
            // A walk to a fid that is already in use fails.
            walk(&session, 0..count).await;
            assert_eq!(session.fids(), count as usize);
            for fid in 1..count {
                ask(&session, &T::Clunk { fid: Fid(fid) }).await;
            }
            assert_eq!(session.fids(), 1);
        }
    }

    #[tokio::test]
    async fn closing_many_fids_takes_linear_time() {
        let tree = Scratch::new();
        let session = attached(&tree).await;
        let began = std::time::Instant::now();
        walk(&session, 1..100_000).await;
        let (opening, began) = (began.elapsed(), std::time::Instant::now());
        assert_eq!(session.fids(), 100_000);
        session.close().await;
        assert_eq!(session.fids(), 0);
        assert!(
            began.elapsed() < opening * 3,
            "{opening:?} to open, {:?} to close",
            began.elapsed()
        );
    }
}
