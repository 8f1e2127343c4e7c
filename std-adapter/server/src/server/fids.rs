//! The fid table of a desktop: searched one after the other while there are few, hashed when there
//! are more, with a limit.

use std::collections::HashMap;
use std::collections::hash_map::IntoIter;

use datakit_core::session::{FidEntry, FidTable};
use datakit_core::vfs::Vfs;

/// As many are found as fast one after the other as by their hash, in a fourth of the memory if
/// there is one.
const FEW: usize = 8;

/// At most `most` fids.
pub(super) struct FidMap<V: Vfs> {
    table: Table<V>,
    /// Those that were many when all began to go.
    leaving: Option<Box<IntoIter<u32, FidEntry<V>>>>,
    most: usize,
}

enum Table<V: Vfs> {
    /// At most [`FEW`].
    Few(Vec<(u32, FidEntry<V>)>),
    #[expect(clippy::box_collection, reason = "apart, so that a connection that has few is small")]
    Many(Box<HashMap<u32, FidEntry<V>, Spread>>),
}

impl<V: Vfs> FidMap<V> {
    pub(super) fn new(most: usize) -> FidMap<V> {
        FidMap { table: Table::Few(Vec::new()), leaving: None, most }
    }
}

impl<V: Vfs> FidTable<V> for FidMap<V> {
    fn get(&self, number: u32) -> Option<&FidEntry<V>> {
        match &self.table {
            Table::Few(few) => few.iter().find(|(n, _)| *n == number).map(|(_, fid)| fid),
            Table::Many(many) => many.get(&number),
        }
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut FidEntry<V>> {
        match &mut self.table {
            Table::Few(few) => few.iter_mut().find(|(n, _)| *n == number).map(|(_, fid)| fid),
            Table::Many(many) => many.get_mut(&number),
        }
    }

    fn insert(&mut self, number: u32, fid: FidEntry<V>) -> Result<(), FidEntry<V>> {
        if self.len() >= self.most {
            return Err(fid);
        }
        match &mut self.table {
            Table::Few(few) if few.len() < FEW => {
                // `push` alone would make room for four, where most have one.
                if few.len() == few.capacity() {
                    few.reserve_exact(few.len().max(1));
                }
                few.push((number, fid));
            }
            Table::Few(few) => {
                self.table = Table::Many(Box::new(few.drain(..).chain([(number, fid)]).collect()))
            }
            Table::Many(many) => {
                many.insert(number, fid);
            }
        }
        Ok(())
    }

    fn remove(&mut self, number: u32) -> Option<FidEntry<V>> {
        match &mut self.table {
            Table::Few(few) => {
                let at = few.iter().position(|(n, _)| *n == number)?;
                Some(few.swap_remove(at).1)
            }
            Table::Many(many) => many.remove(&number),
        }
    }

    fn pop(&mut self) -> Option<FidEntry<V>> {
        if let Some((_, fid)) = self.leaving.as_mut().and_then(|leaving| leaving.next()) {
            return Some(fid);
        }
        // To look for any fid in the map again and again would take its size squared.
        match std::mem::replace(&mut self.table, Table::Few(Vec::new())) {
            Table::Few(mut few) => {
                self.leaving = None;
                let gone = few.pop();
                self.table = Table::Few(few);
                gone.map(|(_, fid)| fid)
            }
            Table::Many(many) => {
                let mut leaving = Box::new(many.into_iter());
                let gone = leaving.next();
                self.leaving = Some(leaving);
                gone.map(|(_, fid)| fid)
            }
        }
    }

    fn len(&self) -> usize {
        let table = match &self.table {
            Table::Few(few) => few.len(),
            Table::Many(many) => many.len(),
        };
        table + self.leaving.as_ref().map_or(0, |leaving| leaving.len())
    }
}

/// Hashes a number by one multiplication with a secret of the table: a peer chooses its fids, and
/// must not choose collisions.
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

    type Table<'v> = Session<'v, Scratch, FidMap<Scratch>>;

    async fn ask(session: &Table<'_>, request: &T<'_>) {
        let mut buf = [0; 512];
        let len = request.encode(Tag(1), Dialect::Legacy, &mut buf).unwrap_or(0);
        session.answer(&mut buf, len).await;
    }

    async fn walk(session: &Table<'_>, newfids: std::ops::Range<u32>) {
        for newfid in newfids {
            ask(session, &T::Walk { fid: Fid(0), newfid: Fid(newfid), wnames: List::Slice(&[]) })
                .await;
        }
    }

    /// One fid, 0.
    async fn attached(tree: &Scratch) -> Table<'_> {
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
    async fn few_become_many() {
        let tree = Scratch::new();
        let session = attached(&tree).await;
        for most in [FEW, FEW + 1, 3 * FEW] {
            let most = most as u32;
            walk(&session, 1..most).await;
            // Those that are there already are not made again.
            walk(&session, 0..most).await;
            assert_eq!(session.fids(), most as usize);
            for fid in 1..most {
                ask(&session, &T::Clunk { fid: Fid(fid) }).await;
            }
            assert_eq!(session.fids(), 1);
        }
    }

    #[tokio::test]
    async fn many_fids_go_one_by_one_as_fast_as_they_came() {
        let tree = Scratch::new();
        let session = attached(&tree).await;
        let began = std::time::Instant::now();
        walk(&session, 1..100_000).await;
        let (came, began) = (began.elapsed(), std::time::Instant::now());
        assert_eq!(session.fids(), 100_000);
        session.close().await;
        assert_eq!(session.fids(), 0);
        assert!(began.elapsed() < came * 3, "{came:?} to come, {:?} to go", began.elapsed());
    }
}
