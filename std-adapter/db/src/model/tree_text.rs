//! Encodes and decodes trees.
//!
//! ```text
//! MODE in octal, a space, NAME, a NUL byte, 20 bytes of hash       (for each entry)
//! ```
//!
//! Trees are decoded as leniently as Git decodes them. Other programs may have written entries in a
//! different order or with unusual modes, so the entries of a decoded tree are sorted and their
//! modes are normalized. Duplicate names and names such as `..` are hidden, because a path cannot
//! refer to them. Names such as `..` can be used to attack programs that check out the tree.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::Deref;

use crate::model::object::{Object, ObjectKind};
use crate::model::tree_entry::{EntryMode, TreeEntry, order};
use crate::{Error, Id, Result};

/// The entries of a tree, sorted in Git's order and without duplicate names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TreeEntries {
    entries: Box<[TreeEntry]>,
    /// The name of the first hidden entry.
    refused: Option<Box<[u8]>>,
    weight: u64,
}

impl Deref for TreeEntries {
    type Target = [TreeEntry];

    fn deref(&self) -> &[TreeEntry] {
        &self.entries
    }
}

impl TreeEntries {
    /// Decodes a tree.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if an entry is malformed.
    pub fn parse(data: &[u8]) -> Result<TreeEntries> {
        // Assume that an entry takes up 40 bytes on average. The minimum is 24 bytes, but most
        // names are several characters long.
        let mut entries = Vec::with_capacity(data.len() / 40);
        let (mut refused, mut sorted) = (None, true);
        for raw in raw_entries(data) {
            let RawEntry { name, mode, id } = raw?;
            let entry = TreeEntry { name: name.into(), mode, id };
            if !can_be_shown(&entry.name) {
                refused.get_or_insert(entry.name);
                continue;
            }
            sorted &= entries.last().is_none_or(|last| order(last, &entry) == Ordering::Less);
            entries.push(entry);
        }
        if !sorted {
            entries.sort_by(order);
        }
        let mut parsed = TreeEntries {
            entries: entries.into(),
            refused: refused.map(|name| name[..].into()),
            weight: 0,
        };
        parsed.drop_doubles();
        let weight = |sum: u64, entry: &TreeEntry| sum.saturating_add(80 + entry.name.len() as u64);
        parsed.weight = parsed.entries.iter().fold(64, weight);
        Ok(parsed)
    }

    /// Removes entries with duplicate names. A file and a directory with the same name are not
    /// always adjacent in Git's order.
    fn drop_doubles(&mut self) {
        let adjacent =
            self.entries.windows(2).any(|pair| matches!(pair, [a, b] if a.name == b.name));
        if !adjacent && !self.may_have_both() {
            return;
        }
        let mut seen = HashSet::new();
        let (kept, doubled): (Vec<_>, Vec<_>) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|entry| seen.insert(entry.name.clone()));
        self.entries = kept.into();
        if let Some(entry) = doubled.first() {
            self.refused.get_or_insert(entry.name[..].into());
        }
    }

    /// Returns whether the entries include a file and a directory with the same name. If the two
    /// entries are not adjacent, the names of all entries between them begin with the shared name.
    fn may_have_both(&self) -> bool {
        self.entries.iter().enumerate().filter(|(_, entry)| entry.mode == EntryMode::Dir).any(
            |(at, dir)| {
                let before = self.entries.get(..at).unwrap_or_default().iter().rev();
                before
                    .take_while(|other| other.name.starts_with(&dir.name))
                    .any(|other| other.name == dir.name)
            },
        )
    }

    /// Returns the approximate number of bytes of memory that the entries use.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    /// Returns the entries sorted by the bytes of their names.
    pub(crate) fn by_name(&self) -> Vec<&TreeEntry> {
        let mut sorted: Vec<_> = self.entries.iter().collect();
        TreeEntries::sort_by_name(&mut sorted, |entry| entry);
        sorted
    }

    /// Sorts items by the bytes of their entries' names. The items must already be in Git's order.
    pub(crate) fn sort_by_name<T>(items: &mut [T], entry: impl Fn(&T) -> &TreeEntry) {
        // If there are no directories, the entries are already sorted, because Git's order differs
        // from the byte order only for directories.
        if items.iter().any(|item| entry(item).mode == EntryMode::Dir) {
            items.sort_by(|a, b| entry(a).name.cmp(&entry(b).name));
        }
    }

    /// Returns an error if an entry is hidden, because a changed copy of the tree would lose it.
    ///
    /// # Errors
    /// Returns [`Error::Unchangeable`] if an entry is hidden.
    pub fn check_whole(&self) -> Result<()> {
        match &self.refused {
            None => Ok(()),
            Some(name) => Err(Error::Unchangeable(String::from_utf8_lossy(name).into_owned())),
        }
    }
}

/// An entry in an encoded tree.
pub(crate) struct RawEntry<'t> {
    pub(crate) name: &'t [u8],
    pub(crate) mode: EntryMode,
    pub(crate) id: Id,
}

/// Returns the entries of an encoded tree in their original order. Does not check their names. The
/// iterator stops after the first error.
pub(crate) fn raw_entries(data: &[u8]) -> impl Iterator<Item = Result<RawEntry<'_>>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let found = entry(rest);
        rest = found.as_ref().map_or(&[], |(_, behind)| *behind);
        Some(found.map(|(entry, _)| entry))
    })
}

/// Returns the first entry and the remainder of `data`.
fn entry(data: &[u8]) -> Result<(RawEntry<'_>, &[u8])> {
    let cut = || Error::store("malformed tree: an entry is truncated");
    let space = data.iter().position(|byte| *byte == b' ').ok_or_else(cut)?;
    let (mode, rest) = data.split_at(space);
    let rest = rest.get(1..).unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == 0).ok_or_else(cut)?;
    let (name, rest) = rest.split_at(end);
    let (id, rest) = rest.get(1..).and_then(|rest| rest.split_first_chunk()).ok_or_else(cut)?;
    Ok((RawEntry { name, mode: mode_of(mode), id: Id::from_bytes(*id) }, rest))
}

/// Normalizes a mode, as Git does. The only significant permission bit of a file is the executable
/// bit. If the mode is unknown or malformed, the entry is treated as a submodule and is therefore
/// hidden.
fn mode_of(octal: &[u8]) -> EntryMode {
    let mode = octal.iter().try_fold(0u32, |mode, digit| match digit {
        b'0'..=b'7' => mode.checked_mul(8)?.checked_add(u32::from(digit - b'0')),
        _ => None,
    });
    match mode.map(|mode| (mode & 0o170_000, mode & 0o100)) {
        Some((0o100_000, 0)) => EntryMode::Normal,
        Some((0o100_000, _)) => EntryMode::Exec,
        Some((0o120_000, _)) => EntryMode::Link,
        Some((0o040_000, _)) => EntryMode::Dir,
        _ => EntryMode::Submodule,
    }
}

/// Returns whether the name can be a component of a path.
fn can_be_shown(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/')
}

/// Encodes a tree with the given entries, which may be in any order.
///
/// # Errors
/// Returns [`Error::Store`] if a name is not valid in a tree.
pub fn encode_tree(entries: impl IntoIterator<Item = TreeEntry>) -> Result<(Id, Object)> {
    let mut entries: Vec<_> = entries.into_iter().collect();
    entries.sort_by(order);
    encode_sorted(&entries.iter().collect::<Vec<_>>())
}

/// Encodes a tree whose entries are already in Git's order.
pub(crate) fn encode_sorted(entries: &[&TreeEntry]) -> Result<(Id, Object)> {
    let mut bytes = Vec::with_capacity(entries.iter().map(|entry| 28 + entry.name.len()).sum());
    for TreeEntry { name, mode, id } in entries {
        if name.is_empty() || name.contains(&0) {
            return Err(Error::store(format!(
                "a tree entry cannot have the name {:?}",
                String::from_utf8_lossy(name)
            )));
        }
        bytes.extend_from_slice(mode.octal());
        bytes.push(b' ');
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(id.as_bytes());
    }
    Object::new(ObjectKind::Tree, bytes)
}

#[cfg(test)]
mod tests {
    use crate::model::tree_entry::find;
    use proptest::prelude::*;

    use super::*;

    fn tree(entries: &[(&str, &str)]) -> Vec<u8> {
        let id = *Id::EMPTY_TREE.as_bytes();
        entries
            .iter()
            .flat_map(|(mode, name)| [format!("{mode} {name}\0").as_bytes(), &id].concat())
            .collect()
    }

    fn names(entries: &[(&str, &str)]) -> (Vec<String>, bool) {
        let parsed = TreeEntries::parse(&tree(entries)).unwrap();
        let names =
            parsed.iter().map(|entry| String::from_utf8(entry.name.to_vec()).unwrap()).collect();
        (names, parsed.check_whole().is_ok())
    }

    #[test]
    fn sorts_entries_of_unsorted_trees() {
        let (sorted, whole) =
            names(&[("100644", "b"), ("40000", "a"), ("100644", "a.c"), ("100644", "a-")]);
        assert_eq!(
            (sorted.as_slice(), whole),
            (["a-", "a.c", "a", "b"].map(str::to_owned).as_slice(), true)
        );
    }

    #[test]
    fn hides_names_that_no_path_can_have() {
        for bad in ["", ".", "..", "x/y", "/"] {
            assert_eq!(
                names(&[("100644", bad), ("100644", "f")]),
                (vec!["f".to_owned()], false),
                "{bad:?}"
            );
        }
        let long = "n".repeat(300);
        assert_eq!(names(&[("100644", &long)]), (vec![long.clone()], true));
    }

    #[test]
    fn keeps_the_first_of_duplicate_names() {
        assert_eq!(names(&[("100644", "a"), ("100755", "a")]), (vec!["a".to_owned()], false));
        let apart = [("100644", "a"), ("100644", "a.b"), ("40000", "a")];
        assert_eq!(names(&apart), (vec!["a".to_owned(), "a.b".to_owned()], false));
    }

    #[test]
    fn normalises_modes_as_git_does() {
        let modes = [
            ("100644", EntryMode::Normal),
            ("100664", EntryMode::Normal),
            ("100600", EntryMode::Normal),
            ("100755", EntryMode::Exec),
            ("100775", EntryMode::Exec),
            ("0100755", EntryMode::Exec),
            ("120000", EntryMode::Link),
            ("40000", EntryMode::Dir),
            ("040000", EntryMode::Dir),
            ("40755", EntryMode::Dir),
            ("160000", EntryMode::Submodule),
            ("0", EntryMode::Submodule),
            ("10644", EntryMode::Submodule),
            ("x", EntryMode::Submodule),
            ("", EntryMode::Submodule),
            ("777777777777777", EntryMode::Submodule),
        ];
        for (mode, expected) in modes {
            assert_eq!(
                TreeEntries::parse(&tree(&[(mode, "f")])).unwrap()[0].mode,
                expected,
                "{mode:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn decodes_arbitrary_bytes_to_sorted_entries_or_an_error(data in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(entries) = TreeEntries::parse(&data) {
                prop_assert!(entries.is_sorted_by(|a, b| order(a, b).is_lt()));
            }
        }

        #[test]
        fn shows_each_name_once(entries in prop::collection::vec(("[0-7]{0,6}", "[a-c./]{0,3}"), 0..12)) {
            let entries: Vec<_> = entries.iter().map(|(mode, name)| (mode.as_str(), name.as_str())).collect();
            let parsed = TreeEntries::parse(&tree(&entries)).unwrap();
            let mut names: Vec<_> = parsed.iter().map(|entry| &*entry.name).collect();
            names.sort_unstable();
            prop_assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
            for name in names {
                prop_assert!(can_be_shown(name) && find(&parsed, name).is_some());
            }
        }
    }

    #[test]
    fn refuses_truncated_trees() {
        let whole = tree(&[("100644", "file")]);
        for length in 1..whole.len() {
            assert!(TreeEntries::parse(&whole[..length]).is_err(), "{length}");
        }
        assert_eq!(&*TreeEntries::parse(b"").unwrap(), []);
    }

    #[test]
    fn encodes_trees_in_gits_order() {
        let entry =
            |name: &str, mode| TreeEntry { name: name.as_bytes().into(), mode, id: Id::EMPTY_TREE };
        let (_, object) = encode_tree([
            entry("b", EntryMode::Dir),
            entry("b.c", EntryMode::Normal),
            entry("b-", EntryMode::Submodule),
            entry("a", EntryMode::Link),
        ])
        .unwrap();
        let names = TreeEntries::parse(&object.data).unwrap();
        let names: Vec<_> = names.iter().map(|entry| (&*entry.name, entry.mode)).collect();
        // The `b` directory sorts as if its name were `b/`.
        let expected: [(&[u8], EntryMode); 4] = [
            (b"a", EntryMode::Link),
            (b"b-", EntryMode::Submodule),
            (b"b.c", EntryMode::Normal),
            (b"b", EntryMode::Dir),
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn empty_tree_has_its_known_hash() {
        assert_eq!(encode_tree([]).unwrap().0, Id::EMPTY_TREE);
    }
}
