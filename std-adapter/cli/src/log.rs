//! What the server logs to standard error, how much, and how it looks.

mod lines;

use std::io::IsTerminal;

use crate::metrics::Logs;
use clap::{ArgAction, Args, ColorChoice, ValueEnum};
use datakit_server::tree::log::{Level, Source, Sources};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::fmt::time::{SystemTime, uptime};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::prelude::*;

use self::lines::Lines;
pub(crate) use self::lines::flush;

/// The parts that log: where their messages come from, what they are about.
const SOURCES: [(&str, &str, &str); 4] = [
    ("db", "datakit_db", "the database: what other programs do in its repository, fetch and push"),
    ("server", "datakit_server", "connections: who comes, who goes, who is refused and why"),
    ("client", "datakit_client", "the client side: what is sent and what is lost"),
    ("program", "datakit", "everything else"),
];

/// The name of events that are told at every level but `quiet`: `tracing` has no such level of its
/// own.
pub(crate) const APP: &str = "app";

/// The level where no option says another one.
const LEVEL: &str = "DATAKIT_VERBOSE";

/// What to log.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LogArgs {
    /// Log what happens, too; twice: also how
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Log nothing, whatever the other options say
    #[arg(short, long)]
    quiet: bool,
    /// How much to log, whatever -v says
    /// [default: DATAKIT_VERBOSE of the environment, or else warning]
    ///
    /// Each level includes those before it. While the server runs, the files debug/src/*/level
    /// change it, for each source by itself.
    #[arg(long, value_name = "LEVEL")]
    verbosity: Option<Verbosity>,
    /// Where to and how to log
    #[arg(long, value_name = "DESTINATION", default_value = "quiet")]
    log_destination: Destination,
    /// The clock of the destination `timestamp`
    #[arg(long, value_name = "CLOCK", default_value = "posix")]
    log_clock: Clock,
    /// Whether to log in colours; auto: if standard error is a terminal and NO_COLOR is not set
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

/// How much is logged at first.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Verbosity {
    /// Nothing
    Quiet,
    /// What went wrong
    Error,
    /// What may go wrong
    Warning,
    /// What happens
    Info,
    /// How it happens
    Debug,
}

impl From<Verbosity> for Level {
    fn from(verbosity: Verbosity) -> Level {
        match verbosity {
            Verbosity::Quiet => Level::Quiet,
            Verbosity::Error => Level::Error,
            Verbosity::Warning => Level::Warning,
            Verbosity::Info => Level::Info,
            Verbosity::Debug => Level::Debug,
        }
    }
}

/// Where lines of the log go.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Destination {
    /// Standard error, without the time
    Quiet,
    /// Standard error, with the time
    Timestamp,
    /// The event log of Windows: not on this system
    Eventlog,
    /// The system log of macOS: not on this system
    Asl,
}

/// What time it is.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Clock {
    /// Date and time, UTC
    Posix,
    /// Seconds since the start, which no change of the system's time disturbs
    Monotonic,
}

impl LogArgs {
    /// Sends lines to standard error, as far as the level files let them, and counts them.
    ///
    /// # Errors
    /// An option that this system or the environment makes senseless.
    pub(crate) fn start(&self, logs: Logs) -> Result<Sources, String> {
        let (sources, level) = (Sources::new(), self.level()?);
        let table: Vec<(&str, Source)> = SOURCES
            .iter()
            .map(|(name, target, doc)| (*target, sources.register(name, doc, level)))
            .collect();
        let to = Lines::start(&logs).map_err(|error| format!("cannot log: {error}"))?;
        let written = self.lines(to.clone())?.with_filter(Written { table: table.clone(), to });
        let counted =
            Count(logs).with_filter(dynamic_filter_fn(move |metadata, _| tells(&table, metadata)));
        // A second subscriber can only be somebody's test; it keeps the first.
        let _ = tracing_subscriber::registry().with(written).with(counted).try_init();
        Ok(sources)
    }

    fn level(&self) -> Result<Level, String> {
        if self.quiet {
            return Ok(Level::Quiet);
        }
        if let Some(level) = self.verbosity {
            return Ok(level.into());
        }
        match self.verbose {
            0 => by_environment(),
            1 => Ok(Level::Info),
            _ => Ok(Level::Debug),
        }
    }

    fn lines<S>(&self, to: Lines) -> Result<Box<dyn Layer<S> + Send + Sync>, String>
    where
        S: Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
    {
        let elsewhere = |name, system| {
            Err(format!("--log-destination {name} is for {system}, not for this system"))
        };
        let lines = tracing_subscriber::fmt::layer().with_writer(to).with_ansi(self.colours());
        match (self.log_destination, self.log_clock) {
            (Destination::Quiet, _) => Ok(lines.without_time().boxed()),
            (Destination::Timestamp, Clock::Posix) => Ok(lines.with_timer(SystemTime).boxed()),
            (Destination::Timestamp, Clock::Monotonic) => Ok(lines.with_timer(uptime()).boxed()),
            (Destination::Eventlog, _) => elsewhere("eventlog", "Windows"),
            (Destination::Asl, _) => elsewhere("asl", "macOS"),
        }
    }

    fn colours(&self) -> bool {
        match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                std::io::stderr().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        }
    }
}

fn by_environment() -> Result<Level, String> {
    let Some(name) = std::env::var_os(LEVEL).filter(|name| !name.is_empty()) else {
        return Ok(Level::Warning);
    };
    let name = name.to_string_lossy();
    let level = Verbosity::from_str(&name, false).map(Level::from);
    level.map_err(|_| format!("{LEVEL}: {name:?} is none of quiet, error, warning, info, debug"))
}

/// Lets through what is to be written.
struct Written {
    table: Vec<(&'static str, Source)>,
    to: Lines,
}

impl<S> Filter<S> for Written {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        tells(&self.table, metadata)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.to.admits(event)
    }
}

/// Counts every message, also those of which no line is written.
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
    if metadata.name() == APP {
        return Level::App;
    }
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
        .is_some_and(|(_, source)| source.enables(level(metadata)))
}
