//! The values that parameters will have if a change is accepted.

use core::fmt;

use super::{ParamType, Value};
use crate::vfs::WithText;

/// The values that parameters will have if a change is accepted. A change may set several
/// parameters at once, so a [`Check`](super::Check) must read other parameters through this type.
pub struct Proposed<'a>(&'a dyn NewTexts);

/// The texts of the new values in a change.
pub(crate) trait NewTexts {
    /// Calls `with` once, passing the new text of the value with this address. Does nothing if the
    /// change does not set this value.
    fn with_text(&self, address: usize, with: &mut WithText<'_>);
}

/// The new texts of a change that sets no parameters.
struct Unchanged;

impl NewTexts for Unchanged {
    fn with_text(&self, _: usize, _: &mut WithText<'_>) {}
}

impl Proposed<'static> {
    /// The proposed values of a change that sets no parameters: the current values.
    pub const NONE: Proposed<'static> = Proposed(&Unchanged);
}

impl<'a> Proposed<'a> {
    /// Creates the proposed values of a change.
    pub(crate) fn new(texts: &'a dyn NewTexts) -> Proposed<'a> {
        Proposed(texts)
    }

    /// Returns the value that `value` will have if the change is accepted.
    pub fn get<T: ParamType>(&self, value: &Value<T>) -> T {
        let mut new = None;
        self.0.with_text(value.address(), &mut |text: &[u8]| new = T::parse(text, &T::ANY));
        new.unwrap_or_else(|| value.get())
    }
}

/// A rule that several parameters in one struct must satisfy together.
/// [`Field::rule`](super::Field::rule) adds the rule to a parameter.
pub trait Rule {
    /// Checks the values that the parameters will have if a change is accepted.
    ///
    /// # Errors
    /// Returns a message that states the rule.
    fn check(&self, proposed: &Proposed<'_>) -> Result<(), &'static str>;
}

impl fmt::Debug for Proposed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proposed").finish_non_exhaustive()
    }
}
