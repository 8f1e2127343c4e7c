//! Formats and parses times and durations.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Formats a duration with at most two units, for example `< 1 s`, `7 s`, `1 min 15 s` or `2 h 5
/// min`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0 => "< 1 s".to_owned(),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Returns the time elapsed since `since`, or zero if the clock was set back.
pub(super) fn elapsed(since: SystemTime) -> Duration {
    since.elapsed().unwrap_or_default()
}

/// Formats a time in RFC 3339 format without fractional seconds, for the `datetime` attribute.
pub(super) fn machine(time: SystemTime) -> String {
    match Timestamp::try_from(time) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => String::new(),
    }
}

/// Formats a time for display, for example `2026-11-28 09:30 UTC`.
pub(super) fn human(time: SystemTime) -> String {
    match Timestamp::try_from(time) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        Err(_) => String::new(),
    }
}

/// Parses a commit date in RFC 3339 format.
pub(super) fn parse(date: &str) -> Option<SystemTime> {
    date.trim().parse::<Timestamp>().ok().map(SystemTime::from)
}

/// Parses the time at the start of a log line, for example `[2026-11-28 09:30.05] Starting`.
/// Returns the time and the rest of the line.
pub(super) fn of_log_line(line: &str) -> Option<(SystemTime, &str)> {
    let (time, rest) = line.strip_prefix('[')?.split_once("] ")?;
    if time.len() != 19 {
        return None;
    }
    let time = DateTime::strptime("%Y-%m-%d %H:%M.%S", time).ok()?;
    let time = time.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some((time.into(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_at_most_two_units() {
        for (millis, text) in [
            (850, "< 1 s"),
            (7_900, "7 s"),
            (75_000, "1 min 15 s"),
            (7_500_000, "2 h 5 min"),
            (93_600_000, "1 d 2 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn times_of_log_lines_are_parsed() {
        let (time, rest) = of_log_line("[2026-11-28 09:30.05] $ make").unwrap();
        assert_eq!((machine(time).as_str(), rest), ("2026-11-28T09:30:05Z", "$ make"));
        for line in ["", "[x] y", "[2026-13-28 09:30.05] x", "2026-11-28 09:30.05 x", "[\u{fc}] "] {
            assert_eq!(of_log_line(line), None, "{line}");
        }
    }
}
