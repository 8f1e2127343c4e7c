//! Why the database refused.

use datakit_client::db::{InvalidBranchName, InvalidId};
use datakit_core::vfs;

use crate::Id;
use crate::model::merge::Conflicts;
use crate::model::object::ObjectKind;
use datakit_server::tree::CommandError;

/// The result of every operation of the database.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation was refused. The texts are those that clients see, some compare them literally.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such object, branch or path.
    #[error("No such file or directory")]
    NotFound,
    /// The name is taken.
    #[error("Already exists")]
    Exists,
    /// A directory where something else was needed.
    #[error("Is a directory")]
    IsDirectory,
    /// Something else where a directory was needed.
    #[error("Is not a directory")]
    NotDirectory,
    /// A directory with entries where an empty one was needed.
    #[error("Directory not empty")]
    NotEmpty,
    /// A directory was to be moved into itself.
    #[error("a directory cannot be moved below itself")]
    BelowItself,
    /// A text that is no hash.
    #[error("invalid-hash {text:?}: {reason}")]
    InvalidHash {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that Git refuses for a branch.
    #[error("invalid branch name {name:?}: {reason}")]
    InvalidBranch {
        /// What was given.
        name: String,
        /// Git's rule that it breaks.
        reason: String,
    },
    /// A branch that cannot be made beside another one: `a` and `a/b`.
    #[error("branch {other:?} is in the way of {branch:?}")]
    InTheWay {
        /// What was to be made.
        branch: String,
        /// What is there.
        other: String,
    },
    /// Git would not do it either; the text says why.
    #[error("{0}")]
    Refused(String),
    /// A name that a Git tree must not have.
    #[error("invalid name {0:?}: Git refuses it in a tree")]
    InvalidName(String),
    /// A message that Git would cut.
    #[error("a commit message has no NUL byte: there is one at offset {0}")]
    InvalidMessage(usize),
    /// A path of too many names.
    #[error("a path has at most {0} names")]
    TooDeep(usize),
    /// A tree has an entry of this name, which is not shown and would be lost by a change.
    #[error(
        "the directory has an entry {0:?} that Git refuses, or has it twice: change it with Git"
    )]
    Unchangeable(String),
    /// An object that the store should have is not there, or is something else, or cannot be read.
    #[error("{}", broken(*.id, .fault, .path))]
    Broken {
        /// Its name.
        id: Id,
        /// What is wrong with it.
        fault: Fault,
        /// The path that needs it, as far as it is known.
        path: Vec<u8>,
    },
    /// The branch is elsewhere, or the commit does not come from where it is.
    /// [`explain`](Error::explain) has the reason.
    #[error("not-fast-forward")]
    NotFastForward(String),
    /// The branch was removed after the transaction began; the commit would bring its history back.
    #[error("the branch was removed, it was at {0}")]
    Removed(Id),
    /// The commit and the head of the branch changed the same.
    #[error("Merge conflict: {0}")]
    Conflict(Box<Conflicts>),
    /// A merge is not resolved yet.
    #[error("conflicts file is not empty")]
    OpenConflicts,
    /// A transaction that is being committed or merged with something is not changed meanwhile.
    #[error("a commit or merge of this transaction is under way")]
    UnderWay,
    /// A text that is no author.
    #[error("invalid author {text:?}: {reason}")]
    InvalidAuthor {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store is read-only.
    #[error("{0}")]
    ReadOnly(String),
    /// No space is left for the store.
    #[error("{0}")]
    NoSpace(String),
    /// The store failed.
    #[error("{0}")]
    Store(String),
}

/// What is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The store has no object of that name.
    #[error("is missing")]
    Missing,
    /// It is a tree where a blob is needed, or the like.
    #[error("is no {0}")]
    OtherKind(ObjectKind),
    /// It is there and cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

/// What is wrong goes first: the end of a long text does not get to the client.
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
    /// The reason in full, in lines. The text of an error reply has room for some of it only, and
    /// 9P2000.L sends none.
    #[must_use]
    pub fn explain(&self) -> String {
        match self {
            Error::NotFastForward(reason) => format!("not-fast-forward: {reason}\n"),
            Error::Conflict(refused) => refused.explain(),
            other => format!("{other}\n"),
        }
    }

    /// The same error about an object, with the path that needs it unless a longer one is known.
    #[must_use]
    pub fn at(self, path: &[u8]) -> Error {
        match self {
            Error::Broken { id, fault, path: known } if known.is_empty() => {
                Error::Broken { id, fault, path: path.to_vec() }
            }
            other => other,
        }
    }

    /// The same error about an object that a client has named: what the store never had is not
    /// found.
    #[must_use]
    pub fn of_named(self) -> Error {
        match self {
            Error::Broken { fault: Fault::Missing | Fault::OtherKind(_), .. } => Error::NotFound,
            other => other,
        }
    }

    /// What a failed system call of a store is; `doing` says what was tried.
    pub fn io(doing: impl std::fmt::Display, error: &std::io::Error) -> Error {
        use std::io::ErrorKind;
        // What is wrong goes first: the end of a long text does not get to the client.
        let text = format!("{}: {doing}", reason(error));
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::NoSpace(text),
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => Error::ReadOnly(text),
            _ => Error::Store(text),
        }
    }
}

/// What the system says, without the number that it has for it.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error ").map_or(text.clone(), |(reason, _)| reason.to_owned())
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

/// What a client of the tree is told.
impl From<Error> for vfs::Error {
    fn from(error: Error) -> vfs::Error {
        let number = match &error {
            Error::NotFound => return vfs::Error::NotFound,
            Error::Exists => return vfs::Error::Exists,
            Error::IsDirectory => return vfs::Error::IsDirectory,
            Error::NotDirectory => return vfs::Error::NotDirectory,
            Error::NotEmpty => return vfs::Error::NotEmpty,
            Error::BelowItself => vfs::Error::Invalid,
            Error::InvalidHash { .. }
            | Error::InvalidBranch { .. }
            | Error::InvalidName(_)
            | Error::InvalidMessage(_)
            | Error::InvalidAuthor { .. } => vfs::Error::Invalid,
            Error::InTheWay { .. } => vfs::Error::Exists,
            Error::Refused(_) => vfs::Error::Busy,
            Error::TooDeep(_) => vfs::Error::NameTooLong,
            Error::NotFastForward(_)
            | Error::Removed(_)
            | Error::Conflict(_)
            | Error::OpenConflicts
            | Error::UnderWay => vfs::Error::Busy,
            Error::ReadOnly(_) => vfs::Error::ReadOnlyFile,
            Error::NoSpace(_) => vfs::Error::NoSpace,
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
    fn what_is_wrong_is_told_however_long_the_path_is() {
        let long =
            format_args!("object {} in /{}", Id::EMPTY_TREE, "directory/".repeat(20)).to_string();
        for (number, why, told) in [
            (28, "No space left on device: object 4b82", vfs::Error::NoSpace),
            (30, "Read-only file system: object 4b82", vfs::Error::ReadOnlyFile),
            (13, "Permission denied: object 4b82", vfs::Error::ReadOnlyFile),
            (5, "Input/output error: object 4b82", vfs::Error::Io),
        ] {
            let error = vfs::Error::from(Error::io(&long, &io::Error::from_raw_os_error(number)));
            assert!(error.to_string().starts_with(why), "{error}");
            assert_eq!(error.errno(), told.errno());
        }
        assert_eq!(Error::io("x", &io::Error::other("odd")).to_string(), "odd: x");
    }
}
