//! The values that parameters will have if a change is accepted.

use core::fmt;

use super::{ParamType, Value};

/// The values that parameters will have if a change is accepted. A change may set several
/// parameters at once, so a [`Check`](super::Check) must read other parameters through this type.
pub struct Proposed<'a> {
    /// Returns the new text of the value with this address, or `None` if the change does not set
    /// the value.
    text: &'a dyn Fn(usize) -> Option<&'a [u8]>,
}

impl<'a> Proposed<'a> {
    /// Creates the values of a change. `text` returns the new text of the value with the given
    /// address, or `None` if the change does not set the value.
    pub(crate) fn new(text: &'a dyn Fn(usize) -> Option<&'a [u8]>) -> Proposed<'a> {
        Proposed { text }
    }

    /// Returns the value that `value` will have if the change is accepted.
    pub fn get<T: ParamType>(&self, value: &Value<T>) -> T {
        let new = (self.text)(value.address());
        new.and_then(|text| T::parse(text, &T::ANY)).unwrap_or_else(|| value.get())
    }
}

impl fmt::Debug for Proposed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proposed").finish_non_exhaustive()
    }
}
