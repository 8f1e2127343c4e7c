//! Metrics for Prometheus.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Instant;

use datakit_program::{LogCounters, ProcessCollector, metrics_text};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use crate::github::Rate;

/// Counters for calls to GitHub. Clones share the counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct ApiCounters {
    /// The number of requests, by method.
    pub(crate) calls: Family<[(&'static str, String); 1], Counter>,
    /// The number of requests that received no response.
    pub(crate) failures: Counter,
    /// The number of calls refused by GitHub because of a rate limit.
    pub(crate) limited: Counter,
    /// The state of GitHub's rate limits.
    pub(crate) rate: Arc<Rate>,
}

/// Counters of webhook events. Clones share the counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct EventCounters {
    /// The number of webhook events, by kind.
    pub(crate) events: Family<[(&'static str, String); 1], Counter>,
    /// The number of duplicate webhook deliveries.
    pub(crate) repeated: Counter,
    /// The number of rejected webhook requests.
    pub(crate) refused: Counter,
}

/// Counters of rounds. Clones share the counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct RoundCounters {
    /// The number of rounds.
    pub(crate) rounds: Counter,
    /// The number of commits to the branch.
    pub(crate) commits: Counter,
    /// The number of monitored repositories.
    pub(crate) repos: Gauge<i64, AtomicI64>,
    /// The number of reads and writes that must be retried.
    pub(crate) failed: Gauge<i64, AtomicI64>,
}

/// All of the program's counters. Clones share the counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    /// Calls to GitHub.
    pub(crate) api: ApiCounters,
    /// Webhook events.
    pub(crate) events: EventCounters,
    /// Rounds.
    pub(crate) rounds: RoundCounters,
    /// Log messages.
    pub(crate) logs: LogCounters,
}

impl Counters {
    /// Returns a function that renders the metrics in the Prometheus text format.
    pub(crate) fn renderer(&self) -> impl Fn() -> String + Send + Sync + 'static {
        let mut registry = Registry::with_prefix("datakit_github");
        let Counters { api, events, rounds, logs } = self.clone();
        registry.register("calls", "Requests to GitHub", api.calls);
        registry.register("call_failures", "Requests to GitHub without an answer", api.failures);
        registry.register("calls_limited", "Requests refused because of a limit", api.limited);
        registry.register_collector(Box::new(RateCollector(api.rate)));
        registry.register("events", "Webhook events", events.events);
        registry.register("events_repeated", "Deliveries received before", events.repeated);
        registry.register("events_refused", "Webhook requests refused", events.refused);
        registry.register("rounds", "Rounds", rounds.rounds);
        registry.register("commits", "Commits to the branch", rounds.commits);
        registry.register("repositories", "Monitored repositories", rounds.repos);
        registry.register("failed", "Reads and writes to be repeated", rounds.failed);
        let mut common = Registry::default();
        logs.register(&mut common);
        common.register_collector(Box::new(ProcessCollector::started_now()));
        move || metrics_text(&registry) + &metrics_text(&common)
    }
}

/// Exports the state of GitHub's rate limits on each scrape.
#[derive(Debug)]
struct RateCollector(Arc<Rate>);

impl Collector for RateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let state = self.0.state();
        let wait = state
            .not_before
            .map_or(0, |until| until.saturating_duration_since(Instant::now()).as_secs());
        for (name, help, value) in [
            ("rate_limit", "GitHub's limit of calls per hour", state.limit),
            ("rate_remaining", "Calls that remain in this hour", state.remaining),
            ("rate_reset_seconds", "End of this hour since 1970", state.reset),
            ("rate_wait_seconds", "Time until GitHub accepts calls again", wait),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_counters_are_shown() {
        let counters = Counters::default();
        counters.api.calls.get_or_create(&[("method", "GET".to_owned())]).inc();
        counters.events.repeated.inc();
        counters.rounds.repos.set(3);
        let text = counters.renderer()();
        for line in [
            "datakit_github_calls_total{method=\"GET\"} 1",
            "datakit_github_events_repeated_total 1",
            "datakit_github_repositories 3",
            "datakit_github_rate_limit 0",
            "datakit_logs_lost_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
        }
    }
}
