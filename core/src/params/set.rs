//! The set of all parameters in a directory.

use core::fmt;
use core::ops::Range;

use super::client_name::{ClientName, NameClient};
use super::{ParamStore, Parameter};
use crate::files::Flags;
use crate::vfs::{Client, EntryTable, Error, FilePath, Result, visit_files};

/// All parameters in a directory and its subdirectories. The files defined in this module show and
/// change the parameters in a set. A set is constant and stays in flash.
///
/// A parameter is identified by its ordinal, which is its position in the set. Positions are
/// counted from 0 in the order in which the tables list the parameters.
///
/// ```
/// use datakit_core::files::{Param, Value};
/// use datakit_core::params::{Modified, ParamSet, Schema};
/// use datakit_core::vfs::{Dir, file};
/// static GAIN: Value<u8> = Value::new(1);
/// static PARAMS: Dir = Dir::new(&[
///     file("schema", &Schema::new(&SET)),
///     file("schema-id", &Schema::id(&SET)),
///     file("modified", &Modified::new(&SET)),
///     file("gain", &Param::new(&GAIN).range(0, 10).default(1)),
/// ]);
/// static SET: ParamSet = ParamSet::new(&PARAMS);
/// assert_eq!(SET.len(), 1);
/// ```
pub struct ParamSet {
    dir: &'static (dyn EntryTable + Sync),
    name_client: Option<NameClient>,
    store: Option<&'static dyn ParamStore>,
}

impl ParamSet {
    /// Creates the set of all parameters in `dir`.
    #[must_use]
    pub const fn new(dir: &'static (dyn EntryTable + Sync)) -> ParamSet {
        ParamSet { dir, name_client: None, store: None }
    }

    /// Returns the directory that contains the parameters.
    pub(super) const fn dir(&self) -> &'static dyn EntryTable {
        self.dir
    }

    /// Sets the function that writes client names.
    #[must_use]
    pub const fn name_clients(self, name_client: NameClient) -> ParamSet {
        ParamSet { name_client: Some(name_client), ..self }
    }

    /// Sets the nonvolatile storage for the values.
    #[must_use]
    pub const fn store(self, store: &'static dyn ParamStore) -> ParamSet {
        ParamSet { store: Some(store), ..self }
    }

    /// Returns the nonvolatile storage, or `None` if the set has none.
    #[must_use]
    pub const fn param_store(&self) -> Option<&'static dyn ParamStore> {
        self.store
    }

    /// Returns `true` if the value of `parameter` can be saved to nonvolatile storage.
    #[must_use]
    pub fn is_saved(&self, parameter: &dyn Parameter) -> bool {
        self.saves(parameter.flags())
    }

    /// Returns `true` if the value of a parameter with these flags can be saved.
    pub(super) fn saves(&self, flags: Flags) -> bool {
        self.store.is_some()
            && !flags.contains(Flags::VOLATILE)
            && !flags.contains(Flags::READ_ONLY)
    }

    /// Returns the number of parameters.
    #[must_use]
    pub fn len(&self) -> u16 {
        let mut len = 0;
        let _ = self.visit(|_, _, _| {
            len += 1;
            Ok(())
        });
        len
    }

    /// Returns `true` if there are no parameters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `each` for every parameter, passing its ordinal and its path, until `each` returns an
    /// error.
    ///
    /// # Errors
    /// Returns the error that `each` returns.
    pub fn visit(
        &self,
        mut each: impl FnMut(u16, &FilePath<'_>, &dyn Parameter) -> fmt::Result,
    ) -> fmt::Result {
        self.visit_each(&mut each)
    }

    fn visit_each(&self, each: &mut dyn VisitParameter) -> fmt::Result {
        let mut next = 0;
        visit_files(self.dir, |path, node| {
            let mut result = Ok(());
            node.with_parameter(&mut |parameter: &dyn Parameter| {
                result = each.visit(next, path, parameter);
                next += 1;
            });
            result
        })
    }

    /// Calls `with` for the parameter with this ordinal. Does nothing if there is no such
    /// parameter.
    pub fn with_parameter(
        &self,
        ordinal: u16,
        mut with: impl FnMut(&FilePath<'_>, &dyn Parameter),
    ) {
        let _ = self.visit(|this, path, parameter| {
            if this != ordinal {
                return Ok(());
            }
            with(path, parameter);
            Err(fmt::Error)
        });
    }

    /// Calls `with` for the parameter whose value has this [address](Parameter::address), passing
    /// the ordinal. Does nothing if there is no such parameter.
    pub fn with_address(&self, address: usize, mut with: impl FnMut(u16, &dyn Parameter)) {
        let _ = self.visit(|ordinal, _, parameter| {
            if parameter.address() != address {
                return Ok(());
            }
            with(ordinal, parameter);
            Err(fmt::Error)
        });
    }

    /// Returns the ordinals of the parameters that a path selects. A path selects either a single
    /// parameter or all parameters in a directory. The path `/` selects all parameters. A leading
    /// or trailing slash has no effect.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`], with a message that names the path, if the path selects no
    /// parameter.
    pub fn select(&self, path: &[u8]) -> Result<Range<u16>> {
        let path = trim_slashes(path);
        let mut selected: Option<Range<u16>> = None;
        let _ = self.visit(|ordinal, at, _| {
            if at.is_within(path) {
                let start = selected.as_ref().map_or(ordinal, |selected| selected.start);
                selected = Some(start..ordinal.saturating_add(1));
            }
            Ok(())
        });
        selected.ok_or_else(|| {
            let quoted = crate::files::Quoted(path);
            Error::NotFound.with_message(format_args!("{quoted} is not the path of a parameter"))
        })
    }

    /// Returns a value that displays a client's name, or `program` for the program itself.
    #[must_use]
    pub const fn client_name(&self, client: Client) -> ClientName {
        ClientName { client, name: self.name_client }
    }
}

/// A function that is called for each parameter. It is not a `dyn FnMut`, for the
/// reason given for [`Call`](crate::vfs::Call).
trait VisitParameter {
    fn visit(
        &mut self,
        ordinal: u16,
        path: &FilePath<'_>,
        parameter: &dyn Parameter,
    ) -> fmt::Result;
}

impl<F: FnMut(u16, &FilePath<'_>, &dyn Parameter) -> fmt::Result> VisitParameter for F {
    fn visit(
        &mut self,
        ordinal: u16,
        path: &FilePath<'_>,
        parameter: &dyn Parameter,
    ) -> fmt::Result {
        self(ordinal, path, parameter)
    }
}

fn trim_slashes(mut path: &[u8]) -> &[u8] {
    while let Some(rest) = path.strip_prefix(b"/").or_else(|| path.strip_suffix(b"/")) {
        path = rest;
    }
    path
}

impl fmt::Debug for ParamSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParamSet").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;
    use crate::files::{Blob, Param, Value};
    use crate::vfs::{Dir, dir, file};

    static AX: Value<u8> = Value::new(0);
    static AY: Value<u8> = Value::new(0);
    static ABX: Value<u8> = Value::new(0);
    static Z: Value<u8> = Value::new(0);
    static A: Dir = Dir::new(&[file("x", &Param::new(&AX)), file("y", &Param::new(&AY))]);
    static AB: Dir = Dir::new(&[file("x", &Param::new(&ABX))]);
    static PARAMS: Dir = Dir::new(&[
        file("help", &Blob::new("")),
        dir("a", &A),
        dir("ab", &AB),
        file("z", &Param::new(&Z)),
    ]);
    static SET: ParamSet = ParamSet::new(&PARAMS);

    #[test]
    fn a_path_selects_a_parameter_or_a_directory() {
        for (path, selected) in [
            ("/", 0..4),
            ("", 0..4),
            ("a", 0..2),
            ("/a/", 0..2),
            ("a/x", 0..1),
            ("a/y", 1..2),
            ("ab", 2..3),
            ("z", 3..4),
        ] {
            assert_eq!(SET.select(path.as_bytes()), Ok(selected), "{path}");
        }
        for path in ["help", "b", "a/z", "a/x/y", "A", "a//x"] {
            let quoted = std::format!("\"{path}\" is not the path of a parameter");
            assert_eq!(SET.select(path.as_bytes()).unwrap_err().to_string(), quoted);
        }
    }

    #[test]
    fn ordinals_follow_the_order_of_the_tables() {
        let mut seen = Vec::new();
        SET.visit(|ordinal, path, _| {
            seen.push((ordinal, path.to_string()));
            Ok(())
        })
        .unwrap();
        let expected = [(0, "a/x"), (1, "a/y"), (2, "ab/x"), (3, "z")];
        assert_eq!(seen, expected.map(|(ordinal, path)| (ordinal, path.to_string())));
        assert_eq!(SET.len(), 4);
        let mut found = None;
        SET.with_address(ABX.address(), |ordinal, _| found = Some(ordinal));
        assert_eq!(found, Some(2));
        SET.with_address(0, |_, _| panic!("no value has this address"));
        SET.with_parameter(4, |_, _| panic!("there are only four parameters"));
        SET.with_parameter(3, |path, _| assert_eq!(path.to_string(), "z"));
    }
}
