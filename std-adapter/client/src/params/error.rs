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
            Error::Refused { path, reason } => write!(f, "{path}: {reason}"),
            Error::Missing { path, needed } => {
                write!(f, "{path}: the server has no such file, which is needed to {needed}")
            }
            Error::Commit(reason) => write!(f, "nothing was changed: {reason}"),
            Error::NoFreeTransaction { used } if used.is_empty() => {
                f.write_str("the server has no transactions")
            }
            Error::NoFreeTransaction { used } => {
                f.write_str("all transactions are in use")?;
                used.iter().try_for_each(|(path, reason)| write!(f, "; {path}: {reason}"))
            }
            Error::InvalidSchema(reason) => write!(f, "the server's schema is not valid: {reason}"),
            Error::InvalidLine { number, line } => {
                write!(f, "line {number}: {line:?} is not of the form PATH VALUE")
            }
            Error::Client { path, error } => write!(f, "{path}: {error}"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Error::Client { error, .. } => Some(error),
            _ => None,
        }
    }
}
