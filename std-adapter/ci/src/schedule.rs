//! Rebuilds branches on a schedule.

use std::fmt;
use std::time::Duration;

use croner::Cron;
use croner::errors::CronError;
use jiff::SignedDuration;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The maximum time between two clock checks. The clock can be changed while the program is
/// waiting.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// If the clock is set back by less than this time, scheduled times are not repeated.
const REPEAT_MAX: SignedDuration = SignedDuration::from_hours(1);

/// The times at which to rebuild a branch, in UTC.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    text: String,
    cron: Cron,
}

impl Schedule {
    /// Parses a cron expression with five fields.
    ///
    /// # Errors
    /// Returns an error that states which rule the expression violates.
    pub(crate) fn parse(text: &str) -> Result<Schedule, InvalidSchedule> {
        let invalid = |cause| InvalidSchedule { text: text.to_owned(), cause };
        if text.split_whitespace().count() != 5 {
            return Err(invalid(None));
        }
        let cron: Cron = text.parse().map_err(|error| invalid(Some(error)))?;
        let schedule = Schedule { text: text.to_owned(), cron };
        match schedule.cron.find_next_occurrence(&DateTime::constant(2000, 1, 1, 0, 0, 0, 0), true)
        {
            Ok(_) => Ok(schedule),
            Err(error) => Err(invalid(Some(error))),
        }
    }

    /// Returns the first scheduled time after `time`.
    fn after(&self, time: DateTime) -> Option<DateTime> {
        self.cron.find_next_occurrence(&time, false).ok()
    }

    /// Waits until the next scheduled time. Returns immediately if a scheduled time has passed
    /// since `last`, the time returned by the previous call. If multiple scheduled times have
    /// passed, for example while the computer was suspended, they count as one.
    ///
    /// If the clock is set back by less than an hour, scheduled times are not repeated.
    pub(crate) async fn next(&self, mut last: DateTime) -> DateTime {
        loop {
            let now = now();
            match self.wait(&mut last, now) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return now,
            }
        }
    }

    /// Returns how long to wait before reading the clock again, or `None` if a scheduled time has
    /// passed since `last`.
    fn wait(&self, last: &mut DateTime, now: DateTime) -> Option<Duration> {
        if now.duration_until(*last) > REPEAT_MAX {
            tracing::warn!(schedule = %self, "the system clock was set back");
            // The clock was wrong when `last` was read. If `last` stayed in the future, nothing
            // would be built until that time.
            *last = now;
        }
        match self.after(*last) {
            Some(due) if due <= now => None,
            Some(due) => Some(pause(now, due)),
            None => Some(LOOK_INTERVAL),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Returns the current time in UTC.
pub(crate) fn now() -> DateTime {
    Timestamp::now().to_zoned(TimeZone::UTC).datetime()
}

fn pause(now: DateTime, due: DateTime) -> Duration {
    let pause = now.duration_until(due);
    Duration::try_from(pause).unwrap_or_default().clamp(Duration::from_millis(10), LOOK_INTERVAL)
}

/// The error returned if a string is not a valid cron expression.
#[derive(Debug)]
pub(crate) struct InvalidSchedule {
    text: String,
    /// `None` if the expression does not have five fields.
    cause: Option<CronError>,
}

impl fmt::Display for InvalidSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid schedule {:?}: ", self.text)?;
        match &self.cause {
            Some(error) => error.fmt(f),
            None => f.write_str(
                "expected minute, hour, day of the month, month, and day of the week, for example \
                 \"0 3 * * *\"",
            ),
        }
    }
}

// The error message already contains the cause.
impl std::error::Error for InvalidSchedule {}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime {
        text.parse().unwrap()
    }

    #[test]
    fn next_time_is_found() {
        let nightly = Schedule::parse("0 3 * * *").unwrap();
        assert_eq!(nightly.after(time("2026-02-28T03:00:00")), Some(time("2026-03-01T03:00:00")));
        let mondays = Schedule::parse("30 6 * * 1").unwrap();
        assert_eq!(mondays.after(time("2026-11-29T12:00:00")), Some(time("2026-11-30T06:30:00")));
    }

    #[test]
    fn mistakes_are_explained() {
        for (text, expected) in [
            ("0 3 * *", "expected minute, hour"),
            ("0 3 * * * *", "expected minute, hour"),
            ("0 25 * * *", "0 25 * * *"),
            ("0 0 31 2 *", "0 0 31 2 *"),
        ] {
            let error = Schedule::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("invalid schedule"), "{error}");
        }
    }

    #[tokio::test]
    async fn missed_times_count_once() {
        let often = Schedule::parse("* * * * *").unwrap();
        let first = often.next(time("2020-01-01T00:00:00")).await;
        assert!(first > time("2026-01-01T00:00:00"));
        let second = tokio::time::timeout(Duration::from_millis(1), often.next(first)).await;
        // A new minute can begin between the two calls.
        assert!(second.is_err() || second.is_ok_and(|second| second > first));
    }

    /// Simulates a program that reads these times from the clock, and returns the times at which it
    /// builds.
    fn builds<'t>(schedule: &str, readings: &[&'t str]) -> Vec<&'t str> {
        let schedule = Schedule::parse(schedule).unwrap();
        let mut last = time(readings[0]);
        let mut builds = Vec::new();
        for reading in readings {
            // There is at most one build for each reading of the clock.
            while schedule.wait(&mut last, time(reading)).is_none() {
                last = time(reading);
                builds.push(*reading);
            }
        }
        builds
    }

    #[test]
    fn clock_that_is_set_forward_causes_one_build() {
        let readings = [
            "2026-01-01T12:00:30",
            "2026-01-02T12:00:31",
            "2026-01-02T12:00:51",
            "2026-01-02T12:01:01",
        ];
        assert_eq!(builds("* * * * *", &readings), [readings[1], readings[3]]);
        let readings = ["2026-01-01T12:00:00", "2099-01-01T12:00:20", "2099-01-01T12:00:40"];
        assert_eq!(builds("0 3 * * *", &readings), [readings[1]]);
    }

    #[test]
    fn clock_that_is_set_back_neither_repeats_nor_stops_builds() {
        // Less than an hour: the build at 12:00 is not repeated.
        let readings = [
            "2026-01-01T11:59:50",
            "2026-01-01T12:00:10",
            "2026-01-01T11:30:00",
            "2026-01-01T12:00:20",
            "2026-01-01T13:00:00",
        ];
        assert_eq!(builds("0 * * * *", &readings), [readings[1], readings[4]]);
        // The clock was wrong by years.
        let readings = [
            "2026-01-01T12:00:00",
            "9999-12-31T23:59:59",
            "2026-01-01T12:00:40",
            "2026-01-01T13:00:10",
            "2026-01-01T13:00:30",
        ];
        assert_eq!(builds("0 * * * *", &readings), [readings[1], readings[3]]);
    }

    #[test]
    fn pause_is_bounded() {
        let (now, due) = (time("2026-01-01T00:00:00"), time("2027-01-01T00:00:00"));
        assert_eq!(pause(now, due), LOOK_INTERVAL);
        assert_eq!(pause(due, now), Duration::from_millis(10));
    }
}
