//! Sets all parameters in a transaction at once.

use core::fmt;

use heapless::Vec;

use super::memory::StagedValue;
use super::{Slot, Transaction};
use crate::files::{Flags, Plain, Proposed};
use crate::params::{Parameter, change_count};
use crate::vfs::{Client, Error, FilePath, Node, Result, visit_files};

impl<const VALUES: usize, const TEXT: usize> Slot<VALUES, TEXT> {
    /// Sets all parameters to their staged values, and removes the staged values. If an error is
    /// returned, no parameters have been set.
    ///
    /// # Errors
    /// - Returns the error from a parameter's check function, with the parameter's path.
    /// - Returns [`Error::Stale`] with a message that names the parameter if a parameter has
    ///   changed since its value was staged and `force` is `false`.
    pub(super) fn commit(&self, client: Client, force: bool) -> Result<()> {
        let mut nodes = Vec::new();
        let before = change_count();
        self.check_all(force, &mut nodes)?;
        critical_section::with(|_| {
            // The checks run outside the critical section, because they may take a long time. They
            // are repeated only if an interrupt handler or another thread has changed a value in
            // the meantime.
            if change_count() != before {
                self.check_all(force, &mut nodes)?;
            }
            for node in &nodes {
                node.with_parameter(&mut |parameter| self.store(parameter));
            }
            self.with_transaction(Transaction::clear);
            Ok(())
        })?;
        for node in &nodes {
            node.with_parameter(&mut |parameter| parameter.notify(client));
        }
        Ok(())
    }

    /// Checks the values that the parameters will have after the commit. Stores the files for the
    /// parameters with staged values in `nodes`.
    fn check_all(&self, force: bool, nodes: &mut Vec<Node, VALUES>) -> Result<()> {
        let with_text = |address, with: &mut dyn FnMut(&[u8])| {
            self.with_transaction(|transaction| {
                if let Some(staged) = transaction.find(address) {
                    with(&staged.text);
                }
            });
        };
        let proposed = Proposed::new(&with_text);
        let mut checked = Ok(());
        nodes.clear();
        let _ = visit_files(self.set.dir(), &mut |path, node| {
            node.with_parameter(&mut |parameter| {
                let staged = self.staged(parameter.address());
                if staged.is_some() {
                    // The push cannot fail, because at most `VALUES` values are staged.
                    let _ = nodes.push(node);
                }
                checked = self.check(path, parameter, staged, force, &proposed);
            });
            checked.as_ref().map_or(Err(fmt::Error), |()| Ok(()))
        });
        checked
    }

    /// Checks the value that a parameter will have after the commit.
    fn check(
        &self,
        path: &FilePath<'_>,
        parameter: &dyn Parameter,
        staged: Option<StagedValue<TEXT>>,
        force: bool,
        proposed: &Proposed<'_>,
    ) -> Result<()> {
        let checked = match &staged {
            Some(staged) if !force && staged.version != parameter.version() => {
                return Err(self.conflict(path, parameter, staged.changed_by));
            }
            Some(staged) => parameter.check_rules(Some(&staged.text), proposed),
            None => parameter.check_rules(None, proposed),
        };
        checked.map_err(|reason| {
            Error::Invalid.with_message(format_args!("{path}: {}", Plain(reason)))
        })
    }

    /// Returns a copy of a staged value. The parameter is checked without holding the lock, because
    /// a check function may call arbitrary code.
    fn staged(&self, address: usize) -> Option<StagedValue<TEXT>> {
        self.with_transaction(|transaction| transaction.find(address).cloned())
    }

    /// Sets a parameter to its staged value.
    fn store(&self, parameter: &dyn Parameter) {
        self.with_transaction(|transaction| {
            if let Some(staged) = transaction.find(parameter.address()) {
                // The text is a valid value, because it has been checked.
                parameter.store(&staged.text);
            }
        });
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

/// Displays a parameter's current value, or `*` if the parameter cannot be read.
struct Current<'a>(&'a dyn Parameter);

impl fmt::Display for Current<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.flags().contains(Flags::WRITE_ONLY) { f.write_str("*") } else { self.0.render(f) }
    }
}
