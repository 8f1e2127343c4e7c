//! Decimal numbers with a fixed number of decimal places.

/// Returns a value multiplied by 10^`decimals`. A value has the form that servers accept: digits, at
/// most one decimal point and at most a `-`, but no exponent. Returns `None` for any other text, or
/// if the value has more decimal places.
pub(super) fn value_scaled(text: &str, decimals: u32) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_plain { scaled(text, decimals) } else { None }
}

/// Writes `value` / 10^`decimals` without trailing zeros. `decimals` is at most 18.
pub(super) fn unscaled(value: i128, decimals: u32) -> String {
    let (magnitude, power) = (value.unsigned_abs(), 10u128.pow(decimals.min(18)));
    let sign = if value < 0 { "-" } else { "" };
    let (whole, fraction) = (magnitude / power, magnitude % power);
    let fraction = format!("{fraction:0width$}", width = decimals as usize);
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}

/// Returns a number from the schema multiplied by 10^`decimals`. As JSON allows, the number may
/// have an exponent. Returns `None` if the text is not a number or has more decimal places.
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
