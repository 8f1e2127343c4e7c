//! Builds and their cache.
//!
//! A [`Builder`] computes a value from a key, for example the result of a command for a commit. A
//! [`Cache`] stores the results in memory and in the database, with one branch for each key. If the
//! branch of a key has a result, the key is not built again, even after a restart. Failures are
//! stored in the same way as other results.
//!
//! | file in the branch | content |
//! |---|---|
//! | `log` | the log of the build |
//! | `value` | the value: a file or a directory that the builder writes |
//! | `failure` | the reason for the failure, if the build failed |
//! | `rebuild-requested` | present if the result must not be used |
//! | `repository` | the repository that the result belongs to (see [`Builder::repository`]) |

mod cache;
mod control;
mod counts;
mod log;
mod mask;
mod switch;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use datakit_client::db::{self, Content, Path, TreeOps};
use parking_lot::Mutex;

use crate::term::{Progress, Retry};

pub use cache::{Cache, RebuildError};
pub use control::Builds;
pub use counts::BuildCounts;
pub use log::{BuildLog, LiveLog, LiveLogs, LogLimits, LogReader};

/// Computes values from keys.
pub trait Builder: Send + Sync + 'static {
    /// The type of the keys. Keys with the same branch must have the same value.
    type Key: Clone + fmt::Debug + Send + Sync + 'static;
    /// The value.
    type Value: Clone + Send + Sync + 'static;

    /// Returns the name of the builder, for metrics.
    fn name(&self) -> &str;

    /// Returns the title of a build, for its log.
    fn title(&self, key: &Self::Key) -> String;

    /// Returns the branch in which the result is stored.
    fn branch(&self, key: &Self::Key) -> String;

    /// Returns the repository that the result belongs to, or `None` if the branch name already
    /// contains the repository. Two repositories can have the same commits, but a result is used
    /// only for the repository that it belongs to. By default, any result in the branch is used.
    fn repository(&self, key: &Self::Key) -> Option<String> {
        let _ = key;
        None
    }

    /// Returns the secrets that logs must not contain.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns how a build is repeated after a temporary failure (see [`Build::set_temporary`]). By
    /// default, there are four attempts within about half a minute.
    fn retry(&self) -> Retry {
        let (pause, pause_max) = (Duration::from_secs(5), Duration::from_secs(60));
        Retry { attempts: 4, pause, pause_max }
    }

    /// Returns the limits for logs.
    fn log_limits(&self) -> LogLimits {
        LogLimits::default()
    }

    /// Computes the value and writes it to the file or directory `value` (see
    /// [`Build::write_file`]). If the future is dropped, the build must terminate all its
    /// processes.
    ///
    /// # Errors
    /// Returns the reason for the failure if the build fails. The reason is stored as the result.
    fn generate(
        &self,
        build: &Build,
        key: &Self::Key,
    ) -> impl Future<Output = Result<Self::Value, String>> + Send;

    /// Reads the value from a tree to which [`generate`](Builder::generate) has written it.
    ///
    /// # Errors
    /// Returns any error that the database reports.
    fn load<T: TreeOps>(
        &self,
        tree: &T,
        key: &Self::Key,
    ) -> impl Future<Output = db::Result<Self::Value>> + Send;
}

/// The files of a result: first the non-executable files, then the executable files.
type ResultFiles = (BTreeMap<Path, Content>, BTreeMap<Path, Vec<u8>>);

/// A build that is running.
#[derive(Debug)]
pub struct Build {
    log: BuildLog,
    progress: Progress,
    temporary: AtomicBool,
    /// The files of the result.
    files: Mutex<ResultFiles>,
}

impl Build {
    fn new(log: BuildLog, progress: Progress) -> Build {
        Build { log, progress, temporary: AtomicBool::new(false), files: Mutex::default() }
    }

    /// Returns the log.
    #[must_use]
    pub fn log(&self) -> &BuildLog {
        &self.log
    }

    /// Returns the handle that the build uses to report its progress.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Declares that a failure of this build has a temporary cause, for example a lost network
    /// connection. The build is then repeated (see [`Builder::retry`]). If the last attempt fails
    /// too, the failure is shown until the value is rebuilt or the CI server restarts.
    pub fn set_temporary(&self) {
        self.temporary.store(true, Relaxed);
    }

    /// Adds a file to the result. The files are kept in memory and stored when the build ends, even
    /// if it fails, so a build does not need the database while it runs.
    pub fn write_file(&self, path: Path, content: impl Into<Vec<u8>>) {
        self.files.lock().0.insert(path, Content::File(content.into()));
    }

    /// Adds an executable file to the result.
    pub fn write_executable(&self, path: Path, content: impl Into<Vec<u8>>) {
        self.files.lock().1.insert(path, content.into());
    }

    /// Removes all files from the result.
    pub fn remove_files(&self) {
        *self.files.lock() = Default::default();
    }
}
