//! Parses names, paths, durations and sizes.

use std::time::Duration;

/// The maximum length of a step name or cache name.
const NAME_MAX: usize = 50;
/// The maximum length of a path, in bytes.
const PATH_MAX: usize = 1024;
/// The longest duration.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// The maximum size, in bytes.
const SIZE_MAX: u64 = 1 << 40;

/// Names that would conflict with files in the metadata branch or with the job that reads the
/// pipeline.
const RESERVED: [&str; 4] = ["description", "pipeline", "state", "target_url"];

/// Parses the name of a step, cache or pool.
pub(super) fn name(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if text.len() > NAME_MAX || !starts || !text.bytes().all(allowed) {
        return Err(format!(
            "a name must consist of 1 to {NAME_MAX} letters (a-z, A-Z), digits, `-` or `_`, and \
             start with a letter or a digit"
        ));
    }
    Ok(text.to_owned())
}

/// Parses the name of a step.
pub(super) fn step_name(text: &str) -> Result<String, String> {
    if RESERVED.contains(&text) {
        return Err("this name is reserved; choose another one".to_owned());
    }
    name(text)
}

/// Parses the name of an environment variable.
pub(super) fn variable(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts = text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if text.len() > 100 || !starts || !text.bytes().all(allowed) {
        return Err(
            "the name of an environment variable must consist of 1 to 100 letters (a-z, A-Z), \
             digits or `_`, and must not start with a digit"
                .to_owned(),
        );
    }
    if text.starts_with("DATAKIT_CI") {
        return Err(
            "variables that start with `DATAKIT_CI` are set by the CI; choose another name"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

/// Parses a path in the work tree.
pub(super) fn path(text: &str) -> Result<String, String> {
    if text.len() > PATH_MAX {
        return Err(format!("the path has {} bytes; at most {PATH_MAX} are allowed", text.len()));
    }
    if text.starts_with('/') {
        return Err(
            "the path must be relative to the work tree, for example `target/report`".into()
        );
    }
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    if trimmed.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return Err(
            "the path must not be empty and must not contain empty names, `.` or `..`".into()
        );
    }
    if trimmed.split('/').any(|name| name.eq_ignore_ascii_case(".git")) {
        return Err("the path must not point into `.git`".to_owned());
    }
    Ok(trimmed.to_owned())
}

/// Parses a duration, for example `90s`, `10m` or `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a duration has the form `90s`, `10m` or `1h30m`".to_owned();
    let (mut rest, mut total, mut last) = (text, Duration::ZERO, u64::MAX);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at_checked(digits).ok_or_else(wrong)?;
        let seconds = match unit.bytes().next() {
            Some(b'h') => 3600,
            Some(b'm') => 60,
            Some(b's') => 1,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        if seconds >= last {
            return Err(wrong());
        }
        last = seconds;
        total = total.saturating_add(Duration::from_secs(number.saturating_mul(seconds)));
        rest = unit.get(1..).unwrap_or_default();
    }
    if last == u64::MAX {
        return Err(wrong());
    }
    if total.is_zero() || total > DURATION_MAX {
        return Err("the duration must be between 1s and 24h".to_owned());
    }
    Ok(total)
}

/// Parses a size, for example `512MiB` or `2GiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "a size has the form `64KiB`, `512MiB` or `2GiB`".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let shift = match unit.trim_start() {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let size = number.checked_mul(1 << shift).filter(|size| (1..=SIZE_MAX).contains(size));
    size.ok_or_else(|| "the size must be between 1KiB and 1024GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h30m", 5400), ("24h", 86400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "10", "m", "10m1h", "1m1m", "-1s", "1.5h", "10 m", "1h\u{fc}"] {
            assert!(duration(text).unwrap_err().contains("the form"), "{text}");
        }
        for text in ["0s", "25h", "18446744073709551615h", "24h1s"] {
            assert!(duration(text).unwrap_err().contains("between 1s and 24h"), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("64KiB", 65536), ("1 GiB", 1 << 30), ("1024GiB", 1 << 40)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "10", "10MB", "GiB", "1.5GiB", "0KiB", "9999999999GiB", "1025GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn paths_stay_in_the_work_tree() {
        assert_eq!(path("target/doc/"), Ok("target/doc".to_owned()));
        for text in ["", "/etc", "a/../b", "..", ".", "a//b", "a/./b", ".git/config", "x/.GIT"] {
            assert!(path(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_of_variables_are_checked() {
        assert!(variable("TOKEN").is_ok() && variable("_a1").is_ok());
        for text in ["DATAKIT_CI_TARGET", "1A", "A-B", "", "A=B", "\u{fc}"] {
            assert!(variable(text).is_err(), "{text}");
        }
    }
}
