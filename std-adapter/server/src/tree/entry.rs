//! The named inodes in the dynamic tree.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use datakit_core::vfs::{FileType, Id, Result};
use parking_lot::RwLock;

use super::{Attributes, Directory, Leaf};
use crate::inode_numbers;

/// A named inode in the dynamic tree: a file, a directory or a symbolic link.
///
/// Clones refer to the same inode, and every new entry gets a new inode number. A directory should
/// store its entries, because two lookups of the same name must return the same inode number.
#[derive(Clone)]
pub struct Entry(NodeRef);

/// A reference to a node. A listing may create thousands of nodes, so a node is allocated together
/// with its file or directory.
#[derive(Clone)]
enum NodeRef {
    Dir(Arc<EntryNode<dyn Directory>>),
    File(Arc<EntryNode<dyn Leaf>>),
    Symlink(Arc<EntryNode<Box<[u8]>>>),
}

struct EntryNode<C: ?Sized> {
    ino: u64,
    name: Arc<[u8]>,
    /// The changed name and attributes, if the entry was renamed or its attributes were set. Most
    /// entries never change, so their names can be read without a lock.
    changes: OnceLock<Box<RwLock<EntryChanges>>>,
    content: C,
}

/// The current name and attributes of an entry that has been renamed or whose attributes have been
/// set.
struct EntryChanges {
    name: Arc<[u8]>,
    attributes: Attributes,
}

/// The content of an entry.
pub(super) enum EntryContent<'e> {
    Dir(&'e dyn Directory),
    File(&'e dyn Leaf),
    /// The target of the link.
    Symlink(&'e [u8]),
}

/// The fields common to nodes of all types.
type Header<'e> = (u64, &'e Arc<[u8]>, &'e OnceLock<Box<RwLock<EntryChanges>>>);

impl<C> EntryNode<C> {
    fn new(name: Arc<[u8]>, ino: u64, content: C) -> Arc<EntryNode<C>> {
        Arc::new(EntryNode { ino, name, changes: OnceLock::new(), content })
    }
}

impl<C: ?Sized> EntryNode<C> {
    fn header(&self) -> Header<'_> {
        (self.ino, &self.name, &self.changes)
    }
}

impl Entry {
    /// Creates a directory entry.
    pub fn dir(name: impl AsRef<[u8]>, dir: impl Directory + 'static) -> Entry {
        Entry::dir_with_ino(name.as_ref().into(), inode_numbers::next(), dir)
    }

    /// Creates a file entry.
    pub fn file(name: impl AsRef<[u8]>, file: impl Leaf + 'static) -> Entry {
        Entry::file_with_ino(name.as_ref().into(), inode_numbers::next(), file)
    }

    /// Creates a symbolic link.
    pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
        let (name, target) = (name.as_ref().into(), target.as_ref().into());
        Entry(NodeRef::Symlink(EntryNode::new(name, inode_numbers::next(), target)))
    }

    /// Creates a directory with inode number `ino`. The name is not copied. See
    /// [`with_ino`](Entry::with_ino).
    pub fn dir_with_ino(name: Arc<[u8]>, ino: u64, dir: impl Directory + 'static) -> Entry {
        Entry(NodeRef::Dir(EntryNode::new(name, ino, dir)))
    }

    /// Creates a file with inode number `ino`. The name is not copied. See
    /// [`with_ino`](Entry::with_ino).
    pub fn file_with_ino(name: Arc<[u8]>, ino: u64, file: impl Leaf + 'static) -> Entry {
        Entry(NodeRef::File(EntryNode::new(name, ino, file)))
    }

    /// Sets the inode number of a newly created entry. Clients treat all entries with the same
    /// inode number as one file.
    #[must_use]
    pub fn with_ino(mut self, number: u64) -> Entry {
        // A newly created entry has no clones, so `get_mut` succeeds.
        let ino = match &mut self.0 {
            NodeRef::Dir(node) => Arc::get_mut(node).map(|node| &mut node.ino),
            NodeRef::File(node) => Arc::get_mut(node).map(|node| &mut node.ino),
            NodeRef::Symlink(node) => Arc::get_mut(node).map(|node| &mut node.ino),
        };
        if let Some(ino) = ino {
            *ino = number;
        }
        self
    }

    /// Sets attributes that override those reported by the file or directory.
    #[must_use]
    pub fn with_attributes(self, attributes: Attributes) -> Entry {
        self.set_attributes(attributes);
        self
    }

    /// Replaces the attributes that override those reported by the file or directory. The next stat
    /// returns the new attributes.
    pub fn set_attributes(&self, attributes: Attributes) {
        self.changes().write().attributes = attributes;
    }

    /// Returns the current name, which changes when the entry is renamed.
    #[must_use]
    pub fn name(&self) -> Arc<[u8]> {
        let (_, name, changes) = self.header();
        changes.get().map_or_else(|| name.clone(), |changes| changes.read().name.clone())
    }

    /// Passes the current name to `with` without copying the name.
    pub(super) fn with_name<R>(&self, with: impl FnOnce(&[u8]) -> R) -> R {
        let (_, name, changes) = self.header();
        match changes.get() {
            Some(changes) => with(&changes.read().name),
            None => with(name),
        }
    }

    pub(super) fn set_name(&self, name: &[u8]) {
        self.changes().write().name = name.into();
    }

    /// Returns the attributes that override those reported by the file or directory, if any.
    pub(super) fn attributes(&self) -> Option<Attributes> {
        self.header().2.get().map(|changes| changes.read().attributes)
    }

    fn changes(&self) -> &RwLock<EntryChanges> {
        let (_, name, changes) = self.header();
        changes.get_or_init(|| {
            let attributes = Attributes::default();
            Box::new(RwLock::new(EntryChanges { name: name.clone(), attributes }))
        })
    }

    fn header(&self) -> Header<'_> {
        match &self.0 {
            NodeRef::Dir(node) => node.header(),
            NodeRef::File(node) => node.header(),
            NodeRef::Symlink(node) => node.header(),
        }
    }

    /// Returns the inode number. The number is unique within this process unless it was set by
    /// [`with_ino`](Entry::with_ino).
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.header().0
    }

    /// Returns the file type.
    #[must_use]
    pub fn kind(&self) -> FileType {
        match self.content() {
            EntryContent::Dir(_) => FileType::Dir,
            EntryContent::File(leaf) => leaf.kind(),
            EntryContent::Symlink(_) => FileType::Symlink,
        }
    }

    pub(super) fn id(&self) -> Id {
        // The version is always 0 to disable caching, because the tree cannot detect every change
        // to the content.
        Id { ino: self.ino(), kind: self.kind(), version: 0 }
    }

    /// Returns `true` if both entries refer to the same inode.
    #[must_use]
    pub fn is_same(&self, other: &Entry) -> bool {
        self.ino() == other.ino()
    }

    /// Returns the directory, or `None` if the entry is not a directory.
    #[must_use]
    pub fn as_dir(&self) -> Option<&dyn Directory> {
        match self.content() {
            EntryContent::Dir(dir) => Some(dir),
            _ => None,
        }
    }

    /// Calls the `remove` method of the file or directory. Removing a symbolic link always
    /// succeeds.
    ///
    /// # Errors
    /// Returns any error from [`Leaf::remove`] or [`Directory::remove`].
    pub async fn remove(&self) -> Result<()> {
        match self.content() {
            EntryContent::Dir(dir) => dir.remove().await,
            EntryContent::File(leaf) => leaf.remove().await,
            EntryContent::Symlink(_) => Ok(()),
        }
    }

    /// Returns the current parent directory, or `None` if the entry never moves.
    pub(super) fn current_parent(&self) -> Option<Entry> {
        match self.content() {
            EntryContent::Dir(dir) => dir.current_parent(),
            EntryContent::File(leaf) => leaf.current_parent(),
            EntryContent::Symlink(_) => None,
        }
    }

    /// Returns the file or directory for downcasting, or `None` if its type does not support
    /// downcasting.
    #[must_use]
    pub fn as_any(&self) -> Option<&dyn Any> {
        match self.content() {
            EntryContent::Dir(dir) => dir.as_any(),
            EntryContent::File(leaf) => leaf.as_any(),
            EntryContent::Symlink(_) => None,
        }
    }

    /// Returns a weak reference to the entry, or `None` for a symbolic link.
    #[must_use]
    pub fn downgrade(&self) -> Option<WeakEntry> {
        match &self.0 {
            NodeRef::Dir(node) => Some(WeakEntry(WeakNodeRef::Dir(Arc::downgrade(node)))),
            NodeRef::File(node) => Some(WeakEntry(WeakNodeRef::File(Arc::downgrade(node)))),
            NodeRef::Symlink(_) => None,
        }
    }

    pub(super) fn content(&self) -> EntryContent<'_> {
        match &self.0 {
            NodeRef::Dir(node) => EntryContent::Dir(&node.content),
            NodeRef::File(node) => EntryContent::File(&node.content),
            NodeRef::Symlink(node) => EntryContent::Symlink(&node.content),
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} \"{}\"", self.kind(), self.ino(), self.name().escape_ascii())
    }
}

/// A weak reference to a directory or file.
pub struct WeakEntry(WeakNodeRef);

enum WeakNodeRef {
    Dir(Weak<EntryNode<dyn Directory>>),
    File(Weak<EntryNode<dyn Leaf>>),
}

impl WeakEntry {
    /// Returns the entry, or `None` if it has been dropped.
    #[must_use]
    pub fn upgrade(&self) -> Option<Entry> {
        Some(Entry(match &self.0 {
            WeakNodeRef::Dir(node) => NodeRef::Dir(node.upgrade()?),
            WeakNodeRef::File(node) => NodeRef::File(node.upgrade()?),
        }))
    }
}

impl fmt::Debug for WeakEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WeakEntry").field(&self.upgrade()).finish()
    }
}
