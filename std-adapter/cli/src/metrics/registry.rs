//! The metrics registry, and a summary of how long pushes take.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use datakit_db::counters::DbCounters;
use datakit_program::{LogCounters, ProcessCollector, metrics_text};
use datakit_server::Stats;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;

use super::collect::{DatabaseCollector, ServerCollector};

/// The counters that the metrics report. Clones share the counters.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counters {
    /// Connections and requests.
    pub(crate) server: Arc<Stats>,
    /// Transactions and commits.
    pub(crate) database: Arc<DbCounters>,
    /// The total number and duration of all `git push` runs.
    pub(crate) pushes: Arc<PushSummary>,
    /// Log messages.
    pub(crate) logs: LogCounters,
}

/// A summary without quantiles. This type exists because the metrics library does not provide
/// summaries.
#[derive(Debug, Default)]
pub(crate) struct PushSummary(Mutex<(u64, Duration)>);

impl PushSummary {
    /// Records how long a push took.
    pub(crate) fn observe(&self, took: Duration) {
        let (count, sum) = &mut *self.0.lock();
        *count = count.saturating_add(1);
        *sum = sum.saturating_add(took);
    }

    fn render(&self, name: &str, help: &str, text: &mut String) -> fmt::Result {
        let (count, sum) = *self.0.lock();
        let sum = sum.as_secs_f64();
        writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} summary\n{name}_sum {sum}\n{name}_count {count}"
        )
    }
}

/// All of a process's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pushes: Arc<PushSummary>,
}

impl Metrics {
    /// Registers the counters and starts measuring the duration of requests to the server.
    pub(crate) fn new(counters: &Counters) -> Metrics {
        let Counters { server, database, pushes, logs } = counters.clone();
        // The first call to `durations` starts measuring.
        let _ = server.durations();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessCollector::started_now()));
        registry.register_collector(Box::new(ServerCollector(server)));
        registry.register_collector(Box::new(DatabaseCollector(database)));
        logs.register(&mut registry);
        Metrics { registry, pushes }
    }

    /// Returns the metrics in version 0.0.4 of the Prometheus text format.
    pub(crate) fn render(&self) -> String {
        let mut text = metrics_text(&self.registry);
        let _ = self.pushes.render(
            "DataKit_git_push_duration_seconds",
            "Duration of `git push` runs.",
            &mut text,
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_include_every_counter() {
        let counters = Counters::default();
        let metrics = Metrics::new(&counters);
        counters.database.transactions.up();
        counters.database.commits.count();
        counters.pushes.observe(Duration::from_millis(1500));
        counters.pushes.observe(Duration::from_secs(1));
        counters.logs.count_message("warning", "server");
        counters.logs.count_lost();
        counters.logs.count_suppressed();
        let text = metrics.render();
        for line in [
            "# TYPE datakit_transactions gauge",
            "datakit_transactions 1",
            "# TYPE datakit_commits_total counter",
            "datakit_commits_total 1",
            "datakit_merge_conflicts_total 0",
            "# TYPE DataKit_git_push_duration_seconds summary",
            "DataKit_git_push_duration_seconds_sum 2.5",
            "DataKit_git_push_duration_seconds_count 2",
            "# TYPE datakit_logs_messages_total counter",
            "datakit_logs_messages_total{level=\"warning\",src=\"server\"} 1",
            "datakit_logs_lost_total 1",
            "datakit_logs_left_out_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
        }
        assert!(text.ends_with('\n') && !text.contains("# EOF"));
    }
}
