//! Converts database errors to the error type that all back ends share.

use datakit_client::db::{self, BackendError, InvalidBranchName, InvalidId};

use crate::Error;

/// Converts an error to the variant that a client would receive from a server. If there is no such
/// variant, the result is [`db::Error::Backend`], whose source is the original [`Error`].
impl From<Error> for db::Error {
    fn from(error: Error) -> db::Error {
        match error {
            Error::NotFound => db::Error::NotFound,
            Error::Exists | Error::BranchConflict { .. } => db::Error::Exists,
            Error::IsDirectory => db::Error::IsDirectory,
            Error::NotDirectory => db::Error::NotDirectory,
            Error::NotFastForward(_) => db::Error::NotFastForward,
            Error::OpenConflicts => db::Error::OpenConflicts,
            Error::Conflict(conflicts) => db::Error::Conflict(conflicts.to_string()),
            Error::InvalidHash { text, reason } => InvalidId::new(text, reason).into(),
            Error::InvalidBranch { name, reason } => InvalidBranchName::new(name, reason).into(),
            other => db::Error::Backend(BackendError::new(other)),
        }
    }
}
