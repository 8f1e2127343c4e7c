//! The trait that parameter types implement.

use core::fmt;

use crate::float::write_scaled;

/// A type of value that a [`Param`](super::Param) can have. The trait defines how values of the
/// type are parsed, rendered and limited.
pub trait ParamType: Clone + Default + PartialEq + Send {
    /// A restriction on the values, for example a range.
    type Limits: Copy + Sync;

    /// Limits that allow every value of the type.
    const ANY: Self::Limits;

    /// A value of the type for use in constants, such as 0 or an empty string.
    const ZERO: Self;

    /// Whether the text of every value is also a JSON value, such as a number. The schema quotes
    /// the values of all other types.
    const JSON: bool = false;

    /// Whether the text of a value may contain whitespace. If so, the values cannot be elements of
    /// an array, because whitespace separates the elements.
    const SPACES: bool = false;

    /// Whether a value may be absent.
    const OPTIONAL: bool = false;

    /// Parses `text`, which has no leading or trailing whitespace. Returns `None` if `text` is not
    /// a valid value or is outside the limits. `text` is a byte slice because most types need no
    /// UTF-8 check.
    fn parse(text: &[u8], limits: &Self::Limits) -> Option<Self>;

    /// Returns whether `text`, which contains no newline, could be the beginning of a longer value.
    /// If this method returns `false`, `text` is parsed immediately, without waiting until the
    /// value is complete.
    fn may_continue(text: &[u8], limits: &Self::Limits) -> bool {
        let _ = (text, limits);
        true
    }

    /// Writes the value, without a newline.
    fn render(&self, limits: &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result;

    /// Writes a description of the allowed values, for example `a number from 0 to 10`.
    fn allowed(limits: &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result;

    /// Returns whether the value is a multiple of `step`. `text` is the text from which the value
    /// was parsed.
    fn is_multiple(&self, text: &[u8], step: Step) -> bool {
        let _ = (text, step);
        true
    }

    /// Writes the type and the limits as members of a JSON object, for example
    /// `"type":"u32","min":10,"max":60000`.
    fn schema(limits: &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result;
}

/// The distance between adjacent values of a parameter: `digits` / 10^`decimals`. A step whose
/// `digits` is 0 allows every value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Step {
    /// The digits, without a decimal point.
    pub digits: u16,
    /// The number of digits after the decimal point.
    pub decimals: u8,
}

impl Step {
    /// The step that allows every value.
    pub const ANY: Step = Step { digits: 0, decimals: 0 };
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(self.digits.into(), -i32::from(self.decimals), f)
    }
}

/// The unit of a [`Step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StepUnit {
    /// The text of a value contains no unit.
    None,
    /// The step is a number of milliseconds.
    Millis,
    /// The step is a number of microseconds.
    Micros,
}

/// A [`ParamType`] whose values can be limited to a range.
pub trait Number: ParamType<Limits = (<Self as Number>::Bound, <Self as Number>::Bound)> {
    /// The type of the minimum and maximum. For a number, this is the type itself. For an array or
    /// an [`Option`], this is the bound type of the elements.
    type Bound: Copy;

    /// The unit of a step, which is part of the text of a value.
    const STEP_UNIT: StepUnit = StepUnit::None;
}
