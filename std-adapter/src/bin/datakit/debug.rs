//! `debug/`: what the server knows of itself, as files.

use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::Arc;

use datakit::db::Database;
use datakit::db::counters::DbCounters;
use datakit::metrics::Logs;
use datakit::server::{Stats, request_name};
use datakit::tree::log::{Level, Source, Sources};
use datakit::tree::{Dir, Entry, ReadOnlyText, Status};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;

/// The parts that log: where their messages come from, what they are about.
const SOURCES: [(&str, &str, &str); 4] = [
    ("db", "datakit::db", "the database: what other programs do in its repository, fetch and push"),
    ("server", "datakit::server", "connections: who comes, who goes, who is refused and why"),
    ("client", "datakit::client", "the client side: what is sent and what is lost"),
    ("program", "datakit", "everything else"),
];

/// Sends log lines to standard error, as far as the level files let them, and counts them.
pub(crate) fn log_to_stderr(logs: Logs) -> Sources {
    let sources = Sources::new();
    let table: Vec<(&str, Source)> =
        SOURCES.iter().map(|(name, target, doc)| (*target, sources.register(name, doc, Level::Warning))).collect();
    let filter = dynamic_filter_fn(move |metadata, _| tells(&table, metadata));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .and_then(Count(logs))
        .with_filter(filter);
    // A second subscriber can only be somebody's test; it keeps the first.
    let _ = tracing_subscriber::registry().with(lines).try_init();
    sources
}

/// Counts every line that is logged.
struct Count(Logs);

impl<S: Subscriber> Layer<S> for Count {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let source = SOURCES.iter().find(|(_, target, _)| metadata.target().starts_with(target));
        if let Some((name, _, _)) = source {
            self.0.count(level(metadata).as_str(), name);
        }
    }
}

fn level(metadata: &Metadata<'_>) -> Level {
    match *metadata.level() {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warning,
        tracing::Level::INFO => Level::Info,
        _ => Level::Debug,
    }
}

fn tells(table: &[(&str, Source)], metadata: &Metadata<'_>) -> bool {
    table
        .iter()
        .find(|(target, _)| metadata.target().starts_with(target))
        .is_some_and(|(_, source)| source.tells(level(metadata)))
}

/// `debug/`: `src`, `server`.
pub(crate) fn dir(stats: &Arc<Stats>, sources: &Sources, database: &Database) -> Entry {
    let status = |name: &str, text: fn(&Stats) -> String| {
        let stats = stats.clone();
        Entry::file(name, Status::new(move || Ok(text(&stats))))
    };
    let counters = database.counters().clone();
    let server: Dir = [
        Entry::file("version", ReadOnlyText::new(concat!(env!("CARGO_PKG_VERSION"), "\n"))),
        Entry::file("pid", ReadOnlyText::new(format!("{}\n", std::process::id()))),
        status("uptime", |stats| format!("{}\n", stats.uptime().as_secs())),
        status("connections", connections),
        status("requests", requests),
        status("refused", refused),
        Entry::file("events", stats.events().file()),
        Entry::file("database", Status::new(move || Ok(in_use(&counters)))),
    ]
    .into_iter()
    .collect();
    let debug: Dir = [sources.entry(), Entry::dir("server", server)].into_iter().collect();
    Entry::dir("debug", debug)
}

/// A line for each connection: peer, dialect, msize, fids, requests in flight, age in seconds.
fn connections(stats: &Stats) -> String {
    let mut text = String::new();
    for peer in stats.peers() {
        let age = peer.age().as_secs();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{} {} {} {} {} {age}",
            peer.name,
            peer.dialect(),
            peer.msize(),
            peer.fids(),
            peer.in_flight()
        );
    }
    text
}

/// A line for each kind of thing that clients have in the database, and how many there are; then what they did.
fn in_use(counters: &DbCounters) -> String {
    let DbCounters { transactions, watches, remotes, commits, conflicts, retries } = counters;
    let gauges = [("transactions", transactions), ("watches", watches), ("remotes", remotes)];
    let counts = [("commits", commits), ("conflicts", conflicts), ("retries", retries)];
    let lines = gauges.iter().map(|(name, gauge)| format!("{name} {}\n", gauge.value()));
    lines.chain(counts.iter().map(|(name, count)| format!("{name} {}\n", count.value()))).collect()
}

/// A line for each message type that was seen: name, requests answered, errors among them.
fn requests(stats: &Stats) -> String {
    let mut text = String::new();
    for (kind, answered, errors) in stats.requests() {
        let _ = writeln!(text, "{} {answered} {errors}", request_name(kind));
    }
    text
}

/// What was refused before it could be answered: connections above the limit, messages of an impossible size.
fn refused(stats: &Stats) -> String {
    format!("connections {}\nframes {}\n", stats.refused_connections(), stats.refused_frames())
}
