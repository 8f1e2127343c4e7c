//! A fixed-capacity directory whose entries are added and removed at run time.

use core::cell::RefCell;
use core::fmt;

use embassy_sync::blocking_mutex::CriticalSectionMutex;
use heapless::String;

use super::Node;
use crate::vfs::{Error, Name, Result, WithName};

/// The maximum number of levels below an entry in a dynamic directory.
const LEVELS_BELOW_MAX: u8 = 2;

/// The number of path bytes reserved for a dynamic directory. A [`Key`] uses four bytes, and each
/// level below the entry uses one.
pub(super) const PATH_BYTES: u8 = 4 + LEVELS_BELOW_MAX;

/// The number of entries that a slot can hold over its lifetime. An entry's generation number takes
/// up three bytes of the path.
const GENERATIONS: u32 = 1 << 24;

/// The key of an entry in a directory. A key is never reused for another entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Key(pub(super) u32);

impl Key {
    /// Creates the key for the entry in slot `index`. `generation` must be less than 2^24.
    #[must_use]
    pub const fn new(index: u8, generation: u32) -> Key {
        // The stored value is the index plus 1, because a zero byte terminates a path.
        Key((index as u32 + 1) | (generation << 8))
    }

    /// Returns the slot's index, or `None` if no entry can have this key.
    #[must_use]
    pub const fn index(self) -> Option<u8> {
        (self.0 as u8).checked_sub(1)
    }

    /// Returns the number of entries that occupied the slot before this entry.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.0 >> 8
    }
}

/// A directory in a [`StaticTree`](super::StaticTree). A directory is a table of at most 255
/// entries. [`Dir`](super::Dir) and [`DynamicDir`] implement this trait.
pub trait EntryTable {
    /// Returns the key of the entry named `name`.
    fn find(&self, name: &[u8]) -> Option<Key>;

    /// Returns the key of the first entry at or after slot `from`.
    fn next(&self, from: u8) -> Option<Key>;

    /// Returns an entry's node, or `None` if the entry was removed.
    fn node(&'static self, key: Key) -> Option<Node>;

    /// Calls `with`, passing an entry's name, unless the entry was removed.
    fn name(&self, key: Key, with: &mut WithName<'_>);

    /// Removes an entry.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the entry was already removed, and [`Error::NotPermitted`] if
    /// the directory never changes.
    fn remove(&self, key: Key) -> Result<()>;
}

/// A directory whose entries are added and removed at run time. It has room for `N` entries with
/// names of at most `NAME` bytes.
///
/// A slot is retired after it has held 2^24 entries, so inode numbers are never reused.
pub struct DynamicDir<const N: usize, const NAME: usize = 32> {
    slots: CriticalSectionMutex<RefCell<[DirSlot<NAME>; N]>>,
}

struct DirSlot<const NAME: usize> {
    generation: u32,
    entry: Option<(String<NAME>, Node)>,
}

impl<const N: usize, const NAME: usize> DynamicDir<N, NAME> {
    /// Creates an empty directory.
    #[must_use]
    pub const fn new() -> DynamicDir<N, NAME> {
        const { assert!(N <= 255, "a directory has at most 255 entries") };
        let slots = [const { DirSlot { generation: 0, entry: None } }; N];
        DynamicDir { slots: CriticalSectionMutex::new(RefCell::new(slots)) }
    }

    /// Adds an entry and returns its key.
    ///
    /// # Errors
    /// - Returns [`Error::Exists`] if an entry already has this name.
    /// - Returns [`Error::NoSpace`] if all slots are in use.
    /// - Returns [`Error::NameTooLong`] if the name is longer than `NAME` bytes.
    /// - Returns [`Error::NotFound`] if the name is empty.
    /// - Returns [`Error::Invalid`] if the name is invalid or if `node` is a directory with more
    ///   than two levels.
    pub fn insert(&self, name: &str, node: Node) -> Result<Key> {
        Name::new(name.as_bytes())?;
        let name = String::try_from(name).map_err(|_| Error::NameTooLong)?;
        if node.depth() > LEVELS_BELOW_MAX {
            return Err(
                Error::Invalid.with_message(format_args!("the directory has more than two levels"))
            );
        }
        self.with_slots(|slots| {
            if slots.iter().any(|slot| slot.entry.as_ref().is_some_and(|(taken, _)| *taken == name))
            {
                return Err(Error::Exists);
            }
            let free = slots
                .iter_mut()
                .enumerate()
                .find(|(_, s)| s.entry.is_none() && s.generation < GENERATIONS);
            let (index, slot) = free.ok_or(Error::NoSpace)?;
            slot.entry = Some((name, node));
            Ok(Key::new(index as u8, slot.generation))
        })
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.with_slots(|slots| slots.iter().filter(|slot| slot.entry.is_some()).count())
    }

    /// Returns `true` if the directory has no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn with_slots<R>(&self, f: impl FnOnce(&mut [DirSlot<NAME>; N]) -> R) -> R {
        // The borrow cannot fail, because the slots are borrowed only in critical sections, which
        // cannot be interrupted and call no external code.
        self.slots.lock(|slots| f(&mut slots.borrow_mut()))
    }
}

impl<const N: usize, const NAME: usize> Default for DynamicDir<N, NAME> {
    fn default() -> Self {
        DynamicDir::new()
    }
}

impl<const N: usize, const NAME: usize> fmt::Debug for DynamicDir<N, NAME> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicDir").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<const N: usize, const NAME: usize> EntryTable for DynamicDir<N, NAME> {
    fn find(&self, name: &[u8]) -> Option<Key> {
        let is = |slot: &DirSlot<NAME>| {
            slot.entry.as_ref().is_some_and(|(taken, _)| taken.as_bytes() == name)
        };
        self.with_slots(|slots| {
            slots.iter().zip(0..).find(|(s, _)| is(s)).map(|(s, i)| Key::new(i, s.generation))
        })
    }

    fn next(&self, from: u8) -> Option<Key> {
        self.with_slots(|slots| {
            let mut after = slots.iter().zip(0..).skip(from.into());
            after
                .find(|(slot, _)| slot.entry.is_some())
                .map(|(slot, index)| Key::new(index, slot.generation))
        })
    }

    fn node(&'static self, key: Key) -> Option<Node> {
        self.with_slots(|slots| Some(find_slot(slots, key)?.entry.as_ref()?.1))
    }

    fn name(&self, key: Key, with: &mut WithName<'_>) {
        let name = self.with_slots(|slots| Some(find_slot(slots, key)?.entry.as_ref()?.0.clone()));
        if let Some(name) = name {
            with.call(&name);
        }
    }

    fn remove(&self, key: Key) -> Result<()> {
        self.with_slots(|slots| {
            let slot =
                find_slot(slots, key).filter(|slot| slot.entry.is_some()).ok_or(Error::NotFound)?;
            slot.entry = None;
            slot.generation += 1;
            Ok(())
        })
    }
}

fn find_slot<const NAME: usize>(
    slots: &mut [DirSlot<NAME>],
    key: Key,
) -> Option<&mut DirSlot<NAME>> {
    slots.get_mut(usize::from(key.index()?)).filter(|slot| slot.generation == key.generation())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Blob;

    static BLOB: Blob = Blob::new("x");

    #[test]
    fn removed_key_is_not_reused() {
        static DIR: DynamicDir<1> = DynamicDir::new();
        let first = DIR.insert("a", Node::File(&BLOB)).unwrap();
        assert_eq!(DIR.insert("b", Node::File(&BLOB)), Err(Error::NoSpace));
        DIR.remove(first).unwrap();
        let second = DIR.insert("a", Node::File(&BLOB)).unwrap();
        assert_ne!(first, second);
        assert!(DIR.node(first).is_none() && DIR.node(second).is_some());
        assert_eq!(DIR.remove(first), Err(Error::NotFound));
    }

    #[test]
    fn exhausted_slot_is_retired() {
        let dir = DynamicDir::<1>::new();
        dir.with_slots(|slots| slots[0].generation = GENERATIONS - 1);
        let last = dir.insert("a", Node::File(&BLOB)).unwrap();
        assert_eq!((last.index(), last.generation()), (Some(0), GENERATIONS - 1));
        dir.remove(last).unwrap();
        assert_eq!(dir.insert("a", Node::File(&BLOB)), Err(Error::NoSpace));
    }

    #[test]
    fn insert_refuses_invalid_names() {
        let dir = DynamicDir::<2, 4>::new();
        dir.insert("a", Node::File(&BLOB)).unwrap();
        for (name, error) in [
            ("a", Error::Exists),
            ("abcde", Error::NameTooLong),
            ("", Error::NotFound),
            ("x/y", Error::Invalid),
        ] {
            assert_eq!(dir.insert(name, Node::File(&BLOB)), Err(error));
        }
    }
}
