//! Parameter directories that are declared as structs.
//!
//! `#[derive(Params)]` from the `datakit-derive` crate implements the traits in this module. A
//! struct of [`Value`](super::Value)s is a directory, so its fields need neither a table nor
//! separate statics.

mod array;
pub mod derive_support;
mod dir;
mod names;

pub use super::param::{Checked, Outer, Unchecked};
pub use array::{ArrayInfo, Values};
pub use dir::ParamsDir;
pub use names::Names;

use super::{Proposed, Rule};
use crate::vfs::{
    Entry, EntryTable, Error, FileTable, Key, Node, Result, WithFile, WithName, table,
};

/// A plain settings struct for which `#[derive(Params)]` has generated a parameter struct.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a value nor a parameter struct",
    note = "add `#[param]` to the field if the field is a value",
    note = "add `#[derive(Params)]` to `{Self}` if `{Self}` is a parameter struct"
)]
pub trait Params: Sized {
    /// The parameter struct. `O` is [`Checked`] if the directory is in a struct with a check
    /// function.
    type Params<O: Outer>: Fields<Plain = Self>;
}

impl<P: Params, const N: usize> Params for [P; N] {
    type Params<O: Outer> = [P::Params<O>; N];
}

/// A parameter struct, which serves as a directory. Each field is a file or a subdirectory.
///
/// The struct implements [`EntryTable`], so [`table`] or [`params`] can add it to a
/// [`Dir`](crate::vfs::Dir).
pub trait Fields: Sized + Sync + 'static {
    /// The struct of plain values.
    type Plain;

    /// A flag for each field, which is `true` if [`replace`](Fields::replace) has changed the
    /// field.
    type Changed;

    /// The struct in which every parameter has its default value.
    const NEW: Self;

    /// The number of levels, including this directory.
    const DEPTH: u8;

    /// Whether the directory is in a struct with a check function. Only that struct can return the
    /// directory's node.
    const IS_CHECKED: bool;

    /// The names of the files and subdirectories.
    const NAMES: Names;

    /// Returns the subdirectory with this index, or `None` if the entry with this index is a file.
    fn directory(&'static self, index: u8) -> Option<Node> {
        let _ = index;
        None
    }

    /// Passes the file with this index to `with`. Does nothing if there is no such file.
    fn with_file(&self, index: u8, with: &mut WithFile<'_>);

    /// Sets the rule of the struct that contains this directory.
    fn set_outer(&self, rule: &'static (dyn Rule + Sync));

    /// Returns the value that each field will have if a change is accepted.
    fn proposed(&self, proposed: &Proposed<'_>) -> Self::Plain;

    /// Returns the value of each field. Use [`load`] to read all fields in one critical section.
    fn values(&self) -> Self::Plain;

    /// Sets each field to its value in `new`, if the values differ. The caller must call
    /// [`notify`](Fields::notify) afterwards, outside a critical section.
    fn replace(&self, new: &Self::Plain) -> Self::Changed;

    /// Wakes the tasks that are waiting for changes, and notifies the observers of each changed
    /// field.
    fn notify(&self, changed: &Self::Changed);

    /// Returns the number of times that fields have been set, modulo 2^32.
    fn version(&self) -> u32;
}

/// Returns the values of all fields. All fields are read in one critical section.
pub fn load<F: Fields>(fields: &F) -> F::Plain {
    critical_section::with(|_| fields.values())
}

/// Sets all fields in one critical section. Afterwards, reports each field whose value has changed.
/// The values are not checked.
pub fn store<F: Fields>(fields: &F, new: &F::Plain) {
    let changed = critical_section::with(|_| fields.replace(new));
    fields.notify(&changed);
}

/// Waits until the [version](Fields::version) differs from `seen` and returns the new version.
///
/// # Cancel safety
/// No change is lost if the future is dropped, because the next call detects changes that have
/// occurred in the meantime.
pub async fn changed<F: Fields>(fields: &F, seen: u32) -> u32 {
    super::param::wait_for_change(|| fields.version(), seen).await
}

/// Creates an entry for a parameter directory. Does not compile if the directory is in a struct
/// with a check function, because clients could otherwise set values that the function has not
/// checked.
#[must_use]
pub const fn params<F: Fields>(name: &'static str, fields: &'static F) -> Entry {
    const { assert!(!F::IS_CHECKED, "serve the struct with the check function") }
    table(name, fields, F::DEPTH)
}

impl<F: Fields> EntryTable for F {
    fn find(&self, name: &[u8]) -> Option<Key> {
        F::NAMES.find(name)
    }

    fn next(&self, from: u8) -> Option<Key> {
        F::NAMES.key(from)
    }

    fn node(&'static self, key: Key) -> Option<Node> {
        let index = key.index()?;
        F::NAMES.key(index)?;
        Some(self.directory(index).unwrap_or(Node::Indexed(self, index.into())))
    }

    fn name(&self, key: Key, with: &mut WithName<'_>) {
        F::NAMES.with_name(key, with);
    }

    fn remove(&self, _: Key) -> Result<()> {
        Err(Error::NotPermitted)
    }
}

impl<F: Fields> FileTable for F {
    fn with_file(&self, index: u16, with: &mut WithFile<'_>) {
        // Every index into a `Fields` is less than 256.
        Fields::with_file(self, index as u8, with);
    }
}
