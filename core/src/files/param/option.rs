//! A parameter whose value may be absent.

use core::fmt;

use super::{Number, ParamType, Step, StepUnit};
use crate::files::pieces::is_prefix_of_any;

/// The text of an absent value.
const NONE: &str = "none";

/// A value, or `none` if there is no value. The limits apply to the value.
impl<T: ParamType> ParamType for Option<T> {
    type Limits = T::Limits;
    const ANY: T::Limits = T::ANY;
    const ZERO: Self = None;
    const SPACES: bool = T::SPACES;
    const OPTIONAL: bool = true;

    fn parse(text: &[u8], limits: &T::Limits) -> Option<Self> {
        if text == NONE.as_bytes() { Some(None) } else { T::parse(text, limits).map(Some) }
    }

    fn may_continue(text: &[u8], limits: &T::Limits) -> bool {
        is_prefix_of_any([NONE], text) || T::may_continue(text, limits)
    }

    fn render(&self, limits: &T::Limits, out: &mut dyn fmt::Write) -> fmt::Result {
        match self {
            Some(value) => value.render(limits, out),
            None => out.write_str(NONE),
        }
    }

    fn allowed(limits: &T::Limits, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("none or ")?;
        T::allowed(limits, out)
    }

    fn is_multiple(&self, text: &[u8], step: Step) -> bool {
        self.as_ref().is_none_or(|value| value.is_multiple(text, step))
    }

    fn schema(limits: &T::Limits, out: &mut dyn fmt::Write) -> fmt::Result {
        T::schema(limits, out)?;
        out.write_str(",\"optional\":true")
    }
}

impl<T: Number> Number for Option<T> {
    type Bound = T::Bound;
    const STEP_UNIT: StepUnit = T::STEP_UNIT;
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    type Limit = Option<i16>;

    #[test]
    fn absent_value_is_none() {
        let parse = |text: &str| Limit::parse(text.as_bytes(), &(-5, 5));
        assert_eq!((parse("none"), parse("-5")), (Some(None), Some(Some(-5))));
        assert_eq!((parse("6"), parse("None"), parse("")), (None, None, None));
        let mut text = String::new();
        for value in [None, Some(3i16)] {
            value.render(&Limit::ANY, &mut text).unwrap();
            text.push(' ');
        }
        Limit::allowed(&(-5, 5), &mut text).unwrap();
        assert_eq!(text, "none 3 none or a whole number from -5 to 5");
        text.truncate(0);
        Limit::schema(&(-5, 5), &mut text).unwrap();
        assert_eq!(text, r#""type":"i16","min":-5,"max":5,"optional":true"#);
    }

    #[test]
    fn prefix_of_none_waits_for_the_rest() {
        assert!(Limit::may_continue(b"no", &Limit::ANY) && Limit::may_continue(b"1", &Limit::ANY));
        assert!(!Limit::may_continue(b"none", &Limit::ANY));
    }

    #[test]
    fn step_applies_to_the_value() {
        let step = Step { digits: 5, decimals: 0 };
        assert!(None::<i16>.is_multiple(b"none", step) && Some(10i16).is_multiple(b"10", step));
        assert!(!Some(11i16).is_multiple(b"11", step));
    }
}
