//! The command line.

mod db;
mod files;
mod params;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use datakit_client::Dialect;
use datakit_server::Url;

pub(crate) use self::db::DbCommand;
pub(crate) use self::files::{ClientCommand, FindType, LsArgs};
pub(crate) use self::params::{ParamsArgs, ParamsCommand, SetOptions};
use crate::external::{ExternalCommand, is_external};
use crate::serve::ServeArgs;

/// Read, write and watch a file tree over 9P, or serve one
///
/// PATH is a path in the server's tree; the leading slash is optional. Without a command, datakit
/// runs `datakit serve` with the given options.
#[derive(Parser, Debug)]
#[command(
    name = "datakit",
    version,
    help_template = TEMPLATE,
    after_long_help = EXAMPLES,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Program {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The help template. The output of `datakit -h` must fit on a screen of 24 lines.
const TEMPLATE: &str = "\
{about-with-newline}
{usage-heading} {usage}
{subcommands}
  man     Print manual pages; other commands: completions, bridge, ci

{options}{after-help}";

const EXAMPLES: &str = "\
Examples:
  datakit serve --git notes --listen-9p tcp://127.0.0.1:5640,unix:///run/datakit.sock
  datakit ls -l /
  datakit write /led on
  datakit watch /events
  datakit -a board.local cp config.json :/etc/config.json
  datakit cp -r :/results .
  datakit params set blink/period=500

Programs that are installed separately:
  datakit bridge local ...   publish the branches of local Git repositories
  datakit bridge github ...  synchronize repositories on GitHub with the database
  datakit ci ...             test commits with pipelines that are part of the repository

Exit status: 0 on success, 1 after a failure, 2 if the command line is not valid. Each error is \
printed to standard error in the form `datakit: PATH: REASON`. After SIGINT, SIGTERM or SIGHUP, a \
server finishes the commits in progress and exits with status 1 (SIGINT) or 0 (SIGTERM, SIGHUP).

Environment: DATAKIT_ADDRESS is the address of the server to which client commands connect. \
DATAKIT_VERBOSE and RUST_LOG set the log level of `datakit serve`.";

/// The options that may precede the command.
const CONNECTION_OPTIONS: [&str; 8] =
    ["-a", "--address", "--dialect", "--timeout", "-h", "--help", "-V", "--version"];

impl Program {
    /// Reads the command line.
    ///
    /// # Errors
    /// Returns an error if the arguments are invalid, or if help or the version is requested.
    pub(crate) fn read() -> Result<Program, clap::Error> {
        // These commands are hidden because the help template lists them on one line.
        let hidden = ["completions", "man", "bridge", "ci"];
        let mut command = hidden.into_iter().fold(Program::full_command(), |command, name| {
            command.mut_subcommand(name, |command| command.hide(true))
        });
        let matches = command.try_get_matches_from_mut(Program::arguments())?;
        let mut program = Program::from_arg_matches(&matches)?;
        let is_typed = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let typed = ["address", "dialect", "timeout"].into_iter().find(is_typed);
        let mut next = matches.subcommand();
        while let Some((name, matches)) = next {
            if is_local(name) {
                let Some(option) = typed else { break };
                let text = if is_external(name) {
                    format!("`{name}` is another program: its options follow its name")
                } else {
                    format!("`{name}` does not connect to a server, so it takes no '--{option}'")
                };
                return Err(command.error(ErrorKind::ArgumentConflict, text));
            }
            program.connection.update_from_arg_matches(matches)?;
            next = matches.subcommand();
        }
        Ok(program)
    }

    /// Returns the process's arguments in a form that the command-line definition accepts.
    pub(crate) fn arguments() -> Vec<OsString> {
        conventional(std::env::args_os())
    }

    /// Returns the command-line definition. Client commands also accept the options of
    /// [`Connection`].
    pub(crate) fn full_command() -> clap::Command {
        let options = Connection::augment_args(clap::Command::new(""));
        let options: Vec<Arg> = options
            .get_arguments()
            .map(|option| option.clone().default_value(Resettable::Reset).env(Resettable::Reset))
            .map(with_long_help)
            .collect();
        // The `--version` option that clap adds cannot be hidden from `-h`.
        let version = Arg::new("version").short('V').long("version").action(ArgAction::Version);
        let version = version.hide_short_help(true).help("Print version");
        let command = Program::command().disable_version_flag(true).arg(version);
        command.mut_args(with_long_help).mut_subcommands(|command| match command.get_name() {
            name if is_local(name) => command,
            _ => with_connection(command, &options)
                .mut_subcommands(|command| with_connection(command, &options)),
        })
    }
}

/// Returns `true` if a command does not accept the options of [`Connection`].
fn is_local(command: &str) -> bool {
    matches!(command, "serve" | "completions" | "man") || is_external(command)
}

/// Copies an option's help to its long help if `-h` hides the option. The long help appears in
/// manual pages.
fn with_long_help(option: Arg) -> Arg {
    match option.get_help().cloned() {
        Some(help) if option.is_hide_short_help_set() && option.get_long_help().is_none() => {
            option.long_help(help)
        }
        _ => option,
    }
}

/// Adds the options of [`Connection`], but omits their short names if `command` already uses them.
fn with_connection(command: clap::Command, options: &[Arg]) -> clap::Command {
    let is_used = |short| command.get_arguments().any(|arg| arg.get_short() == Some(short));
    let options: Vec<Arg> = options
        .iter()
        .map(|option| match option.get_short() {
            Some(short) if is_used(short) => option.clone().short(Resettable::Reset),
            _ => option.clone(),
        })
        .collect();
    if is_used('h') {
        let help = Arg::new("help").long("help").action(ArgAction::Help).help("Print help");
        command.disable_help_flag(true).arg(help).args(options)
    } else {
        command.args(options)
    }
}

/// Rewrites arguments that follow the conventions of other programs. Inserts `serve` if there is no
/// command, turns `help COMMAND` into `COMMAND --help`, and adds a second dash to `find` options
/// that begin with a single dash.
fn conventional(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let is_serve = match arguments.get(1).map(|first| first.to_string_lossy()) {
        None => true,
        Some(first) => {
            let name = first.split('=').next().unwrap_or_default();
            let known = CONNECTION_OPTIONS.contains(&name) || name.starts_with("-a");
            first.starts_with('-') && !known
        }
    };
    if is_serve {
        arguments.insert(arguments.len().min(1), "serve".into());
    }
    if arguments.get(1).is_some_and(|first| first == "help") {
        arguments.remove(1);
        arguments.push("--help".into());
    }
    if let Some(find) = command_index(&arguments)
        && arguments.get(find).is_some_and(|command| command == "find")
    {
        for argument in arguments.iter_mut().skip(find) {
            if ["-name", "-type", "-maxdepth"].iter().any(|option| *argument == *option) {
                *argument = [OsString::from("-"), argument.clone()].into_iter().collect();
            }
        }
    }
    arguments
}

/// Returns the index of the command in `arguments`. Options and their values may precede the
/// command.
fn command_index(arguments: &[OsString]) -> Option<usize> {
    let mut index = 1;
    loop {
        let argument = arguments.get(index)?.to_string_lossy();
        match &*argument {
            "-a" | "--address" | "--dialect" | "--timeout" => index += 2,
            option if option.starts_with('-') => index += 1,
            _ => return Some(index),
        }
    }
}

/// The options for connecting to a server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// The server [default: $DATAKIT_ADDRESS or localhost]
    ///
    /// HOST, HOST:PORT, tcp://HOST:PORT, tcp:HOST:PORT, unix://PATH, or a socket path that begins
    /// with `/`, `./` or `../`. The default port is 5640.
    #[arg(
        short,
        long,
        env = "DATAKIT_ADDRESS",
        default_value = "tcp://127.0.0.1:5640",
        hide_env = true,
        hide_default_value = true
    )]
    pub(crate) address: Url,
    /// Use only this dialect [default: any; 9P2000.u is preferred because its errors contain text]
    #[arg(long, hide_short_help = true)]
    pub(crate) dialect: Option<DialectName>,
    /// Fail if connecting takes longer than this [default: 10]
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 10,
        hide_default_value = true,
        hide_short_help = true,
        value_parser = clap::value_parser!(u64).range(1..=86400)
    )]
    pub(crate) timeout: u64,
}

/// The dialects, named by their version strings.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub(crate) enum DialectName {
    /// The base protocol
    #[value(name = "9p2000", alias = "9P2000")]
    Legacy,
    /// Adds error numbers and symbolic links
    #[value(name = "9p2000.u", alias = "9P2000.u")]
    Unix,
    /// Models Linux system calls; errors are numbers without text
    #[value(name = "9p2000.L", alias = "9P2000.L", alias = "9p2000.l")]
    Linux,
}

impl From<DialectName> for Dialect {
    fn from(name: DialectName) -> Dialect {
        match name {
            DialectName::Legacy => Dialect::Legacy,
            DialectName::Unix => Dialect::Unix,
            DialectName::Linux => Dialect::Linux,
        }
    }
}

/// All commands.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Serve a tree until interrupted
    Serve(ServeArgs),
    #[command(flatten)]
    Client(ClientCommand),
    /// Work with the branches and commits of a database
    #[command(subcommand, after_help = db::EXAMPLES)]
    Db(DbCommand),
    /// Read and set the parameters of a device or program
    #[command(after_help = params::EXAMPLES)]
    Params(ParamsArgs),
    #[command(flatten)]
    External(ExternalCommand),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write pages for all commands
    Man {
        /// Write `datakit.1` and a page for each command to this directory
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}
