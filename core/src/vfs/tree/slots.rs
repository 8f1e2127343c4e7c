//! A directory of fixed capacity whose entries come and go.

use core::cell::RefCell;

use embassy_sync::blocking_mutex::CriticalSectionMutex;
use heapless::String;

use super::Node;
use crate::vfs::{Error, Name, Result};

/// Levels that may be below an entry of such a directory.
const BELOW: u8 = 2;

/// Bytes of a path that such a directory uses up: a [`Key`] and what is below it.
pub(super) const DEPTH: u8 = 4 + BELOW;

/// A generation has three bytes of a path.
const GENERATIONS: u32 = 1 << 24;

/// Which entry of a directory. Where entries come and go, it is never used for a second one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Key(pub(super) u32);

impl Key {
    /// The key of slot `index` in its `generation`, which must be below 2^24.
    #[must_use]
    pub const fn new(index: u8, generation: u32) -> Key {
        // 0 would read as the end of the path.
        Key((index as u32 + 1) | (generation << 8))
    }

    /// Which slot; `None` for a key that was never given out.
    #[must_use]
    pub const fn index(self) -> Option<u8> {
        (self.0 as u8).checked_sub(1)
    }

    /// How many entries had the slot before this one.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.0 >> 8
    }
}

/// What a tree asks of a directory. [`Dir`](super::Dir) is one and [`Slots`] another; at most 255
/// entries.
pub trait Entries {
    /// The entry called `name`.
    fn find(&self, name: &[u8]) -> Option<Key>;

    /// The first entry at slot `from` or after it.
    fn next(&self, from: u8) -> Option<Key>;

    /// What an entry stands for, while it is there.
    fn node(&self, key: Key) -> Option<Node>;

    /// Calls `with` with the name of an entry, while it is there.
    fn name(&self, key: Key, with: &mut dyn FnMut(&[u8]));

    /// Takes an entry out.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is gone already.
    fn remove(&self, key: Key) -> Result<()>;
}

/// A directory of at most `N` entries, with names of at most `NAME` bytes, that come and go while
/// the program runs.
///
/// A slot that was used 2^24 times is not used again, so that no inode number ever means two
/// things.
pub struct Slots<const N: usize, const NAME: usize = 32> {
    slots: CriticalSectionMutex<RefCell<[Slot<NAME>; N]>>,
}

struct Slot<const NAME: usize> {
    generation: u32,
    entry: Option<(String<NAME>, Node)>,
}

impl<const N: usize, const NAME: usize> Slots<N, NAME> {
    /// An empty directory.
    #[must_use]
    pub const fn new() -> Slots<N, NAME> {
        const { assert!(N <= 255, "a directory has at most 255 slots") };
        let slots = [const { Slot { generation: 0, entry: None } }; N];
        Slots { slots: CriticalSectionMutex::new(RefCell::new(slots)) }
    }

    /// Puts an entry in.
    ///
    /// # Errors
    /// What [`Name::new`] refuses, [`Error::NameTooLong`], [`Error::Exists`], [`Error::NoSpace`]
    /// when all slots are used, [`Error::Invalid`] for a directory of more than two levels.
    pub fn insert(&self, name: &str, node: Node) -> Result<Key> {
        Name::new(name.as_bytes())?;
        let name = String::try_from(name).map_err(|_| Error::NameTooLong)?;
        if node.depth() > BELOW {
            return Err(
                Error::Invalid.with_message(format_args!("the directory has more than two levels"))
            );
        }
        self.with(|slots| {
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

    /// Entries that it has now.
    pub fn len(&self) -> usize {
        self.with(|slots| slots.iter().filter(|slot| slot.entry.is_some()).count())
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn with<R>(&self, f: impl FnOnce(&mut [Slot<NAME>; N]) -> R) -> R {
        // Borrowed only within a critical section, in which nobody else runs and which calls no
        // code of others.
        self.slots.lock(|slots| f(&mut slots.borrow_mut()))
    }
}

impl<const N: usize, const NAME: usize> Default for Slots<N, NAME> {
    fn default() -> Self {
        Slots::new()
    }
}

impl<const N: usize, const NAME: usize> Entries for Slots<N, NAME> {
    fn find(&self, name: &[u8]) -> Option<Key> {
        let is = |slot: &Slot<NAME>| {
            slot.entry.as_ref().is_some_and(|(taken, _)| taken.as_bytes() == name)
        };
        self.with(|slots| {
            slots.iter().zip(0..).find(|(s, _)| is(s)).map(|(s, i)| Key::new(i, s.generation))
        })
    }

    fn next(&self, from: u8) -> Option<Key> {
        self.with(|slots| {
            let mut after = slots.iter().zip(0..).skip(from.into());
            after
                .find(|(slot, _)| slot.entry.is_some())
                .map(|(slot, index)| Key::new(index, slot.generation))
        })
    }

    fn node(&self, key: Key) -> Option<Node> {
        self.with(|slots| Some(slot(slots, key)?.entry.as_ref()?.1))
    }

    fn name(&self, key: Key, with: &mut dyn FnMut(&[u8])) {
        let name = self.with(|slots| Some(slot(slots, key)?.entry.as_ref()?.0.clone()));
        if let Some(name) = name {
            with(name.as_bytes());
        }
    }

    fn remove(&self, key: Key) -> Result<()> {
        self.with(|slots| {
            let slot =
                slot(slots, key).filter(|slot| slot.entry.is_some()).ok_or(Error::NotFound)?;
            slot.entry = None;
            slot.generation += 1;
            Ok(())
        })
    }
}

fn slot<const NAME: usize>(slots: &mut [Slot<NAME>], key: Key) -> Option<&mut Slot<NAME>> {
    slots.get_mut(usize::from(key.index()?)).filter(|slot| slot.generation == key.generation())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Blob;

    static BLOB: Blob = Blob::new("x");

    #[test]
    fn a_number_is_never_used_again() {
        let slots = Slots::<1>::new();
        let first = slots.insert("a", Node::File(&BLOB)).unwrap();
        assert_eq!(slots.insert("b", Node::File(&BLOB)), Err(Error::NoSpace));
        slots.remove(first).unwrap();
        let second = slots.insert("a", Node::File(&BLOB)).unwrap();
        assert_ne!(first, second);
        assert!(slots.node(first).is_none() && slots.node(second).is_some());
        assert_eq!(slots.remove(first), Err(Error::NotFound));
    }

    #[test]
    fn an_exhausted_slot_is_retired() {
        let slots = Slots::<1>::new();
        slots.with(|slots| slots[0].generation = GENERATIONS - 1);
        let last = slots.insert("a", Node::File(&BLOB)).unwrap();
        assert_eq!((last.index(), last.generation()), (Some(0), GENERATIONS - 1));
        slots.remove(last).unwrap();
        assert_eq!(slots.insert("a", Node::File(&BLOB)), Err(Error::NoSpace));
    }

    #[test]
    fn names_are_checked() {
        let slots = Slots::<2, 4>::new();
        slots.insert("a", Node::File(&BLOB)).unwrap();
        for (name, error) in [
            ("a", Error::Exists),
            ("abcde", Error::NameTooLong),
            ("", Error::NotFound),
            ("x/y", Error::Invalid),
        ] {
            assert_eq!(slots.insert(name, Node::File(&BLOB)), Err(error));
        }
    }
}
