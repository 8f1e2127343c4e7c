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

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use datakit_client::db::{self, TransactionOps, TreeOps};

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

    /// Returns the repository whose result the branch contains, if the branch name does not contain
    /// it. Two repositories can have the same commits, but a result is used only for the repository
    /// that it belongs to. By default, all results of a branch are used.
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

    /// Computes the value and writes it to `value` in the transaction. If the future is dropped,
    /// the build must terminate all its processes.
    ///
    /// # Errors
    /// Returns the reason for the failure if the build fails. The reason is stored as the result.
    fn generate<T: TransactionOps>(
        &self,
        transaction: &T,
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

/// A build that is running.
#[derive(Debug)]
pub struct Build {
    log: BuildLog,
    progress: Progress,
    temporary: Arc<AtomicBool>,
}

impl Build {
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
}
