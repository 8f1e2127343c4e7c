//! Commands that are programs of their own, such as `datakit bridge local`.
//!
//! Like git's external commands, they replace this process. Their exit status and the signals sent
//! to them are therefore those of this process.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::{Args, Subcommand};

use crate::error::{CliError, CliResult, at, io_reason};

/// The commands, and the programs that they run.
const PROGRAMS: [(&[&str], &str); 4] = [
    (&["bridge", "local"], "datakit-bridge-local-git"),
    (&["bridge", "github"], "datakit-bridge-github"),
    (&["ci"], "datakit-ci"),
    (&["mount"], "datakit-mount"),
];

/// The external commands, for help, manual pages and completions.
#[derive(Subcommand, Debug)]
pub(crate) enum ExternalCommand {
    /// Copy branches, pull requests and statuses of repositories to the database and back
    #[command(subcommand)]
    Bridge(BridgeCommand),
    /// Test branches and pull requests, and record the results [program: datakit-ci]
    Ci(Arguments),
    /// Mount a server's tree [program: datakit-mount]
    Mount(Arguments),
}

/// The bridges.
#[derive(Subcommand, Debug)]
pub(crate) enum BridgeCommand {
    /// Publish the branches of local Git repositories [program: datakit-bridge-local-git]
    Local(Arguments),
    /// Keep repositories on GitHub and the database in step [program: datakit-bridge-github]
    Github(Arguments),
}

/// The arguments of another program.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// The arguments of the program; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Returns whether a command is the first word of an external command.
pub(crate) fn is_external(command: &str) -> bool {
    PROGRAMS.iter().any(|(words, _)| words.first() == Some(&command))
}

/// Replaces this process with the program of an external command. `command` are the words of the
/// command line after the name of this program.
///
/// # Errors
/// Returns an error if the program is not installed or cannot be run.
pub(crate) fn run(command: &[OsString]) -> CliResult {
    let found = PROGRAMS.iter().find(|(words, _)| {
        command.len() >= words.len() && words.iter().zip(command).all(|(word, given)| given == word)
    });
    // The command line has already been parsed, so there is such a command.
    let Some((words, name)) = found else { return Err(CliError::Failed("no command".to_owned())) };
    let words = words.len();
    let arguments = command.get(words..).unwrap_or_default();
    // A program of the same version is preferred to one from the PATH.
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
