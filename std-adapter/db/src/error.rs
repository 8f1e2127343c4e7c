//! Errors returned by database operations.

use std::fmt;
use std::sync::Arc;

use datakit_client::db::{InvalidBranchName, InvalidId};
use datakit_core::vfs;

use crate::model::merge::Conflicts;
use crate::model::object::ObjectKind;
use crate::{Id, IoError};
use datakit_server::io_reason;
use datakit_server::tree::CommandError;

/// The result of a database operation.
pub type Result<T> = std::result::Result<T, Error>;

/// The reason that an operation failed.
///
/// The error texts are sent to clients of the file tree, and some clients compare them literally.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The object, branch or path does not exist.
    #[error("No such file or directory")]
    NotFound,
    /// The name is already in use.
    #[error("Already exists")]
    Exists,
    /// The operation is not supported for a directory.
    #[error("Is a directory")]
    IsDirectory,
    /// The operation requires a directory.
    #[error("Is not a directory")]
    NotDirectory,
    /// The operation requires an empty directory.
    #[error("Directory not empty")]
    NotEmpty,
    /// A directory cannot be moved into itself.
    #[error("cannot move a directory into itself")]
    IntoItself,
    /// The text is not a hash.
    #[error("invalid-hash {text:?}: {reason}")]
    InvalidHash {
        /// The text.
        text: String,
        /// The reason.
        reason: String,
    },
    /// The name is not a valid Git branch name.
    #[error("invalid branch name {name:?}: {reason}")]
    InvalidBranch {
        /// The name.
        name: String,
        /// The Git rule that the name violates.
        reason: String,
    },
    /// The branch name conflicts with the name of an existing branch. For example, `a` and `a/b`
    /// cannot exist at the same time.
    #[error("cannot create branch {branch:?}: branch {other:?} exists")]
    BranchConflict {
        /// The branch that cannot be created.
        branch: String,
        /// The existing branch.
        other: String,
    },
    /// The store refused the operation because Git does not allow it. The string gives the reason.
    #[error("{0}")]
    Refused(String),
    /// The name is not valid in a Git tree.
    #[error("invalid name {0:?}: Git does not allow it in a tree")]
    InvalidName(String),
    /// The commit message contains a NUL byte. Git would truncate the message at this byte.
    #[error("commit message contains a NUL byte at offset {0}")]
    InvalidMessage(usize),
    /// The path has too many components.
    #[error("path has more than {0} components")]
    TooDeep(usize),
    /// The directory contains an entry that the database hides. The entry would be lost if the
    /// directory were changed.
    #[error("directory has an invalid or duplicate entry {0:?}: repair it with Git first")]
    Unchangeable(String),
    /// An object is missing, is of the wrong kind, or cannot be read.
    #[error("{}", broken(*.id, .fault, .path))]
    Broken {
        /// The hash of the object.
        id: Id,
        /// The reason.
        #[source]
        fault: Fault,
        /// The path at which the object was expected, or an empty path if the path is unknown.
        path: Vec<u8>,
    },
    /// The branch is not at the expected commit, or the new commit does not descend from the
    /// branch's head. [`explain`](Error::explain) returns the reason.
    #[error("not-fast-forward")]
    NotFastForward(String),
    /// The branch was removed after the transaction began. Committing would restore the removed
    /// branch's history.
    #[error("branch was removed while the transaction was open; its head was {0}")]
    Removed(Id),
    /// The commit and the branch's head contain conflicting changes.
    #[error("Merge conflict: {0}")]
    Conflict(Box<Conflicts>),
    /// The conflicts from an earlier merge have not been resolved.
    #[error("conflicts file is not empty")]
    OpenConflicts,
    /// The transaction cannot be changed while a commit or merge is in progress.
    #[error("transaction is busy: a commit or merge is in progress")]
    Busy,
    /// The text is not a valid author.
    #[error("invalid author {text:?}: {reason}")]
    InvalidAuthor {
        /// The text.
        text: String,
        /// The reason.
        reason: String,
    },
    /// Uncommitted changes exceed the memory limit.
    #[error("{0}")]
    NoMemory(String),
    /// A system call made by the store failed.
    #[error("{}: {context}", io_reason(.source.get()))]
    Io {
        /// The operation that the store attempted.
        context: String,
        /// The reason that the call failed.
        source: IoError,
    },
    /// The store failed for a reason other than a failed system call.
    #[error(transparent)]
    Store(StoreError),
}

/// The reason that an object is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The store has no object with this hash.
    #[error("is missing")]
    Missing,
    /// The object is of the wrong kind, such as a tree where a blob is required.
    #[error("is not a {0}")]
    OtherKind(ObjectKind),
    /// The object exists but cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(Box<Error>),
}

/// A store failure other than a failed system call.
///
/// Two `StoreError`s are equal if they have the same text.
#[derive(Debug, Clone)]
pub struct StoreError {
    text: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl PartialEq for StoreError {
    fn eq(&self, other: &StoreError) -> bool {
        self.text == other.text
    }
}

impl Eq for StoreError {}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source.as_deref()? as _)
    }
}

/// Describes a broken object. The description states the fault before the path, because the end of
/// a long message may not reach the client.
fn broken(id: Id, fault: &Fault, path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    match fault {
        Fault::Unreadable(why) if path.is_empty() => format!("object {id} cannot be read: {why}"),
        Fault::Unreadable(why) => format!("object {id} cannot be read: {path}: {why}"),
        fault if path.is_empty() => format!("object {id} {fault}"),
        fault => format!("object {id} {fault}: {path}"),
    }
}

impl Error {
    /// Returns the complete explanation as lines of text. An error reply has room for only part of
    /// the explanation, and contains no text at all in 9P2000.L.
    #[must_use]
    pub fn explain(&self) -> String {
        match self {
            Error::NotFastForward(reason) => format!("not-fast-forward: {reason}\n"),
            Error::Conflict(conflicts) => conflicts.explain(),
            other => format!("{other}\n"),
        }
    }

    /// Adds `path` to an error about an object, unless the error already has a path.
    #[must_use]
    pub fn at(self, path: &[u8]) -> Error {
        match self {
            Error::Broken { id, fault, path: known } if known.is_empty() => {
                Error::Broken { id, fault, path: path.to_vec() }
            }
            other => other,
        }
    }

    /// Converts an error about a missing object, or about an object of the wrong kind, into
    /// [`Error::NotFound`]. Use this method for objects whose hash was supplied by a client.
    #[must_use]
    pub fn of_named(self) -> Error {
        match self {
            Error::Broken { fault: Fault::Missing | Fault::OtherKind(_), .. } => Error::NotFound,
            other => other,
        }
    }

    /// Creates an error for a failed system call. `context` describes the operation that the store
    /// attempted.
    pub fn io(context: impl fmt::Display, error: impl Into<IoError>) -> Error {
        Error::Io { context: context.to_string(), source: error.into() }
    }

    /// Creates an error for a store failure that has no underlying cause.
    pub fn store(text: impl Into<String>) -> Error {
        Error::Store(StoreError { text: text.into(), source: None })
    }

    /// Creates an error for a store failure caused by `error`.
    pub fn store_from(
        context: impl fmt::Display,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        let source = error.into();
        let text = format!("{context}: {source}");
        Error::Store(StoreError { text, source: Some(source.into()) })
    }

    /// Creates an error for a store failure caused by `error`, with the same text as `error`.
    pub(crate) fn store_cause(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        let source = error.into();
        Error::Store(StoreError { text: source.to_string(), source: Some(source.into()) })
    }

    /// Returns `true` if the store is read-only or if access was denied.
    pub(crate) fn is_read_only(&self) -> bool {
        use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        matches!(self, Error::Io { source, .. }
            if matches!(source.get().kind(), ReadOnlyFilesystem | PermissionDenied))
    }
}

impl From<InvalidId> for Error {
    fn from(InvalidId { text, reason, .. }: InvalidId) -> Error {
        Error::InvalidHash { text, reason }
    }
}

impl From<InvalidBranchName> for Error {
    fn from(InvalidBranchName { name, reason, .. }: InvalidBranchName) -> Error {
        Error::InvalidBranch { name, reason }
    }
}

/// Converts a database error into the error that is sent to a client of the file tree.
impl From<Error> for vfs::Error {
    fn from(error: Error) -> vfs::Error {
        use std::io::ErrorKind;
        let number = match &error {
            Error::NotFound => return vfs::Error::NotFound,
            Error::Exists => return vfs::Error::Exists,
            Error::IsDirectory => return vfs::Error::IsDirectory,
            Error::NotDirectory => return vfs::Error::NotDirectory,
            Error::NotEmpty => return vfs::Error::NotEmpty,
            Error::IntoItself => vfs::Error::Invalid,
            Error::InvalidHash { .. }
            | Error::InvalidBranch { .. }
            | Error::InvalidName(_)
            | Error::InvalidMessage(_)
            | Error::InvalidAuthor { .. } => vfs::Error::Invalid,
            Error::BranchConflict { .. } => vfs::Error::Exists,
            Error::Refused(_) => vfs::Error::Busy,
            Error::TooDeep(_) => vfs::Error::NameTooLong,
            Error::NotFastForward(_)
            | Error::Removed(_)
            | Error::Conflict(_)
            | Error::OpenConflicts
            | Error::Busy => vfs::Error::Busy,
            Error::NoMemory(_) => vfs::Error::NoSpace,
            error if error.is_read_only() => vfs::Error::ReadOnlyFile,
            Error::Io { source, .. } => match source.get().kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => vfs::Error::NoSpace,
                _ => vfs::Error::Io,
            },
            Error::Unchangeable(_) => vfs::Error::NotSupported,
            Error::Broken { .. } | Error::Store(_) => vfs::Error::Io,
        };
        number.with_message(error)
    }
}

impl From<Error> for CommandError {
    fn from(error: Error) -> CommandError {
        let text = error.explain();
        CommandError { error: error.into(), text }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn io_error_text_begins_with_the_reason() {
        let long =
            format_args!("object {} in /{}", Id::EMPTY_TREE, "directory/".repeat(20)).to_string();
        for (number, why, expected) in [
            (28, "No space left on device: object 4b82", vfs::Error::NoSpace),
            (30, "Read-only file system: object 4b82", vfs::Error::ReadOnlyFile),
            (13, "Permission denied: object 4b82", vfs::Error::ReadOnlyFile),
            (5, "Input/output error: object 4b82", vfs::Error::Io),
        ] {
            let error =
                vfs::Error::from(Error::io(long.as_str(), io::Error::from_raw_os_error(number)));
            assert!(error.to_string().starts_with(why), "{error}");
            assert_eq!(error.errno(), expected.errno());
        }
        assert_eq!(Error::io("x", io::Error::other("odd")).to_string(), "odd: x");
    }
}
