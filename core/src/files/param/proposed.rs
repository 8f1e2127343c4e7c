//! The values that parameters will have if a change is accepted.

use core::fmt;

use super::{ParamType, Value};

/// The values that parameters will have if a change is accepted. A change may set several
/// parameters at once, so a [`Check`](super::Check) must read other parameters through this type.
pub struct Proposed<'a> {
    /// See [`Proposed::new`].
    with_text: &'a WithText<'a>,
}

/// A function that takes a value's address and a callback, and passes the value's new text to the
/// callback.
type WithText<'a> = dyn Fn(usize, &mut dyn FnMut(&[u8])) + 'a;

impl Proposed<'static> {
    /// The proposed values of a change that sets no parameters: the current values.
    pub const NONE: Proposed<'static> = Proposed { with_text: &|_, _| () };
}

impl<'a> Proposed<'a> {
    /// Creates the proposed values of a change. `with_text` receives a value's address and a
    /// function. If the change sets this value, `with_text` must call the function once, passing
    /// the new text.
    pub(crate) fn new(with_text: &'a WithText<'a>) -> Proposed<'a> {
        Proposed { with_text }
    }

    /// Returns the value that `value` will have if the change is accepted.
    pub fn get<T: ParamType>(&self, value: &Value<T>) -> T {
        let mut new = None;
        (self.with_text)(value.address(), &mut |text| new = T::parse(text, &T::ANY));
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
