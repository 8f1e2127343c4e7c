//! Visits all parameters in a directory.

use core::fmt;

use crate::files::Parameter;
use crate::vfs::{EntryTable, FilePath, visit_files};

/// Calls `each` for every parameter in `dir` and its subdirectories, in table order, until `each`
/// returns an error.
///
/// # Errors
/// Returns the error that `each` returns.
pub fn visit_parameters(
    dir: &'static dyn EntryTable,
    each: &mut dyn FnMut(&FilePath<'_>, &dyn Parameter) -> fmt::Result,
) -> fmt::Result {
    visit_files(dir, &mut |path, node| {
        let mut result = Ok(());
        node.with_parameter(&mut |parameter| result = each(path, parameter));
        result
    })
}
