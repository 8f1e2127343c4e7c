//! The command line.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, Resettable, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use datakit_client::Dialect;
use datakit_server::Url;

use crate::operand::{CommitPath, FileUpdate, Location, ServerPath};
use crate::serve::ServeArgs;

/// Read, write and watch a file tree over 9P, or serve one
///
/// PATH is a path in the server's tree; the leading slash is optional. Without a command, datakit
/// serves: options that stand alone are those of `datakit serve`.
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

/// `datakit -h` fits on a screen of 24 lines.
const TEMPLATE: &str = "\
{about-with-newline}
{usage-heading} {usage}

{subcommands}
  man     Print or write manual pages; `completions` prints those of a shell

{options}{after-help}";

const EXAMPLES: &str = "\
Examples:
  datakit serve --git notes --listen-9p tcp://127.0.0.1:5640,unix:///run/datakit.sock
  datakit ls -l /
  datakit write /led on
  datakit watch /events
  datakit -a board.local cp config.json :/etc/config.json
  datakit cp -r :/tmp/results .

Exit status: 0 on success, 1 if anything failed, 2 for a mistake on the command line. An error is
printed to standard error as `datakit: PATH: REASON`. A server that gets SIGTERM or SIGHUP finishes the
commits in progress and exits with 0; after SIGINT it exits with 1.

Environment: DATAKIT_ADDRESS is the server of client commands. DATAKIT_VERBOSE and RUST_LOG set the log
level of `datakit serve`.";

const DB_EXAMPLES: &str = "\
Examples:
  datakit db commit master -m 'Raise the level' etc/level=level.txt etc/motd=-
  datakit db log master --oneline
  datakit db cat master:etc/motd
  datakit db diff master feature
  datakit db merge master feature
  datakit db watch master etc/level --print

COMMIT is a hash, an unambiguous prefix of a hash with at least 4 digits, or a branch, which stands for its
head.";

/// The options of [`Connection`] that may precede the command.
const CONNECTION_OPTIONS: [&str; 8] =
    ["-a", "--address", "--dialect", "--timeout", "-h", "--help", "-V", "--version"];

impl Program {
    /// Reads the command line.
    ///
    /// # Errors
    /// A mistake in it, or a request for help or the version.
    pub(crate) fn read() -> Result<Program, clap::Error> {
        let mut command = Program::full_command();
        let matches = command.try_get_matches_from_mut(conventional(std::env::args_os()))?;
        let mut program = Program::from_arg_matches(&matches)?;
        let is_typed = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let typed = ["address", "dialect", "timeout"].into_iter().find(is_typed);
        let mut next = matches.subcommand();
        while let Some((name, matches)) = next {
            if is_local(name) {
                let Some(option) = typed else { break };
                let text =
                    format!("`{name}` does not connect to a server, so it takes no '--{option}'");
                return Err(command.error(ErrorKind::ArgumentConflict, text));
            }
            program.connection.update_from_arg_matches(matches)?;
            next = matches.subcommand();
        }
        Ok(program)
    }

    /// Returns the definition of the command line. Client commands take the options of
    /// [`Connection`], too.
    pub(crate) fn full_command() -> clap::Command {
        let options = Connection::augment_args(clap::Command::new(""));
        let options: Vec<Arg> = options
            .get_arguments()
            .map(|option| option.clone().default_value(Resettable::Reset).env(Resettable::Reset))
            .collect();
        // Defined here, as clap has no way to hide its own from `-h`.
        let version = Arg::new("version").short('V').long("version").action(ArgAction::Version);
        let version = version.hide_short_help(true).help("Print version");
        let command = Program::command().disable_version_flag(true).arg(version);
        command.mut_subcommands(|command| match command.get_name() {
            name if is_local(name) => command,
            _ => with_connection(command, &options)
                .mut_subcommands(|command| with_connection(command, &options)),
        })
    }
}

/// Returns whether a command does not connect to a server.
fn is_local(command: &str) -> bool {
    matches!(command, "serve" | "completions" | "man")
}

/// Adds the options of [`Connection`], without the short ones that `command` uses itself.
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

/// Translates what people know from other programs: options without a command are those of the
/// server, `help COMMAND` is `COMMAND --help`, and find(1) has long options with one dash.
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
    if let Some(find) = arguments.iter().position(|argument| argument == "find") {
        for argument in arguments.iter_mut().skip(find) {
            if ["-name", "-type", "-maxdepth"].iter().any(|option| *argument == *option) {
                *argument = [OsString::from("-"), argument.clone()].into_iter().collect();
            }
        }
    }
    arguments
}

/// How to reach the server.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// The server [default: $DATAKIT_ADDRESS or localhost]
    ///
    /// HOST, HOST:PORT, tcp://HOST:PORT, tcp:HOST:PORT, unix://PATH, or the path of a socket that
    /// begins with `/`, `./` or `../`. The default port is 5640.
    #[arg(
        short,
        long,
        env = "DATAKIT_ADDRESS",
        default_value = "tcp://127.0.0.1:5640",
        hide_env = true,
        hide_default_value = true
    )]
    pub(crate) address: Url,
    /// Speak only this dialect [default: 9P2000.u, whose errors have a text; 9P2000.L for cp and mv]
    #[arg(long, hide_short_help = true)]
    pub(crate) dialect: Option<DialectName>,
    /// Fail if connecting takes longer [default: 10]
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

/// The dialects by their version strings.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub(crate) enum DialectName {
    /// The base protocol
    #[value(name = "9p2000", alias = "9P2000")]
    Legacy,
    /// Adds error numbers and symbolic links
    #[value(name = "9p2000.u", alias = "9P2000.u")]
    Unix,
    /// Linux system calls; errors are numbers without a text
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
    #[command(subcommand, after_help = DB_EXAMPLES)]
    Db(DbCommand),
    /// Print the completions of a shell
    #[command(hide = true)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write those of all commands
    #[command(hide = true)]
    Man {
        /// Write `datakit.1` and a page for each command to this directory
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// The options of `ls` and `db ls`.
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Include names that start with a dot
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Print mode, owner, group, size and time as well
    #[arg(short)]
    pub(crate) long: bool,
    /// Print sizes with a unit, such as 1.5K
    #[arg(short = 'h', long)]
    pub(crate) human_readable: bool,
    /// List directories themselves instead of their contents
    #[arg(short, long)]
    pub(crate) directory: bool,
    /// Print a JSON array of all names
    #[arg(long)]
    pub(crate) json: bool,
}

/// The commands about files.
#[derive(Subcommand, Debug)]
pub(crate) enum ClientCommand {
    /// List directories
    Ls {
        #[command(flatten)]
        options: LsArgs,
        /// The directories; a file is listed itself
        #[arg(value_name = "PATH", default_value = "/")]
        paths: Vec<ServerPath>,
    },
    /// Print files; of a stream, the first text that it delivers
    Cat {
        /// The files
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<ServerPath>,
    },
    /// Print everything known about files
    Stat {
        /// Print a JSON object, or an array of several
        #[arg(long)]
        json: bool,
        /// The files
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<ServerPath>,
    },
    /// Print a directory and everything below it as a tree
    Tree {
        /// Print a JSON object
        #[arg(long)]
        json: bool,
        /// Where to start
        #[arg(default_value = "/")]
        path: ServerPath,
    },
    /// Print the paths of files that match
    ///
    /// `-name`, `-type` and `-maxdepth` work with a single dash, too.
    Find {
        /// Print only files of this name, in which `*` stands for any text and `?` for one byte
        #[arg(long, value_name = "PATTERN")]
        name: Option<OsString>,
        /// Print only files of this type: f for files, d for directories, l for symbolic links
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<FindType>,
        /// Descend at most N directories
        #[arg(long, value_name = "N")]
        maxdepth: Option<usize>,
        /// Where to start
        #[arg(value_name = "PATH", default_value = "/")]
        paths: Vec<ServerPath>,
    },
    /// Print how much the files below a directory hold
    ///
    /// Prints the sum of the files' sizes for each directory, in KiB.
    Du {
        /// Print one line for each operand
        #[arg(short, long)]
        summarize: bool,
        /// Print sizes with a unit, such as 1.5K
        #[arg(short = 'h', long)]
        human_readable: bool,
        /// Print sizes in bytes
        #[arg(short, long, conflicts_with = "human_readable")]
        bytes: bool,
        /// Where to start
        #[arg(value_name = "PATH", default_value = "/")]
        paths: Vec<ServerPath>,
    },
    /// Write a text to a file, creating the file if needed
    ///
    /// TEXT replaces the content of the file. No newline is added; '' empties the file.
    Write {
        /// The file
        path: ServerPath,
        /// The content; standard input if absent or `-`
        #[arg(allow_hyphen_values = true)]
        text: Option<OsString>,
    },
    /// Add a text to the end of a file, creating the file if needed
    ///
    /// No newline is added. 9P has no atomic append: two writers at the same time can overwrite each
    /// other's text.
    Append {
        /// The file
        path: ServerPath,
        /// The text; standard input if absent or `-`
        #[arg(allow_hyphen_values = true)]
        text: Option<OsString>,
    },
    /// Create directories
    Mkdir {
        /// Create missing parents, and accept directories that exist
        #[arg(short, long)]
        parents: bool,
        /// The directories
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<ServerPath>,
    },
    /// Remove files
    Rm {
        /// Remove directories and everything below them
        #[arg(short, long, visible_short_alias = 'R')]
        recursive: bool,
        /// Ignore files that do not exist
        #[arg(short, long)]
        force: bool,
        /// The files
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<ServerPath>,
    },
    /// Rename files, or move them to a directory
    Mv {
        /// The files
        #[arg(required = true, value_name = "SOURCE")]
        sources: Vec<ServerPath>,
        /// The new path, or a directory to move the files to
        target: ServerPath,
    },
    /// Copy files to, from or within the server
    ///
    /// A path on the server starts with a colon; a path on this machine does not: `cp notes.txt
    /// :/scratch/notes.txt`. `-` is standard input or standard output. Write a local name that
    /// starts with a colon or is a dash as `./:name` and `./-`.
    ///
    /// A file is written under a temporary name, `.NAME.*.part`, and renamed when it is complete, if
    /// the server can rename. Modes, owners and times are not copied. Links are copied as links, and
    /// nothing is written through a link.
    Cp {
        /// Copy directories and everything below them, 32 files at a time
        #[arg(short, long, visible_short_alias = 'R')]
        recursive: bool,
        /// The files; `:PATH` is on the server
        #[arg(required = true, value_name = "SOURCE")]
        sources: Vec<Location>,
        /// The copy, or a directory to copy to; `:PATH` is on the server
        target: Location,
    },
    /// Print a stream or the changes of a file until interrupted
    ///
    /// Prints the texts that a stream delivers, as they come, until the stream ends. A file that is
    /// not a stream is printed, and looked at again every second: text added to its end is printed
    /// alone, after any other change the whole file is printed.
    Watch {
        /// The stream or file
        path: ServerPath,
    },
}

/// The types of files that `find` knows.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FindType {
    /// A file
    #[value(name = "f")]
    File,
    /// A directory
    #[value(name = "d")]
    Directory,
    /// A symbolic link
    #[value(name = "l")]
    Link,
}

/// The commands about a database.
#[derive(Subcommand, Debug)]
pub(crate) enum DbCommand {
    /// List the branches
    Branches {
        /// Print the hash and the subject of each head as well
        #[arg(short, long)]
        verbose: bool,
        /// Print a JSON array of names and heads
        #[arg(long)]
        json: bool,
    },
    /// Remove branches
    Rm {
        /// The branches
        #[arg(required = true, value_name = "BRANCH")]
        branches: Vec<String>,
    },
    /// Rename a branch
    Mv {
        /// The branch
        from: String,
        /// Its new name
        to: String,
    },
    /// Move a branch to a commit that descends from its head, and print the hash of the commit
    FastForward {
        /// The branch
        branch: String,
        /// The commit
        commit: String,
    },
    /// List a directory of a commit
    Ls {
        #[command(flatten)]
        options: LsArgs,
        /// The commit, and the directory in it
        #[arg(required = true, value_name = "COMMIT[:PATH]")]
        paths: Vec<CommitPath>,
    },
    /// Print files of a commit
    Cat {
        /// The commit, and the file in it
        #[arg(required = true, value_name = "COMMIT[:PATH]")]
        paths: Vec<CommitPath>,
    },
    /// Print the history of a commit, newest first
    Log {
        /// Print one line for each commit: the hash and the subject
        #[arg(long, conflicts_with = "json")]
        oneline: bool,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
        /// Print at most N commits
        #[arg(short = 'n', long, value_name = "N")]
        max_count: Option<NonZeroUsize>,
        /// The commit to start from
        #[arg(value_name = "COMMIT")]
        start: String,
        /// Print only commits in which one of these paths differs from every parent
        #[arg(last = true, value_name = "PATH")]
        paths: Vec<String>,
    },
    /// Print a commit and its changes since its first parent
    Show {
        /// Print a JSON object
        #[arg(long)]
        json: bool,
        /// The commit
        commit: String,
    },
    /// Commit files to a branch, and print the hash of its new head
    ///
    /// Missing directories are created. A file that exists is replaced, and stays executable if it
    /// was. If the branch moves meanwhile, the commit is merged with its new head.
    Commit {
        /// The branch; the first commit creates it
        branch: String,
        /// The message
        #[arg(short, long)]
        message: String,
        /// The author [default: the user of the connection, or the server's choice]
        #[arg(long, value_name = "NAME <EMAIL>")]
        author: Option<String>,
        /// Commit even if the message is empty or nothing changes
        #[arg(long)]
        allow_empty: bool,
        /// Remove this file or directory from the branch
        #[arg(long = "rm", value_name = "PATH")]
        removals: Vec<String>,
        /// A file in the branch, and the local file that supplies its content; `-` is standard input
        #[arg(value_name = "FILE=PATH", value_parser = OsStringValueParser::new().try_map(FileUpdate::parse))]
        updates: Vec<FileUpdate>,
    },
    /// Merge a commit into a branch, and print the hash of the branch's new head
    ///
    /// If both changed the same file, the conflicts are listed, nothing is committed, and the exit
    /// status is 1. A branch without commits moves to the commit.
    Merge {
        /// The message [default: "Merge FROM into INTO"]
        #[arg(short, long)]
        message: Option<String>,
        /// The branch that moves
        into: String,
        /// The commit to merge
        from: String,
    },
    /// Print the head of a branch, or what a path of it holds, and every change until interrupted
    Watch {
        /// Print the content of the file, the target of the link or the names in the directory
        #[arg(short, long, requires = "path")]
        print: bool,
        /// The branch
        branch: String,
        /// The path, which need not exist; / is the whole tree
        path: Option<String>,
    },
    /// Print the files that differ between two commits
    ///
    /// Each line is a sign and a path: `+` for a file that is only in NEW, `-` for one that is only
    /// in OLD, `*` for one whose content or mode differs.
    Diff {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
        /// The old commit
        old: String,
        /// The new commit
        new: String,
    },
    /// Fetch a branch of another repository, and print the hash of its head
    ///
    /// The server runs `git fetch`. No branch moves: `merge`, `fast-forward` and `show` take the hash.
    Fetch {
        /// The repository, as the server's git reaches it
        url: String,
        /// The branch there
        branch: String,
    },
}
