//! Commands that are implemented by separate programs, such as `datakit bridge local`.
//!
//! As with Git's external commands, the separate program replaces this process. The program's exit
//! status therefore becomes the exit status of `datakit`, and the program receives all signals sent
//! to `datakit`.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::{Args, Subcommand};

use crate::error::{CliError, CliResult, at, io_reason};

/// The words of each external command, and the program that implements it.
const PROGRAMS: [(&[&str], &str); 3] = [
    (&["bridge", "local"], "datakit-bridge-local-git"),
    (&["bridge", "github"], "datakit-bridge-github"),
    (&["ci"], "datakit-ci"),
];

/// The external commands, as shown in help, manual pages and completions.
#[derive(Subcommand, Debug)]
pub(crate) enum ExternalCommand {
    /// Copy branches, pull requests and statuses between repositories and the database
    #[command(subcommand)]
    Bridge(BridgeCommand),
    /// Test commits with pipelines that are part of the repository [program: datakit-ci]
    Ci(Arguments),
}

/// The bridges.
#[derive(Subcommand, Debug)]
pub(crate) enum BridgeCommand {
    /// Publish the branches of local Git repositories [program: datakit-bridge-local-git]
    Local(Arguments),
    /// Synchronize repositories on GitHub with the database [program: datakit-bridge-github]
    Github(Arguments),
}

/// The arguments of an external program.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// The program's arguments; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Returns whether the given word is the first word of an external command.
pub(crate) fn is_external(command: &str) -> bool {
    PROGRAMS.iter().any(|(words, _)| words.first() == Some(&command))
}

/// Replaces this process with the program that implements an external command. `command` contains
/// the words of the command line after this program's name.
///
/// # Errors
/// Returns an error if the program is not installed or cannot be run.
pub(crate) fn run(command: &[OsString]) -> CliResult {
    let found = PROGRAMS.iter().find(|(words, _)| {
        command.len() >= words.len() && words.iter().zip(command).all(|(word, given)| given == word)
    });
    // The command is always in the table, because the command-line parser accepts only commands
    // from the table.
    let Some((words, name)) = found else { return Err(CliError::Failed("no command".to_owned())) };
    let words = words.len();
    let arguments = command.get(words..).unwrap_or_default();
    // Prefer a program in the same directory as this executable, because the two have the same
    // version. Otherwise, search the PATH.
    for program in beside_this_program(name).into_iter().chain([PathBuf::from(name)]) {
        let error = Command::new(&program).args(arguments).exec();
        if error.kind() != io::ErrorKind::NotFound {
            return Err(at(&program.display())(io_reason(&error)));
        }
    }
    Err(CliError::Failed(missing(name)))
}

fn beside_this_program(name: &str) -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.join(name))
}

fn missing(name: &str) -> String {
    let dir = beside_this_program(name).and_then(|path| Some(path.parent()?.display().to_string()));
    let dir = dir.unwrap_or_default();
    format!(
        "{name}: not found, neither in {dir} nor on the PATH: build it with `cargo build --release \
         --workspace`, or install the package that contains it"
    )
}
