//! A parameter whose value is one of several names.

use core::fmt;

use super::{Param, ParamType};
use crate::Decimal;
use crate::files::pieces::is_prefix_of_any;
use crate::files::util::Plain;

/// A choice among the names that are set with [`Param::names`]. The field holds the index of the
/// chosen name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Choice(pub u8);

impl Param<Choice> {
    /// Sets the names to choose from.
    ///
    /// # Panics
    /// Panics if there are more than 256 names. In the initializer of a `static`, the panic is a
    /// compile-time error.
    #[must_use]
    pub const fn names(self, names: &'static [&'static str]) -> Param<Choice> {
        assert!(names.len() <= 256, "a choice has at most 256 names");
        Param { limits: names, ..self }
    }
}

impl ParamType for Choice {
    type Limits = &'static [&'static str];
    const ANY: Self::Limits = &[];

    fn parse(text: &[u8], names: &Self::Limits) -> Option<Choice> {
        (0..).zip(*names).find(|(_, name)| name.as_bytes() == text).map(|(index, _)| Choice(index))
    }

    fn may_continue(text: &[u8], names: &Self::Limits) -> bool {
        is_prefix_of_any(names.iter().copied(), text)
    }

    fn render(&self, names: &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result {
        match names.get(usize::from(self.0)) {
            Some(name) => out.write_str(name),
            None => write!(out, "{}", Decimal::from(self.0)),
        }
    }

    fn allowed(names: &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("one of")?;
        names.iter().try_for_each(|name| write!(out, " {}", Plain(name)))
    }
}
