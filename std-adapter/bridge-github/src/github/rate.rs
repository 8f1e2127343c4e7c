//! Uses GitHub's rate limits to compute how long to wait before the next call.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use parking_lot::Mutex;

/// The maximum wait for a rate limit. GitHub's longest window is one hour.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// How long to wait if GitHub refuses a call because of a rate limit but does not specify a wait
/// time.
const DEFAULT_WAIT: Duration = Duration::from_secs(60);

/// The percentage of the primary rate limit at which calls slow down. At `STOP_PERCENT`, calls stop
/// until the window ends. The remaining calls are left to other programs that use the same token.
const SLOW_DOWN_PERCENT: u64 = 60;
const STOP_PERCENT: u64 = 80;

/// The last known state of the rate limits. The gate and the metrics share this value.
#[derive(Debug, Default)]
pub(crate) struct Rate(Mutex<RateState>);

/// The rate limits as of the latest response.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RateState {
    /// The number of calls allowed in a window, or 0 if unknown.
    pub(crate) limit: u64,
    /// The number of calls remaining in this window.
    pub(crate) remaining: u64,
    /// The end of the window, as a Unix timestamp in seconds.
    pub(crate) reset: u64,
    /// The earliest time at which the next call can be made.
    pub(crate) not_before: Option<Instant>,
    /// The time of the last call.
    last: Option<Instant>,
    /// The number of calls refused by GitHub because of a rate limit.
    pub(crate) refusals: u64,
}

impl Rate {
    /// Returns the current state.
    pub(crate) fn state(&self) -> RateState {
        *self.0.lock()
    }

    /// Records the headers of a response.
    pub(crate) fn record(&self, headers: &HeaderMap) {
        let number = |name| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
        let is_core = headers.get("x-ratelimit-resource").is_none_or(|value| value == "core");
        let mut state = self.0.lock();
        state.last = Some(Instant::now());
        if let (Some(limit), Some(remaining), true) =
            (number("x-ratelimit-limit"), number("x-ratelimit-remaining"), is_core)
        {
            state.limit = limit;
            state.remaining = remaining;
            state.reset = number("x-ratelimit-reset").unwrap_or_default();
        }
    }

    /// Records a refusal and returns how long to wait if GitHub refused a call because of a rate
    /// limit. Otherwise, returns `None`.
    pub(crate) fn refused(
        &self,
        status: u16,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Option<Duration> {
        if !matches!(status, 403 | 429) {
            return None;
        }
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let after = header("retry-after").and_then(|value| value.trim().parse().ok());
        let is_exhausted = header("x-ratelimit-remaining") == Some("0");
        let text = String::from_utf8_lossy(body);
        let is_limit = status == 429
            || ["rate limit", "abuse detection"].iter().any(|words| text.contains(words));
        let wait = match after {
            Some(seconds) => Duration::from_secs(seconds),
            None if is_exhausted => until(self.state().reset, SystemTime::now()),
            None if is_limit => DEFAULT_WAIT,
            None => return None,
        };
        let wait = wait.min(MAX_WAIT);
        let mut state = self.0.lock();
        state.refusals = state.refusals.saturating_add(1);
        state.not_before = Instant::now().checked_add(wait).max(state.not_before);
        Some(wait)
    }

    /// Returns how long to wait before the next call.
    pub(crate) fn wait(&self) -> Duration {
        self.state().wait(Instant::now(), SystemTime::now())
    }
}

impl RateState {
    fn wait(&self, now: Instant, time: SystemTime) -> Duration {
        let blocked =
            self.not_before.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        blocked.max(self.pace(now, time)).min(MAX_WAIT)
    }

    /// Returns the delay before the next call, chosen so that usage rises evenly to
    /// [`STOP_PERCENT`] by the end of the window. Returns zero if less than [`SLOW_DOWN_PERCENT`]
    /// of the limit has been used.
    fn pace(&self, now: Instant, time: SystemTime) -> Duration {
        let left = until(self.reset, time);
        let used = self.limit.saturating_sub(self.remaining);
        let percent = |percent: u64| self.limit.saturating_mul(percent) / 100;
        if self.limit == 0 || left.is_zero() || used < percent(SLOW_DOWN_PERCENT) {
            return Duration::ZERO;
        }
        let usable = percent(STOP_PERCENT).saturating_sub(used);
        let Ok(usable) = u32::try_from(usable) else { return Duration::ZERO };
        let Some(interval) = left.checked_div(usable) else { return left };
        let since = self.last.map_or(interval, |last| now.saturating_duration_since(last));
        interval.saturating_sub(since)
    }
}

fn until(reset: u64, now: SystemTime) -> Duration {
    let reset = UNIX_EPOCH.checked_add(Duration::from_secs(reset)).unwrap_or(now);
    reset.duration_since(now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_000_000;

    fn wait(limit: u64, used: u64, left: u64) -> u64 {
        let now = Instant::now();
        let state = RateState {
            limit,
            remaining: limit - used,
            reset: START + left,
            last: Some(now),
            ..RateState::default()
        };
        state.wait(now, UNIX_EPOCH + Duration::from_secs(START)).as_secs()
    }

    #[test]
    fn calls_slow_down_and_stop_at_80_percent() {
        assert_eq!(wait(5000, 0, 3600), 0);
        assert_eq!(wait(5000, 2999, 3600), 0);
        assert_eq!(wait(5000, 3000, 3000), 3);
        assert_eq!(wait(5000, 3900, 3000), 30);
        assert_eq!(wait(5000, 4000, 1234), 1234);
        assert_eq!(wait(5000, 5000, 1234), 1234);
        // The window has ended.
        assert_eq!(wait(5000, 5000, 0), 0);
        assert_eq!(wait(0, 0, 0), 0);
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn refusals_say_how_long_to_wait() {
        let rate = Rate::default();
        let refused = |status, pairs: &[(&'static str, &str)], body: &str| {
            rate.refused(status, &headers(pairs), body.as_bytes()).map(|wait| wait.as_secs())
        };
        assert_eq!(refused(403, &[], "Resource not accessible by integration"), None);
        assert_eq!(refused(502, &[("retry-after", "5")], ""), None);
        assert_eq!(refused(403, &[], "You have exceeded a secondary rate limit."), Some(60));
        assert_eq!(refused(429, &[("retry-after", "5")], ""), Some(5));
        assert_eq!(refused(403, &[("retry-after", "99999999")], ""), Some(3600));
        assert!(rate.wait() > Duration::from_secs(3500));
        assert_eq!(rate.state().refusals, 3);
    }
}
