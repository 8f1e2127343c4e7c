//! Sets parameters to their stored values.

use core::fmt;

use datakit_core::files::Proposed;
use datakit_core::params::{ParamSet, Parameter};
use datakit_core::vfs::{Client, Error, FilePath};

use crate::image::Image;
use crate::key::{is_saved, path_key, type_tag};

/// A stored value that has not been loaded, or a value that its parameter rejects after a load and
/// that cannot be reset.
#[derive(Debug)]
pub struct Rejected<'a> {
    /// The ordinal of the parameter, which is its position in the [`ParamSet`].
    pub ordinal: u16,
    /// The path of the parameter.
    pub path: &'a FilePath<'a>,
    /// The stored text.
    pub text: &'a [u8],
    /// The reason that the value has not been loaded.
    pub reason: Reason,
}

/// The reason that a stored value has not been loaded.
#[derive(Debug, PartialEq, Eq)]
pub enum Reason {
    /// The value was stored for a parameter of a different type.
    OtherType,
    /// The parameter rejects the value. The error message names the allowed values.
    Refused(Error),
}

/// Sets the parameters to the values in `image`, and all other saved parameters to their defaults.
/// Returns the number of values that have been set. The observers are told that `client` has made
/// the changes.
pub(crate) fn load_image<const N: usize>(
    set: &ParamSet,
    image: &Image<N>,
    client: Client,
    rejected: &mut dyn FnMut(&Rejected<'_>),
) -> u16 {
    let mut loaded = 0_u16;
    let _ = set.visit(|ordinal, path, parameter| {
        if !is_saved(parameter) {
            return Ok(());
        }
        let Some((header, text)) = image.find(path_key(path)) else {
            reset(parameter, client);
            return Ok(());
        };
        let result = if header.tag == type_tag(parameter) {
            set_text(parameter, text, client).map_err(Reason::Refused)
        } else {
            Err(Reason::OtherType)
        };
        match result {
            Ok(()) => loaded += 1,
            Err(reason) => {
                rejected(&Rejected { ordinal, path, text, reason });
                reset(parameter, client);
            }
        }
        Ok(())
    });
    // A reset can make the value of another parameter invalid.
    while check(set, image, client, true, &mut loaded, rejected) {}
    // The values that are still rejected cannot be reset.
    check(set, image, client, false, &mut loaded, rejected);
    loaded
}

/// Calls the check functions of all parameters and reports each value that is rejected. With
/// `resets`, considers only parameters that can be reset, resets the first of them and returns
/// `true`.
fn check<const N: usize>(
    set: &ParamSet,
    image: &Image<N>,
    client: Client,
    resets: bool,
    loaded: &mut u16,
    rejected: &mut dyn FnMut(&Rejected<'_>),
) -> bool {
    let visited = set.visit(|ordinal, path, parameter| {
        if !is_saved(parameter) || resets && parameter.is_default() {
            return Ok(());
        }
        let Err(error) = parameter.check_current(&Proposed::NONE) else { return Ok(()) };
        if resets {
            reset(parameter, client);
            if !parameter.is_default() {
                return Ok(());
            }
            *loaded = loaded.saturating_sub(1);
        }
        let text = image.find(path_key(path)).map(|(_, text)| text).unwrap_or_default();
        rejected(&Rejected { ordinal, path, text, reason: Reason::Refused(error) });
        if resets { Err(fmt::Error) } else { Ok(()) }
    });
    visited.is_err()
}

/// Sets a parameter to `text`, unless it already has this value.
fn set_text(parameter: &dyn Parameter, text: &[u8], client: Client) -> Result<(), Error> {
    if !parameter.has_text(text) {
        parameter.check_limits(text)?;
        parameter.store(text);
        parameter.notify(client);
    }
    Ok(())
}

/// Sets a parameter to its default, unless it already has its default or has no default.
fn reset(parameter: &dyn Parameter, client: Client) {
    if !parameter.is_default() {
        parameter.reset();
        parameter.notify(client);
    }
}
