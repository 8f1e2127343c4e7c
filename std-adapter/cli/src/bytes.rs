//! Numbers of bytes on the command line: `65536`, `64K`, `64KiB`, `1G`.

use clap::builder::TypedValueParser;

/// The units, each 1024 times the one before.
const UNITS: [&str; 5] = ["", "K", "M", "G", "T"];

/// Takes a number of bytes of at least `least`.
pub(crate) fn at_least(least: u64) -> impl TypedValueParser<Value = u64> {
    move |text: &str| match parse(text) {
        Some(bytes) if bytes >= least => Ok(bytes),
        Some(bytes) => Err(format!("{bytes} is less than {least} bytes")),
        None => Err(format!(
            "not a number of bytes from {least} to {}, for example 65536, 64K or 1G",
            u64::MAX
        )),
    }
}

fn parse(text: &str) -> Option<u64> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.strip_suffix("iB").unwrap_or(unit);
    let power = UNITS.iter().position(|known| known.eq_ignore_ascii_case(unit))?;
    // `iB` alone is no unit.
    if power == 0 && digits < text.len() {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(1024u64.checked_pow(u32::try_from(power).ok()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_bytes_may_have_a_unit() {
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
