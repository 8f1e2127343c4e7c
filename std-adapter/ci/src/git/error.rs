//! Errors returned by repository operations.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use datakit_github::Commit;

use super::url::RepositoryUrlError;
use crate::pool::PoolError;

/// The error returned if a repository operation fails.
#[derive(Debug)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The URL of the repository was rejected.
    Url(RepositoryUrlError),
    /// `git` is not installed.
    NotInstalled,
    /// A file or a directory cannot be read, written or removed, or a program cannot be started.
    Io {
        /// The file, the directory or the program.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The directory is in use by another process or by another [`Repository`](super::Repository)
    /// in this process.
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A `git` command failed.
    Failed {
        /// The command, such as `fetch`.
        command: String,
        /// The last lines that the command wrote to standard error.
        message: String,
    },
    /// A `git` command was killed because it exceeded its time limit.
    TimedOut {
        /// The command, such as `fetch`.
        command: String,
        /// The limit.
        limit: Duration,
        /// Whether the limit applies to the time without output rather than the total time.
        idle: bool,
    },
    /// The remote repository does not have the commit.
    NoCommit {
        /// The commit.
        commit: Commit,
        /// The URL of the remote repository.
        url: String,
    },
    /// A file is larger than the limit.
    TooLarge {
        /// The path of the file.
        path: String,
        /// The size in bytes.
        size: u64,
        /// The limit in bytes.
        max: usize,
    },
    /// The path is a directory, a symbolic link or a submodule.
    NotFile {
        /// The path.
        path: String,
        /// The mode of the entry, such as `120000` for a symbolic link.
        mode: String,
    },
    /// `git` produced unexpected output.
    Unexpected {
        /// The command, such as `ls-tree`.
        command: String,
        /// The output.
        output: String,
    },
    /// Too many jobs are waiting for the repository.
    Pool(PoolError),
}

impl fmt::Display for RepositoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RepositoryError::NotInstalled => f.write_str("`git` is not installed"),
            RepositoryError::Io { path, .. } => write!(f, "{} cannot be used", path.display()),
            RepositoryError::InUse { dir } => {
                write!(f, "{} is in use by another process", dir.display())
            }
            RepositoryError::Failed { command, message } => write!(f, "git {command}: {message}"),
            RepositoryError::TimedOut { command, limit, idle: true } => {
                write!(f, "git {command}: no output for {limit:?}")
            }
            RepositoryError::TimedOut { command, limit, idle: false } => {
                write!(f, "git {command}: timed out after {limit:?}")
            }
            RepositoryError::NoCommit { commit, url } => {
                write!(f, "{url} does not have {}", commit.hash)
            }
            RepositoryError::TooLarge { path, size, max } => {
                write!(f, "{path} has {size} bytes; the limit is {max}")
            }
            RepositoryError::NotFile { path, mode } => {
                write!(f, "{path} is not a file (mode {mode})")
            }
            RepositoryError::Unexpected { command, output } => {
                write!(f, "git {command}: unexpected output {output:?}")
            }
            RepositoryError::Url(_) => f.write_str("invalid repository URL"),
            RepositoryError::Pool(_) => f.write_str("the repository is busy"),
        }
    }
}

impl std::error::Error for RepositoryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RepositoryError::Io { source, .. } => Some(source),
            RepositoryError::Url(error) => Some(error),
            RepositoryError::Pool(error) => Some(error),
            _ => None,
        }
    }
}

impl RepositoryError {
    /// Returns a function that adds the path to an error.
    pub(super) fn at(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> RepositoryError {
        let path = path.into();
        move |source| RepositoryError::Io { path, source }
    }

    /// Returns `true` if the command might succeed later, for example after a network error.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(self, RepositoryError::Failed { .. } | RepositoryError::TimedOut { .. })
    }
}

impl From<PoolError> for RepositoryError {
    fn from(error: PoolError) -> RepositoryError {
        RepositoryError::Pool(error)
    }
}

impl From<RepositoryUrlError> for RepositoryError {
    fn from(error: RepositoryUrlError) -> RepositoryError {
        RepositoryError::Url(error)
    }
}
