//! Sets several parameters at once.

use core::fmt;

use heapless::Vec;

use super::{ParamSet, Parameter};
use crate::files::{NewTexts, Plain, Proposed, change_count};
use crate::vfs::{Client, Error, FilePath, FixedText, Result, Text};

/// The maximum number of parameters that are set at once.
pub(super) const VALUES_MAX: usize = 256;

/// The maximum length, in bytes, of a new value.
pub(super) const TEXT_MAX: usize = 255;

/// The new values of some of the parameters in a set. At most [`VALUES_MAX`] parameters have new
/// values.
pub(super) trait Change: NewTexts {
    /// Writes the new value of a parameter to `out`. The new value must be within the parameter's
    /// limits. Returns `false` if the parameter keeps its value.
    ///
    /// # Errors
    /// Returns an error if the parameter cannot be set.
    fn new_value(
        &self,
        ordinal: u16,
        path: &FilePath<'_>,
        parameter: &dyn Parameter,
        out: &mut dyn Text,
    ) -> Result<bool>;

    /// Called at the end of the critical section that sets the values.
    fn finish(&self) {}
}

/// On behalf of `client`, sets all parameters that have new values, and returns their number. If an
/// error is returned, no parameters have been set.
///
/// # Errors
/// Returns the error from [`Change::new_value`]. If a parameter's check function or rule rejects
/// the new values, the error contains the path of the parameter and the reason.
pub(super) fn apply(set: &ParamSet, change: &dyn Change, client: Client) -> Result<u16> {
    let mut changed = Vec::new();
    let before = change_count();
    check(set, change, &mut changed)?;
    critical_section::with(|_| {
        // The checks run outside the critical section, because they may take a long time. They are
        // repeated only if an interrupt handler or another thread has set a value in the meantime.
        if change_count() != before {
            check(set, change, &mut changed)?;
        }
        visit_changed(set, &changed, |ordinal, path, parameter| {
            let mut text = FixedText::<TEXT_MAX>::new();
            if let Ok(true) = change.new_value(ordinal, path, parameter, &mut text) {
                parameter.store(text.bytes());
            }
        });
        change.finish();
        Ok(())
    })?;
    visit_changed(set, &changed, |_, _, parameter| parameter.notify(client));
    // The cast is lossless, because there are at most `VALUES_MAX` ordinals.
    Ok(changed.len() as u16)
}

/// Checks the values that all parameters would have after the change, and collects the ordinals of
/// the parameters with new values.
fn check(set: &ParamSet, change: &dyn Change, changed: &mut Vec<u16, VALUES_MAX>) -> Result<()> {
    changed.truncate(0);
    let proposed = Proposed::new(change);
    let mut result = Ok(());
    let _ = set.visit(|ordinal, path, parameter| {
        let mut text = FixedText::<TEXT_MAX>::new();
        result = change.new_value(ordinal, path, parameter, &mut text).and_then(|is_new| {
            if is_new {
                // The push cannot fail, because a change has at most `VALUES_MAX` values.
                let _ = changed.push(ordinal);
            }
            let text = is_new.then_some(text.bytes());
            parameter.check_rules(text, &proposed).map_err(|reason| {
                Error::Invalid.with_message(format_args!("{path}: {}", Plain(reason)))
            })
        });
        if result.is_ok() { Ok(()) } else { Err(fmt::Error) }
    });
    result
}

/// Calls `each` for the parameters whose ordinals are in `changed`. The ordinals must be in
/// ascending order.
fn visit_changed(
    set: &ParamSet,
    changed: &[u16],
    mut each: impl FnMut(u16, &FilePath<'_>, &dyn Parameter),
) {
    let mut rest = changed;
    let _ = set.visit(|ordinal, path, parameter| {
        if let [first, others @ ..] = rest
            && *first == ordinal
        {
            rest = others;
            each(ordinal, path, parameter);
        }
        Ok(())
    });
}
