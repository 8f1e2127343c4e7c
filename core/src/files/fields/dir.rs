//! A parameter directory that also contains other files.

use core::fmt;

use super::{Fields, Names};
use crate::vfs::{Dir, Entry, EntryTable, Key, Node, Result, WithName, table};

/// A directory with the entries of a table, followed by the fields of a parameter struct.
///
/// ```
/// # #[allow(unused_imports)]
/// # use datakit_derive::*;
/// use datakit_core::files::{Help, Params, ParamsDir};
/// use datakit_core::vfs::{Dir, file};
///
/// #[derive(Params)]
/// struct Settings {
///     gain: f32,
/// }
/// static SETTINGS: SettingsParams = SettingsParams::new();
/// static PARAMS: ParamsDir<SettingsParams> =
///     ParamsDir::new(&[file("help", &Help::new(&PARAMS))], &SETTINGS);
/// static ROOT: Dir = Dir::new(&[PARAMS.entry("params")]);
/// ```
pub struct ParamsDir<F: 'static> {
    dir: Dir,
    fields: &'static F,
    depth: u8,
}

impl<F: Fields> ParamsDir<F> {
    /// Creates a directory with the given entries and the fields of `fields`.
    ///
    /// # Panics
    /// Panics in the same cases as [`Dir::new`], and also if `fields` belongs to a struct that has a
    /// check function. In a `static` or `const`, the panic is a compile error.
    // The code indexes slices directly, because `slice::get` is not const. Every index is within
    // bounds.
    #[allow(clippy::indexing_slicing, clippy::panic)]
    #[must_use]
    pub const fn new(entries: &'static [Entry], fields: &'static F) -> ParamsDir<F> {
        const { assert!(!F::IS_CHECKED, "serve the struct with the check function") }
        let count = match F::NAMES {
            Names::Numbers(count) => count as usize,
            Names::List(names) => {
                let mut i = 0;
                while i < names.len() {
                    assert!(!contains(entries, names[i]), "two entries have the same name");
                    i += 1;
                }
                names.len()
            }
        };
        assert!(entries.len() + count <= 255, "a directory has at most 255 entries");
        let dir = Dir::new(entries);
        let depth = if dir.depth() > F::DEPTH { dir.depth() } else { F::DEPTH };
        ParamsDir { dir, fields, depth }
    }

    /// Creates an entry for this directory.
    #[must_use]
    pub const fn entry(&'static self, name: &'static str) -> Entry {
        table(name, self, self.depth)
    }

    /// Returns the parameter struct.
    #[must_use]
    pub const fn fields(&self) -> &'static F {
        self.fields
    }

    /// Converts an entry index to an index into either the table or the struct.
    fn split(&self, index: u8) -> core::result::Result<u8, u8> {
        // The table has at most 255 entries, so the cast does not truncate the number.
        match index.checked_sub(self.dir.entries().len() as u8) {
            None => Ok(index),
            Some(index) => Err(index),
        }
    }

    /// Converts the key of an entry in the struct to the key of the same entry in this directory.
    fn join(&self, key: Key) -> Option<Key> {
        let index = key.index()?.checked_add(self.dir.entries().len() as u8)?;
        Some(Key::new(index, 0))
    }
}

#[allow(clippy::indexing_slicing)] // As in `ParamsDir::new`.
const fn contains(entries: &[Entry], name: &str) -> bool {
    let mut i = 0;
    while i < entries.len() {
        if is_same(entries[i].name().as_bytes(), name.as_bytes()) {
            return true;
        }
        i += 1;
    }
    false
}

#[allow(clippy::indexing_slicing)] // As in `ParamsDir::new`.
const fn is_same(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

impl<F: Fields> EntryTable for ParamsDir<F> {
    fn find(&self, name: &[u8]) -> Option<Key> {
        self.dir.find(name).or_else(|| self.join(F::NAMES.find(name)?))
    }

    fn next(&self, from: u8) -> Option<Key> {
        match self.split(from) {
            Ok(from) => self.dir.next(from),
            Err(from) => self.join(F::NAMES.key(from)?),
        }
    }

    fn node(&'static self, key: Key) -> Option<Node> {
        match self.split(key.index()?) {
            Ok(_) => self.dir.node(key),
            Err(index) => self.fields.node(Key::new(index, 0)),
        }
    }

    fn name(&self, key: Key, with: &mut WithName<'_>) {
        match key.index().map(|index| self.split(index)) {
            Some(Ok(_)) => self.dir.name(key, with),
            Some(Err(index)) => self.fields.name(Key::new(index, 0), with),
            None => {}
        }
    }

    fn remove(&self, key: Key) -> Result<()> {
        self.dir.remove(key)
    }
}

impl<F> fmt::Debug for ParamsDir<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParamsDir").field("dir", &self.dir).finish_non_exhaustive()
    }
}
