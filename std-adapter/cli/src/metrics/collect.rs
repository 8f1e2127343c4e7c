//! Reads the counters of others when metrics are asked for.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, MetricEncoder,
    NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::time::{ClockId, clock_gettime};

use datakit_core::wire::KindName;
use datakit_db::counters::DbCounters;
use datakit_server::{Histogram, Peer, Stats};

/// The process, as every program shows itself to Prometheus.
#[derive(Debug)]
pub(super) struct Process {
    /// Since 1970.
    started: Duration,
}

impl Process {
    pub(super) fn started_now() -> Process {
        // A clock before 1970 is wrong anyway.
        Process { started: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        gauge(
            to,
            "process_start_time_seconds",
            "Start of the process, since 1970.",
            self.started.as_secs_f64(),
        )?;
        counter(
            to,
            "process_cpu_seconds",
            "Processor time used by all threads.",
            processor_time().as_secs_f64(),
        )
    }
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

/// Connections and their requests.
#[derive(Debug)]
pub(super) struct Server(pub(super) Arc<Stats>);

impl Collector for Server {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (Server(stats), to) = (self, &mut encoder);
        let peers = stats.peers();
        let sum = |of: fn(&Peer) -> u32| peers.iter().map(|peer| u64::from(of(peer))).sum::<u64>();
        gauge(to, "datakit_connections", "Connections.", peers.len())?;
        gauge(to, "datakit_fids", "Fids in use, of all connections.", sum(Peer::fids))?;
        gauge(
            to,
            "datakit_requests_waiting",
            "Requests that wait inside files.",
            sum(Peer::in_flight),
        )?;
        counter(to, "datakit_received_bytes", "Bytes read from clients.", stats.received_bytes())?;
        counter(to, "datakit_sent_bytes", "Bytes written to clients.", stats.sent_bytes())?;
        let refused = stats.refused_connections();
        counter(
            to,
            "datakit_connections_refused",
            "Connections closed at once: too many.",
            refused,
        )?;
        let refused = stats.refused_frames();
        counter(to, "datakit_messages_refused", "Messages of an impossible size.", refused)?;
        let answered = stats.requests().map(|(kind, answered, _)| (kind, answered));
        by_type(to, "datakit_requests", "Requests answered.", answered)?;
        let errors = stats.requests().map(|(kind, _, errors)| (kind, errors));
        by_type(to, "datakit_request_errors", "Requests answered with an error.", errors)?;
        let help = "Time from reading a request to its answer.";
        let to = to.encode_descriptor(
            "datakit_request_duration_seconds",
            help,
            None,
            MetricType::Histogram,
        )?;
        histograms(to, stats.durations().iter())
    }
}

/// Transactions and what they led to.
#[derive(Debug)]
pub(super) struct Database(pub(super) Arc<DbCounters>);

impl Collector for Database {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (Database(database), to) = (self, &mut encoder);
        gauge(
            to,
            "datakit_transactions",
            "Transactions that are open.",
            database.transactions.value(),
        )?;
        gauge(to, "datakit_watches", "Watches that are open.", database.watches.value())?;
        counter(to, "datakit_commits", "Commits made by transactions.", database.commits.value())?;
        counter(
            to,
            "datakit_merge_conflicts",
            "Merges that left conflicts.",
            database.conflicts.value(),
        )?;
        let retries = database.retries.value();
        counter(to, "datakit_commit_retries", "Commits tried again: the branch had moved.", retries)
    }
}

fn gauge(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: impl EncodeGaugeValue,
) -> fmt::Result {
    ConstGauge::new(value).encode(to.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

/// The format adds `_total` to the name.
fn counter(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: impl EncodeCounterValue,
) -> fmt::Result {
    ConstCounter::new(value).encode(to.encode_descriptor(name, help, None, MetricType::Counter)?)
}

/// A counter for each message type.
fn by_type(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    counts: impl Iterator<Item = (u8, u64)>,
) -> fmt::Result {
    let mut to = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (kind, count) in counts {
        ConstCounter::new(count)
            .encode(to.encode_family(&[("type", KindName(kind).to_string())])?)?;
    }
    Ok(())
}

/// A histogram for each message type.
fn histograms(mut to: MetricEncoder<'_>, of: impl Iterator<Item = Histogram>) -> fmt::Result {
    for Histogram { kind, sum, buckets } in of {
        let count = buckets.iter().map(|(_, count)| count).sum();
        let bounded = |(bound, count): (Option<Duration>, u64)| {
            (bound.map_or(f64::INFINITY, |b| b.as_secs_f64()), count)
        };
        let buckets: Vec<(f64, u64)> = buckets.into_iter().map(bounded).collect();
        to.encode_family(&[("type", KindName(kind).to_string())])?.encode_histogram::<NoLabelSet>(
            sum.as_secs_f64(),
            count,
            &buckets,
            None,
        )?;
    }
    Ok(())
}
