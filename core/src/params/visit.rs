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
    mut each: impl FnMut(&FilePath<'_>, &dyn Parameter) -> fmt::Result,
) -> fmt::Result {
    visit_files(dir, |path, node| {
        let mut result = Ok(());
        node.with_parameter(&mut |parameter: &dyn Parameter| result = each(path, parameter));
        result
    })
}
