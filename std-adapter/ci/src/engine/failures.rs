//! Failures to publish results, and the delays before the next attempts.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

/// The minimum delay before the next attempt.
pub(super) const DELAY_MIN: Duration = Duration::from_secs(1);

/// The maximum delay before the next attempt.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// The failures of the current and the previous round.
#[derive(Default)]
pub(super) struct Failures {
    /// The time at which the current series of rounds with failures began.
    since: Option<Instant>,
    /// The reasons for the failures in the previous round.
    last: BTreeSet<String>,
    /// The reasons for the failures in the current round.
    current: BTreeSet<String>,
}

impl Failures {
    /// Adds the reason for a failure. Returns `true` if the reason must be logged, because it has
    /// occurred neither in this round nor in the previous one.
    pub(super) fn add(&mut self, reason: String) -> bool {
        let is_new = !self.last.contains(&reason);
        self.current.insert(reason) && is_new
    }

    /// Ends a round. Returns `true` if the previous round had failures and this round had none.
    pub(super) fn end_round(&mut self) -> bool {
        self.last = std::mem::take(&mut self.current);
        if self.last.is_empty() {
            return self.since.take().is_some();
        }
        self.since.get_or_insert_with(Instant::now);
        false
    }

    /// Returns the delay before the next attempt. The delay is as long as the failures have lasted
    /// so far, but at least one second and at most one minute.
    pub(super) fn delay(&self) -> Duration {
        let lasted = self.since.map(|since| since.elapsed()).unwrap_or_default();
        lasted.clamp(DELAY_MIN, DELAY_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn delays_grow_and_each_reason_is_new_once() {
        let mut failures = Failures::default();
        let began = Instant::now();
        let mut attempts = 0;
        while began.elapsed() < Duration::from_secs(600) {
            assert_eq!(failures.add("the branch has a conflict".to_owned()), attempts == 0);
            assert!(!failures.add("the branch has a conflict".to_owned()));
            assert!(!failures.end_round());
            attempts += 1;
            assert!((DELAY_MIN..=DELAY_MAX).contains(&failures.delay()));
            tokio::time::sleep(failures.delay()).await;
        }
        assert!((10..20).contains(&attempts), "{attempts}");
        assert!(failures.add("another reason".to_owned()));
        assert!(!failures.end_round());
        assert!(failures.end_round(), "nothing failed in this round");
        assert_eq!(failures.delay(), DELAY_MIN);
        assert!(failures.add("the branch has a conflict".to_owned()));
    }
}
