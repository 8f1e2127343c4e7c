//! The log on standard error.

mod lines;

use std::io::IsTerminal;

use clap::builder::PossibleValue;
use clap::{ArgAction, Args, ColorChoice, ValueEnum};
use datakit_server::tree::log::{Level, LogSource, LogSources};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::fmt::time::{SystemTime, uptime};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::prelude::*;

use self::lines::Lines;
pub use self::lines::flush;
use crate::LogCounters;

/// A part of a program that logs messages. The level can be set separately for each part.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// The name used in `RUST_LOG` and for the directory that contains the level file.
    pub name: &'static str,
    /// The prefix of the `tracing` targets that this source uses.
    pub target: &'static str,
    /// A description to show to users.
    pub doc: &'static str,
}

/// The name that marks events at the `app` level, because `tracing` has no such level.
pub const APP: &str = "app";

/// The environment variables that set the log level, in order of precedence.
const DATAKIT_VERBOSE: &str = "DATAKIT_VERBOSE";
const RUST_LOG: &str = "RUST_LOG";

/// The logging options.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// Set the log level to `info`, or to `debug` if the option is repeated
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Do not log anything, regardless of the other options
    #[arg(short, long)]
    quiet: bool,
    /// The log level, which overrides -v [default: $DATAKIT_VERBOSE, $RUST_LOG or warning]
    ///
    /// Each level includes the preceding levels. Write to a debug/src/*/level file to change the
    /// level of a source while the server is running. RUST_LOG accepts the same levels, for all
    /// sources or for one: `RUST_LOG=info,db=debug`.
    #[arg(long, value_name = "LEVEL", ignore_case = true)]
    verbosity: Option<LevelName>,
    /// The destination of the log
    #[arg(long, value_name = "DESTINATION", default_value = "quiet")]
    log_destination: Destination,
    /// The clock for the `timestamp` destination
    #[arg(long, value_name = "CLOCK", default_value = "posix")]
    log_clock: Clock,
    /// Whether to use colors in the log; `auto` uses colors if standard error is a terminal and
    /// NO_COLOR is not set
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

/// The value of `--verbosity`. Accepts the same names as [`Level::from_name`].
#[derive(Clone, Copy, Debug)]
struct LevelName(Level);

impl ValueEnum for LevelName {
    fn value_variants<'a>() -> &'a [LevelName] {
        const {
            &[
                LevelName(Level::Quiet),
                LevelName(Level::App),
                LevelName(Level::Error),
                LevelName(Level::Warning),
                LevelName(Level::Info),
                LevelName(Level::Debug),
            ]
        }
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = PossibleValue::new(self.0.as_str());
        Some(match self.0 {
            Level::Quiet => value.alias("off").help("Nothing"),
            Level::App => value.help("Server startup"),
            Level::Error => value.help("Failures"),
            Level::Warning => value.alias("warn").help("Likely problems"),
            Level::Info => value.help("Connections, fetches and pushes"),
            Level::Debug => value.alias("trace").help("Details"),
        })
    }
}

/// The destination of the log.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Destination {
    /// Standard error, without the time
    Quiet,
    /// Standard error, with the time
    Timestamp,
    /// The Windows event log, which is not available on this system
    Eventlog,
    /// The macOS system log, which is not available on this system
    Asl,
}

/// The clock used for the timestamp of each line.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Clock {
    /// Date and time in UTC
    Posix,
    /// Seconds since startup, unaffected by changes to the system time
    Monotonic,
}

impl LogArgs {
    /// Starts logging to standard error and counting messages. The level files control which
    /// messages are logged.
    ///
    /// # Errors
    /// Returns an error if the destination is not available on this system, or if an environment
    /// variable names an unknown level.
    pub fn start(&self, of: &'static [Source], logs: LogCounters) -> Result<LogSources, String> {
        let sources = LogSources::new();
        let mut table: Vec<(&str, LogSource)> = Vec::new();
        for Source { name, target, doc } in of {
            table.push((target, sources.register(name, doc, self.level(name, target)?)));
        }
        let to = Lines::start(&logs).map_err(|error| format!("cannot log: {error}"))?;
        let written = self.layer(to.clone())?.with_filter(LineFilter(to));
        // This filter is global, because the registry would still record spans that are disabled
        // only by the filters of individual layers.
        let levels = dynamic_filter_fn(move |metadata, _| is_logged(&table, metadata));
        let registry = tracing_subscriber::registry().with(written).with(CountLayer(of, logs));
        // If a test has already installed a subscriber, it remains in use.
        let _ = registry.with(levels).try_init();
        Ok(sources)
    }

    /// Returns the level of a source.
    fn level(&self, name: &str, target: &str) -> Result<Level, String> {
        if self.quiet {
            return Ok(Level::Quiet);
        }
        match (self.verbosity, self.verbose) {
            (Some(level), _) => Ok(level.0),
            (None, 0) => level_of_environment(name, target),
            (None, 1) => Ok(Level::Info),
            (None, _) => Ok(Level::Debug),
        }
    }

    fn layer<S>(&self, to: Lines) -> Result<Box<dyn Layer<S> + Send + Sync>, String>
    where
        S: Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
    {
        let unsupported = |name, system| {
            Err(format!("--log-destination {name} is available on {system}, not on this system"))
        };
        let lines = tracing_subscriber::fmt::layer().with_writer(to).with_ansi(self.is_colored());
        match (self.log_destination, self.log_clock) {
            (Destination::Quiet, _) => Ok(lines.without_time().boxed()),
            (Destination::Timestamp, Clock::Posix) => Ok(lines.with_timer(SystemTime).boxed()),
            (Destination::Timestamp, Clock::Monotonic) => Ok(lines.with_timer(uptime()).boxed()),
            (Destination::Eventlog, _) => unsupported("eventlog", "Windows"),
            (Destination::Asl, _) => unsupported("asl", "macOS"),
        }
    }

    fn is_colored(&self) -> bool {
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

fn level_of_environment(name: &str, target: &str) -> Result<Level, String> {
    let variable = |name| {
        let value = std::env::var_os(name).unwrap_or_default();
        value.to_string_lossy().into_owned()
    };
    let typed = variable(DATAKIT_VERBOSE);
    if typed.is_empty() {
        return Ok(parse_rust_log(&variable(RUST_LOG), name, target).unwrap_or(Level::Warning));
    }
    parse_level(&typed).ok_or_else(|| {
        let names: Vec<&str> = Level::ALL.into_iter().map(Level::as_str).collect();
        format!("{DATAKIT_VERBOSE}: unknown level {typed:?}: use one of {}", names.join(", "))
    })
}

fn parse_level(name: &str) -> Option<Level> {
    Level::from_name(&name.to_ascii_lowercase())
}

/// Returns the level that `RUST_LOG` sets for the source with the given name or target. Falls back
/// to the level for all sources. Directives for other programs are ignored.
fn parse_rust_log(value: &str, name: &str, target: &str) -> Option<Level> {
    let directives = value.split(',').map(|directive| match directive.split_once('=') {
        Some((of, level)) => (Some(of.trim()), level.trim()),
        None => (None, directive.trim()),
    });
    let (mut of_all, mut of_source) = (None, None);
    for (of, level) in directives {
        match of {
            None => of_all = parse_level(level).or(of_all),
            Some(of) if of == name || of == target => of_source = parse_level(level).or(of_source),
            Some(_) => {}
        }
    }
    of_source.or(of_all)
}

/// A filter that limits how many events from each call site are written as lines.
struct LineFilter(Lines);

impl<S> Filter<S> for LineFilter {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.0.admits(event)
    }
}

/// A layer that counts every message, including those that are not written as lines.
struct CountLayer(&'static [Source], LogCounters);

impl<S: Subscriber> Layer<S> for CountLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let CountLayer(sources, logs) = self;
        let source = sources.iter().find(|source| metadata.target().starts_with(source.target));
        if let Some(source) = source {
            logs.count_message(level_of(metadata).as_str(), source.name);
        }
    }
}

fn level_of(metadata: &Metadata<'_>) -> Level {
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

fn is_logged(table: &[(&str, LogSource)], metadata: &Metadata<'_>) -> bool {
    table
        .iter()
        .find(|(target, _)| metadata.target().starts_with(target))
        .is_some_and(|(_, source)| source.enables(level_of(metadata)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_can_be_typed() {
        for level in Level::ALL {
            assert_eq!(parse_level(level.as_str()), Some(level));
        }
    }

    #[test]
    fn the_option_accepts_the_names_that_a_level_file_accepts() {
        let options = LevelName::value_variants().iter().filter_map(LevelName::to_possible_value);
        let mut options: Vec<String> = options
            .flat_map(|value| value.get_name_and_aliases().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let mut files: Vec<&str> = Level::accepted_names().collect();
        options.sort();
        files.sort();
        assert_eq!(options, files);
        for name in files {
            assert_eq!(
                LevelName::from_str(name, false).ok().map(|it| it.0),
                Level::from_name(name)
            );
        }
    }

    #[test]
    fn rust_log_sets_all_sources_or_one() {
        for (value, level) in [
            ("", None),
            ("info", Some(Level::Info)),
            ("INFO,server=debug", Some(Level::Info)),
            ("info,db=debug", Some(Level::Debug)),
            ("datakit_db=off,info", Some(Level::Quiet)),
            ("hyper=trace", None),
            ("loud,db=loud", None),
        ] {
            assert_eq!(parse_rust_log(value, "db", "datakit_db"), level, "{value}");
        }
    }
}
