//! Tree entries and their order.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::Id;

/// The kind of a tree entry, as encoded in its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryMode {
    /// 100644: a file.
    Normal,
    /// 100755: an executable file.
    Exec,
    /// 120000: a symbolic link. The blob contains the link's target.
    Link,
    /// 40000: a directory.
    Dir,
    /// 160000: a submodule, which is a commit in another repository. Entries with an unknown mode
    /// are treated as submodules too. Submodules are hidden but preserved.
    Submodule,
}

impl EntryMode {
    /// Returns the mode in octal, as it is written in an encoded tree.
    pub(crate) fn octal(self) -> &'static [u8] {
        match self {
            EntryMode::Normal => b"100644",
            EntryMode::Exec => b"100755",
            EntryMode::Link => b"120000",
            EntryMode::Dir => b"40000",
            EntryMode::Submodule => b"160000",
        }
    }

    /// Returns the letter that represents this mode in `tree.live` and `/trees`, or `None` for a
    /// submodule.
    #[must_use]
    pub fn letter(self) -> Option<char> {
        match self {
            EntryMode::Normal => Some('F'),
            EntryMode::Exec => Some('X'),
            EntryMode::Link => Some('L'),
            EntryMode::Dir => Some('D'),
            EntryMode::Submodule => None,
        }
    }
}

/// A tree entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// The name, which can contain any bytes except `/` and NUL.
    pub name: Arc<[u8]>,
    /// The mode, which determines the kind of the entry.
    pub mode: EntryMode,
    /// The hash of the object to which the entry refers.
    pub id: Id,
}

/// Compares two entries in Git's order. A directory sorts as if its name ended with a slash.
pub(crate) fn order(a: &TreeEntry, b: &TreeEntry) -> Ordering {
    order_of((&a.name, a.mode == EntryMode::Dir), (&b.name, b.mode == EntryMode::Dir))
}

/// Finds the entry named `name` in a list sorted in Git's order.
pub(crate) fn find<'t>(entries: &'t [TreeEntry], name: &[u8]) -> Option<&'t TreeEntry> {
    let by = |is_dir: bool| {
        let at = entries.binary_search_by(|entry| {
            order_of((&entry.name, entry.mode == EntryMode::Dir), (name, is_dir))
        });
        entries.get(at.ok()?)
    };
    by(false).or_else(|| by(true))
}

/// Compares two names in the same way that [`order`] compares entries. Each name is paired with a
/// flag that is `true` for a directory.
pub(crate) fn order_of((a, a_is_dir): (&[u8], bool), (b, b_is_dir): (&[u8], bool)) -> Ordering {
    let common = a.len().min(b.len());
    let (a_start, b_start) =
        (a.get(..common).unwrap_or_default(), b.get(..common).unwrap_or_default());
    let next = |name: &[u8], is_dir: bool| name.get(common).copied().or(is_dir.then_some(b'/'));
    a_start.cmp(b_start).then_with(|| next(a, a_is_dir).cmp(&next(b, b_is_dir)))
}
