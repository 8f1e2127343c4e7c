//! The metrics for Prometheus.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use datakit_program::{LogCounters, ProcessCollector};

/// The bridge's counters. Clones share the counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    /// 1 if the bridge is connected to the database, and 0 otherwise.
    pub(crate) connected: Gauge,
    /// The number of attempts to connect to the database.
    pub(crate) connects: Counter,
    /// The number of commits to the database.
    pub(crate) commits: Counter,
    /// The number of branches that were added, changed or removed in the database.
    pub(crate) changes: Counter,
    /// The number of reads, by repository and result.
    pub(crate) reads: Family<[(&'static str, String); 2], Counter>,
    /// The number of branches found by the last successful read, by repository.
    pub(crate) branches: Family<[(&'static str, String); 1], Gauge>,
}

/// Registers all metrics.
pub(crate) fn registry(counters: &Counters, logs: &LogCounters) -> Registry {
    let of = counters.clone();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ProcessCollector::started_now()));
    logs.register(&mut registry);
    let own = registry.sub_registry_with_prefix("datakit_bridge_local_git");
    own.register("connected", "1 while the database is connected", of.connected);
    own.register("connects", "Attempts to connect to the database", of.connects);
    own.register("commits", "Commits to the database", of.commits);
    let help = "Branches added, changed or removed in the database";
    own.register("changes", help, of.changes);
    own.register("reads", "Reads of a repository", of.reads);
    own.register("branches", "Branches at the last successful read", of.branches);
    registry
}
