//! The `debug` directory, whose files show the server's state.

use std::fmt::Write;
use std::sync::Arc;

use datakit_core::wire::KindName;
use datakit_db::Database;
use datakit_db::counters::DbCounters;
use datakit_server::Stats;
use datakit_server::tree::log::LogSources;
use datakit_server::tree::{Dir, Entry, ReadOnly, ReadOnlyText, Status};

use datakit_program::LogCounters;

/// Returns the `debug` directory, which contains `src` and `server`.
pub(crate) fn entry(
    stats: &Arc<Stats>,
    sources: &LogSources,
    logs: &LogCounters,
    database: &Database,
) -> Entry {
    let status = |name: &str, text: fn(&Stats) -> String| {
        let stats = stats.clone();
        Entry::file(name, Status::new(move || Ok(text(&stats))))
    };
    let (counters, logs) = (database.counters().clone(), logs.clone());
    let server: Dir = [
        Entry::file("version", ReadOnlyText::new(concat!(env!("CARGO_PKG_VERSION"), "\n"))),
        Entry::file("pid", ReadOnlyText::new(format!("{}\n", std::process::id()))),
        status("uptime", |stats| format!("{}\n", stats.uptime().as_secs())),
        status("connections", connections),
        status("requests", requests),
        status("refused", refused),
        Entry::file("events", stats.events().file()),
        Entry::file(
            "log",
            Status::new(move || {
                Ok(format!("lost {}\nleft-out {}\n", logs.lost(), logs.suppressed()))
            }),
        ),
        Entry::file("database", Status::new(move || Ok(database_counters(&counters)))),
    ]
    .into_iter()
    .collect();
    let debug: Dir =
        [sources.entry(), Entry::dir("server", ReadOnly(server))].into_iter().collect();
    Entry::dir("debug", ReadOnly(debug))
}

/// Formats one line per connection, with its peer, dialect, msize, number of fids, number of
/// requests in flight, and age in seconds.
fn connections(stats: &Stats) -> String {
    let mut text = String::new();
    for peer in stats.peers() {
        let age = peer.age().as_secs();
        // Writing to a string cannot fail.
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

/// Formats the current numbers of open transactions, watches and remotes, followed by the totals
/// since startup.
fn database_counters(counters: &DbCounters) -> String {
    let DbCounters { transactions, watches, remotes, commits, conflicts, retries } = counters;
    let gauges = [("transactions", transactions), ("watches", watches), ("remotes", remotes)];
    let counts = [("commits", commits), ("conflicts", conflicts), ("retries", retries)];
    let lines = gauges.iter().map(|(name, gauge)| format!("{name} {}\n", gauge.value()));
    lines.chain(counts.iter().map(|(name, count)| format!("{name} {}\n", count.value()))).collect()
}

/// Formats one line for each message type received, with its name, number of replies and number of
/// error replies.
fn requests(stats: &Stats) -> String {
    let mut text = String::new();
    for (kind, answered, errors) in stats.requests() {
        let _ = writeln!(text, "{} {answered} {errors}", KindName(kind));
    }
    text
}

/// Formats two counts: the connections refused because of a limit, and the messages with an invalid
/// size.
fn refused(stats: &Stats) -> String {
    format!("connections {}\nframes {}\n", stats.refused_connections(), stats.refused_frames())
}
