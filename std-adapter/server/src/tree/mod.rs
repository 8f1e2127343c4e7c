//! The dynamic tree: directories that change while it is served, and files made of closures, values
//! and streams.
//!
//! ```
//! use datakit_server::tree::{Dir, Entry, Live, ReadOnlyText, Tree};
//!
//! let root = Dir::new();
//! root.insert(Entry::file("version", ReadOnlyText::new("1.0\n")));
//! let progress = Live::new(0);
//! root.insert(Entry::file("progress", progress.file(|percent| format!("{percent}\n"))));
//! let tree = Tree::new(root.clone());
//! progress.publish(50);
//! root.remove(b"version");
//! # let _ = tree;
//! ```
//!
//! | what | made by |
//! |---|---|
//! | text that stays, text that clients change | [`ReadOnlyText`], [`Text`] |
//! | text evaluated at each open | [`Status`] |
//! | a command and its reply | [`Command`] |
//! | a value read and written as a whole | [`Kv`] over a [`Value`] |
//! | the latest of a value, or all of them | [`Live`], [`Queue`] |
//! | a file of the embedded world | [`CoreFile`] |
//! | anything else | [`Leaf`] |
//! | directories | [`Dir`], [`ListDir`], [`Empty`], [`ReadOnly`], [`DirOnly`], [`log::Sources`], or [`Directory`] |
//!
//! Whoever makes entries keeps them: the same [`Entry`] is the same inode, a new one is another.

mod command;
mod core_adapter;
mod directory;
mod entry_name;
mod file;
mod kv;
mod live;
pub mod log;
mod pieces;
mod queue;
mod text;
mod vfs;

#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};

use datakit_core::vfs::{FileType, Id, Result};

pub use self::command::{Command, CommandError};
pub use self::core_adapter::CoreFile;
pub use self::directory::READ_ONLY_DIR_MODE;
pub use self::directory::{Dir, DirOnly, Directory, Empty, ListDir, ReadOnly};
use self::entry_name::EntryName;
pub use self::file::{Leaf, OpenLeaf};
pub use self::kv::{Kv, Value};
pub use self::live::StreamCursor;
pub use self::live::{Live, Stream};
pub use self::pieces::is_prefix_of_any;
pub use self::queue::Queue;
pub use self::text::OpenBytes;
pub use self::text::{ReadOnlyText, Status, Text};
pub use self::vfs::{Inode, Open};
use crate::ino;

/// An operation under way. Dropping it gives it up.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// An answer that is at hand, as a [`BoxFuture`].
pub fn ready<'a, T: Send + 'a>(answer: Result<T>) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(answer))
}

/// A dynamic tree. Clones are the same tree.
#[derive(Clone)]
pub struct Tree {
    root: Inode,
}

impl Tree {
    /// The tree with `root` at the top.
    pub fn new(root: impl Directory + 'static) -> Tree {
        Tree::with_root(Entry::dir("/", root))
    }

    /// The tree whose top is the directory `root`: several trees may show one entry and share its
    /// inode number.
    #[must_use]
    pub fn with_root(root: Entry) -> Tree {
        vfs::started();
        Tree { root: Inode::root(root) }
    }
}

/// A file, directory or symbolic link with its name: an inode. Clones are the same one.
#[derive(Clone)]
pub struct Entry(NodeRef);

/// One allocation each: listings make them by the thousand.
#[derive(Clone)]
enum NodeRef {
    Dir(Arc<Node<dyn Directory>>),
    File(Arc<Node<dyn Leaf>>),
    Symlink(Arc<Node<Box<[u8]>>>),
}

struct Node<W: ?Sized> {
    ino: u64,
    name: EntryName,
    what: W,
}

/// EntryKind an entry is.
enum EntryKind<'e> {
    Dir(&'e dyn Directory),
    File(&'e dyn Leaf),
    Symlink(&'e [u8]),
}

impl<W> Node<W> {
    fn new(name: Arc<[u8]>, ino: u64, what: W) -> Arc<Node<W>> {
        Arc::new(Node { ino, name: EntryName::new(name), what })
    }
}

impl Entry {
    /// A directory.
    pub fn dir(name: impl AsRef<[u8]>, dir: impl Directory + 'static) -> Entry {
        Entry::dir_with_ino(name.as_ref().into(), ino::next(), dir)
    }

    /// A file.
    pub fn file(name: impl AsRef<[u8]>, file: impl Leaf + 'static) -> Entry {
        Entry::file_with_ino(name.as_ref().into(), ino::next(), file)
    }

    /// A symbolic link.
    pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
        Entry(NodeRef::Symlink(Node::new(
            name.as_ref().into(),
            ino::next(),
            target.as_ref().into(),
        )))
    }

    /// A directory whose maker answers for its number, as in [`numbered`](Entry::with_ino), and has
    /// its name already.
    pub fn dir_with_ino(name: Arc<[u8]>, ino: u64, dir: impl Directory + 'static) -> Entry {
        Entry(NodeRef::Dir(Node::new(name, ino, dir)))
    }

    /// A file of that kind.
    pub fn file_with_ino(name: Arc<[u8]>, ino: u64, file: impl Leaf + 'static) -> Entry {
        Entry(NodeRef::File(Node::new(name, ino, file)))
    }

    /// The same with an inode number that its maker answers for: entries of one number are the same
    /// inode.
    pub fn with_ino(mut self, number: u64) -> Entry {
        // It was made just now, nobody else has it.
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

    /// Its name now: a rename changes it.
    #[must_use]
    pub fn name(&self) -> Arc<[u8]> {
        self.label().get()
    }

    fn with_name<R>(&self, with: impl FnOnce(&[u8]) -> R) -> R {
        self.label().with(with)
    }

    fn label(&self) -> &EntryName {
        match &self.0 {
            NodeRef::Dir(node) => &node.name,
            NodeRef::File(node) => &node.name,
            NodeRef::Symlink(node) => &node.name,
        }
    }

    /// Its inode number, unique in this process.
    #[must_use]
    pub fn ino(&self) -> u64 {
        match &self.0 {
            NodeRef::Dir(node) => node.ino,
            NodeRef::File(node) => node.ino,
            NodeRef::Symlink(node) => node.ino,
        }
    }

    /// EntryKind it is.
    #[must_use]
    pub fn kind(&self) -> FileType {
        match self.what() {
            EntryKind::Dir(_) => FileType::Dir,
            EntryKind::File(leaf) => leaf.kind(),
            EntryKind::Symlink(_) => FileType::Symlink,
        }
    }

    fn id(&self) -> Id {
        // Anything here may change unseen: version 0 forbids to cache it.
        Id { ino: self.ino(), kind: self.kind(), version: 0 }
    }

    /// Whether both are the same inode.
    #[must_use]
    pub fn is_same(&self, other: &Entry) -> bool {
        self.ino() == other.ino()
    }

    /// EntryKind is in it, if it is a directory.
    pub fn as_dir(&self) -> Option<&dyn Directory> {
        match self.what() {
            EntryKind::Dir(dir) => Some(dir),
            _ => None,
        }
    }

    /// The directory that has it now, if it may have been moved.
    fn current_parent(&self) -> Option<Entry> {
        match self.what() {
            EntryKind::Dir(dir) => dir.current_parent(),
            EntryKind::File(leaf) => leaf.current_parent(),
            EntryKind::Symlink(_) => None,
        }
    }

    /// EntryKind it shows, if that wants to be known.
    pub fn as_any(&self) -> Option<&dyn Any> {
        match self.what() {
            EntryKind::Dir(dir) => dir.as_any(),
            EntryKind::File(leaf) => leaf.as_any(),
            EntryKind::Symlink(_) => None,
        }
    }

    /// The same without keeping it.
    pub fn downgrade(&self) -> Option<WeakEntry> {
        match &self.0 {
            NodeRef::Dir(node) => Some(WeakEntry(WeakNodeRef::Dir(Arc::downgrade(node)))),
            NodeRef::File(node) => Some(WeakEntry(WeakNodeRef::File(Arc::downgrade(node)))),
            NodeRef::Symlink(_) => None,
        }
    }

    fn renamed(&self, name: &[u8]) {
        self.label().set(name.into());
    }

    fn what(&self) -> EntryKind<'_> {
        match &self.0 {
            NodeRef::Dir(node) => EntryKind::Dir(&node.what),
            NodeRef::File(node) => EntryKind::File(&node.what),
            NodeRef::Symlink(node) => EntryKind::Symlink(&node.what),
        }
    }
}

/// A directory or file that may be gone.
pub struct WeakEntry(WeakNodeRef);

enum WeakNodeRef {
    Dir(Weak<Node<dyn Directory>>),
    File(Weak<Node<dyn Leaf>>),
}

impl WeakEntry {
    /// The entry, if somebody has it still.
    pub fn upgrade(&self) -> Option<Entry> {
        Some(Entry(match &self.0 {
            WeakNodeRef::Dir(node) => NodeRef::Dir(node.upgrade()?),
            WeakNodeRef::File(node) => NodeRef::File(node.upgrade()?),
        }))
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {} \"{}\"", self.kind(), self.ino(), self.name().escape_ascii())
    }
}
