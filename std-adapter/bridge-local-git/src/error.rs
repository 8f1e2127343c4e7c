//! Errors that stop the bridge or prevent it from reading a repository.

use std::io;
use std::path::{Path, PathBuf};

use datakit_github::Repo;

/// The reason why a repository's branches cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("{}: not a Git repository: it is neither bare nor contains `.git`", .0.display())]
    NotARepository(PathBuf),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: line {line} is not a hash and a name", path.display())]
    Packed { path: PathBuf, line: usize },
    #[error("{}: the refs changed during every attempt to read them", .0.display())]
    Unstable(PathBuf),
    #[error("{}: git cannot list the branches: {reason}", path.display())]
    Git { path: PathBuf, reason: String },
}

/// Returns a function, for use with `map_err`, that adds the path to an error.
pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> SourceError {
    move |source| SourceError::Io { path: path.to_owned(), source }
}

/// The reason why the bridge stops publishing. Some errors are permanent, while others are resolved
/// by reconnecting.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BridgeError {
    #[error(transparent)]
    Database(#[from] datakit_client::db::Error),
    #[error("no reply within {0:?}")]
    Timeout(std::time::Duration),
    #[error(
        "{}: this repository stores the database: its branch {branch} is the one to which the bridge \
         commits. Publishing it as {repo} would cause a new commit after each commit, so the bridge \
         refuses to do so",
        path.display()
    )]
    Loop { repo: Repo, path: PathBuf, branch: String },
}

impl BridgeError {
    /// Returns whether reconnecting may resolve the error.
    pub(crate) fn is_temporary(&self) -> bool {
        !matches!(
            self,
            BridgeError::Loop { .. }
                | BridgeError::Database(datakit_client::db::Error::InvalidBranch(_))
        )
    }
}
