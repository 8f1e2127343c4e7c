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
/// A text contains the text of its cause. Therefore, [`source`](std::error::Error::source) returns
/// the cause of that cause, and a program that prints the whole chain prints each text once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The object, branch or path does not exist.
    NotFound,
    /// The name is already in use.
    Exists,
    /// The operation is not supported for a directory.
    IsDirectory,
    /// The operation requires a directory.
    NotDirectory,
    /// The operation requires an empty directory.
    NotEmpty,
    /// A directory cannot be moved into itself.
    IntoItself,
    /// The text is not a hash.
    InvalidHash {
        /// The text.
        text: String,
        /// The reason.
        reason: String,
    },
    /// The name is not a valid Git branch name.
    InvalidBranch {
        /// The name.
        name: String,
        /// The Git rule that the name violates.
        reason: String,
    },
    /// The branch name conflicts with the name of an existing branch. For example, `a` and `a/b`
    /// cannot exist at the same time.
    BranchConflict {
        /// The branch that cannot be created.
        branch: String,
        /// The existing branch.
        other: String,
    },
    /// The store refused the operation, as Git would. The string gives the reason.
    Refused(String),
    /// The name is not valid in a Git tree.
    InvalidName(String),
    /// The commit message contains a NUL byte. Git would truncate the message at this byte.
    InvalidMessage(usize),
    /// The path has too many components.
    TooDeep(usize),
    /// The directory contains an entry that the database hides. The entry would be lost if the
    /// directory were changed.
    Unchangeable(String),
    /// An object is missing, is of the wrong kind, or cannot be read.
    Broken {
        /// The hash of the object.
        id: Id,
        /// The reason.
        fault: Fault,
        /// The path at which the object was expected, or an empty path if the path is unknown.
        path: Vec<u8>,
    },
    /// The branch is not at the expected commit, or the new commit does not descend from the
    /// branch's head. [`explain`](Error::explain) returns the reason.
    NotFastForward(String),
    /// The branch was removed after the transaction began. Committing would restore the removed
    /// branch's history.
    Removed(Id),
    /// The commit and the branch's head contain conflicting changes.
    Conflict(Box<Conflicts>),
    /// The conflicts from an earlier merge have not been resolved.
    OpenConflicts,
    /// The transaction cannot be changed while a commit or merge is in progress.
    Busy,
    /// The text is not a valid author.
    InvalidAuthor {
        /// The text.
        text: String,
        /// The reason.
        reason: String,
    },
    /// Uncommitted changes exceed the memory limit.
    NoMemory(String),
    /// A system call made by the store failed.
    Io {
        /// The operation that the store attempted.
        context: String,
        /// The reason that the call failed.
        source: IoError,
    },
    /// The store failed for a reason other than a failed system call.
    Store(StoreError),
}

/// The reason that an object is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The store has no object with this hash.
    Missing,
    /// The object is of the wrong kind, such as a tree where a blob is required.
    OtherKind(ObjectKind),
    /// The object exists but cannot be read.
    Unreadable(Box<Error>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFound => f.write_str("No such file or directory"),
            Error::Exists => f.write_str("Already exists"),
            Error::IsDirectory => f.write_str("Is a directory"),
            Error::NotDirectory => f.write_str("Is not a directory"),
            Error::NotEmpty => f.write_str("Directory not empty"),
            Error::IntoItself => f.write_str("cannot move a directory into itself"),
            Error::InvalidHash { text, reason } => write!(f, "invalid-hash {text:?}: {reason}"),
            Error::InvalidBranch { name, reason } => {
                write!(f, "invalid branch name {name:?}: {reason}")
            }
            Error::BranchConflict { branch, other } => {
                write!(f, "cannot create branch {branch:?}: branch {other:?} exists")
            }
            Error::Refused(reason) | Error::NoMemory(reason) => f.write_str(reason),
            Error::InvalidName(name) => {
                write!(f, "invalid name {name:?}: Git does not allow it in a tree")
            }
            Error::InvalidMessage(offset) => {
                write!(f, "commit message contains a NUL byte at offset {offset}")
            }
            Error::TooDeep(max) => write!(f, "path has more than {max} components"),
            Error::Unchangeable(name) => write!(
                f,
                "directory has an invalid or duplicate entry {name:?}: repair it with Git first"
            ),
            Error::Broken { id, fault, path } => f.write_str(&broken(*id, fault, path)),
            Error::NotFastForward(_) => f.write_str("not-fast-forward"),
            Error::Removed(head) => {
                write!(f, "branch was removed while the transaction was open; its head was {head}")
            }
            Error::Conflict(conflicts) => write!(f, "Merge conflict: {conflicts}"),
            Error::OpenConflicts => f.write_str("conflicts file is not empty"),
            Error::Busy => f.write_str("transaction is busy: a commit or merge is in progress"),
            Error::InvalidAuthor { text, reason } => {
                write!(f, "invalid author {text:?}: {reason}")
            }
            Error::Io { context, source } => write!(f, "{}: {context}", io_reason(source.get())),
            Error::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Broken { fault, .. } => fault.source(),
            Error::Io { source, .. } => source.source(),
            Error::Store(error) => error.source(),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing => f.write_str("is missing"),
            Fault::OtherKind(kind) => write!(f, "is not a {kind}"),
            Fault::Unreadable(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Fault::Unreadable(error) => error.source(),
            _ => None,
        }
    }
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
        self.source.as_deref()?.source()
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

    /// An error whose text does not contain its cause.
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] fmt::Error);

    #[test]
    fn each_text_of_a_chain_is_printed_once() {
        use crate::remote::{FetchError, GitError, PushError};
        let io = || IoError::from(io::Error::other(Outer(fmt::Error)));
        let (id, path) = (Id::EMPTY_TREE, Vec::new());
        let unreadable = Fault::Unreadable(Box::new(Error::io("x", io())));
        let store = Error::store_from("context", Outer(fmt::Error));
        let Error::Store(inner) = store.clone() else { panic!("{store:?}") };
        let errors: Vec<Box<dyn std::error::Error>> = vec![
            Box::new(io()),
            Box::new(Error::io("x", io())),
            Box::new(inner),
            Box::new(Error::store_cause(Outer(fmt::Error))),
            Box::new(FetchError::from(store.clone())),
            Box::new(store),
            Box::new(unreadable.clone()),
            Box::new(Error::Broken { id, fault: unreadable, path: path.clone() }),
        ];
        for error in errors {
            // The chain continues with the first cause that the text does not contain.
            let cause = error.source().expect("a cause").to_string();
            assert_eq!(cause, fmt::Error.to_string());
            assert!(!error.to_string().contains(&cause), "{error}");
        }
        let git = || GitError::from(io::Error::from_raw_os_error(2));
        let errors: Vec<Box<dyn std::error::Error>> = vec![
            Box::new(git()),
            Box::new(FetchError::from(git())),
            Box::new(PushError::from(git())),
            Box::new(Error::Broken { id, fault: Fault::Missing, path }),
        ];
        for error in errors {
            assert!(error.source().is_none(), "{error:?}");
        }
    }
}
