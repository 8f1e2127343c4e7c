//! A parameter's value together with its constant part.

use core::fmt::{self, Write};

use super::parameter::Refusal;
use super::{Description, Outer, ParamInfo, ParamType, Parameter, Proposed, Rule, Value};

/// A parameter's value together with its constant part. [`ParamFile`](super::ParamFile) is the file
/// through which clients read and set the value.
///
/// [`Param`](super::Param) is a file that behaves the same way and can be stored in a table.
pub struct Field<'a, T: ParamType> {
    value: &'a Value<T>,
    info: &'a ParamInfo<T>,
    rule: Option<&'a dyn Rule>,
}

impl<'a, T: ParamType> Field<'a, T> {
    /// Creates a parameter with the given value.
    #[must_use]
    pub const fn new(value: &'a Value<T>, info: &'a ParamInfo<T>) -> Field<'a, T> {
        Field { value, info, rule: None }
    }

    /// Applies `rule` before a written value is set, in addition to the check function in `info`.
    /// All parameters that the rule reads should have this rule.
    #[must_use]
    pub const fn rule(self, rule: &'a dyn Rule) -> Field<'a, T> {
        Field { rule: Some(rule), ..self }
    }

    /// Checks the rule of the struct that contains the parameter's directory, if that struct has a
    /// rule.
    #[must_use]
    pub fn outer_rule(self, outer: &impl Outer) -> Field<'a, T> {
        match outer.rule() {
            Some(rule) => self.rule(rule),
            None => self,
        }
    }

    /// Applies the parameter's check function and rule, if it has them.
    fn check_value(&self, value: &T, proposed: &Proposed<'_>) -> Result<(), &'static str> {
        self.info.check.map_or(Ok(()), |check| check(value, proposed))?;
        self.rule.map_or(Ok(()), |rule| rule.check(proposed))
    }
}

impl<T: ParamType> fmt::Debug for Field<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field").field("info", self.info).finish_non_exhaustive()
    }
}

impl<T: ParamType> Parameter for Field<'_, T> {
    fn address(&self) -> usize {
        self.value.address()
    }

    fn description(&self) -> &Description {
        &self.info.description
    }

    fn render(&self, out: &mut dyn Write) -> fmt::Result {
        self.value.get().render(&self.info.limits, out)
    }

    fn render_limits(&self, out: &mut dyn Write) -> fmt::Result {
        T::allowed(&self.info.limits, out)
    }

    fn may_continue(&self, text: &[u8]) -> bool {
        T::may_continue(text, &self.info.limits)
    }

    fn accept(
        &self,
        text: &[u8],
        proposed: Option<&Proposed<'_>>,
        store: bool,
    ) -> Result<(), Refusal> {
        let value = T::parse(text, &self.info.limits).ok_or(Refusal::Limits)?;
        let step = self.info.description.step();
        if step.digits != 0 && !value.is_multiple(text, step) {
            return Err(Refusal::Limits);
        }
        if let Some(proposed) = proposed {
            self.check_value(&value, proposed).map_err(Refusal::Rule)?;
        }
        if store {
            drop(self.value.replace(value));
        }
        Ok(())
    }

    #[cfg(feature = "params")]
    fn version(&self) -> u32 {
        self.value.version()
    }

    #[cfg(feature = "params")]
    fn render_default(&self, out: &mut dyn Write) -> fmt::Result {
        let default = self.info.default_value();
        default.map_or(Ok(()), |default| default.render(&self.info.limits, out))
    }

    #[cfg(feature = "params")]
    fn check_rules(
        &self,
        text: Option<&[u8]>,
        proposed: &Proposed<'_>,
    ) -> Result<(), &'static str> {
        if self.info.check.is_none() && self.rule.is_none() {
            return Ok(());
        }
        let value = match text {
            Some(text) => T::parse(text, &self.info.limits),
            None => Some(self.value.get()),
        };
        value.map_or(Ok(()), |value| self.check_value(&value, proposed))
    }

    #[cfg(feature = "params")]
    fn schema(&self, out: &mut dyn Write) -> fmt::Result {
        T::schema(&self.info.limits, out)
    }

    #[cfg(feature = "params")]
    fn is_json(&self) -> bool {
        T::JSON
    }
}
