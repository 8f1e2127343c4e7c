//! Converts text to floating-point numbers.

use super::scale::{POWERS, Scaled, scale};
use super::{F32, F64, Format};

/// The maximum number of significant digits that the parser keeps. Later digits are used only to
/// break ties: if the kept digits are exactly halfway between two floats, a later nonzero digit
/// rounds the number up.
const MAX_DIGITS: u32 = 38;

/// A decimal number, `digits` * 10^`exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scanned {
    pub(crate) negative: bool,
    /// The significant digits, at most [`MAX_DIGITS`] of them.
    pub(crate) digits: u128,
    pub(crate) exponent: i32,
    /// Whether any of the discarded digits is nonzero.
    pub(crate) truncated: bool,
}

/// Parses a decimal number such as `-1.5e3` and returns the nearest float. Ties round to even. The
/// digits after the 38th significant digit are used only to break ties.
///
/// Returns `None` if `text` is not a decimal number, or if the number rounds to infinity. `inf` and
/// `NaN` are not accepted.
///
/// ```
/// use datakit_core::parse_f32;
/// assert_eq!(parse_f32(b"2.5e-3"), Some(0.0025));
/// assert_eq!((parse_f32(b"1e39"), parse_f32(b"NaN"), parse_f32(b"1 m")), (None, None, None));
/// ```
#[must_use]
pub fn parse_f32(text: &[u8]) -> Option<f32> {
    // The format has 32 bits, so the cast does not truncate.
    parse(text, &F32).map(|bits| f32::from_bits(bits as u32 | (is_negative(text) as u32) << 31))
}

/// Parses a decimal number such as `-1.5e3` and returns the nearest float, like [`parse_f32`].
#[must_use]
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    parse(text, &F64).map(|bits| f64::from_bits(bits | (is_negative(text) as u64) << 63))
}

fn is_negative(text: &[u8]) -> bool {
    text.first() == Some(&b'-')
}

/// Parses a decimal number and returns the bits of its absolute value in `format`.
fn parse(text: &[u8], format: &Format) -> Option<u64> {
    let (scanned, rest) = scan(text)?;
    if !rest.is_empty() {
        return None;
    }
    if scanned.digits == 0 {
        return Some(0);
    }
    // If the exponent is outside the range `POWERS`, every number with at most 38 digits rounds to
    // zero or infinity in both formats.
    let mut scaled = scale(scanned.digits, scanned.exponent.clamp(POWERS.0, POWERS.1));
    scaled.exact &= !scanned.truncated;
    Some(round(&scaled, format)).filter(|bits| *bits < format.infinity)
}

/// Rounds to the nearest number in `format`, which may be infinity, and returns its bits.
fn round(scaled: &Scaled, format: &Format) -> u64 {
    // The exponent of the least significant bit that the format can store.
    let last = (scaled.exponent + 64 - format.precision.cast_signed()).max(format.min_exponent);
    // At least 64 - `precision` bits are dropped, so `dropped - 1` does not underflow.
    let dropped = (last - scaled.exponent).unsigned_abs();
    let first_dropped = scaled.mantissa.checked_shr(dropped - 1).unwrap_or(0);
    let kept = first_dropped >> 1;
    let exact = scaled.exact && scaled.mantissa.trailing_zeros() >= dropped - 1;
    let up = first_dropped & 1 == 1 && (!exact || kept & 1 == 1);
    // If the number is normal, adding the leading bit of `kept` increments the exponent. A carry
    // from rounding also increments the exponent.
    let exponent = u64::from((last - format.min_exponent).unsigned_abs());
    ((exponent << (format.precision - 1)) + kept + u64::from(up)).min(format.infinity)
}

/// Splits `text` into the decimal number at its start and the remaining text. Returns `None` if
/// `text` does not start with a number.
pub(crate) fn scan(text: &[u8]) -> Option<(Scanned, &[u8])> {
    let mut number =
        Scanned { negative: is_negative(text), digits: 0, exponent: 0, truncated: false };
    let mut rest = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    let (mut any, mut point) = (false, false);
    while let [byte, tail @ ..] = rest {
        match byte {
            b'0'..=b'9' => {
                any = true;
                let digit = u128::from(byte - b'0');
                if number.digits < const { 10u128.pow(MAX_DIGITS - 1) } {
                    number.digits = number.digits * 10 + digit;
                    number.exponent -= i32::from(point);
                } else {
                    number.truncated |= digit != 0;
                    number.exponent += i32::from(!point);
                }
            }
            b'.' if !point => point = true,
            _ => break,
        }
        rest = tail;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let (exponent, after) = scan_exponent(exponent)?;
        number.exponent = number.exponent.saturating_add(exponent);
        rest = after;
    }
    any.then_some((number, rest))
}

fn scan_exponent(text: &[u8]) -> Option<(i32, &[u8])> {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at_checked(count).filter(|_| count > 0)?;
    let value = digits
        .iter()
        .fold(0i32, |value, byte| value.saturating_mul(10).saturating_add(i32::from(byte - b'0')));
    Some((if is_negative(text) { -value } else { value }, rest))
}
