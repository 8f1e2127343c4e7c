//! The result and error types of commands.

use std::fmt::{self, Display};

pub(crate) use datakit_server::io_reason;

/// The result of a command.
pub(crate) type CliResult<T = ()> = Result<T, CliError>;

/// The reason that a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CliError {
    /// The process reading standard output closed the pipe.
    BrokenPipe,
    /// One or more errors have already been printed to standard error.
    Reported,
    /// The command failed for any other reason. The text does not include the program's name.
    Failed(String),
}

impl From<String> for CliError {
    fn from(text: String) -> CliError {
        CliError::Failed(text)
    }
}

impl Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CliError::BrokenPipe => f.write_str("Broken pipe"),
            CliError::Reported => f.write_str("failed"),
            CliError::Failed(text) => f.write_str(text),
        }
    }
}

/// Returns a function, for use with `map_err`, that prefixes an error with `subject`.
pub(crate) fn at<E: Display>(subject: &impl Display) -> impl Fn(E) -> CliError {
    move |error| CliError::Failed(format!("{subject}: {error}"))
}

/// Returns the error for a path that refers to a directory where a file is required.
pub(crate) fn is_a_directory(path: &impl Display) -> CliError {
    CliError::Failed(format!("{path}: Is a directory"))
}
