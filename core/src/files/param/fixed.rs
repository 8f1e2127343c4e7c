//! A parameter whose value is a decimal number with a fixed number of decimal places.

use core::fmt;

use super::number::{allowed, is_numeric, shift_digits, write_trimmed};
use super::{Number, ParamType, Step};
use crate::Decimal;
use crate::float::write_scaled;

/// A decimal number with at most `DECIMALS` digits after the decimal point. The field contains the
/// number multiplied by 10^`DECIMALS`, so a program can use integer arithmetic on processors
/// without a floating-point unit. Clients read and write decimal numbers such as `-12.5`. A number
/// with more decimal places is rejected. `DECIMALS` is at most 9.
///
/// ```
/// use datakit_core::files::Fixed;
/// let volts = Fixed::<3>::new(33, 1);
/// assert_eq!((volts.0, volts.to_string()), (3300, "3.3".to_owned()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Fixed<const DECIMALS: u8>(pub i32);

impl<const DECIMALS: u8> Fixed<DECIMALS> {
    /// Returns the number `digits` / 10^`decimals`. For example, `new(125, 1)` is 12.5. This
    /// function is intended for use in constants.
    ///
    /// # Panics
    /// Panics if the number is too large or has more than `DECIMALS` decimal places.
    #[must_use]
    #[allow(clippy::panic)] // In a constant, the panic is a compile-time error.
    pub const fn new(digits: i64, decimals: u8) -> Fixed<DECIMALS> {
        const { assert!(DECIMALS <= 9, "a `Fixed` has at most 9 decimals") };
        let (mut digits, mut decimals) = (digits, decimals);
        while decimals > DECIMALS {
            assert!(digits % 10 == 0, "the number has too many decimals");
            digits /= 10;
            decimals -= 1;
        }
        while decimals < DECIMALS {
            digits = digits.saturating_mul(10);
            decimals += 1;
        }
        assert!(digits >= i32::MIN as i64 && digits <= i32::MAX as i64, "the number is too large");
        Fixed(digits as i32)
    }
}

impl<const DECIMALS: u8> fmt::Display for Fixed<DECIMALS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(self.0, DECIMALS, f)
    }
}

/// Writes `value` / 10^`decimals`. This function is not generic, so it is compiled only once.
fn write(value: i32, decimals: u8, out: &mut dyn fmt::Write) -> fmt::Result {
    if value < 0 {
        out.write_str("-")?;
    }
    write_trimmed(value.unsigned_abs().into(), -i32::from(decimals), out)
}

/// Parses a number and multiplies it by 10^`decimals`.
fn parse(text: &[u8], decimals: u8) -> Option<i32> {
    let magnitude = text.strip_prefix(b"-").unwrap_or(text);
    let (mut value, mut any, mut missing) = (0u32, false, None);
    for byte in magnitude {
        match (byte, missing) {
            (b'.', None) => missing = Some(decimals),
            // Additional decimal places are accepted if they are zeros.
            (b'0', Some(0)) => {}
            (b'0'..=b'9', None | Some(1..)) => {
                value = value.checked_mul(10)?.checked_add(u32::from(byte - b'0'))?;
                missing = missing.map(|missing| missing - 1);
                any = true;
            }
            _ => return None,
        }
    }
    for _ in 0..missing.unwrap_or(decimals) {
        value = value.checked_mul(10)?;
    }
    if !any {
        None
    } else if text.first() == Some(&b'-') {
        0i32.checked_sub_unsigned(value)
    } else {
        value.try_into().ok()
    }
}

impl<const DECIMALS: u8> ParamType for Fixed<DECIMALS> {
    type Limits = (Self, Self);
    const ANY: (Self, Self) = (Fixed(i32::MIN), Fixed(i32::MAX));
    const ZERO: Self = Fixed::new(0, 0);
    const JSON: bool = true;

    fn parse(text: &[u8], (low, high): &(Self, Self)) -> Option<Self> {
        parse(text, DECIMALS).map(Fixed).filter(|value| (low..=high).contains(&value))
    }

    fn may_continue(text: &[u8], _: &(Self, Self)) -> bool {
        is_numeric(text)
    }

    fn render(&self, _: &(Self, Self), out: &mut dyn fmt::Write) -> fmt::Result {
        write(self.0, DECIMALS, out)
    }

    fn allowed((low, high): &(Self, Self), out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("a multiple of ")?;
        write_scaled(1, -i32::from(DECIMALS), out)?;
        allowed("", low, high, out)
    }

    fn is_multiple(&self, _: &[u8], step: Step) -> bool {
        let shift = i32::from(step.decimals) - i32::from(DECIMALS);
        let digits = shift_digits(self.0.unsigned_abs().into(), shift);
        digits.is_some_and(|digits| digits.is_multiple_of(step.digits.into()))
    }

    fn schema((low, high): &(Self, Self), out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("\"type\":\"decimal\"")?;
        write!(out, ",\"decimals\":{},\"min\":{low},\"max\":{high}", Decimal::from(DECIMALS))
    }
}

impl<const DECIMALS: u8> Number for Fixed<DECIMALS> {
    type Bound = Self;
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};

    use super::*;

    fn parse(text: &str) -> Option<i32> {
        Fixed::<2>::parse(text.as_bytes(), &Fixed::ANY).map(|value| value.0)
    }

    #[test]
    fn decimals_are_read_exactly() {
        for (text, value) in [
            ("12.5", 1250),
            ("-0.01", -1),
            ("3", 300),
            (".5", 50),
            ("7.", 700),
            ("1.100", 110),
            ("21474836.47", i32::MAX),
            ("-21474836.48", i32::MIN),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
        for text in [
            "",
            "-",
            ".",
            "+1",
            "1.005",
            "1.2.3",
            "21474836.48",
            "99999999",
            "1e3",
            "12,5",
            "0x10",
            "1 V",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        let limits = (Fixed(-50), Fixed(50));
        assert_eq!(Fixed::<2>::parse(b"0.5", &limits), Some(Fixed(50)));
        assert_eq!(Fixed::<2>::parse(b"0.51", &limits), None);
    }

    #[test]
    fn step_may_have_more_or_fewer_decimals() {
        let multiple =
            |value, digits, decimals| Fixed::<2>(value).is_multiple(b"", Step { digits, decimals });
        assert!(multiple(1250, 5, 1) && multiple(-1250, 25, 2) && multiple(1250, 125, 3));
        assert!(!multiple(1255, 5, 1) && !multiple(1, 125, 3) && !multiple(130, 1, 0));
    }

    #[test]
    fn decimals_are_shown_without_trailing_zeros() {
        for (value, text) in [(1250, "12.5"), (-1, "-0.01"), (300, "3"), (0, "0")] {
            assert_eq!(Fixed::<2>(value).to_string(), text);
        }
        assert_eq!(Fixed::<9>(i32::MIN).to_string(), "-2.147483648");
        assert_eq!(Fixed::<0>(7).to_string(), "7");
    }

    #[test]
    fn description_names_the_range_and_the_last_decimal() {
        let mut text = String::new();
        Fixed::<1>::allowed(&(Fixed(-5), Fixed(125)), &mut text).unwrap();
        assert_eq!(text, "a multiple of 0.1 from -0.5 to 12.5");
    }
}
