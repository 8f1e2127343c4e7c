//! Rebuilds and cancels builds, which are identified by branch name.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use datakit_client::db::Database;
use parking_lot::RwLock;

use super::{BuildCounts, Builder, Cache, RebuildError};

/// All caches of a program. Users refer to a build by its branch, without knowing which cache it
/// belongs to. All clones share the same caches.
#[derive(Clone, Default)]
pub struct Builds {
    caches: Arc<RwLock<Vec<Arc<dyn Control>>>>,
}

type Rebuilt<'c> = Pin<Box<dyn Future<Output = Result<(), RebuildError>> + Send + 'c>>;

/// A cache without its type parameters.
trait Control: Send + Sync {
    fn rebuild<'c>(&'c self, branch: &'c str) -> Rebuilt<'c>;
    fn cancel(&self, branch: &str) -> Result<bool, RebuildError>;
    fn counts(&self) -> BuildCounts;
}

impl<D: Database, B: Builder> Control for Cache<D, B> {
    fn rebuild<'c>(&'c self, branch: &'c str) -> Rebuilt<'c> {
        Box::pin(Cache::rebuild(self, branch))
    }

    fn cancel(&self, branch: &str) -> Result<bool, RebuildError> {
        Cache::cancel(self, branch)
    }

    fn counts(&self) -> BuildCounts {
        Cache::counts(self)
    }
}

impl Builds {
    /// Creates an empty list.
    #[must_use]
    pub fn new() -> Builds {
        Builds::default()
    }

    /// Removes all caches.
    pub fn clear(&self) {
        self.caches.write().clear();
    }

    /// Adds a cache.
    pub fn add<D: Database, B: Builder>(&self, cache: &Cache<D, B>) {
        self.caches.write().push(Arc::new(cache.clone()));
    }

    /// Returns the build counts for each cache.
    #[must_use]
    pub fn counts(&self) -> Vec<BuildCounts> {
        self.caches.read().iter().map(|cache| cache.counts()).collect()
    }

    /// Marks the result in a branch as unusable and rebuilds the value. Does nothing if the build
    /// is running.
    ///
    /// If the future is dropped, it is unspecified whether the result has been marked.
    ///
    /// # Errors
    /// Returns [`RebuildError::NoJob`] if no job depends on the branch.
    pub async fn rebuild(&self, branch: &str) -> Result<(), RebuildError> {
        let caches = self.caches.read().clone();
        let mut result = Err(RebuildError::NoJob { branch: branch.to_owned() });
        // Several repositories can have jobs that depend on the branch.
        for cache in caches {
            match cache.rebuild(branch).await {
                Err(RebuildError::NoJob { .. }) => {}
                Ok(()) => result = Ok(()),
                Err(error) => return Err(error),
            }
        }
        result
    }

    /// Cancels the build that is running on a branch. Returns `false` if no build is running.
    ///
    /// # Errors
    /// Returns [`RebuildError::NoJob`] if no job depends on the branch.
    pub fn cancel(&self, branch: &str) -> Result<bool, RebuildError> {
        let caches = self.caches.read().clone();
        let cancelled = caches.iter().filter_map(|cache| cache.cancel(branch).ok());
        let cancelled = cancelled.reduce(|any, cancelled| any | cancelled);
        cancelled.ok_or_else(|| RebuildError::NoJob { branch: branch.to_owned() })
    }
}

impl fmt::Debug for Builds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builds").field("caches", &self.caches.read().len()).finish()
    }
}
