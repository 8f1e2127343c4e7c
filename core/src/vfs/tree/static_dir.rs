//! Directories stored as constant tables that are checked at compile time.

use core::fmt;

use super::{EntryTable, Key};
use crate::vfs::{AsyncFile, Error, File, NAME_MAX, Result, WithFile, WithName};

/// The maximum number of levels below the root. An inode stores one byte for each level.
pub const DEPTH_MAX: u8 = 8;

/// The maximum number of entries in a directory. An inode stores one byte for each level of the
/// path, and the value 0 marks the end of the path.
const ENTRIES_MAX: usize = 255;

/// A directory that never changes, stored as a table in flash.
///
/// ```
/// use datakit_core::files::{Param, Value};
/// use datakit_core::vfs::{Dir, dir, file};
/// static GAIN: Value<f32> = Value::new(1.0);
/// static RADIO: Dir = Dir::new(&[
///     file("gain", &Param::new(&GAIN).range(0.0, 10.0).unit(&"dB").doc("front-end gain")),
/// ]);
/// static ROOT: Dir = Dir::new(&[dir("radio", &RADIO)]);
/// ```
///
/// ```compile_fail,E0080
/// # use datakit_core::{files::Blob, vfs::{Dir, file}};
/// static TWICE: Dir = Dir::new(&[file("gain", &Blob::new("1")), file("gain", &Blob::new("2"))]);
/// ```
#[derive(Debug)]
pub struct Dir {
    entries: &'static [Entry],
    depth: u8,
}

/// An entry in a [`Dir`]. An entry consists of a name and a node.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub(crate) name: &'static str,
    pub(crate) node: Node,
}

/// A set of files represented by one object. Each file has an index.
pub trait FileTable {
    /// Calls `with` once, passing the file with this index. Does nothing if there is no such file.
    fn with_file(&self, index: u16, with: &mut WithFile<'_>);

    /// Returns the file with this index if writes to it may have to wait. A tree whose kind is
    /// [`AsyncTree`](crate::vfs::AsyncTree) calls this method before each transfer.
    fn async_file(&'static self, index: u16) -> Option<&'static dyn AsyncFile> {
        let _ = index;
        None
    }
}

/// The file or directory that a name refers to.
#[derive(Clone, Copy)]
pub enum Node {
    /// A directory that never changes.
    Dir(&'static Dir),
    /// A file.
    File(&'static (dyn File + Sync)),
    /// The file with this index in a table of files.
    Indexed(&'static (dyn FileTable + Sync), u16),
    /// A directory whose entries never change but are not stored in a [`Dir`]. The second field is
    /// the number of levels below the parent directory, including this directory.
    Table(&'static (dyn EntryTable + Sync), u8),
    /// A directory that changes at run time, such as a [`DynamicDir`](super::DynamicDir).
    DynamicDir(&'static (dyn EntryTable + Sync)),
    /// A directory that shows the same subdirectories as another directory but replaces the files.
    /// The second field is the number of levels below the parent directory, including this
    /// directory.
    #[cfg(feature = "params")]
    Mirror(&'static (dyn super::Mirror + Sync), u8),
}

/// Creates an entry for a directory that never changes.
#[must_use]
pub const fn dir(name: &'static str, dir: &'static Dir) -> Entry {
    Entry { name, node: Node::Dir(dir) }
}

/// Creates an entry for a file.
#[must_use]
pub const fn file(name: &'static str, file: &'static (dyn File + Sync)) -> Entry {
    Entry { name, node: Node::File(file) }
}

/// Creates an entry for a file whose writes may have to wait. Serve the file in a
/// [`StaticTree`](crate::vfs::StaticTree) of kind [`AsyncTree`](crate::vfs::AsyncTree).
#[must_use]
pub const fn async_file<F: AsyncFile>(name: &'static str, file: &'static F) -> Entry {
    Entry { name, node: Node::Indexed(file, 0) }
}

/// Creates an entry for a directory whose entries never change but are not stored in a [`Dir`].
/// `depth` is the number of levels below the parent directory, including the new directory.
#[must_use]
pub const fn table(
    name: &'static str,
    table: &'static (dyn EntryTable + Sync),
    depth: u8,
) -> Entry {
    Entry { name, node: Node::Table(table, depth) }
}

/// Creates an entry for a directory that changes at run time.
#[must_use]
pub const fn dynamic_dir(name: &'static str, dir: &'static (dyn EntryTable + Sync)) -> Entry {
    Entry { name, node: Node::DynamicDir(dir) }
}

impl Dir {
    /// Creates a directory with the given entries.
    ///
    /// # Panics
    /// Panics if there are more than 255 entries or more than 8 levels, or if two entries have the
    /// same name. Also panics if a name is empty, is longer than 255 bytes, is `.` or `..`, or
    /// contains `/` or NUL. In a `static` or `const`, the panic is a compile error.
    // The code indexes slices directly, because `slice::get` is not const. Every index is within
    // bounds.
    #[allow(clippy::indexing_slicing, clippy::panic)]
    #[must_use]
    pub const fn new(entries: &'static [Entry]) -> Dir {
        assert!(entries.len() <= ENTRIES_MAX, "a directory has at most 255 entries");
        let mut below = 0;
        let mut i = 0;
        while i < entries.len() {
            check_name(entries[i].name.as_bytes());
            let mut j = 0;
            while j < i {
                assert!(
                    !is_same(entries[i].name.as_bytes(), entries[j].name.as_bytes()),
                    "two entries have the same name"
                );
                j += 1;
            }
            let depth = entries[i].node.depth();
            if depth > below {
                below = depth;
            }
            i += 1;
        }
        assert!(below < DEPTH_MAX, "a tree has at most 8 levels");
        Dir { entries, depth: below + 1 }
    }

    /// Returns the number of levels, including this directory.
    pub(crate) const fn depth(&self) -> u8 {
        self.depth
    }

    /// Returns the entries in the order in which they appear in the table.
    #[must_use]
    pub const fn entries(&self) -> &'static [Entry] {
        self.entries
    }
}

/// An entry's key is its index plus 1.
impl EntryTable for Dir {
    fn find(&self, name: &[u8]) -> Option<Key> {
        (1..)
            .zip(self.entries)
            .find(|(_, entry)| entry.name.as_bytes() == name)
            .map(|(part, _)| Key(part))
    }

    fn next(&self, from: u8) -> Option<Key> {
        (usize::from(from) < self.entries.len()).then(|| Key::new(from, 0))
    }

    fn node(&'static self, key: Key) -> Option<Node> {
        self.entry(key).map(|entry| entry.node)
    }

    fn name(&self, key: Key, with: &mut WithName<'_>) {
        if let Some(entry) = self.entry(key) {
            with.call(entry.name);
        }
    }

    fn remove(&self, _: Key) -> Result<()> {
        Err(Error::NotPermitted)
    }
}

impl Dir {
    fn entry(&self, key: Key) -> Option<&'static Entry> {
        self.entries.get(usize::from(key.index()?))
    }
}

impl Entry {
    /// Returns the name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the file or directory.
    #[must_use]
    pub const fn node(&self) -> Node {
        self.node
    }
}

impl Node {
    /// Returns the number of path bytes needed for the levels below this node.
    pub(crate) const fn depth(&self) -> u8 {
        match self {
            Node::Dir(dir) => dir.depth,
            Node::File(_) | Node::Indexed(..) => 0,
            Node::Table(_, depth) => *depth,
            #[cfg(feature = "params")]
            Node::Mirror(_, depth) => *depth,
            Node::DynamicDir(_) => super::dynamic_dir::PATH_BYTES,
        }
    }

    /// Returns the entries of a directory and the number of path bytes in each key. Returns `None`
    /// for a file.
    pub(crate) fn entries(self) -> Option<(&'static dyn EntryTable, usize)> {
        match self {
            Node::Dir(dir) => Some((dir, 1)),
            Node::Table(dir, _) => Some((dir, 1)),
            Node::DynamicDir(dir) => Some((dir, 4)),
            #[cfg(feature = "params")]
            Node::Mirror(dir, _) => Some((dir, 1)),
            Node::File(_) | Node::Indexed(..) => None,
        }
    }

    /// Returns whether the node is a directory.
    pub(crate) fn is_dir(self) -> bool {
        !matches!(self, Node::File(_) | Node::Indexed(..))
    }

    /// Returns the file if writes to it may have to wait.
    pub(crate) fn async_file(self) -> Option<&'static dyn AsyncFile> {
        match self {
            Node::Indexed(table, index) => table.async_file(index),
            _ => None,
        }
    }

    /// Calls `with`, passing the file, and returns the result. Returns `None` for a directory.
    pub(crate) fn with_file<R>(&self, mut with: impl FnMut(&dyn File) -> R) -> Option<R> {
        let mut result = None;
        self.visit_file(&mut |file: &dyn File| result = Some(with(file)));
        result
    }

    // This function is not generic, because a generic function would contain the code for `with`
    // twice.
    #[inline(never)]
    pub(crate) fn visit_file(&self, with: &mut WithFile<'_>) {
        match self {
            Node::File(file) => with.call(*file),
            Node::Indexed(table, index) => table.with_file(*index, with),
            Node::Dir(_) | Node::Table(..) | Node::DynamicDir(_) => {}
            #[cfg(feature = "params")]
            Node::Mirror(..) => {}
        }
    }
}

#[cfg(feature = "params")]
impl Node {
    /// Calls `with`, passing the parameter, if the file is a parameter.
    pub(crate) fn with_parameter(&self, with: &mut crate::vfs::WithParameter<'_>) {
        self.visit_file(&mut |file: &dyn File| file.with_parameter(with));
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Dir(dir) => dir.fmt(f),
            Node::File(_) => f.write_str("File"),
            Node::Indexed(_, index) => f.debug_tuple("Indexed").field(index).finish(),
            Node::Table(_, depth) => f.debug_tuple("Table").field(depth).finish(),
            Node::DynamicDir(_) => f.write_str("DynamicDir"),
            #[cfg(feature = "params")]
            Node::Mirror(_, depth) => f.debug_tuple("Mirror").field(depth).finish(),
        }
    }
}

#[allow(clippy::indexing_slicing, clippy::panic)] // As in `Dir::new`.
const fn check_name(name: &[u8]) {
    assert!(!name.is_empty() && name.len() <= NAME_MAX, "a name has 1 to 255 bytes");
    assert!(!is_same(name, b".") && !is_same(name, b".."), "a name is neither `.` nor `..`");
    let mut i = 0;
    while i < name.len() {
        assert!(name[i] != b'/' && name[i] != 0, "a name contains neither `/` nor NUL");
        i += 1;
    }
}

#[allow(clippy::indexing_slicing)] // As in `Dir::new`.
const fn is_same(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}
