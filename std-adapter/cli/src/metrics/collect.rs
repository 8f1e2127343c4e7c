//! Collectors that read the counters of the server and the database.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datakit_core::wire::KindName;
use datakit_db::counters::DbCounters;
use datakit_server::{Histogram, Peer, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, MetricEncoder,
    NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Collects metrics for connections and requests.
#[derive(Debug)]
pub(super) struct ServerCollector(pub(super) Arc<Stats>);

impl Collector for ServerCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (ServerCollector(stats), to) = (self, &mut encoder);
        let peers = stats.peers();
        let sum = |of: fn(&Peer) -> u32| peers.iter().map(|peer| u64::from(of(peer))).sum::<u64>();
        gauge(to, "datakit_connections", "Open connections.", peers.len())?;
        gauge(to, "datakit_fids", "Fids of all connections.", sum(Peer::fids))?;
        gauge(to, "datakit_requests_waiting", "Requests blocked in files.", sum(Peer::in_flight))?;
        counter(to, "datakit_received_bytes", "Bytes read from clients.", stats.received_bytes())?;
        counter(to, "datakit_sent_bytes", "Bytes written to clients.", stats.sent_bytes())?;
        let refused = stats.refused_connections();
        counter(
            to,
            "datakit_connections_refused",
            "Connections refused because of a limit.",
            refused,
        )?;
        let refused = stats.refused_frames();
        counter(to, "datakit_messages_refused", "Messages with an invalid size.", refused)?;
        let answered = stats.requests().map(|(kind, answered, _)| (kind, answered));
        by_type(to, "datakit_requests", "Requests with a reply.", answered)?;
        let errors = stats.requests().map(|(kind, _, errors)| (kind, errors));
        by_type(to, "datakit_request_errors", "Requests with an error reply.", errors)?;
        let help = "Time from reading a request to its reply.";
        let to = to.encode_descriptor(
            "datakit_request_duration_seconds",
            help,
            None,
            MetricType::Histogram,
        )?;
        histograms(to, stats.durations().iter())
    }
}

/// Collects metrics for transactions, watches and commits.
#[derive(Debug)]
pub(super) struct DatabaseCollector(pub(super) Arc<DbCounters>);

impl Collector for DatabaseCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (DatabaseCollector(database), to) = (self, &mut encoder);
        gauge(to, "datakit_transactions", "Open transactions.", database.transactions.value())?;
        gauge(to, "datakit_watches", "Open watches.", database.watches.value())?;
        counter(to, "datakit_commits", "Commits made by transactions.", database.commits.value())?;
        counter(
            to,
            "datakit_merge_conflicts",
            "Merges that left conflicts.",
            database.conflicts.value(),
        )?;
        let retries = database.retries.value();
        counter(
            to,
            "datakit_commit_retries",
            "Commits retried because the branch had moved.",
            retries,
        )
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

/// Encodes a counter. The text format appends `_total` to the counter's name.
fn counter(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: impl EncodeCounterValue,
) -> fmt::Result {
    ConstCounter::new(value).encode(to.encode_descriptor(name, help, None, MetricType::Counter)?)
}

/// Encodes a counter for each message type.
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

/// Encodes a histogram for each message type.
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
