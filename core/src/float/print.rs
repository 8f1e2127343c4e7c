//! Converts floating-point numbers to text.

use core::fmt::{self, Write};

use super::scale::{Scaled, scale};
use super::{F32, F64, Format};
use crate::Decimal;

/// A floating-point number that is displayed with the fewest digits that distinguish it from its
/// neighbors. [`parse_f32`](crate::parse_f32) and [`parse_f64`](crate::parse_f64) convert the text
/// back to the same number. An exponent is displayed if the absolute value is at least 10^16, or
/// less than 0.0001 but not zero. Formatting options such as width, sign and precision are ignored.
/// The code for this type takes up much less flash than the `Display` implementations of `f32` and
/// `f64`.
///
/// ```
/// use datakit_core::Float;
/// let shown = [0.1f32, -2.0, f32::MAX].map(|number| Float::from(number).to_string());
/// assert_eq!(shown, ["0.1", "-2", "3.4028235e38"]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Float {
    negative: bool,
    /// The bits of the number, without the sign bit.
    bits: u64,
    format: &'static Format,
}

impl From<f32> for Float {
    fn from(number: f32) -> Float {
        let bits = u64::from(number.to_bits());
        Float { negative: bits >> 31 != 0, bits: bits & !(1 << 31), format: &F32 }
    }
}

impl From<f64> for Float {
    fn from(number: f64) -> Float {
        let bits = number.to_bits();
        Float { negative: bits >> 63 != 0, bits: bits & !(1 << 63), format: &F64 }
    }
}

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits > self.format.infinity {
            return f.write_str("NaN");
        }
        if self.negative {
            f.write_char('-')?;
        }
        if self.bits == self.format.infinity {
            return f.write_str("inf");
        }
        let (digits, exponent) = shortest(self.bits, self.format);
        let mut places = 0;
        let mut rest = digits / 10;
        while rest != 0 {
            places += 1;
            rest /= 10;
        }
        let magnitude = places + exponent;
        if (-4..16).contains(&magnitude) {
            write_scaled(digits, exponent, f)
        } else {
            write_scaled(digits, -places, f)?;
            write!(f, "e{}", Decimal::from(magnitude))
        }
    }
}

/// Writes `digits` * 10^`exponent` without an exponent. Recurses once per digit, so the exponent
/// must be small. Writes [`u64::MAX`] instead if the product does not fit into 64 bits.
pub(crate) fn write_scaled(
    mut digits: u64,
    mut exponent: i32,
    out: &mut dyn fmt::Write,
) -> fmt::Result {
    while exponent > 0 {
        digits = digits.saturating_mul(10);
        exponent -= 1;
    }
    let (rest, digit) = (digits / 10, digits % 10);
    if exponent < 0 {
        write_scaled(rest, exponent + 1, out)?;
        if exponent == -1 {
            out.write_char('.')?;
        }
    } else if rest != 0 {
        write_scaled(rest, 0, out)?;
    }
    // The digit is less than 10, so the cast does not truncate it.
    out.write_char(char::from(b'0' + digit as u8))
}

/// Returns the shortest decimal number that rounds to the float with these bits, as a pair of
/// `digits` and `exponent`. Of several equally short numbers, returns the one nearest to the float.
fn shortest(bits: u64, format: &Format) -> (u64, i32) {
    let stored = format.precision - 1;
    let (field, fraction) = (bits >> stored, bits & ((1 << stored) - 1));
    if bits == 0 {
        return (0, 0);
    }
    let significand = if field == 0 { fraction } else { fraction | 1 << stored };
    // The exponent field has at most 11 bits, so the cast does not truncate it.
    let exponent = format.min_exponent + field.saturating_sub(1) as i32;
    // If the significand is the smallest one for its exponent, the lower neighbor is only half as
    // far away as the upper one.
    let below = if fraction == 0 && field > 1 { 1 } else { 2 };

    // The greatest power of ten that does not exceed 2^top is about 10^(top * log10(2)). The factor
    // is log10(2) * 2^20. Eighteen digits distinguish any two numbers in either format.
    let top = exponent + 63 - significand.leading_zeros().cast_signed();
    let power = ((top * 315_653) >> 20) - 17;
    let in_decimal = |quarters: u64| floor(&scale(quarters.into(), -power), exponent - 2);
    let (low, low_exact) = in_decimal(4 * significand - below);
    let (middle, _) = in_decimal(4 * significand);
    let (mut high, high_exact) = in_decimal(4 * significand + 2);
    // Ties round to even, so the interval includes its endpoints only if the significand is even.
    let inclusive = significand.is_multiple_of(2);
    if high_exact && !inclusive {
        high -= 1;
    }
    let (digits, removed) = drop_digits(low, low_exact && inclusive, middle, high);
    (digits, power + removed)
}

/// Returns `scaled` * 2^`exponent` rounded down to an integer, and whether the result is exact.
fn floor(scaled: &Scaled, exponent: i32) -> (u64, bool) {
    // The mantissa has 64 bits and the integer has 57 to 62 bits, so two to seven bits are dropped.
    let dropped = (scaled.exponent + exponent).unsigned_abs();
    let integer = scaled.mantissa.checked_shr(dropped).unwrap_or(0);
    (integer, scaled.exact && scaled.mantissa.trailing_zeros() >= dropped)
}

/// Drops as many trailing digits of `middle` as possible while keeping the rounded result between
/// `low` and `high`. Returns the result and the number of dropped digits. The result may equal
/// `high`, but may equal `low` only if `low_zeros` is set, which means that only zeros follow the
/// digits of `low`.
///
/// The method is described in "Ryu: fast float-to-string conversion" by Ulf Adams, section 3.
fn drop_digits(mut low: u64, mut low_zeros: bool, mut middle: u64, mut high: u64) -> (u64, i32) {
    let (mut removed, mut last) = (0, 0);
    while high / 10 > low / 10 || (low_zeros && low.is_multiple_of(10) && low != 0) {
        low_zeros &= low.is_multiple_of(10);
        last = middle % 10;
        (low, middle, high) = (low / 10, middle / 10, high / 10);
        removed += 1;
    }
    let up = last >= 5 || (middle == low && !low_zeros);
    (middle + u64::from(up), removed)
}
