//! What a client of the database is told when something cannot be done.

use thiserror::Error as ThisError;

/// The result of every call about the database.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed. Those that the server sends are found by the number of the error, and by the
/// text where the number says less or the server sends none.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The name is taken.
    #[error("Already exists")]
    Exists,
    /// There is no such entry, branch or commit.
    #[error("No such file or directory")]
    NotFound,
    /// A directory where something else was needed.
    #[error("Is a directory")]
    IsDirectory,
    /// Something else where a directory was needed.
    #[error("Not a directory")]
    NotDirectory,
    /// A directory or a symbolic link where a file was needed.
    #[error("Not a file")]
    NotFile,
    /// Something else where a symbolic link was needed.
    #[error("Not a symlink")]
    NotSymlink,
    /// The branch and the transaction changed the same, as the text says. The transaction is still
    /// open.
    #[error("Merge conflict: {0}")]
    Conflict(String),
    /// A merge left conflicts that are not resolved yet. The transaction is still open.
    #[error("conflicts file is not empty")]
    OpenConflicts,
    /// The head of the branch is no ancestor of the commit.
    #[error("not-fast-forward")]
    NotFastForward,
    /// The text is no hash of a commit.
    #[error("{0}")]
    InvalidHash(String),
    /// Git refuses the name for a branch.
    #[error("{0}")]
    InvalidBranch(String),
    /// The text is no path, see [`Path`](super::Path), or the operation needs another path than the
    /// root.
    #[error("{0:?} is no path: names with a slash between each two")]
    InvalidPath(String),
    /// The transaction has ended, by a commit or an abort.
    #[error("the transaction has ended")]
    TransactionEnded,
    /// The closure of [`Branch::with_transaction`](super::Branch::with_transaction) succeeded
    /// without a commit or an abort.
    #[error("the transaction was neither committed nor aborted")]
    TransactionOpen,
    /// A stream ended: the server has ended it, or was not read for too long.
    #[error("the stream has ended")]
    StreamEnded,
    /// Anything else.
    #[error(transparent)]
    Client(crate::Error),
}

impl From<crate::Error> for Error {
    fn from(error: crate::Error) -> Error {
        let crate::Error::Server { errno, text } = &error else { return Error::Client(error) };
        let known = of_text(text).or(match errno {
            2 => Some(Error::NotFound),
            17 => Some(Error::Exists),
            20 => Some(Error::NotDirectory),
            21 => Some(Error::IsDirectory),
            _ => None,
        });
        known.unwrap_or(Error::Client(error))
    }
}

/// Errors that share a number with others, or have none.
fn of_text(text: &str) -> Option<Error> {
    if let Some(why) = text.strip_prefix("Merge conflict: ") {
        return Some(Error::Conflict(why.to_owned()));
    }
    match text {
        "conflicts file is not empty" => Some(Error::OpenConflicts),
        "not-fast-forward" => Some(Error::NotFastForward),
        // Of a file that something was to be made in.
        _ if text.ends_with(" is not a directory") => Some(Error::NotDirectory),
        _ if text.starts_with("invalid-hash ") => Some(Error::InvalidHash(text.to_owned())),
        _ if text.starts_with("invalid branch name ") => {
            Some(Error::InvalidBranch(text.to_owned()))
        }
        _ => None,
    }
}

impl Error {
    /// The server does not know this word of a command: an older one.
    pub(super) fn is_unknown_command(&self) -> bool {
        matches!(self, Error::Client(crate::Error::Server { text, .. }) if text.starts_with("Unknown command "))
    }

    /// Nothing is there, or nothing can be since the path leads through a file.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Error::NotFound | Error::NotDirectory)
    }

    /// What cannot be read although the server sent it.
    pub(super) fn unreadable(what: impl std::fmt::Display) -> Error {
        Error::Client(crate::Error::protocol(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(errno: u32, text: &str) -> Error {
        crate::Error::reply(errno, text.to_owned()).into()
    }

    #[test]
    fn errors_of_both_servers_are_recognised() {
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
            assert_eq!(error(errno, text), known, "{errno} {text}");
        }
        assert!(matches!(error(22, "invalid-hash \"x\": short"), Error::InvalidHash(_)));
        assert!(matches!(error(16, "Device or resource busy"), Error::Client(_)));
        assert!(error(0, "Unknown command \"x\"").is_unknown_command());
    }
}
