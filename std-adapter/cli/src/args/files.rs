//! The command-line arguments of the file commands.

use std::ffi::OsString;

use clap::{Args, Subcommand, ValueEnum};

use crate::operand::{Location, ServerPath};

/// The options of `ls` and `db ls`.
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Include names that start with a dot
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Also print the mode, owner, group, size and time
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

/// The commands for working with files.
#[derive(Subcommand, Debug)]
pub(crate) enum ClientCommand {
    /// List directories
    Ls {
        #[command(flatten)]
        options: LsArgs,
        /// The directories or files to list
        #[arg(value_name = "PATH", default_value = "/")]
        paths: Vec<ServerPath>,
    },
    /// Print the contents of files; for a stream, print only the first text
    Cat {
        /// The files
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<ServerPath>,
    },
    /// Print the metadata of files
    Stat {
        /// Print a JSON object, or an array if there are multiple files
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
        /// The directory to start from
        #[arg(default_value = "/")]
        path: ServerPath,
    },
    /// Print the paths of matching files
    ///
    /// The options can also be written with a single dash, as in `-name`.
    Find {
        /// Print only files whose names match PATTERN; `*` matches any text and `?` matches one
        /// byte
        #[arg(long, value_name = "PATTERN")]
        name: Option<OsString>,
        /// Print only files of this type: f for files, d for directories, l for symbolic links
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<FindType>,
        /// Descend at most N levels
        #[arg(long, value_name = "N")]
        maxdepth: Option<usize>,
        /// The directories to start from
        #[arg(value_name = "PATH", default_value = "/")]
        paths: Vec<ServerPath>,
    },
    /// Print the total size of the files below a directory
    ///
    /// Sizes are in KiB unless an option selects a different unit.
    Du {
        /// Print only the total for each operand
        #[arg(short, long)]
        summarize: bool,
        /// Print sizes with a unit, such as 1.5K
        #[arg(short = 'h', long)]
        human_readable: bool,
        /// Print sizes in bytes
        #[arg(short, long, conflicts_with = "human_readable")]
        bytes: bool,
        /// The directories to start from
        #[arg(value_name = "PATH", default_value = "/")]
        paths: Vec<ServerPath>,
    },
    /// Write text to a file, creating the file if needed
    ///
    /// TEXT replaces the file's content. No newline is added. If TEXT is '', the file becomes
    /// empty.
    Write {
        /// The file
        path: ServerPath,
        /// The new content [default: the content of standard input, as for `-`]
        #[arg(allow_hyphen_values = true)]
        text: Option<OsString>,
    },
    /// Append text to a file, creating the file if needed
    ///
    /// No newline is added. 9P has no atomic append, so concurrent writers can overwrite each
    /// other's text.
    Append {
        /// The file
        path: ServerPath,
        /// The text to append [default: the content of standard input, as for `-`]
        #[arg(allow_hyphen_values = true)]
        text: Option<OsString>,
    },
    /// Create directories
    Mkdir {
        /// Create missing parents, and accept directories that already exist
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
    /// Rename files or move them to a directory
    Mv {
        /// The files
        #[arg(required = true, value_name = "SOURCE")]
        sources: Vec<ServerPath>,
        /// The new path, or a directory to move the files to
        target: ServerPath,
    },
    /// Copy files to, from or within the server
    ///
    /// Paths on the server start with a colon, as in `cp notes.txt :/scratch/notes.txt`. `-` is
    /// standard input or standard output. To refer to a local file named `:name` or `-`, write
    /// `./:name` or `./-`.
    ///
    /// If the server supports renaming, each file is written under a temporary name,
    /// `.NAME.*.part`, and renamed when it is complete. Modes, owners and times are not copied.
    /// Links are copied as links, and nothing is written through a link.
    Cp {
        /// Copy directories and everything below them, 32 files at a time
        #[arg(short, long, visible_short_alias = 'R')]
        recursive: bool,
        /// The files to copy; `:PATH` is a path on the server
        #[arg(required = true, value_name = "SOURCE")]
        sources: Vec<Location>,
        /// The path of the copy, or a directory to copy into; `:PATH` is a path on the server
        target: Location,
    },
    /// Print a stream, or the changes to a file, until interrupted
    ///
    /// Text from a stream is printed as it arrives, until the stream ends. A file that is not a
    /// stream is printed and then checked for changes every second. If text was appended, only the
    /// new text is printed; otherwise, the whole file is printed.
    Watch {
        /// The path of the stream or file
        path: ServerPath,
    },
}

/// The file types that `find` can match.
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
