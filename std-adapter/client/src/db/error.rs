//! The error type for database operations.

use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::sync::Arc;

use super::branch_name::InvalidBranchName;
use super::id::InvalidId;

/// The result type for database operations.
pub type Result<T> = std::result::Result<T, Error>;

/// An error returned by a database. The client identifies a server error by its number, or by its
/// text if the number is ambiguous or missing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The name is already in use.
    Exists,
    /// The file, branch or commit does not exist.
    NotFound,
    /// The path is a directory.
    IsDirectory,
    /// The path, or one of its parents, is not a directory.
    NotDirectory,
    /// The path is a directory or a symbolic link, not a file.
    NotFile,
    /// The path is not a symbolic link.
    NotSymlink,
    /// The file is longer than the caller's limit.
    FileTooLong {
        /// The path of the file.
        path: String,
        /// The length of the file in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The branch and the transaction both changed the same file. The message contains the name of
    /// that file. The transaction is still open.
    Conflict(String),
    /// A merge left conflicts that have not been resolved. The transaction is still open.
    OpenConflicts,
    /// The branch's head is not an ancestor of the commit.
    NotFastForward,
    /// The text is not a valid commit hash.
    InvalidHash(InvalidId),
    /// The text is not a valid Git branch name.
    InvalidBranch(InvalidBranchName),
    /// The text is not a valid [`Path`](super::Path), or the operation does not accept the root.
    InvalidPath {
        /// The invalid text.
        path: String,
        /// The rule that the path violates.
        reason: &'static str,
    },
    /// The transaction has already been committed or aborted.
    TransactionEnded,
    /// The closure passed to [`Branch::with_transaction`](super::Branch::with_transaction) returned
    /// without committing or aborting the transaction.
    TransactionOpen,
    /// The server ended the stream, for example because the client read from it too slowly.
    StreamEnded,
    /// Any other error from the client or the server.
    Client(crate::Error),
    /// Any other error from a database that does not use a server.
    Backend(BackendError),
}

/// An error from a [`Database`](super::Database) that does not use a server, such as a failed write
/// to disk.
///
/// Two errors of this type are equal if their messages are equal.
#[derive(Debug, Clone)]
pub struct BackendError(Arc<dyn StdError + Send + Sync>);

impl BackendError {
    /// Creates an error from its cause. The text of the cause becomes the text of the new error.
    pub fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> BackendError {
        BackendError(cause.into().into())
    }

    /// Returns the cause, which a caller can downcast to the back end's error type.
    #[must_use]
    pub fn cause(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0
    }
}

impl Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for BackendError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

impl PartialEq for BackendError {
    fn eq(&self, other: &BackendError) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for BackendError {}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Exists => f.write_str("Already exists"),
            Error::NotFound => f.write_str("No such file or directory"),
            Error::IsDirectory => f.write_str("Is a directory"),
            Error::NotDirectory => f.write_str("Not a directory"),
            Error::NotFile => f.write_str("Not a file"),
            Error::NotSymlink => f.write_str("Not a symlink"),
            Error::FileTooLong { path, size, limit } => {
                write!(f, "`{path}` has {size} bytes; the limit is {limit}")
            }
            Error::Conflict(reason) => write!(f, "Merge conflict: {reason}"),
            Error::OpenConflicts => f.write_str("conflicts file is not empty"),
            Error::NotFastForward => f.write_str("not-fast-forward"),
            Error::InvalidHash(invalid) => invalid.fmt(f),
            Error::InvalidBranch(invalid) => invalid.fmt(f),
            Error::InvalidPath { path, reason } => write!(f, "`{path}`: {reason}"),
            Error::TransactionEnded => f.write_str("the transaction has ended"),
            Error::TransactionOpen => {
                f.write_str("the transaction was neither committed nor aborted")
            }
            Error::StreamEnded => f.write_str("the server ended the stream"),
            Error::Client(error) => error.fmt(f),
            Error::Backend(error) => error.fmt(f),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Error::InvalidHash(invalid) => Some(invalid),
            Error::InvalidBranch(invalid) => Some(invalid),
            Error::Client(error) => Some(error),
            Error::Backend(error) => Some(error),
            _ => None,
        }
    }
}

impl From<InvalidId> for Error {
    fn from(invalid: InvalidId) -> Error {
        Error::InvalidHash(invalid)
    }
}

impl From<InvalidBranchName> for Error {
    fn from(invalid: InvalidBranchName) -> Error {
        Error::InvalidBranch(invalid)
    }
}

impl From<crate::Error> for Error {
    fn from(error: crate::Error) -> Error {
        let crate::Error::Server { errno, text } = &error else { return Error::Client(error) };
        let known = from_text(text).or(match errno {
            2 => Some(Error::NotFound),
            17 => Some(Error::Exists),
            20 => Some(Error::NotDirectory),
            21 => Some(Error::IsDirectory),
            _ => None,
        });
        known.unwrap_or(Error::Client(error))
    }
}

/// Returns the error described by the text, or `None` if the text is not recognized.
fn from_text(text: &str) -> Option<Error> {
    if let Some(reason) = text.strip_prefix("Merge conflict: ") {
        return Some(Error::Conflict(reason.to_owned()));
    }
    if let Some(invalid) = text.strip_prefix("invalid-hash ") {
        let (text, reason) = quoted(invalid)?;
        return Some(InvalidId { text, reason }.into());
    }
    if let Some(invalid) = text.strip_prefix("invalid branch name ") {
        let (name, reason) = quoted(invalid)?;
        return Some(InvalidBranchName { name, reason }.into());
    }
    match text {
        "conflicts file is not empty" => Some(Error::OpenConflicts),
        "not-fast-forward" => Some(Error::NotFastForward),
        // The server returns this error when a client tries to create a file at a path whose parent
        // is a file.
        _ if text.ends_with(" is not a directory") => Some(Error::NotDirectory),
        _ => None,
    }
}

/// Splits `"TEXT": REASON`. Decodes only the escape sequences for quotes and backslashes.
fn quoted(text: &str) -> Option<(String, String)> {
    let (text, reason) = text.strip_prefix('"')?.split_once("\": ")?;
    Some((text.replace("\\\"", "\"").replace("\\\\", "\\"), reason.to_owned()))
}

impl Error {
    /// Returns `true` if the error means that the server is too old to support the command.
    pub(super) fn is_unknown_command(&self) -> bool {
        matches!(self, Error::Client(crate::Error::Server { text, .. }) if text.starts_with("Unknown command "))
    }

    /// Returns `true` if the connection could not be established or was lost. Reconnecting may
    /// succeed.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self, Error::Client(crate::Error::Lost(_)))
    }

    /// Returns `true` if the error means that nothing exists at the path or that a component other
    /// than the last is a file.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Error::NotFound | Error::NotDirectory)
    }

    /// Returns the error for text from the server that cannot be parsed.
    pub(super) fn unreadable(reason: impl Display) -> Error {
        Error::Client(crate::Error::invalid_reply(reason.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_reply(errno: u32, text: &str) -> Error {
        crate::Error::from_reply(errno, text.to_owned()).into()
    }

    #[test]
    fn errors_of_both_servers_are_recognized() {
        for (errno, text, known) in [
            (0, "No such file or directory", Error::NotFound),
            (0, "Already exists", Error::Exists),
            (0, "Is a directory", Error::IsDirectory),
            (0, "Is not a directory", Error::NotDirectory),
            (0, "Can't walk from a file", Error::NotDirectory),
            (0, "\"x\" is not a directory", Error::NotDirectory),
            (2, "", Error::NotFound),
            (20, "anything", Error::NotDirectory),
            (0, "not-fast-forward", Error::NotFastForward),
            (16, "not-fast-forward", Error::NotFastForward),
            (16, "conflicts file is not empty", Error::OpenConflicts),
            (0, "Merge conflict: x: changed", Error::Conflict("x: changed".to_owned())),
        ] {
            assert_eq!(from_reply(errno, text), known, "{errno} {text}");
        }
        for text in ["invalid-hash \"x\\\"y\": short", "invalid branch name \"a b\": it has a ' '"]
        {
            let error = from_reply(22, text);
            assert!(error.source().is_some(), "{error:?}");
            assert_eq!(error.to_string(), text);
        }
        assert!(matches!(from_reply(16, "Device or resource busy"), Error::Client(_)));
        assert!(from_reply(0, "Unknown command \"x\"").is_unknown_command());
    }
}
