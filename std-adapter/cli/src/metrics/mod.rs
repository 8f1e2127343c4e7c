//! What a server counts, for Prometheus: `GET /metrics`.
//!
//! ```text
//! server::Stats, DbCounters, Summary, Logs -> collect -> registry, text format 0.0.4 -> http
//! ```
//!
//! Whoever counts knows nothing of this module but [`Summary`] and [`Logs`]: the numbers are read
//! when somebody asks for them.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use crate::metrics::{Counters, Endpoint, Metrics};
//! use datakit_server::{Limits, Server};
//!
//! let server = Server::bind(&["tcp://127.0.0.1:0".parse().unwrap()], Limits::default()).await?;
//! let endpoint = Endpoint::bind(&"127.0.0.1:0".parse().unwrap()).await?;
//! println!("metrics on {endpoint}");
//! let counters = Counters { server: server.stats(), ..Counters::default() };
//! tokio::spawn(endpoint.serve(Metrics::new(&counters)));
//! # Ok(())
//! # }
//! ```

mod address;
mod collect;
mod http;
mod summary;

use std::sync::Arc;

pub(crate) use address::Address;
use collect::{Database, Process, Server};
pub(crate) use http::Endpoint;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
pub(crate) use summary::Summary;

use datakit_db::counters::DbCounters;
use datakit_server::Stats;

/// Where the numbers come from. Whoever counts has a clone of their part.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counters {
    /// Connections and requests.
    pub server: Arc<Stats>,
    /// Transactions and commits.
    pub database: Arc<DbCounters>,
    /// How long each `git push` took.
    pub pushes: Arc<Summary>,
    /// Messages of the log.
    pub logs: Logs,
}

/// Messages of the log, by level and source, and what became of them. Clones count together.
#[derive(Debug, Default, Clone)]
pub(crate) struct Logs {
    messages: Family<[(&'static str, &'static str); 2], Counter>,
    lost: Counter,
    left_out: Counter,
}

impl Logs {
    /// One more message of this level from this source.
    pub(crate) fn count(&self, level: &'static str, source: &'static str) {
        self.messages.get_or_create(&[("level", level), ("src", source)]).inc();
    }

    /// A line was lost, because those before it were not read.
    pub(crate) fn lose(&self) {
        self.lost.inc();
    }

    /// Lines that were lost.
    #[must_use]
    pub(crate) fn lost(&self) -> u64 {
        self.lost.get()
    }

    /// A line was left out, because there are many like it.
    pub(crate) fn leave_out(&self) {
        self.left_out.inc();
    }

    /// Lines that were left out.
    #[must_use]
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out.get()
    }
}

/// All metrics of a process.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pushes: Arc<Summary>,
}

impl Metrics {
    /// Shows these counters; from now on the server measures how long requests take.
    #[must_use]
    pub(crate) fn new(counters: &Counters) -> Metrics {
        let Counters { server, database, pushes, logs } = counters.clone();
        // Asked for once, it measures.
        let _ = server.durations();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process::started_now()));
        registry.register_collector(Box::new(Server(server)));
        registry.register_collector(Box::new(Database(database)));
        registry.register("datakit_logs_messages", "Messages logged", logs.messages);
        registry.register(
            "datakit_logs_lost",
            "Lines lost because the log was not read",
            logs.lost,
        );
        registry.register(
            "datakit_logs_left_out",
            "Lines left out because there were many like them",
            logs.left_out,
        );
        Metrics { registry, pushes }
    }

    /// All of them, in the text format 0.0.4.
    #[must_use]
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        // A string takes all that it is given.
        let _ = prometheus_text::encode(&mut text, &self.registry);
        let _ = self.pushes.render(
            "DataKit_git_push_duration_seconds",
            "Time that `git push` took.",
            &mut text,
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_counter_is_shown() {
        let counters = Counters::default();
        let metrics = Metrics::new(&counters);
        counters.database.transactions.up();
        counters.database.commits.count();
        counters.pushes.observe(Duration::from_millis(1500));
        counters.pushes.observe(Duration::from_secs(1));
        counters.logs.count("warning", "server");
        counters.logs.lose();
        counters.logs.leave_out();
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
