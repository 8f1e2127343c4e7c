//! Results of commands.

use std::fmt::{self, Display};

use crate::output;

/// The result of a command.
pub(crate) type CliResult<T = ()> = Result<T, CliError>;

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CliError {
    /// The reader of standard output closed it.
    BrokenPipe,
    /// The reasons are already on standard error.
    Reported,
    /// The text to print, without the program's name.
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

/// Returns a function that puts `subject` in front of an error, for `map_err`.
pub(crate) fn at<E: Display>(subject: &impl Display) -> impl Fn(E) -> CliError {
    move |error| CliError::Failed(format!("{subject}: {error}"))
}

/// Runs `command` for each operand. An operand that fails does not stop the others.
///
/// # Errors
/// [`CliError::Reported`] if an operand failed, [`CliError::BrokenPipe`] at once.
pub(crate) async fn for_each<T>(
    operands: &[T],
    mut command: impl AsyncFnMut(&T) -> CliResult,
) -> CliResult {
    let mut result = Ok(());
    for operand in operands {
        match command(operand).await {
            Ok(()) => continue,
            Err(CliError::BrokenPipe) => return Err(CliError::BrokenPipe),
            Err(CliError::Reported) => {}
            Err(CliError::Failed(text)) => output::complain(&text),
        }
        result = Err(CliError::Reported);
    }
    result
}

/// Prints every failure.
///
/// # Errors
/// [`CliError::Reported`] if there is one.
pub(crate) fn report_all(failures: impl IntoIterator<Item = CliError>) -> CliResult {
    let mut result = Ok(());
    for failure in failures {
        output::complain(&failure.to_string());
        result = Err(CliError::Reported);
    }
    result
}

/// Returns the system's text without `(os error N)`, as the server's errors have it.
pub(crate) fn io_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
