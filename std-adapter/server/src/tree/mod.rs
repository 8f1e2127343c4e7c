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
//! | a file of the embedded world | [`Core`] |
//! | anything else | [`Leaf`] |
//! | directories | [`Dir`], [`OfList`], [`Empty`], [`ReadOnly`], [`DirOnly`], [`log::Sources`], or [`Directory`] |
//!
//! Whoever makes entries keeps them: the same [`Entry`] is the same inode, a new one is another.

mod command;
mod core_file;
mod directory;
mod kv;
mod label;
mod leaf;
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

pub use self::command::{Command, Refusal};
pub use self::core_file::Core;
pub use self::directory::READ_ONLY_DIRECTORY;
pub use self::directory::{Dir, DirOnly, Directory, Empty, OfList, ReadOnly};
pub use self::kv::{Kv, Value};
use self::label::Label;
pub use self::leaf::{Leaf, OpenLeaf};
pub use self::live::Delivery;
pub use self::live::{Live, Stream};
pub use self::pieces::begins;
pub use self::queue::Queue;
pub use self::text::Snapshot;
pub use self::text::{ReadOnlyText, Status, Text};
pub use self::vfs::{Inode, Open};
use crate::ino;

/// An operation under way. Dropping it gives it up.
pub type Wait<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// An answer that is at hand, as a [`Wait`].
pub fn ready<'a, T: Send + 'a>(answer: Result<T>) -> Wait<'a, T> {
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
        Tree::of(Entry::dir("/", root))
    }

    /// The tree whose top is the directory `root`: several trees may show one entry and share its
    /// inode number.
    #[must_use]
    pub fn of(root: Entry) -> Tree {
        vfs::started();
        Tree { root: Inode::root(root) }
    }
}

/// A file, directory or symbolic link with its name: an inode. Clones are the same one.
#[derive(Clone)]
pub struct Entry(Kept);

/// One allocation each: listings make them by the thousand.
#[derive(Clone)]
enum Kept {
    Dir(Arc<Node<dyn Directory>>),
    File(Arc<Node<dyn Leaf>>),
    Symlink(Arc<Node<Box<[u8]>>>),
}

struct Node<W: ?Sized> {
    ino: u64,
    name: Label,
    what: W,
}

/// What an entry is.
enum What<'e> {
    Dir(&'e dyn Directory),
    File(&'e dyn Leaf),
    Symlink(&'e [u8]),
}

impl<W> Node<W> {
    fn new(name: Arc<[u8]>, ino: u64, what: W) -> Arc<Node<W>> {
        Arc::new(Node { ino, name: Label::new(name), what })
    }
}

impl Entry {
    /// A directory.
    pub fn dir(name: impl AsRef<[u8]>, dir: impl Directory + 'static) -> Entry {
        Entry::dir_of(name.as_ref().into(), ino::next(), dir)
    }

    /// A file.
    pub fn file(name: impl AsRef<[u8]>, file: impl Leaf + 'static) -> Entry {
        Entry::file_of(name.as_ref().into(), ino::next(), file)
    }

    /// A symbolic link.
    pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
        Entry(Kept::Symlink(Node::new(name.as_ref().into(), ino::next(), target.as_ref().into())))
    }

    /// A directory whose maker answers for its number, as in [`numbered`](Entry::numbered), and has
    /// its name already.
    pub fn dir_of(name: Arc<[u8]>, ino: u64, dir: impl Directory + 'static) -> Entry {
        Entry(Kept::Dir(Node::new(name, ino, dir)))
    }

    /// A file of that kind.
    pub fn file_of(name: Arc<[u8]>, ino: u64, file: impl Leaf + 'static) -> Entry {
        Entry(Kept::File(Node::new(name, ino, file)))
    }

    /// The same with an inode number that its maker answers for: entries of one number are the same
    /// inode.
    pub fn numbered(mut self, number: u64) -> Entry {
        // It was made just now, nobody else has it.
        let ino = match &mut self.0 {
            Kept::Dir(node) => Arc::get_mut(node).map(|node| &mut node.ino),
            Kept::File(node) => Arc::get_mut(node).map(|node| &mut node.ino),
            Kept::Symlink(node) => Arc::get_mut(node).map(|node| &mut node.ino),
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

    fn label(&self) -> &Label {
        match &self.0 {
            Kept::Dir(node) => &node.name,
            Kept::File(node) => &node.name,
            Kept::Symlink(node) => &node.name,
        }
    }

    /// Its inode number, unique in this process.
    #[must_use]
    pub fn ino(&self) -> u64 {
        match &self.0 {
            Kept::Dir(node) => node.ino,
            Kept::File(node) => node.ino,
            Kept::Symlink(node) => node.ino,
        }
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> FileType {
        match self.what() {
            What::Dir(_) => FileType::Dir,
            What::File(leaf) => leaf.kind(),
            What::Symlink(_) => FileType::Symlink,
        }
    }

    fn id(&self) -> Id {
        // Anything here may change unseen: version 0 forbids to cache it.
        Id { ino: self.ino(), kind: self.kind(), version: 0 }
    }

    /// Whether both are the same inode.
    #[must_use]
    pub fn is(&self, other: &Entry) -> bool {
        self.ino() == other.ino()
    }

    /// What is in it, if it is a directory.
    pub fn as_dir(&self) -> Option<&dyn Directory> {
        match self.what() {
            What::Dir(dir) => Some(dir),
            _ => None,
        }
    }

    /// The directory that has it now, if it may have been moved.
    fn home(&self) -> Option<Entry> {
        match self.what() {
            What::Dir(dir) => dir.home(),
            What::File(leaf) => leaf.home(),
            What::Symlink(_) => None,
        }
    }

    /// What it shows, if that wants to be known.
    pub fn as_any(&self) -> Option<&dyn Any> {
        match self.what() {
            What::Dir(dir) => dir.as_any(),
            What::File(leaf) => leaf.as_any(),
            What::Symlink(_) => None,
        }
    }

    /// The same without keeping it.
    pub fn downgrade(&self) -> Option<WeakEntry> {
        match &self.0 {
            Kept::Dir(node) => Some(WeakEntry(WeakKept::Dir(Arc::downgrade(node)))),
            Kept::File(node) => Some(WeakEntry(WeakKept::File(Arc::downgrade(node)))),
            Kept::Symlink(_) => None,
        }
    }

    fn renamed(&self, name: &[u8]) {
        self.label().set(name.into());
    }

    fn what(&self) -> What<'_> {
        match &self.0 {
            Kept::Dir(node) => What::Dir(&node.what),
            Kept::File(node) => What::File(&node.what),
            Kept::Symlink(node) => What::Symlink(&node.what),
        }
    }
}

/// A directory or file that may be gone.
pub struct WeakEntry(WeakKept);

enum WeakKept {
    Dir(Weak<Node<dyn Directory>>),
    File(Weak<Node<dyn Leaf>>),
}

impl WeakEntry {
    /// The entry, if somebody has it still.
    pub fn upgrade(&self) -> Option<Entry> {
        Some(Entry(match &self.0 {
            WeakKept::Dir(node) => Kept::Dir(node.upgrade()?),
            WeakKept::File(node) => Kept::File(node.upgrade()?),
        }))
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {} \"{}\"", self.kind(), self.ino(), self.name().escape_ascii())
    }
}
