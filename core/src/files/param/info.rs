//! The constant part of a parameter: its limits, default, unit, description and check.

use core::fmt;
use core::mem::ManuallyDrop;

use super::{Number, ParamType, Proposed, Step, StepUnit};

/// A function that checks a parameter's new value before the parameter is set. The second argument
/// provides the values that other parameters will have if the change is accepted. The error message
/// should name the valid values. The function may be called more than once for one change, so it
/// must have no side effects.
pub type Check<T> = fn(&T, &Proposed<'_>) -> Result<(), &'static str>;

/// The constant part of a parameter, which stays in flash.
pub struct ParamInfo<T: ParamType> {
    pub(crate) limits: T::Limits,
    default: ManuallyDrop<T>,
    pub(crate) check: Option<Check<T>>,
    pub(crate) description: Description,
}

/// The part of a [`ParamInfo`] that does not depend on the value's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    unit: &'static &'static str,
    doc: &'static str,
    /// The digits of the step and its number of decimal places. They are separate fields instead of
    /// a [`Step`], because the compiler could not store the flags in the padding of a `Step`.
    step_digits: u16,
    step_decimals: u8,
    flags: Flags,
}

impl Description {
    const NEW: Description =
        Description { unit: &"", doc: "", step_digits: 0, step_decimals: 0, flags: Flags(0) };

    /// Returns the unit, or an empty string if the value has no unit.
    #[must_use]
    pub const fn unit(&self) -> &'static str {
        self.unit
    }

    /// Returns the description, or an empty string if there is none.
    #[must_use]
    pub const fn doc(&self) -> &'static str {
        self.doc
    }

    /// Returns the distance between adjacent values.
    #[must_use]
    pub const fn step(&self) -> Step {
        Step { digits: self.step_digits, decimals: self.step_decimals }
    }

    /// Returns the unit of the step, with a space before it, or an empty string if the step has no
    /// unit.
    pub(crate) const fn step_unit(&self) -> &'static str {
        if self.flags.contains(Flags::STEP_MILLIS) {
            " ms"
        } else if self.flags.contains(Flags::STEP_MICROS) {
            " us"
        } else {
            ""
        }
    }

    /// Returns the parameter's properties.
    #[must_use]
    pub const fn flags(&self) -> Flags {
        self.flags
    }

    const fn with_flag(self, flag: Flags) -> Description {
        Description { flags: self.flags.with(flag), ..self }
    }
}

impl<T: ParamType> ParamInfo<T> {
    /// Creates the description of a parameter that has no default and accepts any value of its
    /// type.
    #[must_use]
    pub const fn new() -> ParamInfo<T> {
        ParamInfo {
            limits: T::ANY,
            default: ManuallyDrop::new(T::ZERO),
            check: None,
            description: Description::NEW,
        }
    }

    /// Sets the default, which is the parameter's value after a reset. The default should be the
    /// initial value of the parameter's [`Value`](super::Value), should be within the parameter's
    /// limits, and its text should be at most 255 bytes long. Otherwise, the parameter cannot be
    /// reset.
    #[must_use]
    pub const fn default(self, default: T) -> ParamInfo<T> {
        ParamInfo { default: ManuallyDrop::new(default), ..self.with_flag(Flags::HAS_DEFAULT) }
    }

    /// Sets the unit. The unit appears only in descriptions and error messages. The text that
    /// clients read and write does not contain the unit. The argument is a reference to a string,
    /// such as `&"ms"`, because a reference takes up less flash than a string slice.
    #[must_use]
    pub const fn unit(self, unit: &'static &'static str) -> ParamInfo<T> {
        ParamInfo { description: Description { unit, ..self.description }, ..self }
    }

    /// Sets the description, which should be only a few words long.
    #[must_use]
    pub const fn doc(self, doc: &'static str) -> ParamInfo<T> {
        ParamInfo { description: Description { doc, ..self.description }, ..self }
    }

    /// Calls `check` before a written value is set, so that `check` can reject it.
    #[must_use]
    pub const fn check(self, check: Check<T>) -> ParamInfo<T> {
        ParamInfo { check: Some(check), ..self }
    }

    /// Makes the file read-only. Use this method for a value that clients must not set.
    #[must_use]
    pub const fn read_only(self) -> ParamInfo<T> {
        self.with_flag(Flags::READ_ONLY)
    }

    /// Makes the file write-only. Use this method for a secret such as a password.
    #[must_use]
    pub const fn write_only(self) -> ParamInfo<T> {
        self.with_flag(Flags::WRITE_ONLY)
    }

    /// Marks the parameter in the schema as one whose new value takes effect only after a restart.
    #[must_use]
    pub const fn needs_restart(self) -> ParamInfo<T> {
        self.with_flag(Flags::RESTART)
    }

    /// Excludes the value from nonvolatile storage.
    #[must_use]
    pub const fn volatile(self) -> ParamInfo<T> {
        self.with_flag(Flags::VOLATILE)
    }

    const fn with_flag(self, flag: Flags) -> ParamInfo<T> {
        ParamInfo { description: self.description.with_flag(flag), ..self }
    }

    /// Returns the default, if the parameter has one.
    #[must_use]
    pub fn default_value(&self) -> Option<&T> {
        self.description.flags.contains(Flags::HAS_DEFAULT).then(|| &*self.default)
    }
}

impl<T: Number> ParamInfo<T> {
    /// Rejects values below `low` or above `high`.
    #[must_use]
    pub const fn range(self, low: T::Bound, high: T::Bound) -> ParamInfo<T> {
        ParamInfo { limits: (low, high), ..self }
    }

    /// Rejects values that are not a multiple of `digits` / 10^`decimals`. For example, `step(25,
    /// 2)` allows multiples of 0.25. The step of a duration is a number of milliseconds or
    /// microseconds.
    #[must_use]
    pub const fn step(self, digits: u16, decimals: u8) -> ParamInfo<T> {
        let description =
            Description { step_digits: digits, step_decimals: decimals, ..self.description };
        ParamInfo { description, ..self }.with_flag(Flags::of_step(T::STEP_UNIT))
    }
}

impl<T: ParamType> Default for ParamInfo<T> {
    fn default() -> ParamInfo<T> {
        ParamInfo::new()
    }
}

impl<T: ParamType> fmt::Debug for ParamInfo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParamInfo").field("description", &self.description).finish_non_exhaustive()
    }
}

/// The boolean properties of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Flags(u8);

impl Flags {
    /// Writes are rejected.
    pub const READ_ONLY: Flags = Flags(1);
    /// Reads are rejected.
    pub const WRITE_ONLY: Flags = Flags(2);
    /// A new value takes effect only after a restart.
    pub const RESTART: Flags = Flags(4);
    /// The value is not saved to nonvolatile storage.
    pub const VOLATILE: Flags = Flags(8);
    /// The parameter has a default.
    pub const HAS_DEFAULT: Flags = Flags(16);
    /// The step is a number of milliseconds.
    const STEP_MILLIS: Flags = Flags(32);
    /// The step is a number of microseconds.
    const STEP_MICROS: Flags = Flags(64);

    const fn of_step(unit: StepUnit) -> Flags {
        match unit {
            StepUnit::None => Flags(0),
            StepUnit::Millis => Flags::STEP_MILLIS,
            StepUnit::Micros => Flags::STEP_MICROS,
        }
    }

    /// Returns these flags with `flag` added.
    #[must_use]
    pub const fn with(self, flag: Flags) -> Flags {
        Flags(self.0 | flag.0)
    }

    /// Returns one bit for each flag that the schema lists: read-only, write-only, restart and
    /// volatile.
    #[cfg(feature = "params")]
    pub(crate) const fn bits(self) -> u8 {
        self.0 & 15
    }

    /// Returns `true` if `flag` is set.
    #[must_use]
    pub const fn contains(self, flag: Flags) -> bool {
        self.0 & flag.0 == flag.0
    }
}
