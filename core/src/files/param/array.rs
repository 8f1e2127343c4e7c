//! A parameter whose value is an array of values on one line.

use core::fmt;

use super::{Number, ParamType, Step};
use crate::Decimal;

/// `N` values on one line, separated by spaces. The limits apply to each value. `N` is at most 32.
impl<T: ParamType, const N: usize> ParamType for [T; N]
where
    [T; N]: Default,
{
    type Limits = T::Limits;
    const ANY: T::Limits = T::ANY;
    const ZERO: Self = {
        assert!(!T::SPACES, "the text of an array element must not contain spaces");
        [const { T::ZERO }; N]
    };
    const SPACES: bool = true;

    fn parse(text: &[u8], limits: &T::Limits) -> Option<Self> {
        let (mut values, mut words) = (Self::ZERO, words(text));
        for value in &mut values {
            *value = T::parse(words.next()?, limits)?;
        }
        words.next().is_none().then_some(values)
    }

    fn render(&self, limits: &T::Limits, out: &mut dyn fmt::Write) -> fmt::Result {
        self.iter().enumerate().try_for_each(|(index, value)| {
            if index > 0 {
                out.write_str(" ")?;
            }
            value.render(limits, out)
        })
    }

    fn allowed(limits: &T::Limits, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} values separated by spaces, each ", Decimal::from(N))?;
        T::allowed(limits, out)
    }

    fn is_multiple(&self, text: &[u8], step: Step) -> bool {
        self.iter().zip(words(text)).all(|(value, text)| value.is_multiple(text, step))
    }

    fn schema(limits: &T::Limits, out: &mut dyn fmt::Write) -> fmt::Result {
        T::schema(limits, out)?;
        write!(out, ",\"count\":{}", Decimal::from(N))?;
        if T::OPTIONAL { out.write_str(",\"each-optional\":true") } else { Ok(()) }
    }
}

impl<T: Number, const N: usize> Number for [T; N]
where
    [T; N]: Default,
{
    type Bound = T::Bound;
}

/// Returns the words in a line.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    type Weights = [u8; 3];

    #[test]
    fn values_are_separated_by_spaces() {
        let parse = |text: &str| Weights::parse(text.as_bytes(), &(1, 9));
        for text in ["1 2 3", "1\t2  3", "0x1 0b10 3"] {
            assert_eq!(parse(text), Some([1, 2, 3]), "{text}");
        }
        for text in ["", "1 2", "1 2 3 4", "1 2 10", "1 2 x", "1,2,3"] {
            assert_eq!(parse(text), None, "{text}");
        }
        let mut text = String::new();
        [1u8, 2, 3].render(&Weights::ANY, &mut text).unwrap();
        assert_eq!(text, "1 2 3");
        text.truncate(0);
        Weights::allowed(&(1, 9), &mut text).unwrap();
        assert_eq!(text, "3 values separated by spaces, each a whole number from 1 to 9");
        text.truncate(0);
        Weights::schema(&(1, 9), &mut text).unwrap();
        assert_eq!(text, r#""type":"u8","min":1,"max":9,"count":3"#);
    }

    #[test]
    fn step_applies_to_each_value() {
        let step = Step { digits: 25, decimals: 2 };
        assert!([0.25f32, 1.0].is_multiple(b"0.25 1", step));
        assert!(![0.25f32, 0.3].is_multiple(b"0.25 0.3", step));
    }
}
