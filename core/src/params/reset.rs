//! Resets parameters to their defaults.

use core::cell::Cell;
use core::ops::Range;

use super::change::{self, Change, TEXT_MAX, VALUES_MAX};
use super::{ParamSet, Parameter};
use crate::files::{Flags, NewTexts, Plain, Quoted};
use crate::vfs::{Client, Error, FilePath, FixedText, Result, Text, WithText};

/// Resets the parameters selected by `path` to their defaults on behalf of `client`, and returns
/// the number of values that have changed. Parameters without a default and read-only parameters
/// keep their values. The parameters are reset in groups of at most 256. All parameters in a group
/// are reset at the same time. If any of them rejects its new value, none of them are reset.
///
/// # Errors
/// - Returns [`Error::NotFound`] if the path selects no parameters.
/// - Returns [`Error::Invalid`], with a message that gives the reason, if the path is empty, if
///   none of the parameters can be reset, or if a parameter does not accept the new values.
pub(super) fn reset(set: &ParamSet, path: &[u8], client: Client) -> Result<u16> {
    if path.is_empty() {
        return Err(Error::Invalid.with_message(Plain(
            "reset needs the path of a parameter or a directory; `reset /` resets all",
        )));
    }
    let Range { mut start, end } = set.select(path)?;
    let is_possible = Cell::new(false);
    let mut count = 0;
    while start < end {
        let part = start..start.saturating_add(VALUES_MAX as u16).min(end);
        start = part.end;
        count += change::apply(set, &Reset { set, part, is_possible: &is_possible }, client)?;
    }
    if is_possible.get() { Ok(count) } else { Err(cannot_reset(path)) }
}

#[cold]
fn cannot_reset(path: &[u8]) -> Error {
    let path = Quoted(path);
    Error::Invalid.with_message(format_args!("{path} is read-only or has no default"))
}

/// Resets the parameters whose ordinals are in `part`.
struct Reset<'a> {
    set: &'a ParamSet,
    part: Range<u16>,
    /// Whether at least one of the parameters can be reset.
    is_possible: &'a Cell<bool>,
}

impl Reset<'_> {
    /// Writes the default of a parameter that is being reset. Returns `false` if the parameter
    /// keeps its value.
    fn render(
        &self,
        ordinal: u16,
        parameter: &dyn Parameter,
        mut out: &mut dyn Text,
    ) -> Result<bool> {
        let flags = parameter.flags();
        if !self.part.contains(&ordinal)
            || !flags.contains(Flags::HAS_DEFAULT)
            || flags.contains(Flags::READ_ONLY)
        {
            return Ok(false);
        }
        self.is_possible.set(true);
        parameter.render_default(&mut out).map_err(|_| Error::TextTooLong)?;
        Ok(!parameter.has_text(out.bytes()))
    }
}

impl NewTexts for Reset<'_> {
    fn with_text(&self, address: usize, with: &mut WithText<'_>) {
        self.set.with_address(address, |ordinal, parameter| {
            let mut text = FixedText::<TEXT_MAX>::new();
            if self.render(ordinal, parameter, &mut text) == Ok(true) {
                with.call(text.bytes());
            }
        });
    }
}

impl Change for Reset<'_> {
    fn new_value(
        &self,
        ordinal: u16,
        path: &FilePath<'_>,
        parameter: &dyn Parameter,
        out: &mut dyn Text,
    ) -> Result<bool> {
        let is_new = self.render(ordinal, parameter, out).and_then(|is_new| match is_new {
            true => parameter.check_limits(out.bytes()).map(|()| true),
            false => Ok(false),
        });
        is_new.map_err(|error| {
            error.with_message(format_args!("{path} cannot be reset to its default"))
        })
    }
}
