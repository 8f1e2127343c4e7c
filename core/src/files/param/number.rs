//! Parameters whose values are integers or floating-point numbers.
//!
//! An integer may be written in hexadecimal (`0x1f`) or binary (`0b101`), and its digits may be
//! separated by underscores (`60_000`). A floating-point number may have an exponent (`2.5e-3`).

use core::fmt;

use super::{Number, ParamType, Step};
use crate::float::{scan, write_scaled};
use crate::{Decimal, Float, parse_f32, parse_f64};

/// Returns the integer unchanged, because integers can be compared directly.
macro_rules! integer {
    ($number:expr) => {
        $number
    };
}

/// Maps floats to integers that sort in the same order. On a processor without a floating-point
/// unit, code that compares integers takes up less flash than code that compares floats.
macro_rules! float32 {
    ($number:expr) => {
        match $number.to_bits().cast_signed() {
            // Convert the sign and magnitude of a negative float to two's complement.
            bits if bits < 0 => i32::MIN.wrapping_sub(bits),
            bits => bits,
        }
    };
}

/// Maps `f64` values to integers, in the same way as [`float32`] maps `f32` values.
macro_rules! float64 {
    ($number:expr) => {
        match $number.to_bits().cast_signed() {
            bits if bits < 0 => i64::MIN.wrapping_sub(bits),
            bits => bits,
        }
    };
}

/// Returns whether an integer is a multiple of a step.
macro_rules! integer_multiple {
    ($number:expr, $text:expr, $step:expr) => {{
        let _ = $text;
        Decimal::from($number).magnitude().is_multiple_of($step.digits.into())
    }};
}

/// Returns whether a float, given as text, is a multiple of a step.
macro_rules! decimal_multiple {
    ($number:expr, $text:expr, $step:expr) => {
        is_decimal_multiple($text, $step)
    };
}

macro_rules! number {
    ($($type:ident $what:literal $parse:ident $order:ident $multiple:ident $shown:ident)*) => {$(
        impl Number for $type {
            type Bound = $type;
        }

        impl ParamType for $type {
            type Limits = ($type, $type);
            const ANY: Self::Limits = ($type::MIN, $type::MAX);
            const ZERO: $type = 0 as $type;
            const JSON: bool = true;

            fn parse(text: &[u8], (low, high): &Self::Limits) -> Option<$type> {
                let value: $type = $parse(text)?.try_into().ok()?;
                let range = $order!(*low)..=$order!(*high);
                range.contains(&$order!(value)).then_some(value)
            }

            fn may_continue(text: &[u8], _: &Self::Limits) -> bool {
                is_numeric(text)
            }

            fn render(&self, _: &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result {
                write!(out, "{}", $shown::from(*self))
            }

            fn allowed((low, high): &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result {
                allowed($what, $shown::from(*low), $shown::from(*high), out)
            }

            fn is_multiple(&self, text: &[u8], step: Step) -> bool {
                $multiple!(*self, text, step)
            }

            fn schema((low, high): &Self::Limits, out: &mut dyn fmt::Write) -> fmt::Result {
                schema(stringify!($type), $shown::from(*low), $shown::from(*high), out)
            }
        }
    )*};
}

number! {
    u8 "a whole number" unsigned integer integer_multiple Decimal
    u16 "a whole number" unsigned integer integer_multiple Decimal
    u32 "a whole number" unsigned integer integer_multiple Decimal
    u64 "a whole number" unsigned integer integer_multiple Decimal
    i8 "a whole number" signed integer integer_multiple Decimal
    i16 "a whole number" signed integer integer_multiple Decimal
    i32 "a whole number" signed integer integer_multiple Decimal
    i64 "a whole number" signed integer integer_multiple Decimal
    f32 "a number" parse_f32 float32 decimal_multiple Float
    f64 "a number" parse_f64 float64 decimal_multiple Float
}

/// Writes a description such as `a number from 0 to 10`. This function is not part of the macro,
/// because the macro would repeat the code for every type.
pub(super) fn allowed(
    what: &str,
    low: impl fmt::Display,
    high: impl fmt::Display,
    out: &mut dyn fmt::Write,
) -> fmt::Result {
    out.write_str(what)?;
    write!(out, " from {low} to {high}")
}

/// Writes the type and the range of a number as members of a JSON object.
fn schema(
    name: &str,
    low: impl fmt::Display,
    high: impl fmt::Display,
    out: &mut dyn fmt::Write,
) -> fmt::Result {
    out.write_str("\"type\":\"")?;
    out.write_str(name)?;
    write!(out, "\",\"min\":{low},\"max\":{high}")
}

/// Returns whether a decimal number is a multiple of a step. The comparison uses decimal digits,
/// because most decimal fractions have no exact binary representation.
fn is_decimal_multiple(text: &[u8], step: Step) -> bool {
    let digits = scan(text).and_then(|(number, _)| {
        let shift = number.exponent.saturating_add(step.decimals.into());
        shift_digits(u64::try_from(number.digits).ok()?, shift)
    });
    digits.is_some_and(|digits| digits.is_multiple_of(step.digits.into()))
}

/// Returns `digits` * 10^`shift`, or `None` if the product is not a whole number or does not fit
/// into 64 bits.
pub(super) fn shift_digits(mut digits: u64, mut shift: i32) -> Option<u64> {
    if digits == 0 {
        return Some(0);
    }
    // Each loop ends after at most 20 iterations, because `digits` overflows or has no more
    // trailing zeros.
    while shift > 0 {
        digits = digits.checked_mul(10)?;
        shift -= 1;
    }
    while shift < 0 {
        if !digits.is_multiple_of(10) {
            return None;
        }
        digits /= 10;
        shift += 1;
    }
    Some(digits)
}

/// Writes `digits` * 10^`exponent` without trailing zeros after the decimal point.
pub(super) fn write_trimmed(
    mut digits: u64,
    mut exponent: i32,
    out: &mut dyn fmt::Write,
) -> fmt::Result {
    while exponent < 0 && digits.is_multiple_of(10) {
        digits /= 10;
        exponent += 1;
    }
    write_scaled(digits, exponent, out)
}

/// Returns whether `text` contains only characters that can occur in a number or an address.
/// Checking the characters is sufficient, because numbers are short and rarely split across writes.
pub(super) fn is_numeric(text: &[u8]) -> bool {
    // `| 0x20` converts letters to lowercase and `_` to 0x7f.
    text.iter().all(|byte| matches!(byte | 0x20, b' '..=b':' | b'a'..=b'f' | b'x' | 0x7f))
}

/// Parses an unsigned integer of any width. This function is compiled only once. The parsers in
/// `core` would be compiled separately for each width.
fn unsigned(text: &[u8]) -> Option<u64> {
    magnitude(text.strip_prefix(b"+").unwrap_or(text))
}

fn signed(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-") {
        Some(digits) => 0i64.checked_sub_unsigned(magnitude(digits)?),
        None => unsigned(text)?.try_into().ok(),
    }
}

/// Parses digits, optionally preceded by a prefix that selects the base. Underscores after the
/// first digit are ignored, as in a Rust literal.
fn magnitude(text: &[u8]) -> Option<u64> {
    let (base, digits) = match text {
        [b'0', b'x', digits @ ..] => (16, digits),
        [b'0', b'b', digits @ ..] => (2, digits),
        digits => (10, digits),
    };
    let mut value: Option<u64> = None;
    for byte in digits {
        if *byte == b'_' && value.is_some() {
            continue;
        }
        let letter = (byte | 0x20).wrapping_sub(b'a');
        let digit = if byte.is_ascii_digit() { byte - b'0' } else { letter.saturating_add(10) };
        if digit >= base {
            return None;
        }
        value = Some(value.unwrap_or(0).checked_mul(base.into())?.checked_add(digit.into())?);
    }
    value
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    fn parse<T: ParamType>(text: &str) -> Option<T> {
        T::parse(text.as_bytes(), &T::ANY)
    }

    #[test]
    fn integers_are_read_in_three_bases() {
        assert_eq!(parse::<u8>("0x1f"), Some(31));
        assert_eq!(parse::<u8>("0xFF"), Some(255));
        assert_eq!(parse::<i8>("-0x80"), Some(-128));
        assert_eq!(parse::<u8>("+0b1010_0101"), Some(0xa5));
        assert_eq!(parse::<u32>("60_000"), Some(60_000));
        assert_eq!(parse::<u64>("0xffff_ffff_ffff_ffff"), Some(u64::MAX));
        assert_eq!(parse::<i64>("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse::<u16>("007"), Some(7));
        assert_eq!((parse::<u8>("1__0"), parse::<u8>("1_")), (Some(10), Some(1)));
        for refused in [
            "",
            "_",
            "_1",
            "0x",
            "0b",
            "0x_1",
            "0X1",
            "0b2",
            "0xg",
            "1f",
            "-1",
            "+-1",
            "0x100",
            "256",
            "18446744073709551616",
            "1.0",
            "1e1",
        ] {
            assert_eq!(parse::<u8>(refused), None, "{refused}");
        }
        assert_eq!(
            (parse::<i8>("0xff"), parse::<i8>("-+1"), parse::<i8>("--1")),
            (None, None, None)
        );
    }

    #[test]
    fn a_prefix_of_an_integer_waits_for_the_rest() {
        for prefix in ["0x", "0b1", "0xAf", "1_", " -"] {
            assert!(u32::may_continue(prefix.as_bytes(), &u32::ANY), "{prefix}");
        }
        assert!(!u32::may_continue(b"soon", &u32::ANY));
    }

    #[test]
    fn floats_are_limited_to_finite_numbers() {
        assert_eq!(parse::<f32>("1e-3"), Some(0.001));
        assert_eq!(parse::<f64>("-1.5"), Some(-1.5));
        assert_eq!(f32::parse(b"-0", &(0.0, 1.0)).map(f32::to_bits), Some((-0f32).to_bits()));
        for (text, inside) in
            [("-3", true), ("-3.0001", false), ("-1", true), ("-0.9", false), ("0", false)]
        {
            assert_eq!(f32::parse(text.as_bytes(), &(-3.0, -1.0)).is_some(), inside, "{text}");
            assert_eq!(f64::parse(text.as_bytes(), &(-3.0, -1.0)).is_some(), inside, "{text}");
        }
        for refused in ["inf", "-inf", "NaN", "1e999", "0x1", "1_0"] {
            assert_eq!((parse::<f32>(refused), parse::<f64>(refused)), (None, None), "{refused}");
        }
        assert_eq!((parse::<f32>("1e39"), parse::<f64>("1e39")), (None, Some(1e39)));
        let mut text = String::new();
        f32::allowed(&f32::ANY, &mut text).unwrap();
        assert_eq!(text, "a number from -3.4028235e38 to 3.4028235e38");
    }
}
