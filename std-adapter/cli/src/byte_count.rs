//! Byte counts on the command line, such as `65536`, `64K`, `64KiB` and `1G`.

use clap::builder::TypedValueParser;

/// The units in ascending order, each 1024 times as large as the previous one.
const UNITS: [&str; 5] = ["", "K", "M", "G", "T"];

/// Returns a parser for byte counts that are at least `min`.
pub(crate) fn at_least(min: u64) -> impl TypedValueParser<Value = u64> {
    move |text: &str| match parse(text) {
        Some(bytes) if bytes >= min => Ok(bytes),
        Some(bytes) => Err(format!("{bytes} bytes is too small: the minimum is {min}")),
        None => Err(format!(
            "use a number of bytes from {min} to {}, for example 65536, 64K or 1G",
            u64::MAX
        )),
    }
}

/// Formats a size with at most three digits and a unit, as `ls -h` does: `12`, `1.5K`, `20M`.
pub(crate) fn human(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, 0);
    // Values of 1023.5 or more would be rounded to 1024, which has four digits.
    while value >= 1023.5 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    let suffix = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 || value >= 9.95 {
        format!("{value:.0}{suffix}")
    } else {
        format!("{value:.1}{suffix}")
    }
}

fn parse(text: &str) -> Option<u64> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.strip_suffix("iB").unwrap_or(unit);
    let power = UNITS.iter().position(|known| known.eq_ignore_ascii_case(unit))?;
    // Reject `iB` without a preceding letter.
    if power == 0 && digits < text.len() {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(1024u64.checked_pow(u32::try_from(power).ok()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_human_readable_size_is_short() {
        for (bytes, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1536, "1.5K"),
            (20 << 20, "20M"),
            ((1 << 20) - 1, "1.0M"),
            (u64::MAX, "16777216T"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn a_byte_count_may_have_a_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65536),
            ("64K", 65536),
            ("64k", 65536),
            ("64KiB", 65536),
            ("2G", 2 << 30),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for text in
            ["", "K", "iB", "1iB", "-1", "1.5G", "1X", "1 K", "16777216T", "18446744073709551616"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
