//! Detects changes to the system clock, because a wrong clock could make everything look old.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// How long to distrust the clock after the program has started. The system often sets its clock
/// shortly after booting.
const AFTER_START: Duration = Duration::from_secs(3600);
/// How long to distrust the clock after a change.
const AFTER_CHANGE: Duration = Duration::from_secs(86_400);
/// The largest change that is ignored.
const TOLERANCE: Duration = Duration::from_secs(600);

/// The system clock. It is compared with the time since boot, which cannot be set.
pub(crate) struct SteadyClock {
    /// The last reading of both clocks.
    last: Reading,
    /// The time since boot after which the system clock is trusted.
    trusted_from: Duration,
}

#[derive(Clone, Copy)]
struct Reading {
    system: SystemTime,
    /// The time since the system booted, including the time during which it was suspended.
    boot: Duration,
}

impl Reading {
    fn now() -> Reading {
        let boot = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(boot.tv_sec).unwrap_or_default();
        Reading { system: SystemTime::now(), boot: Duration::from_secs(seconds) }
    }

    /// Returns the amount by which the system clock has been changed since an earlier reading.
    fn change_since(&self, last: &Reading) -> Duration {
        let expected = last.system.checked_add(self.boot.saturating_sub(last.boot));
        expected.map_or(Duration::MAX, |expected| match self.system.duration_since(expected) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        })
    }
}

impl SteadyClock {
    pub(crate) fn new() -> SteadyClock {
        SteadyClock::starting_at(Reading::now())
    }

    fn starting_at(last: Reading) -> SteadyClock {
        SteadyClock { last, trusted_from: last.boot.saturating_add(AFTER_START) }
    }

    /// Returns the current time, or `None` if the clock might be wrong.
    pub(crate) fn now(&mut self) -> Option<SystemTime> {
        self.check(Reading::now())
    }

    fn check(&mut self, now: Reading) -> Option<SystemTime> {
        let change = now.change_since(&self.last);
        self.last = now;
        if change > TOLERANCE {
            tracing::warn!(?change, "the system clock was changed");
            self.trusted_from = now.boot.saturating_add(AFTER_CHANGE);
        }
        (now.boot >= self.trusted_from).then_some(now.system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const YEAR: Duration = Duration::from_secs(365 * 86_400);

    #[test]
    fn clock_is_trusted_only_while_it_is_steady() {
        let start = Reading { system: SystemTime::UNIX_EPOCH + 50 * YEAR, boot: HOUR };
        let at = |hours: u32| Reading {
            system: start.system + HOUR * hours,
            boot: start.boot + HOUR * hours,
        };
        let mut clock = SteadyClock::starting_at(start);
        assert_eq!(clock.check(at(0)), None);
        assert_eq!(clock.check(at(1)), Some(at(1).system));
        assert_eq!(clock.check(at(3)), Some(at(3).system));
        // The clock is set forward by a year, and set back two hours later.
        let ahead = |reading: Reading| Reading { system: reading.system + YEAR, ..reading };
        assert_eq!(clock.check(ahead(at(4))), None);
        assert_eq!(clock.check(ahead(at(5))), None);
        assert_eq!(clock.check(at(6)), None);
        assert_eq!(clock.check(at(29)), None);
        assert_eq!(clock.check(at(30)), Some(at(30).system));
        // If nobody sets the clock back, it is trusted after a day.
        assert_eq!(clock.check(ahead(at(31))), None);
        assert_eq!(clock.check(ahead(at(55))), Some(ahead(at(55)).system));
        let behind = Reading { system: SystemTime::UNIX_EPOCH, ..at(56) };
        assert_eq!(clock.check(behind), None);
    }
}
