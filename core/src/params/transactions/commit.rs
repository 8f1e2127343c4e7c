//! Sets all parameters in a transaction at once.

use core::fmt;

use super::Slot;
use crate::files::Flags;
use crate::params::Parameter;
use crate::params::change::{self, Change};
use crate::vfs::{Client, Error, FilePath, Result, Text};

impl<const VALUES: usize, const TEXT: usize> Slot<VALUES, TEXT> {
    /// Sets all parameters to their staged values, and removes the staged values. If an error is
    /// returned, no parameters have been set.
    ///
    /// # Errors
    /// - Returns the error from a parameter's check function, with the parameter's path.
    /// - Returns [`Error::Stale`] with a message that names the parameter if a parameter has
    ///   changed since its value was staged and `force` is `false`.
    pub(super) fn commit(&self, client: Client, force: bool) -> Result<()> {
        change::apply(self.set, &Commit { slot: self, force }, client).map(|_| ())
    }

    #[cold]
    fn conflict(
        &self,
        path: &FilePath<'_>,
        parameter: &dyn Parameter,
        by: Option<Client>,
    ) -> Error {
        let value = Current(parameter);
        match by.map(|client| self.set.client_name(client)) {
            Some(by) => {
                Error::Stale.with_message(format_args!("{path} was changed by {by} to {value}"))
            }
            None => Error::Stale.with_message(format_args!("{path} was changed to {value}")),
        }
    }
}

/// The commit of a transaction.
struct Commit<'a, const VALUES: usize, const TEXT: usize> {
    slot: &'a Slot<VALUES, TEXT>,
    /// Whether to ignore changes made since the values were staged.
    force: bool,
}

impl<const VALUES: usize, const TEXT: usize> Change for Commit<'_, VALUES, TEXT> {
    fn new_value(
        &self,
        _: u16,
        path: &FilePath<'_>,
        parameter: &dyn Parameter,
        out: &mut dyn Text,
    ) -> Result<bool> {
        // The text is copied, because a check function may call arbitrary code, which must not run
        // while the transaction is locked.
        let staged = self.slot.with_transaction(|transaction| {
            let staged = transaction.find(parameter.address())?;
            // The text fits, because it has at most 255 bytes.
            let _ = out.extend(&staged.text);
            Some((staged.version, staged.changed_by))
        });
        match staged {
            None => Ok(false),
            Some((version, by)) if !self.force && version != parameter.version() => {
                Err(self.slot.conflict(path, parameter, by))
            }
            Some(_) => Ok(true),
        }
    }

    fn with_proposed(&self, address: usize, with: &mut dyn FnMut(&[u8])) {
        self.slot.with_transaction(|transaction| {
            if let Some(staged) = transaction.find(address) {
                with(&staged.text);
            }
        });
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
