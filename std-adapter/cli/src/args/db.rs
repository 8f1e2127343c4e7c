//! The arguments of `datakit db`.

use std::num::NonZeroUsize;

use clap::Subcommand;
use clap::builder::{OsStringValueParser, TypedValueParser};

use super::files::LsArgs;
use crate::operand::{CommitPath, FileUpdate};

pub(super) const EXAMPLES: &str = "\
Examples:
  datakit db commit master -m 'Raise the level' etc/level=level.txt etc/motd=-
  datakit db log master --oneline
  datakit db cat master:etc/motd
  datakit db diff master feature
  datakit db merge master feature
  datakit db watch master etc/level --print

COMMIT is a hash, an unambiguous prefix of a hash with at least 4 digits, or a branch, which stands \
for its head.";

/// The subcommands of `datakit db`.
#[derive(Subcommand, Debug)]
pub(crate) enum DbCommand {
    /// List the branches
    Branches {
        /// Also print the hash and subject of each branch's head
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
    /// Fast-forward a branch to a descendant of its head and print the hash of the new head
    FastForward {
        /// The branch
        branch: String,
        /// The commit
        commit: String,
    },
    /// List a directory in a commit
    Ls {
        #[command(flatten)]
        options: LsArgs,
        /// A commit, optionally followed by the path of a directory in the commit
        #[arg(required = true, value_name = "COMMIT[:PATH]")]
        paths: Vec<CommitPath>,
    },
    /// Print files from a commit
    Cat {
        /// A commit and the path of a file in the commit
        #[arg(required = true, value_name = "COMMIT[:PATH]")]
        paths: Vec<CommitPath>,
    },
    /// Print the history of a commit, newest first
    Log {
        /// Print the hash and the subject of each commit on one line
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
        /// Print only commits that change one of these paths relative to every parent
        #[arg(last = true, value_name = "PATH")]
        paths: Vec<String>,
    },
    /// Print a commit and its changes relative to its first parent
    Show {
        /// Print a JSON object
        #[arg(long)]
        json: bool,
        /// The commit
        commit: String,
    },
    /// Commit files to a branch and print the hash of the branch's new head
    ///
    /// Missing directories are created, and existing files are replaced. Executable local files
    /// stay executable in the branch. If the branch moves before the commit is complete, the commit
    /// is merged with the branch's new head.
    Commit {
        /// The branch, which is created if it does not exist
        branch: String,
        /// The message
        #[arg(short, long)]
        message: String,
        /// The author [default: the connection's user, or the author that the server chooses]
        #[arg(long, value_name = "NAME <EMAIL>")]
        author: Option<String>,
        /// Commit even if the message is empty or nothing changes
        #[arg(long)]
        allow_empty: bool,
        /// Remove this file or directory from the branch
        #[arg(long = "rm", value_name = "PATH")]
        removals: Vec<String>,
        /// A file in the branch and the local file to read its content from (`-` for standard
        /// input)
        #[arg(value_name = "FILE=PATH", value_parser = OsStringValueParser::new().try_map(FileUpdate::parse))]
        updates: Vec<FileUpdate>,
    },
    /// Merge a commit into a branch and print the hash of the branch's new head
    ///
    /// If there are conflicts, the command lists them, commits nothing, and exits with status 1. If
    /// branch INTO has no commits, the command sets its head to commit FROM.
    Merge {
        /// The message [default: "Merge FROM into INTO"]
        #[arg(short, long)]
        message: Option<String>,
        /// The branch to merge into
        into: String,
        /// The commit to merge
        from: String,
    },
    /// Print the head of a branch or the value at a path, and then each change until interrupted
    Watch {
        /// Print each value in full: a file's content, a link's target or the names in a directory
        #[arg(short, long, requires = "path")]
        print: bool,
        /// The branch
        branch: String,
        /// The path, which need not exist (/ for the whole tree)
        path: Option<String>,
    },
    /// Print the files that differ between two commits
    ///
    /// Each line consists of a sign and a path: `+` for a file that exists only in NEW, `-` for a
    /// file that exists only in OLD, and `*` for a file whose content or mode differs.
    Diff {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
        /// The old commit
        old: String,
        /// The new commit
        new: String,
    },
    /// Fetch a branch from another repository and print the hash of the branch's head
    ///
    /// The server runs `git fetch`, which changes none of the server's branches. Pass the hash to
    /// `merge`, `fast-forward` or `show`.
    Fetch {
        /// The URL of the repository, as seen from the server
        url: String,
        /// The branch to fetch
        branch: String,
    },
}
