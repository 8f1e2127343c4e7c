//! The fids of one connection.

use crate::vfs::{OpenMode, Vfs};

/// What a fid stands for.
pub struct Fid<V: Vfs> {
    /// Tells this use of the number from the next one, so that a request that waited finds its own
    /// fid again or none.
    pub(super) serial: u32,
    /// The user who attached, whose files it creates.
    pub(super) uid: u32,
    /// Number of the inode that was attached to: `..` goes no higher.
    pub(super) top: u64,
    pub(super) inode: V::Inode,
    pub(super) role: Role<V::Open>,
}

/// What a fid can be used for now.
pub(super) enum Role<O> {
    /// Taken by a request that has not ended yet: stands for nothing, keeps the number.
    Reserved,
    /// Walked to, not open.
    Walked,
    /// An open file.
    File { open: O, access: Access },
    /// An open directory: the offset where the next read must begin (9P2000 and .u), and the tree's
    /// own place for it. Of 4 GiB of records a client can read no more: every fid would be larger
    /// for it.
    Dir { open: O, offset: u32, cookie: u64 },
    /// An extended attribute, to be read or written.
    #[cfg_attr(not(feature = "linux"), expect(dead_code, reason = "only 9P2000.L opens one"))]
    Xattr { open: O, access: Access },
}

/// The uses that an open file allows, and whether it is removed when it is closed: a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access(u8);

impl Access {
    /// It may be read.
    pub(super) const READ: Access = Access(1);
    /// It may be written.
    pub(super) const WRITE: Access = Access(2);
    /// ORCLOSE: the file is removed when the fid goes.
    pub(super) const REMOVE: Access = Access(4);
    /// A read of it has waited, and may wait still.
    pub(super) const WAITED: Access = Access(8);

    /// The access that an open asked for.
    pub(super) fn new(mode: OpenMode, remove: bool) -> Access {
        Access(u8::from(mode.read) | u8::from(mode.write) << 1 | u8::from(remove) << 2)
    }

    pub(super) fn has(self, bit: Access) -> bool {
        self.0 & bit.0 != 0
    }

    pub(super) fn add(&mut self, bit: Access) {
        self.0 |= bit.0;
    }
}

impl<O> Role<O> {
    pub(super) fn opened(&self) -> Option<&O> {
        match self {
            Role::File { open, .. } | Role::Dir { open, .. } | Role::Xattr { open, .. } => {
                Some(open)
            }
            Role::Reserved | Role::Walked => None,
        }
    }

    /// Whether this is an open file with this bit.
    pub(super) fn has(&self, bit: Access) -> bool {
        matches!(self, Role::File { access, .. } if access.has(bit))
    }

    /// A read of this open file waits.
    pub(super) fn mark_waited(&mut self) {
        if let Role::File { access, .. } = self {
            access.add(Access::WAITED);
        }
    }

    /// The open file, if it may be used for this; open(5): the mode is checked at the open, "and
    /// not again": it is kept here.
    pub(super) fn file(&self, bit: Access) -> Option<&O> {
        match self {
            Role::File { open, access } | Role::Xattr { open, access } if access.has(bit) => {
                Some(open)
            }
            _ => None,
        }
    }
}

/// A table of fids: linear on a board, hashed on a desktop.
pub trait Fids<V: Vfs> {
    /// The fid of this number.
    fn get(&self, number: u32) -> Option<&Fid<V>>;

    /// The fid of this number, to be changed.
    fn get_mut(&mut self, number: u32) -> Option<&mut Fid<V>>;

    /// Adds a fid whose number is free; gives it back when the table is full.
    ///
    /// # Errors
    /// The fid, when there is no room for it.
    fn insert(&mut self, number: u32, fid: Fid<V>) -> Result<(), Fid<V>>;

    /// Takes the fid of this number out.
    fn remove(&mut self, number: u32) -> Option<Fid<V>>;

    /// Takes any fid out. Called until there are none; meanwhile those that are left need not be
    /// found by their numbers.
    fn pop(&mut self) -> Option<Fid<V>>;

    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// At most `N` fids, searched one after the other: fastest up to some 64.
pub struct FidArray<V: Vfs, const N: usize>(heapless::Vec<(u32, Fid<V>), N>);

impl<V: Vfs, const N: usize> FidArray<V, N> {
    /// An empty table.
    #[must_use]
    pub const fn new() -> Self {
        FidArray(heapless::Vec::new())
    }
}

impl<V: Vfs, const N: usize> Default for FidArray<V, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: Vfs, const N: usize> Fids<V> for FidArray<V, N> {
    fn get(&self, number: u32) -> Option<&Fid<V>> {
        self.0.iter().find(|(n, _)| *n == number).map(|(_, fid)| fid)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Fid<V>> {
        self.0.iter_mut().find(|(n, _)| *n == number).map(|(_, fid)| fid)
    }

    fn insert(&mut self, number: u32, fid: Fid<V>) -> Result<(), Fid<V>> {
        self.0.push((number, fid)).map_err(|(_, fid)| fid)
    }

    fn remove(&mut self, number: u32) -> Option<Fid<V>> {
        let at = self.0.iter().position(|(n, _)| *n == number)?;
        Some(self.0.swap_remove(at).1)
    }

    fn pop(&mut self) -> Option<Fid<V>> {
        self.0.pop().map(|(_, fid)| fid)
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}
