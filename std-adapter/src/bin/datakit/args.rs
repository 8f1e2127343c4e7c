//! What can be typed after `datakit`.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use datakit::client::Dialect;
use datakit::url::Url;

use crate::path::{Place, ServerPath};
use crate::serve::ServeArgs;

/// A file tree over 9P: serves one, and reads, writes and watches any.
///
/// Without a command it serves. PATH is a path in the server's tree; a leading slash may be left out.
#[derive(Parser, Debug)]
#[command(name = "datakit", version, after_help = EXAMPLES)]
pub(crate) struct Program {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  datakit serve --url tcp://127.0.0.1:5640,unix:///run/datakit.sock
  datakit ls -l /
  datakit write /led on
  datakit watch /events
  datakit -a tcp://board.local cp config.json :/etc/config.json
  datakit cp -r :/tmp/results .

Errors go to standard error as `datakit: PATH: REASON`; the exit status is 0, or 1 if anything failed.
9P2000.L, the best dialect, sends the number of an error and no text. A reason in the tree's own words, such as the
range of a parameter, comes with `--dialect 9p2000.u`.";

impl Program {
    /// Reads the command line.
    pub(crate) fn read() -> Result<Program, clap::Error> {
        let mut command = Program::command();
        let matches = command.try_get_matches_from_mut(std::env::args_os())?;
        not_ignored(&mut command, &matches)?;
        Program::from_arg_matches(&matches)
    }
}

/// An option that would have no effect is a mistake.
fn not_ignored(command: &mut clap::Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let (name, of_command) = matches.subcommand().unwrap_or(("serve", matches));
    let given = |options: clap::Command, matches: &ArgMatches| {
        let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let option = options.get_arguments().find(|option| typed(option.get_id().as_str()))?;
        Some(format!("--{}", option.get_long().unwrap_or_default()))
    };
    let text = if let (true, Some(option)) =
        (matches.subcommand().is_some(), given(ServeArgs::augment_args(clap::Command::new("")), matches))
    {
        format!("'{option}' is an option of `serve`: write it behind `datakit serve`, without another command")
    } else if let ("serve", Some(option)) = (name, given(Connection::augment_args(clap::Command::new("")), of_command))
    {
        format!("'{option}' is for connecting to a server: `serve` has '--listen-9p' to say where it listens")
    } else {
        return Ok(());
    };
    Err(command.error(ErrorKind::ArgumentConflict, text))
}

/// How to reach the server.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connecting")]
pub(crate) struct Connection {
    /// The server: tcp://HOST[:PORT] or unix://PATH
    #[arg(
        short,
        long,
        global = true,
        value_name = "URL",
        env = "DATAKIT_ADDRESS",
        default_value = "tcp://127.0.0.1:5640"
    )]
    pub(crate) address: Url,
    /// The only dialect to accept [default: the best one of the server]
    #[arg(long, global = true)]
    pub(crate) dialect: Option<DialectName>,
    /// How long connecting may take
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) timeout: u64,
}

/// The dialects by their version strings.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub(crate) enum DialectName {
    /// The base protocol
    #[value(name = "9p2000", alias = "9P2000")]
    Legacy,
    /// With errno and symbolic links
    #[value(name = "9p2000.u", alias = "9P2000.u")]
    Unix,
    /// Linux system calls
    #[value(name = "9p2000.L", alias = "9P2000.L")]
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
    /// Serve a tree until interrupted; the same as no command
    Serve(ServeArgs),
    #[command(flatten)]
    Client(ClientCommand),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// The commands that talk to a server.
#[derive(Subcommand, Debug)]
pub(crate) enum ClientCommand {
    /// List a directory, or name a file
    Ls {
        /// Also mode, owner, group, length and time
        #[arg(short)]
        long: bool,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
        /// What to list
        #[arg(default_value = "/")]
        path: ServerPath,
    },
    /// Print files; of a stream, what it delivers first
    Cat {
        /// What to print
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<ServerPath>,
    },
    /// Make a text the content of a file, which is made if it is missing
    ///
    /// TEXT is written as it is, without a newline; '' makes the file empty.
    Write {
        /// The file
        path: ServerPath,
        /// The content; standard input if absent or `-`
        #[arg(allow_hyphen_values = true)]
        text: Option<OsString>,
    },
    /// Print all about a file
    Stat {
        /// Print a JSON object
        #[arg(long)]
        json: bool,
        /// The file
        path: ServerPath,
    },
    /// Print a directory and everything below it
    Tree {
        /// Print a JSON object
        #[arg(long)]
        json: bool,
        /// Where to start
        #[arg(default_value = "/")]
        path: ServerPath,
    },
    /// Make directories
    Mkdir {
        /// Their names
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<ServerPath>,
    },
    /// Remove files
    Rm {
        /// Also directories, with everything below them
        #[arg(short, long)]
        recursive: bool,
        /// What to remove
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<ServerPath>,
    },
    /// Give a file another name or directory
    Mv {
        /// The file
        from: ServerPath,
        /// Its new path; an existing directory keeps the name
        to: ServerPath,
    },
    /// Print what a stream delivers, as it comes, until interrupted or its end
    Watch {
        /// The stream
        path: ServerPath,
    },
    /// Copy files to or from the server
    ///
    /// A path of the server starts with a colon, a path of this machine does not: `cp notes.txt :/scratch/notes.txt`. For a file of
    /// this machine whose name starts with a colon, write `./:name`. An existing directory as the target keeps the name. Modes, owners
    /// and times are not copied.
    Cp {
        /// Also directories, with everything below them; links stay links
        #[arg(short, long)]
        recursive: bool,
        /// The file, `:PATH` on the server
        from: Place,
        /// Its copy, `:PATH` on the server
        to: Place,
    },
}
