//! Faults that affect API calls, and rules that select these calls.

use std::time::Duration;

/// A fault that affects a call.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// The call has no effect. The response has this status and contains an HTML page like the ones
    /// that GitHub's proxies send with statuses 502, 503 and 504.
    Status(u16),
    /// The call has no effect. The response reports that the secondary rate limit has been
    /// exceeded.
    Abuse {
        /// The status of the response: either 403 or 429.
        status: u16,
        /// The value of the `Retry-After` header in seconds, or `None` to omit the header.
        retry_after: Option<u32>,
    },
    /// The call has no effect, and the connection is closed without a response.
    Close,
    /// The call has no effect, and no response is ever sent.
    Hang,
    /// The call takes effect after this delay.
    Slow(Duration),
    /// The call takes effect, but the connection is closed without a response.
    Lost,
    /// The call takes effect, but the connection is closed in the middle of the response body.
    Cut,
    /// The call takes effect, but the response body contains only the first half of the JSON text.
    /// The `Content-Length` header matches the shortened body.
    HalfBody,
}

/// A rule that applies a fault to matching calls.
#[derive(Clone, Debug)]
struct Rule {
    pattern: String,
    fault: Fault,
    skip: u32,
    times: u32,
}

/// The rules, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<Rule>,
}

/// The maximum number of rules.
const MOST_RULES: usize = 1_000;

impl Faults {
    /// Adds a rule that skips the next `skip` matching calls and then applies to `times` calls.
    pub(crate) fn add(&mut self, pattern: &str, fault: Fault, skip: u32, times: u32) {
        assert!(self.rules.len() < MOST_RULES, "more than {MOST_RULES} faults");
        self.rules.push(Rule { pattern: pattern.into(), fault, skip, times });
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// Returns the fault to apply to a call, if any. `call` is a string such as `GET
    /// /repos/a/b/pulls?state=open`.
    pub(crate) fn next(&mut self, call: &str) -> Option<Fault> {
        let rule = self.rules.iter_mut().find(|rule| matches(&rule.pattern, call))?;
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        rule.times -= u32::from(rule.times > 0);
        let fault = rule.fault.clone();
        self.rules.retain(|rule| rule.times > 0);
        Some(fault)
    }
}

/// Returns whether the text matches the pattern. In the pattern, `*` matches any text.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|end| {
            let mut ends = end.char_indices().map(|(at, _)| at).chain([end.len()]);
            ends.any(|at| matches(rest, &end[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, is_so) in [
            ("GET /a", "GET /a", true),
            ("GET /a", "GET /ab", false),
            ("*", "", true),
            ("* /repos/*/pulls*", "GET /repos/a/b/pulls?page=2", true),
            ("*page=2", "GET /x?page=22", false),
            ("*page=2*", "GET /x?page=22", true),
        ] {
            assert_eq!(matches(pattern, text), is_so, "{pattern} {text}");
        }
    }

    #[test]
    fn a_rule_skips_and_ends() {
        let mut faults = Faults::default();
        faults.add("GET *", Fault::Close, 1, 2);
        let next: Vec<_> = (0..4).map(|_| faults.next("GET /").is_some()).collect();
        assert_eq!(next, [false, true, true, false]);
    }
}
