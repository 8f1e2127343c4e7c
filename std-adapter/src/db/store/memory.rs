//! A store that is gone with the process.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::RwLock;

use super::{FetchError, Move, Store};
use crate::db::object::{Kind, Object};
use crate::db::{BranchName, Id, Result};
use crate::locked;

/// So many parts that threads seldom meet in one.
const PARTS: usize = 64;

/// Objects and branches in memory. Nothing is ever collected.
#[derive(Debug)]
pub struct Memory {
    objects: [RwLock<HashMap<Id, Object, BuildHasherDefault<Prefix>>>; PARTS],
    heads: RwLock<BTreeMap<BranchName, Id>>,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Memory {
        Memory { objects: std::array::from_fn(|_| RwLock::default()), heads: RwLock::default() }
    }

    fn part(&self, id: Id) -> &RwLock<HashMap<Id, Object, BuildHasherDefault<Prefix>>> {
        // By the last byte: the map itself goes by the first ones.
        let [first, ..] = &self.objects;
        let [.., last] = id.as_bytes();
        self.objects.get(usize::from(*last) % PARTS).unwrap_or(first)
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new()
    }
}

/// A hash is spread as well as can be: its first bytes will do.
#[derive(Debug, Default)]
struct Prefix(u64);

impl Hasher for Prefix {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Store for Memory {
    fn waits(&self) -> bool {
        false
    }

    fn read(&self, id: Id) -> Result<Option<Object>> {
        Ok(locked::read(self.part(id)).get(&id).cloned())
    }

    fn header(&self, id: Id) -> Result<Option<(Kind, u64)>> {
        let objects = locked::read(self.part(id));
        Ok(objects.get(&id).map(|object| (object.kind, object.data.len() as u64)))
    }

    fn write(&self, objects: &[(Id, Object)]) -> Result<()> {
        for (id, object) in objects {
            locked::write(self.part(*id)).entry(*id).or_insert_with(|| object.clone());
        }
        Ok(())
    }

    fn head(&self, branch: &BranchName) -> Result<Option<Id>> {
        Ok(locked::read(&self.heads).get(branch).copied())
    }

    fn heads(&self) -> Result<Vec<(BranchName, Id)>> {
        Ok(locked::read(&self.heads).iter().map(|(name, id)| (name.clone(), *id)).collect())
    }

    fn update(&self, moves: &[Move<'_>]) -> Result<bool> {
        let mut heads = locked::write(&self.heads);
        if moves.iter().any(|Move { branch, from, .. }| heads.get(branch) != from.as_ref()) {
            return Ok(false);
        }
        for Move { branch, to, .. } in moves {
            match to {
                Some(to) => heads.insert((*branch).clone(), *to),
                None => heads.remove(branch),
            };
        }
        Ok(true)
    }

    fn fetch(&self, _: &str, _: &str, _: &BranchName) -> std::result::Result<Id, FetchError> {
        Err(FetchError::Failed("not here yet".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_moves_only_from_where_it_is() {
        let store = Memory::new();
        let branch = BranchName::new("master").unwrap();
        let (a, object) = Object::new(Kind::Blob, *b"a").unwrap();
        store.write(&[(a, object)]).unwrap();
        let b = Id::EMPTY_TREE;
        let go = |from, to| store.update(&[Move { branch: &branch, from, to }]).unwrap();
        assert!(!go(Some(a), Some(b)));
        assert!(go(None, Some(a)));
        assert!(!go(None, Some(b)) && !go(Some(b), None));
        assert!(go(Some(a), Some(b)) && go(Some(b), None));
        assert_eq!(store.heads().unwrap(), []);
        assert_eq!(store.header(a).unwrap(), Some((Kind::Blob, 1)));
    }
}
