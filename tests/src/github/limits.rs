//! The primary rate limit, in calls per hour, and the secondary rate limit, in points per minute.

use std::collections::{HashMap, VecDeque};

use serde_json::{Value, json};

use super::actor::Actor;
use super::reply::Reply;

/// The default primary limits, in calls per hour, for each token and for callers without a token.
const AUTHORISED: u32 = 5_000;
const ANONYMOUS: u32 = 60;

/// The length of a primary limit window in seconds.
const WINDOW: i64 = 3_600;

/// The cost, in points, of a call that changes something. Any other call costs one point.
const CHANGE: u32 = 5;

#[derive(Clone, Debug, Default)]
struct Bucket {
    used: u32,
    reset: i64,
}

/// The limits and each caller's usage.
#[derive(Debug)]
pub(crate) struct Limits {
    /// The primary limit of each token, in calls per hour.
    pub(crate) hourly: u32,
    /// The secondary limit, in points per minute, or `None` for no limit.
    pub(crate) points: Option<u32>,
    buckets: HashMap<Actor, Bucket>,
    recent: HashMap<Actor, VecDeque<(i64, u32)>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { hourly: AUTHORISED, points: None, buckets: HashMap::new(), recent: HashMap::new() }
    }
}

impl Limits {
    fn limit(&self, actor: &Actor) -> u32 {
        if *actor == Actor::Anonymous { ANONYMOUS } else { self.hourly }
    }

    fn bucket(&mut self, actor: &Actor, now: i64) -> &mut Bucket {
        let bucket = self.buckets.entry(actor.clone()).or_default();
        if bucket.reset <= now {
            *bucket = Bucket { used: 0, reset: now + WINDOW };
        }
        bucket
    }

    /// Refuses a call if a limit is exhausted.
    pub(crate) fn admit(&mut self, actor: &Actor, method: &str, now: i64) -> Result<(), Reply> {
        let limit = self.limit(actor);
        if self.bucket(actor, now).used >= limit {
            return Err(Reply::error(
                403,
                "API rate limit exceeded for this user. If you reach out to GitHub Support for help, please include the request ID.",
            ));
        }
        let Some(most) = self.points else { return Ok(()) };
        let recent = self.recent.entry(actor.clone()).or_default();
        while recent.front().is_some_and(|(at, _)| *at <= now - 60) {
            recent.pop_front();
        }
        let points = if method == "GET" { 1 } else { CHANGE };
        if recent.iter().map(|(_, points)| points).sum::<u32>() + points > most {
            let wait = recent.front().map_or(60, |(at, _)| (at + 60 - now).max(1));
            return Err(secondary(403).with("retry-after", wait));
        }
        recent.push_back((now, points));
        Ok(())
    }

    /// Charges `cost` calls to a caller and adds the rate limit headers to the response. The number
    /// of charged calls never exceeds the limit.
    pub(crate) fn charged(&mut self, actor: &Actor, now: i64, cost: u32, reply: Reply) -> Reply {
        let limit = self.limit(actor);
        let bucket = self.bucket(actor, now);
        bucket.used = (bucket.used + cost).min(limit);
        let (used, reset) = (bucket.used, bucket.reset);
        reply
            .with("x-ratelimit-limit", limit)
            .with("x-ratelimit-remaining", limit - used)
            .with("x-ratelimit-used", used)
            .with("x-ratelimit-reset", reset)
            .with("x-ratelimit-resource", "core")
    }

    /// Uses up the primary limit of every known caller, except for `left` calls. The limits reset
    /// after `seconds` seconds.
    pub(crate) fn exhaust(&mut self, left: u32, now: i64, seconds: i64) {
        for (actor, bucket) in &mut self.buckets {
            let limit = if *actor == Actor::Anonymous { ANONYMOUS } else { self.hourly };
            *bucket = Bucket { used: limit.saturating_sub(left), reset: now + seconds };
        }
    }

    /// Returns the number of calls charged to a caller in the current window.
    pub(crate) fn used(&mut self, actor: &Actor, now: i64) -> u32 {
        self.bucket(actor, now).used
    }

    /// Returns the response body for `/rate_limit`.
    pub(crate) fn overview(&mut self, actor: &Actor, now: i64) -> Value {
        let limit = self.limit(actor);
        let bucket = self.bucket(actor, now);
        let core = json!({
            "limit": limit, "used": bucket.used, "remaining": limit - bucket.used.min(limit), "reset": bucket.reset,
        });
        let search = json!({ "limit": 30, "used": 0, "remaining": 30, "reset": now + 60 });
        json!({ "resources": { "core": core, "search": search }, "rate": core })
    }
}

/// Returns the response for an exceeded secondary limit. The caller must add the `Retry-After`
/// header.
pub(crate) fn secondary(status: u16) -> Reply {
    Reply::error(
        status,
        "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
    )
}
