//! A repository whose branches are published.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use datakit_github::Repo;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::error::SourceError;
use crate::refs::{self, RepositoryBranches};
use crate::repository::{self, Identity};
use crate::wakes::Wakes;

/// The interval at which a watched repository is read even if no change is reported. A repository
/// that cannot be watched is read every `UNWATCHED_INTERVAL`.
const WATCHED_INTERVAL: Duration = Duration::from_secs(10);
const UNWATCHED_INTERVAL: Duration = Duration::from_secs(1);
/// How long to wait before reading a repository again after a change. Changes in a new directory
/// might not be reported, because the watch on the directory does not take effect immediately.
const SETTLE_INTERVAL: Duration = Duration::from_millis(300);
/// The minimum delay before the next read, as a multiple of the last read's duration. The delay
/// limits the share of CPU time spent on reading.
const DUTY: u32 = 20;

/// A repository whose branches are published, and the watch on it.
#[derive(Debug)]
pub(crate) struct WatchedRepository {
    pub(crate) repo: Repo,
    pub(crate) path: PathBuf,
    index: usize,
    /// The identity of the repository at the last read, or `None` if the last read failed.
    identity: Option<Identity>,
    watch: Option<(Identity, RecommendedWatcher)>,
    /// The text of the last error. Consecutive errors with the same text are logged only once.
    failure: Option<String>,
    /// The time of the next read if no change is reported before then.
    pub(crate) next_read: Instant,
}

/// The result of a read.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) branches: RepositoryBranches,
    /// Whether the repository is known to be the one that was read previously. A different
    /// repository may still be incomplete, for example while `git clone` is running.
    pub(crate) is_same: bool,
}

impl WatchedRepository {
    /// Creates a source. `index` identifies the source in [`Wakes`].
    ///
    /// # Errors
    /// Returns an error if the path is not a repository.
    pub(crate) fn new(
        index: usize,
        repo: Repo,
        path: PathBuf,
    ) -> Result<WatchedRepository, SourceError> {
        repository::find(&path)?;
        let next_read = Instant::now();
        Ok(WatchedRepository {
            repo,
            path,
            index,
            identity: None,
            watch: None,
            failure: None,
            next_read,
        })
    }

    /// Returns the repository's `file:` URL, or `None` if the path is not UTF-8 or contains a
    /// character that would have to be escaped in a URL.
    pub(crate) fn clone_url(&self) -> Option<String> {
        let path = std::fs::canonicalize(&self.path).ok()?;
        let text = path.to_str()?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~+@:=,".contains(&byte);
        text.bytes().all(plain).then(|| format!("file://{text}"))
    }

    /// Reads the branches and watches the repository for changes. Blocks the current thread while
    /// reading. Logs the error and returns `None` if reading fails.
    pub(crate) fn read(&mut self, wakes: &Wakes) -> Option<Reading> {
        let start = Instant::now();
        let is_due = self.next_read <= start;
        let result = self.try_read(wakes);
        let interval = match (&result, &self.watch) {
            (Ok(_), Some(_)) if is_due => WATCHED_INTERVAL,
            (Ok(_), Some(_)) => SETTLE_INTERVAL,
            _ => UNWATCHED_INTERVAL,
        };
        let busy = start.elapsed().saturating_mul(DUTY);
        self.next_read = Instant::now() + interval.max(busy);
        match result {
            Ok(reading) => {
                if self.failure.take().is_some() {
                    tracing::info!(repo = %self.repo, "the repository can be read again");
                }
                Some(reading)
            }
            Err(error) => {
                (self.identity, self.watch) = (None, None);
                let text = error.to_string();
                if self.failure.as_ref() != Some(&text) {
                    tracing::warn!(repo = %self.repo, %error, "the published branches are kept");
                    self.failure = Some(text);
                }
                None
            }
        }
    }

    fn try_read(&mut self, wakes: &Wakes) -> Result<Reading, SourceError> {
        let common = repository::find(&self.path)?;
        let identity = Identity::of(&common)?;
        // Start the watch before reading so that no change is missed.
        if self.watch.as_ref().is_none_or(|(watched, _)| *watched != identity) {
            self.watch = self.watch(&common, wakes).map(|watch| (identity.clone(), watch));
        }
        let branches = refs::read(&common)?;
        if Identity::of(&common)? != identity {
            return Err(SourceError::Unstable(self.path.clone()));
        }
        let is_same = self.identity.as_ref() == Some(&identity);
        self.identity = Some(identity);
        Ok(Reading { branches, is_same })
    }

    /// Watches the refs. Returns `None` if watching fails, for example because the system's limit
    /// on watches has been reached.
    fn watch(&self, common: &Path, wakes: &Wakes) -> Option<RecommendedWatcher> {
        let (wakes, index) = (wakes.clone(), self.index);
        let dir = common.to_owned();
        let on_event = move |event: notify::Result<notify::Event>| {
            let is_of_ref = |path: &PathBuf| is_of_ref(&dir, path);
            match event {
                Ok(event) if matches!(event.kind, EventKind::Access(_)) => {}
                Ok(event) if !event.need_rescan() && !event.paths.iter().any(is_of_ref) => {}
                _ => wakes.wake(index),
            }
        };
        let watched = notify::recommended_watcher(on_event).and_then(|mut watcher| {
            watcher.watch(common, RecursiveMode::NonRecursive)?;
            watcher.watch(&common.join("refs"), RecursiveMode::Recursive)?;
            let reftable = common.join("reftable");
            if reftable.is_dir() {
                watcher.watch(&reftable, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        watched
            .inspect_err(|error| {
                let interval = UNWATCHED_INTERVAL;
                tracing::warn!(repo = %self.repo, %error, ?interval, "cannot watch, polling instead");
            })
            .ok()
    }
}

/// Returns whether a change to `path` may affect a branch.
fn is_of_ref(common: &Path, path: &Path) -> bool {
    match path.strip_prefix(common) {
        Ok(inner) => {
            let name = inner.as_os_str().to_string_lossy();
            let is_lock = name.ends_with(".lock");
            let is_heads = name == "refs" || inner.starts_with("refs/heads");
            !is_lock && (name.is_empty() || name == "packed-refs" || is_heads)
                || inner.starts_with("reftable")
        }
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_of_branches_wake() {
        let common = Path::new("/x/.git");
        for path in ["refs/heads/a/b", "refs/heads", "packed-refs", "reftable/tables.list", "refs"]
        {
            assert!(is_of_ref(common, &common.join(path)), "{path}");
        }
        for path in ["index", "index.lock", "refs/remotes/o/x", "refs/heads/a.lock", "HEAD"] {
            assert!(!is_of_ref(common, &common.join(path)), "{path}");
        }
        assert!(is_of_ref(common, common));
    }
}
