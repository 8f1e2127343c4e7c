//! The `debug` directory, which presents the bridge's state as files.

use std::time::Instant;

use datakit_server::tree::log::LogSources;
use datakit_server::tree::{Dir, Entry, ReadOnly, ReadOnlyText, Status, Tree};

use crate::metrics::Counters;

/// Returns a tree with the `debug` directory, which contains `src` (the log levels) and `github`.
pub(crate) fn tree(sources: &LogSources, counters: &Counters) -> Tree {
    let status = |name: &str, text: fn(&Counters) -> String| {
        let counters = counters.clone();
        Entry::file(name, Status::new(move || Ok(text(&counters))))
    };
    let github: Dir = [
        Entry::file("version", ReadOnlyText::new(concat!(env!("CARGO_PKG_VERSION"), "\n"))),
        Entry::file("pid", ReadOnlyText::new(format!("{}\n", std::process::id()))),
        status("budget", budget),
        status("rounds", rounds),
    ]
    .into_iter()
    .collect();
    let debug: Dir =
        [sources.entry(), Entry::dir("github", ReadOnly(github))].into_iter().collect();
    let root: Dir = [Entry::dir("debug", ReadOnly(debug))].into_iter().collect();
    Tree::new(ReadOnly(root))
}

/// Formats the state of GitHub's rate limit, including the wait in seconds.
fn budget(counters: &Counters) -> String {
    let state = counters.api.rate.state();
    let wait = state
        .not_before
        .map_or(0, |until| until.saturating_duration_since(Instant::now()).as_secs());
    format!(
        "limit {}\nremaining {}\nreset {}\nwait {wait}\nrefused {}\n",
        state.limit,
        state.remaining,
        state.reset,
        counters.api.limited.get()
    )
}

fn rounds(counters: &Counters) -> String {
    let rounds = &counters.rounds;
    format!(
        "repositories {}\nrounds {}\ncommits {}\nfailed {}\n",
        rounds.repos.get(),
        rounds.rounds.get(),
        rounds.commits.get(),
        rounds.failed.get()
    )
}
