//! What can be typed after `datakit`.

use std::ffi::OsString;
use std::num::NonZeroUsize;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use datakit_client::Dialect;
use datakit_server::Url;

use crate::db::Put;
use crate::path::{Place, ServerPath};
use crate::serve::ServeArgs;

/// A file tree over 9P: serves one, and reads, writes and watches any.
///
/// Without a command it serves. PATH is a path in the server's tree; a leading slash may be left
/// out.
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
SIGTERM and SIGHUP end a server with 0, SIGINT with 1, each after the commits that are under way.
Commands speak 9P2000.u, in which a server gives the reasons of its errors, such as the range of a parameter. `cp` and
`mv` prefer 9P2000.L, which can replace a file in a rename but sends error numbers only.";

const DB_EXAMPLES: &str = "\
Examples:
  datakit db commit master -m 'Say more' etc/level=level.txt etc/motd=-
  datakit db log master --oneline
  datakit db diff master feature
  datakit db merge master feature
  datakit db watch master etc/level --print

Where a COMMIT is asked for, its hash or the name of a branch, for the head of it, can be given.";

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
    let text = if let (true, Some(option)) = (
        matches.subcommand().is_some(),
        given(ServeArgs::augment_args(clap::Command::new("")), matches),
    ) {
        format!(
            "'{option}' is an option of `serve`: write it behind `datakit serve`, without another command"
        )
    } else if let ("serve", Some(option)) =
        (name, given(Connection::augment_args(clap::Command::new("")), of_command))
    {
        format!(
            "'{option}' is for connecting to a server: `serve` has '--listen-9p' to say where it listens"
        )
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
    /// The only dialect to accept [default: any, 9P2000.u first]
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
    /// Branches and commits of a server with a database
    #[command(subcommand, after_help = DB_EXAMPLES)]
    Db(DbCommand),
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
    /// A path of the server starts with a colon, a path of this machine does not:
    /// `cp notes.txt :/scratch/notes.txt`. For a file of this machine whose name starts with a
    /// colon, write `./:name`. An existing directory as the target keeps the name. Modes, owners
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

/// The commands about a database.
#[derive(Subcommand, Debug)]
pub(crate) enum DbCommand {
    /// List the branches
    Branches {
        /// Also the hashes of their heads
        #[arg(short)]
        long: bool,
        /// Print a JSON array of names and heads
        #[arg(long)]
        json: bool,
    },
    /// Print the commits that lead to one, the latest first
    Log {
        /// A line for each: the hash and the first line of the message
        #[arg(long, conflicts_with = "json")]
        oneline: bool,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
        /// No more than so many
        #[arg(short = 'n', long, value_name = "N")]
        max_count: Option<NonZeroUsize>,
        /// Where to start: a commit
        #[arg(value_name = "BRANCH")]
        start: String,
    },
    /// Print a commit, and what changed in it since its first parent
    Show {
        /// Print a JSON object
        #[arg(long)]
        json: bool,
        /// The commit
        #[arg(value_name = "COMMIT")]
        commit: String,
    },
    /// Put files into a branch with one commit, and print where the branch is then
    ///
    /// The directories are made. A file that is there is replaced. A file that may be executed
    /// stays one that may. What comes to the branch meanwhile is merged with.
    Commit {
        /// The branch; the first commit makes it
        branch: String,
        /// Why
        #[arg(short, long)]
        message: String,
        /// The author of the commit, and perhaps the date
        /// [default: the user of this connection, or the server's choice]
        #[arg(long, value_name = "NAME <MAIL>")]
        author: Option<String>,
        /// The file in the branch, and the one of this machine that it becomes; `-` is standard
        /// input
        #[arg(required = true, value_name = "FILE=PATH", value_parser = OsStringValueParser::new().try_map(Put::parse))]
        files: Vec<Put>,
    },
    /// Merge a commit into a branch, and print where the branch is then
    ///
    /// Conflicts are listed, nothing is committed then, and the exit status is 1. A branch without
    /// commits moves to the commit.
    Merge {
        /// The message [default: "Merge FROM into INTO"]
        #[arg(short, long)]
        message: Option<String>,
        /// The branch that moves
        into: String,
        /// The commit that is merged
        from: String,
    },
    /// Print where a branch is, or what is at a path of it, and each change, until interrupted
    Watch {
        /// Print what is there: the content of a file, the target of a link, the names in a
        /// directory
        #[arg(short, long, requires = "path")]
        print: bool,
        /// The branch
        branch: String,
        /// The path, which need not be there yet; / is all of it
        path: Option<String>,
    },
    /// Print the files that differ from one commit to another
    ///
    /// A line for each: `+` and a file that is new in B, `-` one that is gone, `*` one of other
    /// content or mode.
    Diff {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
        /// The old commit
        #[arg(value_name = "A")]
        old: String,
        /// The new commit
        #[arg(value_name = "B")]
        new: String,
    },
    /// Have the server fetch a branch of another repository, and print the hash of its head
    ///
    /// No branch moves by it. The hash can be given to `merge` and `show`.
    Fetch {
        /// The repository, as the server's Git would reach it
        url: String,
        /// Its branch
        branch: String,
    },
}
