//! The interface to a parameter whose type is not known at compile time.

use core::fmt;

use crate::files::{Flags, Proposed, Step};
use crate::vfs::{Client, EntryTable, FilePath, Result, visit_files};

/// A parameter whose type is not known at compile time. All values are passed as text, without a
/// newline.
pub trait Parameter {
    /// Returns the address of the parameter's value, which identifies the parameter.
    fn address(&self) -> usize;

    /// Returns the number of times that the value has been set, modulo 2^32.
    fn version(&self) -> u32;

    /// Returns the properties of the parameter.
    fn flags(&self) -> Flags;

    /// Returns the unit, or an empty string if the value has no unit.
    fn unit(&self) -> &'static str;

    /// Returns the description, or an empty string if there is none.
    fn doc(&self) -> &'static str;

    /// Returns the distance between adjacent values.
    fn step(&self) -> Step;

    /// Writes the value.
    ///
    /// # Errors
    /// Returns the error of `out`.
    fn render(&self, out: &mut dyn fmt::Write) -> fmt::Result;

    /// Writes the default, or nothing if the parameter has no default.
    ///
    /// # Errors
    /// Returns the error of `out`.
    fn render_default(&self, out: &mut dyn fmt::Write) -> fmt::Result;

    /// Returns `true` if the value equals the default, or if the parameter has no default.
    fn is_default(&self) -> bool;

    /// Checks whether the parameter accepts `text` as its value, if the other parameters have the
    /// `proposed` values.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`](crate::vfs::Error::Invalid) with a message that names the allowed
    /// values.
    fn check(&self, text: &[u8], proposed: &Proposed<'_>) -> Result<()>;

    /// Checks whether `text` is a value of the parameter's type and within its limits. Does not call
    /// the parameter's [check function](crate::files::Check), which may depend on other parameters.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`](crate::vfs::Error::Invalid) with a message that names the allowed
    /// values.
    fn check_limits(&self, text: &[u8]) -> Result<()>;

    /// Calls the parameter's [check function](crate::files::Check) with the current value and the
    /// `proposed` values of the other parameters.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`](crate::vfs::Error::Invalid) with the message of the function.
    fn check_current(&self, proposed: &Proposed<'_>) -> Result<()>;

    /// Sets the value to `text`, which [`check`](Parameter::check) has accepted. Returns `false` and
    /// changes nothing if `text` is not a valid value. The caller must call
    /// [`notify`](Parameter::notify) afterwards, outside a critical section.
    fn store(&self, text: &[u8]) -> bool;

    /// Sets the value to the default, if there is one. The caller must call
    /// [`notify`](Parameter::notify) afterwards.
    fn reset(&self);

    /// Wakes the tasks that wait for a change of the value, and reports to the observers that
    /// `client` set the value.
    fn notify(&self, client: Client);

    /// Writes the type and its limits as members of a JSON object, for example
    /// `"type":"u32","min":10,"max":60000`.
    ///
    /// # Errors
    /// Returns the error of `out`.
    fn schema(&self, out: &mut dyn fmt::Write) -> fmt::Result;

    /// Returns `true` if the text of a value is also a JSON value, as the text of a number is.
    fn is_json(&self) -> bool;
}

/// Calls `each` for every parameter in `dir` and its subdirectories, in the order of the tables,
/// until `each` returns an error.
///
/// # Errors
/// Returns the error of `each`.
pub fn visit_parameters(
    dir: &'static dyn EntryTable,
    each: &mut dyn FnMut(&FilePath<'_>, &dyn Parameter) -> fmt::Result,
) -> fmt::Result {
    visit_files(dir, &mut |path, node| {
        let mut result = Ok(());
        node.with_file(|file| {
            file.with_parameter(&mut |parameter| result = each(path, parameter));
        });
        result
    })
}
