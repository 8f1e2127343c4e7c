//! The error type for operations on parameters.

use std::error::Error as StdError;
use std::fmt::{self, Display};

/// The result type for operations on parameters.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error from an operation on parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// There is no parameter with this path.
    UnknownParameter {
        /// The path.
        path: String,
        /// The most similar parameter path, if any.
        similar: Option<String>,
    },
    /// The path is a directory, which has no value itself.
    IsDirectory {
        /// The path.
        path: String,
        /// The paths of the parameters in the directory.
        parameters: Vec<String>,
    },
    /// A value or command was rejected, either by this client or by the server.
    Refused {
        /// The path of the parameter or of the other file that the error concerns.
        path: String,
        /// The reason, which describes the allowed values.
        reason: String,
    },
    /// The server does not have a file that the operation requires.
    Missing {
        /// The path of the file.
        path: String,
        /// The operation that requires the file.
        needed: &'static str,
    },
    /// The server refused to commit the transaction, so no parameter has changed. The text gives
    /// the reason, for example that another client has set one of the parameters.
    Commit(String),
    /// A value was not staged because it does not fit in the transaction, which can contain only a
    /// limited number of values of a limited length. The text gives the reason.
    TransactionFull(String),
    /// All of the server's transactions are in use.
    NoFreeTransaction {
        /// The path of each transaction and the reason why the server refused to begin it.
        used: Vec<(String, String)>,
    },
    /// The server's `schema` file is not a valid schema. The text gives the reason.
    InvalidSchema(String),
    /// A line does not have the form `PATH VALUE`.
    InvalidLine {
        /// The line number, starting from 1.
        number: usize,
        /// The line.
        line: String,
    },
    /// Any other error from the client or the server.
    Client {
        /// The path of the file.
        path: String,
        /// The error.
        error: crate::Error,
    },
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::UnknownParameter { path, similar } => {
                write!(f, "{path}: there is no such parameter")?;
                match similar {
                    Some(similar) => write!(f, "; a similar one is {similar}"),
                    None => Ok(()),
                }
            }
            Error::IsDirectory { path, parameters } => fmt_directory(f, path, parameters),
            Error::Refused { path, reason } => write!(f, "{path}: {reason}"),
            Error::Missing { path, needed } => {
                let what = if path.ends_with("/transactions") { "directory" } else { "file" };
                write!(f, "{path}: the server has no such {what}, which is needed to {needed}")
            }
            Error::Commit(reason) | Error::TransactionFull(reason) => {
                write!(f, "nothing was changed: {reason}")
            }
            Error::NoFreeTransaction { used } if used.is_empty() => {
                f.write_str("the server has no transactions")
            }
            Error::NoFreeTransaction { used } => {
                f.write_str("all transactions are in use")?;
                used.iter().try_for_each(|(path, reason)| match names_slot(path, reason) {
                    true => write!(f, "; {reason}"),
                    false => write!(f, "; {path}: {reason}"),
                })
            }
            Error::InvalidSchema(reason) => write!(f, "the server's schema is not valid: {reason}"),
            Error::InvalidLine { number, line } => {
                write!(f, "line {number}: {line:?} is not of the form PATH VALUE")
            }
            Error::Client { path, error } => write!(f, "{path}: {error}"),
        }
    }
}

/// Names the first parameters in a directory. The list is short, because a directory can contain
/// hundreds of parameters.
fn fmt_directory(f: &mut fmt::Formatter<'_>, path: &str, parameters: &[String]) -> fmt::Result {
    let shown = parameters.iter().take(4).map(String::as_str).collect::<Vec<_>>().join(", ");
    write!(f, "{path} is a directory; its parameters are {shown}")?;
    match parameters.len().saturating_sub(4) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

/// Returns whether the reason already contains the number of the transaction in `path`.
fn names_slot(path: &str, reason: &str) -> bool {
    let slot = path.rsplit('/').next().unwrap_or(path);
    reason.ends_with(&format!(" transaction {slot}"))
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Error::Client { error, .. } => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_name_their_first_parameters() {
        let text = |count: u32| {
            let parameters = (0..count).map(|index| format!("a/{index}")).collect();
            Error::IsDirectory { path: "a".to_owned(), parameters }.to_string()
        };
        assert_eq!(text(2), "a is a directory; its parameters are a/0, a/1");
        assert_eq!(text(9), "a is a directory; its parameters are a/0, a/1, a/2, a/3 and 5 more");
    }

    #[test]
    fn used_transactions_are_named_once() {
        let used = [("/p/transactions/0", "10.0.0.1:7 holds transaction 0"), ("/p/1", "Busy")];
        let used = used.map(|(path, reason)| (path.to_owned(), reason.to_owned())).to_vec();
        assert_eq!(
            Error::NoFreeTransaction { used }.to_string(),
            "all transactions are in use; 10.0.0.1:7 holds transaction 0; /p/1: Busy"
        );
    }

    #[test]
    fn missing_transactions_are_a_directory() {
        let text = |path: &str| Error::Missing { path: path.to_owned(), needed: "x" }.to_string();
        assert!(text("/p/ctl").contains("no such file"), "{}", text("/p/ctl"));
        assert!(text("/p/transactions").contains("no such directory"));
    }
}
