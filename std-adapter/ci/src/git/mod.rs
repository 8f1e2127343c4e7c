//! Repositories under test.
//!
//! A [`Repository`] is a directory with a bare clone of a remote repository. [`Repository::fetch`]
//! downloads the commit of a target, and [`Repository::worktree`] checks out a commit for one job.
//! All operations run the `git` program.

#[cfg(test)]
mod builder_tests;
mod builders;
#[cfg(test)]
mod crash_tests;
mod error;
mod fetch;
mod open;
mod program;
mod read;
#[cfg(test)]
mod tests;
mod url;
mod worktree;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::build::BuildLog;
use crate::pool::Pool;
use crate::term::Retry;
use program::{Git, RunLimits};
use url::RemoteUrl;

pub use builders::{FetchHead, FetchKey, Shell, ShellKey, ShellOptions};
pub use error::RepositoryError;
pub use read::ChangedPaths;
pub use url::RepositoryUrlError;
pub use worktree::Worktree;

pub(crate) use crate::command::remove_tree;
pub(crate) use program::OUTER_GIT;

/// The options of a repository.
#[derive(Clone)]
#[non_exhaustive]
pub struct RepositoryOptions {
    /// The maximum time that a fetch waits without receiving data. The default is two minutes.
    pub idle_timeout: Duration,
    /// The time limit for a fetch. The default is one hour.
    pub fetch_timeout: Duration,
    /// The policy for retrying a fetch after a network error. Build results are stored even for
    /// failed builds, so a short network outage should not cause a failure. The default is three
    /// attempts, with delays of two and four seconds.
    pub retry: Retry,
    /// The time limit for other commands, such as a checkout. The default is ten minutes.
    pub timeout: Duration,
    /// The maximum size of a pack that a fetch can receive, in bytes. The default is 10 GiB.
    pub pack_max: u64,
    /// The maximum number of worktrees. Other jobs wait. The default is 32.
    pub worktrees: usize,
    /// The number of fetched commits to keep when the repository is opened. The default is 10,000.
    pub commits: usize,
    /// The value of the `Authorization` header in requests to the remote repository, for example
    /// `Bearer TOKEN`. Unlike a password in the URL, this value is not visible to other users in
    /// the process list.
    pub authorization: Option<String>,
}

impl Default for RepositoryOptions {
    fn default() -> RepositoryOptions {
        RepositoryOptions {
            idle_timeout: Duration::from_secs(120),
            fetch_timeout: Duration::from_secs(3600),
            retry: Retry {
                attempts: 3,
                pause: Duration::from_secs(2),
                pause_max: Duration::from_secs(60),
            },
            timeout: Duration::from_secs(600),
            pack_max: 10 << 30,
            worktrees: 32,
            commits: 10_000,
            authorization: None,
        }
    }
}

impl fmt::Debug for RepositoryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositoryOptions")
            .field("worktrees", &self.worktrees)
            .finish_non_exhaustive()
    }
}

/// A local clone of a remote repository. All clones of this value refer to the same directory.
#[derive(Clone)]
pub struct Repository(Arc<RepositoryInner>);

struct RepositoryInner {
    url: RemoteUrl,
    dir: PathBuf,
    options: RepositoryOptions,
    /// Only one fetch runs at a time.
    fetching: Pool,
    worktrees: Pool,
    /// The number of worktrees created so far.
    created: AtomicU64,
    /// Held while a worktree is added to or removed from the git directory. `git worktree add`
    /// reads the entries of all worktrees and fails if one of them is incomplete.
    adding: tokio::sync::Mutex<()>,
    /// The lock on the directory, which is released when the file is closed.
    _lock: File,
}

impl Repository {
    /// Opens the clone in the directory `dir`, or creates the directory if it does not exist. The
    /// first fetch downloads the history. `url` is a URL or a local path.
    ///
    /// The directory remains locked while the value exists. Worktrees and locks left behind by a
    /// crashed process are removed.
    ///
    /// # Errors
    /// Returns [`RepositoryError::Url`] if the URL is rejected, and [`RepositoryError::InUse`] if the
    /// directory is in use.
    pub async fn open_or_clone(
        url: &str,
        dir: impl Into<PathBuf>,
    ) -> Result<Repository, RepositoryError> {
        Repository::open_with(url, dir, RepositoryOptions::default()).await
    }

    /// Same as [`open_or_clone`](Repository::open_or_clone), but with explicit options.
    ///
    /// # Errors
    /// Returns the same errors as `open_or_clone`.
    pub async fn open_with(
        url: &str,
        dir: impl Into<PathBuf>,
        options: RepositoryOptions,
    ) -> Result<Repository, RepositoryError> {
        let (url, dir) = (RemoteUrl::parse(url)?, dir.into());
        let dir = std::path::absolute(&dir).map_err(RepositoryError::at(&dir))?;
        let lock = open::prepare(dir.clone()).await?;
        let shown = dir.display();
        let repository = Repository(Arc::new(RepositoryInner {
            fetching: Pool::lock(shown.to_string()),
            worktrees: Pool::new(format!("worktrees of {shown}"), options.worktrees),
            created: AtomicU64::new(0),
            adding: tokio::sync::Mutex::new(()),
            url,
            dir,
            options,
            _lock: lock,
        }));
        repository.init().await?;
        Ok(repository)
    }

    /// Returns the URL of the remote repository without the username and password.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url.shown()
    }

    /// Returns the git directory. Programs in a worktree need read access to this directory if they
    /// run `git`. Builds must not be able to write to this directory, because `git` runs programs
    /// that are named in the configuration there.
    #[must_use]
    pub fn git_dir(&self) -> PathBuf {
        open::git_dir(&self.0.dir)
    }

    /// Returns the pool that limits the number of worktrees.
    #[must_use]
    pub fn worktrees(&self) -> &Pool {
        &self.0.worktrees
    }

    fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Returns the environment for a command that does not use the network. The output of the
    /// command is limited to `output` bytes.
    fn local<'a>(&'a self, dir: &'a Path, output: usize) -> Git<'a> {
        let limits = RunLimits { idle: None, total: self.0.options.timeout, output };
        let url = &self.0.url;
        Git { dir, limits, url, log: None, file_size: None, authorization: None }
    }

    /// Returns the environment for a command that uses the network.
    fn remote<'a>(&'a self, dir: &'a Path, log: &'a BuildLog) -> Git<'a> {
        let options = &self.0.options;
        let limits =
            RunLimits { idle: Some(options.idle_timeout), total: options.fetch_timeout, output: 0 };
        Git {
            limits,
            log: Some(log),
            file_size: Some(options.pack_max),
            authorization: options.authorization.as_deref(),
            ..self.local(dir, 0)
        }
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository")
            .field("url", &self.url())
            .field("dir", &self.0.dir)
            .finish_non_exhaustive()
    }
}
