//! Tables: a tree as constant data, checked when it is compiled.

use core::fmt;

use super::{Entries, Key};
use crate::vfs::{Error, File, NAME_MAX, Result};

/// Levels below the root: an inode has a byte for each.
pub const DEPTH: u8 = 8;

/// Entries of one directory: an inode has a byte a level, and 0 means that the path ends there.
const ENTRIES: usize = 255;

/// A directory that never changes: a table in flash.
///
/// ```
/// use datakit_core::files::{Param, Value};
/// use datakit_core::vfs::{Dir, dir, file};
/// static GAIN: Value<f32> = Value::new(1.0);
/// static RADIO: Dir = Dir::new(&[file("gain", &Param::new(&GAIN).range(0.0, 10.0).unit("dB").doc("front-end gain"))]);
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

/// One name of a [`Dir`] and what it stands for.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub(crate) name: &'static str,
    pub(crate) node: Node,
}

/// What a name stands for.
#[derive(Clone, Copy)]
pub enum Node {
    /// A directory that never changes.
    Dir(&'static Dir),
    /// A file.
    File(&'static (dyn File + Sync)),
    /// A directory whose entries come and go, such as [`Slots`](super::Slots).
    Slots(&'static (dyn Entries + Sync)),
}

/// An entry that is a directory.
#[must_use]
pub const fn dir(name: &'static str, dir: &'static Dir) -> Entry {
    Entry { name, node: Node::Dir(dir) }
}

/// An entry that is a file.
#[must_use]
pub const fn file(name: &'static str, file: &'static (dyn File + Sync)) -> Entry {
    Entry { name, node: Node::File(file) }
}

/// An entry that is a directory whose entries come and go.
#[must_use]
pub const fn slots(name: &'static str, slots: &'static (dyn Entries + Sync)) -> Entry {
    Entry { name, node: Node::Slots(slots) }
}

impl Dir {
    /// A directory with these entries.
    ///
    /// # Panics
    /// In a `static` or `const` this is an error of the compiler: more than 255 entries, more than
    /// 8 levels, a name that is empty, too long, `.`, `..`, has `/` or NUL in it, or is there
    /// twice.
    // The index is below the length in all three loops; `get` is no use in a constant, and a
    // failure is one of the compiler's.
    #[allow(clippy::indexing_slicing, clippy::panic)]
    #[must_use]
    pub const fn new(entries: &'static [Entry]) -> Dir {
        assert!(entries.len() <= ENTRIES, "a directory has at most 255 entries");
        let mut below = 0;
        let mut i = 0;
        while i < entries.len() {
            check_name(entries[i].name.as_bytes());
            let mut j = 0;
            while j < i {
                assert!(
                    !same(entries[i].name.as_bytes(), entries[j].name.as_bytes()),
                    "a name is there twice"
                );
                j += 1;
            }
            let depth = entries[i].node.depth();
            if depth > below {
                below = depth;
            }
            i += 1;
        }
        assert!(below < DEPTH, "the tree is too deep");
        Dir { entries, depth: below + 1 }
    }

    /// The entries, in the order of the table.
    #[must_use]
    pub const fn entries(&self) -> &'static [Entry] {
        self.entries
    }
}

/// The key is the entry's index + 1.
impl Entries for Dir {
    fn find(&self, name: &[u8]) -> Option<Key> {
        (1..)
            .zip(self.entries)
            .find(|(_, entry)| entry.name.as_bytes() == name)
            .map(|(part, _)| Key(part))
    }

    fn next(&self, from: u8) -> Option<Key> {
        (usize::from(from) < self.entries.len()).then(|| Key::new(from, 0))
    }

    fn node(&self, key: Key) -> Option<Node> {
        self.entry(key).map(|entry| entry.node)
    }

    fn name(&self, key: Key, with: &mut dyn FnMut(&[u8])) {
        if let Some(entry) = self.entry(key) {
            with(entry.name.as_bytes());
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
    /// The name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What it stands for.
    #[must_use]
    pub const fn node(&self) -> Node {
        self.node
    }
}

impl Node {
    /// Bytes of a path that are used up below this node.
    pub(crate) const fn depth(&self) -> u8 {
        match self {
            Node::Dir(dir) => dir.depth,
            Node::File(_) => 0,
            Node::Slots(_) => super::slots::DEPTH,
        }
    }

    /// The entries of a directory, and the bytes that a key of it takes of a path.
    pub(super) fn entries(self) -> Option<(&'static dyn Entries, usize)> {
        match self {
            Node::Dir(dir) => Some((dir, 1)),
            Node::Slots(slots) => Some((slots, 4)),
            Node::File(_) => None,
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Dir(dir) => dir.fmt(f),
            Node::File(_) => f.write_str("File"),
            Node::Slots(_) => f.write_str("Slots"),
        }
    }
}

#[allow(clippy::indexing_slicing, clippy::panic)] // As above.
const fn check_name(name: &[u8]) {
    assert!(!name.is_empty() && name.len() <= NAME_MAX, "a name has 1 to 255 bytes");
    assert!(!same(name, b".") && !same(name, b".."), "a name is neither `.` nor `..`");
    let mut i = 0;
    while i < name.len() {
        assert!(name[i] != b'/' && name[i] != 0, "a name has no slash and no NUL");
        i += 1;
    }
}

#[allow(clippy::indexing_slicing)] // As above.
const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}
