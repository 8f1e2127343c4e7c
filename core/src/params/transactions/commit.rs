//! Sets all parameters in a transaction at once.

use core::fmt;

use super::Slot;
use crate::files::{Flags, NewTexts};
use crate::params::Parameter;
use crate::params::change::{self, Change};
use crate::vfs::{Client, Error, FilePath, Result, Text, WithText};

impl<const VALUES: usize, const TEXT: usize> Slot<VALUES, TEXT> {
    /// Sets all parameters to their staged values, and removes the staged values. If an error is
    /// returned, no parameters have been set.
    ///
    /// # Errors
    /// - Returns the error from a parameter's check function, with the parameter's path.
    /// - Returns [`Error::Stale`] if `force` is `false` and a parameter has changed since its value
    ///   was staged. The message names the parameter.
    pub(super) fn commit(&self, client: Client, force: bool) -> Result<()> {
        change::apply(self.set, &Commit { slot: self, force }, client).map(|_| ())
    }
}

/// The commit of a transaction.
struct Commit<'a, const VALUES: usize, const TEXT: usize> {
    slot: &'a Slot<VALUES, TEXT>,
    /// Whether to ignore changes made since the values were staged.
    force: bool,
}

impl<const VALUES: usize, const TEXT: usize> NewTexts for Commit<'_, VALUES, TEXT> {
    fn with_text(&self, address: usize, with: &mut WithText<'_>) {
        if let Some(staged) = &mut self.slot.staged(address) {
            with.call(staged.text());
        }
    }
}

impl<const VALUES: usize, const TEXT: usize> Change for Commit<'_, VALUES, TEXT> {
    fn new_value(
        &self,
        _: u16,
        path: &FilePath<'_>,
        parameter: &dyn Parameter,
        out: &mut dyn Text,
    ) -> Result<bool> {
        let mut staged = self.slot.staged(parameter.address());
        let Some(staged) = &mut staged else { return Ok(false) };
        if !self.force && staged.version.get() != parameter.version() {
            let value = Current(parameter);
            return Err(match staged.changed_by.get() {
                Some(client) => {
                    let by = self.slot.set.client_name(client);
                    Error::Stale.with_message(format_args!("{path} was changed by {by} to {value}"))
                }
                None => Error::Stale.with_message(format_args!("{path} was changed to {value}")),
            });
        }
        out.extend(staged.text()).map(|()| true)
    }

    fn finish(&self) {
        self.slot.discard(false);
    }
}

/// Displays a parameter's current value, or `*` if the parameter cannot be read.
struct Current<'a>(&'a dyn Parameter);

impl fmt::Display for Current<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.flags().contains(Flags::WRITE_ONLY) { f.write_str("*") } else { self.0.render(f) }
    }
}
