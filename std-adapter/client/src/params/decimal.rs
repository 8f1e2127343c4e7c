//! Decimal numbers with a fixed number of decimal places.

/// Returns a decimal number multiplied by 10^`decimals`, or `None` if the text is not a number or
/// has more decimal places.
pub(super) fn scaled(text: &str, decimals: u32) -> Option<i128> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > 30 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value = digits.parse::<i128>().ok()?;
    let shift = i64::from(exponent) + i64::from(decimals) - fraction.len() as i64;
    if value == 0 {
        return Some(0);
    }
    let power = 10i128.checked_pow(u32::try_from(shift.unsigned_abs()).ok()?)?;
    let value = match shift {
        0.. => value.checked_mul(power)?,
        _ if value % power == 0 => value / power,
        _ => return None,
    };
    Some(sign * value)
}
