//! Prometheus metrics, with the same names as in the original CI.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use datakit_ci::build::Builds;
use datakit_ci::pool::Pools;
use datakit_ci::web::auth::Auth;
use datakit_ci::web::server::RequestCounters;
use datakit_ci::webhook::{ReceiverStatus, Webhooks};
use datakit_ci::{Counters, Target, View};
use datakit_github::RefKind;
use datakit_program::{LogCounters, ProcessCollector};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// Counts all attempts and all failed attempts to connect to the database.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections(Arc<(AtomicU64, AtomicU64)>);

impl Connections {
    pub(crate) fn attempt(&self) {
        self.0.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn failure(&self) {
        self.0.1.fetch_add(1, Relaxed);
    }
}

/// The sources of the metrics.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) connections: Connections,
    pub(crate) counters: Counters,
    pub(crate) view: View,
    pub(crate) builds: Builds,
    pub(crate) pools: Pools,
}

/// Registers all metrics.
pub(crate) fn registry(sources: Sources, logs: &LogCounters) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ProcessCollector::started_now()));
    logs.register(&mut registry);
    registry.sub_registry_with_prefix("DataKitCI").register_collector(Box::new(sources));
    registry
}

/// The web server data shown in the metrics.
#[derive(Debug)]
pub(crate) struct WebSources {
    pub(crate) auth: Auth,
    pub(crate) webhooks: Webhooks,
    pub(crate) requests: RequestCounters,
}

/// Registers the metrics for requests, logins and webhooks.
pub(crate) fn register_web(registry: &mut Registry, sources: WebSources) {
    registry.sub_registry_with_prefix("DataKitCI").register_collector(Box::new(sources));
}

impl Collector for WebSources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_requests(&mut encoder)?;
        self.encode_logins(&mut encoder)?;
        self.encode_webhooks(&mut encoder)
    }
}

impl WebSources {
    fn encode_requests(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.requests.get();
        let count = MetricType::Counter;
        let methods = counts.requests.iter();
        let methods = methods.map(|(name, n)| (Some([("method", (*name).to_owned())]), *n as f64));
        family(to, "web_requests", "Requests", count, methods)?;
        let codes = counts.responses.iter();
        let codes = codes.map(|(code, n)| (Some([("code", code.to_string())]), *n as f64));
        family(to, "web_responses", "Responses", count, codes)?;
        let running = [(None, counts.in_progress as f64)];
        let help = "Requests whose response has not started";
        family(to, "web_requests_in_progress", help, MetricType::Gauge, running)?;
        let time = [(None, counts.response_time.as_secs_f64())];
        let help = "Total time until responses started";
        family(to, "web_response_time_seconds", help, count, time)
    }

    fn encode_logins(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let logins = self.auth.login_counts();
        let (ok, rejected) = ("Successful logins", "Refused logins");
        counter(to, "web_local_login_ok", ok, logins.local_ok)?;
        counter(to, "web_local_login_rejected", rejected, logins.local_rejected)?;
        counter(to, "web_github_login_ok", ok, logins.github_ok)?;
        counter(to, "web_github_login_rejected", rejected, logins.github_rejected)
    }

    fn encode_webhooks(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let receivers = self.webhooks.status();
        let mut column = |name, help, kind, of: &dyn Fn(&ReceiverStatus) -> f64| {
            // Two receivers can have the same host.
            let values = receivers.iter().enumerate().map(|(index, receiver)| {
                (label(&format!("{index}:{}", receiver.host)), of(receiver))
            });
            family(to, name, help, kind, values)
        };
        let queued = "Events queued for a receiver";
        column("webhook_qlen", queued, MetricType::Gauge, &|one| as_f64(one.queued))?;
        let count = MetricType::Counter;
        column("webhook_delivered", "Delivered events", count, &|one| one.delivered as f64)?;
        column("webhook_refused", "Refused events", count, &|one| one.refused as f64)?;
        column(
            "webhook_dropped",
            "Events dropped because they expired or the queue was full",
            count,
            &|one| one.dropped as f64,
        )
    }
}

type Label = [(&'static str, String); 1];

/// A value with at most one label.
type Labelled = (Option<Label>, f64);

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_engine(&mut encoder)?;
        self.encode_builds(&mut encoder)?;
        self.encode_pools(&mut encoder)
    }
}

impl Sources {
    fn encode_engine(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (attempts, failures) = &*self.connections.0;
        let attempts = (attempts.load(Relaxed), failures.load(Relaxed));
        let help = "Attempts to connect to the database";
        counter(to, "engine_connection_attempts", help, attempts.0)?;
        counter(to, "engine_connection_failures", "Failed connection attempts", attempts.1)?;
        let help = "Statuses written to the metadata branch";
        counter(to, "engine_status_updates", help, self.counters.status_updates())?;
        let help = "Commits read from the metadata branch";
        counter(to, "engine_update_notifications", help, self.counters.metadata_updates())?;
        counter(to, "term_evals", "Term evaluations", self.counters.evaluations())?;
        let targets = self.view.targets();
        let of = |kind: &str, is: fn(&Target) -> bool| -> Labelled {
            let count = targets.iter().filter(|target| is(&target.target)).count();
            (Some([("type", kind.to_owned())]), as_f64(count))
        };
        let values = [
            of("pr", |target| matches!(target, Target::Pr(_))),
            of("branch", |target| kind(target) == Some(RefKind::Heads)),
            of("tag", |target| kind(target) == Some(RefKind::Tags)),
        ];
        family(to, "engine_active_targets", "Targets", MetricType::Gauge, values)
    }

    fn encode_builds(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        // Multiple caches can have the same builder.
        let mut by_name: BTreeMap<String, [f64; 6]> = BTreeMap::new();
        for counts in self.builds.counts() {
            let sums = by_name.entry(counts.name).or_default();
            let seconds = counts.time.as_secs_f64();
            let [started, succeeded, failed, without, running] = [
                counts.started,
                counts.succeeded,
                counts.failed,
                counts.ended_without_result,
                counts.running,
            ]
            .map(|count| count as f64);
            let values = [started, succeeded, failed, without, running, seconds];
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        let columns = [
            ("cache_builds_started", "Builds started", MetricType::Counter),
            ("cache_builds_succeeded", "Builds that succeeded", MetricType::Counter),
            ("cache_builds_failed", "Builds that failed", MetricType::Counter),
            ("cache_build_exceptions", "Builds that ended without a result", MetricType::Counter),
            ("cache_builds_in_progress", "Running builds", MetricType::Gauge),
            ("cache_build_time_seconds", "Total build time", MetricType::Counter),
        ];
        for (index, (name, help, kind)) in columns.into_iter().enumerate() {
            let values = by_name
                .iter()
                .map(|(name, sums)| (label(name), sums.get(index).copied().unwrap_or_default()));
            family(to, name, help, kind, values)?;
        }
        Ok(())
    }

    fn encode_pools(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let pools = self.pools.status();
        let mut column = |name, help, kind, of: &dyn Fn(&datakit_ci::pool::PoolStatus) -> f64| {
            family(to, name, help, kind, pools.iter().map(|pool| (label(&pool.name), of(pool))))
        };
        let gauge = MetricType::Gauge;
        column("pool_qlen", "Waiting jobs", gauge, &|pool| as_f64(pool.queue.len()))?;
        column("pool_resources_in_use", "Jobs using the pool", gauge, &|pool| {
            as_f64(pool.holders.len())
        })?;
        column("pool_capacity", "Maximum number of jobs that can use the pool", gauge, &|pool| {
            as_f64(pool.capacity)
        })?;
        let counter = MetricType::Counter;
        column("pool_wait_time_seconds", "Total waiting time", counter, &|pool| {
            pool.waits.total.as_secs_f64()
        })?;
        column("pool_waits", "Completed waits", counter, &|pool| pool.waits.count as f64)?;
        column("pool_use_time_seconds", "Total time in use", counter, &|pool| {
            pool.uses.total.as_secs_f64()
        })?;
        column("pool_uses", "Completed uses", counter, &|pool| pool.uses.count as f64)
    }
}

fn kind(target: &Target) -> Option<RefKind> {
    match target {
        Target::Pr(_) => None,
        Target::Ref(id) => Some(id.name.kind()),
    }
}

fn label(name: &str) -> Option<Label> {
    Some([("name", name.to_owned())])
}

fn as_f64(count: usize) -> f64 {
    count as f64
}

fn counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, count: u64) -> fmt::Result {
    family(to, name, help, MetricType::Counter, [(None, count as f64)])
}

/// Writes the values of one metric.
fn family(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    values: impl IntoIterator<Item = Labelled>,
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, kind)?;
    for (label, value) in values {
        match label {
            Some(label) => encode(metric.encode_family(&label)?, kind, value)?,
            None => {
                encode(metric, kind, value)?;
                return Ok(());
            }
        }
    }
    Ok(())
}

fn encode(to: MetricEncoder<'_>, kind: MetricType, value: f64) -> fmt::Result {
    match kind {
        MetricType::Counter => ConstCounter::new(value).encode(to),
        _ => ConstGauge::new(value).encode(to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_logins_and_webhooks_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let webhooks = dir.path().join("webhooks.json");
        let receiver = r#"{"url":"http://x.test/","secret":"0123456789abcdef"}"#;
        std::fs::write(&webhooks, format!("{{\"receivers\":[{receiver}]}}")).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&webhooks, private).unwrap();
        let options = datakit_ci::web::auth::Options::new(dir.path(), "https://ci.test/");
        let mut registry = Registry::default();
        let webhooks = Webhooks::open(dir.path(), dir.path()).unwrap();
        let (auth, requests) = (Auth::open(options).unwrap(), RequestCounters::new());
        register_web(&mut registry, WebSources { auth, webhooks, requests });
        let text = String::from_utf8(datakit_program::metrics_text(&registry).into()).unwrap();
        for line in [
            "DataKitCI_web_requests_total{method=\"GET\"} 0",
            "DataKitCI_web_requests_in_progress 0",
            "DataKitCI_web_response_time_seconds_total 0",
            "DataKitCI_web_local_login_ok_total 0",
            "DataKitCI_web_github_login_rejected_total 0",
            "DataKitCI_webhook_qlen{name=\"0:x.test\"} 0",
            "DataKitCI_webhook_delivered_total{name=\"0:x.test\"} 0",
        ] {
            assert!(text.lines().any(|found| found.starts_with(line)), "{line}\n{text}");
        }
    }

    #[test]
    fn metrics_have_the_names_of_the_original() {
        let sources = Sources {
            connections: Connections::default(),
            counters: Counters::default(),
            view: View::new(),
            builds: Builds::new(),
            pools: Pools::new(),
        };
        sources.connections.attempt();
        let _pool = sources.pools.get_or_add("gpu", 2);
        let text = datakit_program::metrics_text(&registry(sources, &LogCounters::default()));
        let text = String::from_utf8(text.into()).unwrap();
        for line in [
            "DataKitCI_engine_connection_attempts_total 1",
            "DataKitCI_engine_connection_failures_total 0",
            "DataKitCI_engine_status_updates_total 0",
            "DataKitCI_engine_update_notifications_total 0",
            "DataKitCI_engine_active_targets{type=\"pr\"} 0",
            "DataKitCI_term_evals_total 0",
            "DataKitCI_pool_capacity{name=\"gpu\"} 2",
            "DataKitCI_pool_qlen{name=\"gpu\"} 0",
        ] {
            assert!(text.lines().any(|found| found.starts_with(line)), "{line}\n{text}");
        }
    }
}
