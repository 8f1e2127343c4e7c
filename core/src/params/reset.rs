//! Resets parameters to their defaults.

use core::fmt;
use core::ops::Range;

use super::{ParamSet, Parameter, change_count};
use crate::files::{Flags, Plain, Proposed, Quoted};
use crate::vfs::{Client, Error, FilePath, FixedText, Result, Text};

/// The maximum length, in bytes, of a default.
const DEFAULT_MAX: usize = 64;

/// The maximum number of parameters that are reset at the same time.
const TOGETHER_MAX: u16 = 256;

/// Resets the parameters selected by `path` to their defaults on behalf of `client`, and returns
/// the number of values that have changed. Parameters without a default and read-only parameters
/// keep their values. The parameters are reset in groups of at most 256. All parameters in a group
/// are reset at the same time. If any of them rejects its new value, none of them are reset.
///
/// # Errors
/// - Returns [`Error::NotFound`] if the path selects no parameters.
/// - Returns [`Error::Invalid`] with a message that names the reason if the path is empty, if none
///   of the parameters can be reset, or if a parameter does not accept the new values.
pub(super) fn reset(set: &ParamSet, path: &[u8], client: Client) -> Result<u16> {
    if path.is_empty() {
        return Err(Error::Invalid.with_message(Plain(
            "reset needs the path of a parameter or a directory; `reset /` resets all",
        )));
    }
    let range = set.select(path)?;
    let (mut possible, mut count) = (false, 0);
    let mut start = range.start;
    while start < range.end {
        let part = start..start.saturating_add(TOGETHER_MAX).min(range.end);
        start = part.end;
        if let Some(changed) = reset_part(set, &part, client)? {
            possible = true;
            count += changed;
        }
    }
    if possible { Ok(count) } else { Err(cannot_reset(path)) }
}

#[cold]
fn cannot_reset(path: &[u8]) -> Error {
    let path = Quoted(path);
    Error::Invalid.with_message(format_args!("{path} is read-only or has no default"))
}

/// Resets the parameters with the given ordinals at the same time. Returns the number of values
/// that have changed, or `None` if none of the parameters can be reset.
fn reset_part(set: &ParamSet, part: &Range<u16>, client: Client) -> Result<Option<u16>> {
    loop {
        let checked_at = change_count();
        if !check(set, part)? {
            return Ok(None);
        }
        // If a value has been set since the check, check again.
        if let Some(changed) = reset_values(set, part, checked_at) {
            return Ok(Some(notify(set, part, client, &changed)));
        }
    }
}

/// A subset of one group of parameters, with one bit for each parameter.
type Changed = [u32; TOGETHER_MAX as usize / 32];

/// Returns the word and the bit of a parameter in [`Changed`].
fn bit(part: &Range<u16>, ordinal: u16) -> (usize, u32) {
    let index = ordinal.saturating_sub(part.start);
    (usize::from(index / 32), 1 << (index % 32))
}

/// Checks whether all parameters would remain valid if the parameters in `part` were reset. Returns
/// `false` if there are no parameters to reset.
fn check(set: &ParamSet, part: &Range<u16>) -> Result<bool> {
    let proposed = |address, with: &mut dyn FnMut(&[u8])| {
        set.with_address(address, &mut |ordinal, parameter| {
            let mut text = FixedText::<DEFAULT_MAX>::new();
            if resets(part, ordinal, parameter) && parameter.render_default(&mut text).is_ok() {
                with(text.bytes());
            }
        });
    };
    let proposed = Proposed::new(&proposed);
    let (mut any, mut result) = (false, Ok(()));
    let _ = set.visit(&mut |ordinal, path, parameter| {
        let resets = resets(part, ordinal, parameter);
        any |= resets;
        result = check_parameter(resets, path, parameter, &proposed);
        if result.is_ok() { Ok(()) } else { Err(fmt::Error) }
    });
    result.map(|()| any)
}

fn check_parameter(
    resets: bool,
    path: &FilePath<'_>,
    parameter: &dyn Parameter,
    proposed: &Proposed<'_>,
) -> Result<()> {
    let checked = if resets {
        let mut text = FixedText::<DEFAULT_MAX>::new();
        match parameter.render_default(&mut text) {
            Ok(()) => parameter.check(text.bytes(), proposed),
            Err(fmt::Error) => Err(Error::TextTooLong),
        }
    } else {
        parameter.check_current(proposed)
    };
    checked.map_err(|error| {
        let errno = error.clone();
        errno.with_message(format_args!("{path}: {error}"))
    })
}

fn resets(part: &Range<u16>, ordinal: u16, parameter: &dyn Parameter) -> bool {
    let flags = parameter.flags();
    part.contains(&ordinal)
        && flags.contains(Flags::HAS_DEFAULT)
        && !flags.contains(Flags::READ_ONLY)
}

/// Resets the values and returns the set of parameters whose values have changed. Returns `None`
/// and resets nothing if any value has been set since `checked_at`.
fn reset_values(set: &ParamSet, part: &Range<u16>, checked_at: u32) -> Option<Changed> {
    critical_section::with(|_| {
        if change_count() != checked_at {
            return None;
        }
        let mut changed = Changed::default();
        let _ = set.visit(&mut |ordinal, _, parameter| {
            if resets(part, ordinal, parameter) && !parameter.is_default() {
                parameter.reset();
                let (word, bit) = bit(part, ordinal);
                if let Some(word) = changed.get_mut(word) {
                    *word |= bit;
                }
            }
            Ok(())
        });
        Some(changed)
    })
}

/// Reports the changes and returns their number.
fn notify(set: &ParamSet, part: &Range<u16>, client: Client, changed: &Changed) -> u16 {
    let mut count = 0;
    let _ = set.visit(&mut |ordinal, _, parameter| {
        let (word, bit) = bit(part, ordinal);
        if part.contains(&ordinal) && changed.get(word).is_some_and(|word| word & bit != 0) {
            parameter.notify(client);
            count += 1;
        }
        Ok(())
    });
    count
}
