//! Caches build results in memory and in the database.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use datakit_client::db::{
    BranchOps, CommitOps, Database, Error, Path, Result, TransactionOps, TreeOps,
};
use parking_lot::Mutex;

use super::counts::Counted;
use super::switch::Switch;
use super::{Build, BuildCounts, BuildLog, Builder, LiveLogs};
use crate::state::first_line;
use crate::term::{External, Logs, Progress, SavedLog, Term};

const LOG: &str = "log";
const FAILURE: &str = "failure";
const VALUE: &str = "value";
const REBUILD: &str = "rebuild-requested";
const REPOSITORY: &str = "repository";

/// The failure of a cancelled build.
const CANCELLED: &str = "Cancelled at user's request";

/// The result of a build.
type Built<B> = std::result::Result<<B as Builder>::Value, String>;

/// The results of a builder. Create only one cache for each builder: two caches could build the
/// same key at the same time.
pub struct Cache<D: Database, B: Builder> {
    shared: Arc<Shared<D, B>>,
}

struct Shared<D: Database, B: Builder> {
    db: D,
    builder: B,
    logs: LiveLogs,
    /// The builds that terms depend on, by branch.
    builds: Mutex<BTreeMap<String, Entry<B>>>,
    counts: Mutex<BuildCounts>,
}

/// A build that terms depend on.
struct Entry<B: Builder> {
    external: Weak<External<B::Value>>,
    switch: Switch,
}

/// A build that has been found by its branch.
type Found<B> = (Arc<External<<B as Builder>::Value>>, Switch);

/// The reason why a build cannot be repeated or cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RebuildError {
    /// No job depends on the branch.
    NoJob {
        /// The branch.
        branch: String,
    },
    /// The database returned an error while the result was being marked.
    Database(Error),
}

impl fmt::Display for RebuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RebuildError::NoJob { branch } => write!(f, "No job depends on {branch}"),
            RebuildError::Database(_) => f.write_str("the branch cannot be marked for rebuild"),
        }
    }
}

impl std::error::Error for RebuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RebuildError::NoJob { .. } => None,
            RebuildError::Database(error) => Some(error),
        }
    }
}

impl<D: Database, B: Builder> Cache<D, B> {
    /// Creates a cache. The cache adds the logs of running builds to `logs`.
    pub fn new(db: D, builder: B, logs: LiveLogs) -> Cache<D, B> {
        let counts = BuildCounts { name: builder.name().to_owned(), ..BuildCounts::default() };
        let (builds, counts) = (Mutex::default(), Mutex::new(counts));
        Cache { shared: Arc::new(Shared { db, builder, logs, builds, counts }) }
    }

    /// Returns the build counts.
    #[must_use]
    pub fn counts(&self) -> BuildCounts {
        self.shared.counts.lock().clone()
    }

    /// Returns a term for the value of a key. The term reads the result from the database, or
    /// builds the value if there is no stored result. All terms for the same branch share one
    /// build.
    #[must_use]
    pub fn find(&self, key: &B::Key) -> Term<B::Value> {
        let shared = &self.shared;
        let branch = shared.builder.branch(key);
        let mut builds = shared.builds.lock();
        if let Some(external) = builds.get(&branch).and_then(|entry| entry.external.upgrade()) {
            return keep(external);
        }
        builds.retain(|_, entry| entry.external.strong_count() > 0);
        let (weak, key, switch) = (Arc::downgrade(shared), key.clone(), Switch::new());
        let entry_switch = switch.clone();
        let external = Arc::new(External::new(shared.builder.title(&key), move |progress| {
            let (weak, key, switch) = (weak.clone(), key.clone(), switch.clone());
            async move {
                let shared = weak.upgrade().ok_or("the cache was dropped")?;
                shared.find_or_build(&key, progress, &switch).await
            }
        }));
        let entry = Entry { external: Arc::downgrade(&external), switch: entry_switch };
        builds.insert(branch, entry);
        keep(external)
    }

    /// Marks the result in a branch as unusable and rebuilds the value. Does nothing if the build
    /// is running.
    ///
    /// If the future is dropped, it is unspecified whether the result has been marked.
    ///
    /// # Errors
    /// Returns [`RebuildError::NoJob`] if no term depends on the branch.
    pub async fn rebuild(&self, branch: &str) -> std::result::Result<(), RebuildError> {
        let (external, switch) = self.external(branch)?;
        if external.is_running() {
            return Ok(());
        }
        self.shared.mark(branch).await.map_err(RebuildError::Database)?;
        if !external.is_running() {
            switch.set(false);
            external.rebuild();
        }
        Ok(())
    }

    /// Cancels the build that is running on a branch. The build fails with the message `Cancelled
    /// at user's request`, which is stored with its log like any other failure. Returns `false` if
    /// no build is running.
    ///
    /// # Errors
    /// Returns [`RebuildError::NoJob`] if no term depends on the branch.
    pub fn cancel(&self, branch: &str) -> std::result::Result<bool, RebuildError> {
        let (external, switch) = self.external(branch)?;
        let is_running = external.is_running();
        if is_running {
            switch.set(true);
        }
        Ok(is_running)
    }

    fn external(&self, branch: &str) -> std::result::Result<Found<B>, RebuildError> {
        let builds = self.shared.builds.lock();
        let entry = builds.get(branch);
        let found = entry.and_then(|entry| Some((entry.external.upgrade()?, entry.switch.clone())));
        found.ok_or_else(|| RebuildError::NoJob { branch: branch.to_owned() })
    }
}

/// Returns a term for a build. The build stays in the cache while the term exists.
fn keep<T: Clone + Send + Sync + 'static>(external: Arc<External<T>>) -> Term<T> {
    let term = external.term();
    term.map(move |value| {
        let _ = &external;
        value
    })
}

impl<D: Database, B: Builder> Shared<D, B> {
    /// Reads the result for a key, or builds the value.
    async fn find_or_build(&self, key: &B::Key, progress: Progress, switch: &Switch) -> Built<B> {
        let name = self.builder.branch(key);
        let stored = tokio::select! {
            stored = self.stored(key, &name, &progress) => stored,
            () = switch.cancelled() => return Err(CANCELLED.to_owned()),
        };
        let (branch, result) = stored.map_err(|error| format!("database: {error}"))?;
        if let Some(result) = result {
            return result;
        }
        let retry = self.builder.retry();
        let mut attempt = 1;
        loop {
            let temporary = AtomicBool::new(false).into();
            let result = self.build(key, &name, &branch, &progress, &temporary, switch).await;
            match result {
                Err(error) if temporary.load(Relaxed) && attempt < retry.attempts => {
                    let pause = retry.pause_after(attempt);
                    progress.text(format!("Attempt {attempt} failed: {error}; next in {pause:?}"));
                    tokio::select! {
                        () = tokio::time::sleep(pause) => attempt += 1,
                        () = switch.cancelled() => return Err(CANCELLED.to_owned()),
                    }
                }
                result => return result,
            }
        }
    }

    /// Opens the branch of a key and reads the result, if there is a usable one.
    async fn stored(
        &self,
        key: &B::Key,
        name: &str,
        progress: &Progress,
    ) -> Result<(D::Branch, Option<Built<B>>)> {
        let branch = self.db.branch(name).await?;
        let result = match branch.head().await? {
            Some(head) => self.load(key, name, &head, progress).await?,
            None => None,
        };
        Ok((branch, result))
    }

    /// Reads the result from a commit. Returns `None` if the commit has no usable result.
    async fn load(
        &self,
        key: &B::Key,
        branch: &str,
        commit: &D::Commit,
        progress: &Progress,
    ) -> Result<Option<Built<B>>> {
        let tree = commit.tree();
        if tree.exists(&file(REBUILD)?).await? {
            return Ok(None);
        }
        if let Some(repository) = self.builder.repository(key) {
            match tree.read_file(&file(REPOSITORY)?).await {
                Ok(stored) if stored.trim_ascii() != repository.as_bytes() => return Ok(None),
                // The original CI does not store the repository.
                Ok(_) | Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let failure = match tree.read_file(&file(FAILURE)?).await {
            Ok(failure) => Some(String::from_utf8_lossy(&failure).trim_end().to_owned()),
            Err(Error::NotFound) => None,
            Err(error) => return Err(error),
        };
        // The original CI does not store a `value` for a build without a value.
        let succeeded = tree.exists(&file(VALUE)?).await? || tree.exists(&file(LOG)?).await?;
        if failure.is_none() && !succeeded {
            return Ok(None);
        }
        progress.logs(saved(self.builder.title(key), branch, commit, failure.is_some()));
        match failure {
            Some(failure) => Ok(Some(Err(failure))),
            None => Ok(Some(Ok(self.builder.load(&tree, key).await?))),
        }
    }

    /// Builds the value and commits the result.
    async fn build(
        &self,
        key: &B::Key,
        name: &str,
        branch: &D::Branch,
        progress: &Progress,
        temporary: &Arc<AtomicBool>,
        switch: &Switch,
    ) -> Built<B> {
        let title = self.builder.title(key);
        let log = BuildLog::new(&title, self.builder.secrets(), self.builder.log_limits());
        let repository = self.builder.repository(key);
        let live = loop {
            match self.logs.add(name, log.clone()) {
                // Another repository is building the same commit.
                Err(_) if repository.is_some() => self.logs.ended(name).await,
                live => break live?,
            }
        };
        let counted = Counted::start(&self.counts);
        progress.logs(Logs::Live { branch: name.into() });
        log.line("Starting...");
        let built = async {
            let transaction = branch.transaction().await?;
            clear(&transaction).await?;
            let result = self.generate(&transaction, key, &log, progress, temporary).await;
            Ok((transaction, result))
        };
        let built = tokio::select! {
            built = built => built,
            // Dropping the future ends the build's processes.
            () = switch.cancelled() => self.cancelled(branch, temporary).await,
        };
        let (transaction, result) = built.map_err(|error: Error| format!("database: {error}"))?;
        match &result {
            Ok(_) => log.line("Success"),
            Err(failure) => log.line(&format!("Failed: {failure}")),
        }
        let text = log.finish();
        let failure = result.as_ref().err();
        let ending = Ending { failure, temporary: temporary.load(Relaxed), repository };
        let committed = store(&transaction, &text, ending).await;
        transaction.abort().await;
        drop(live);
        let commit =
            committed.map_err(|error| format!("the result could not be stored: {error}"))?;
        counted.end(result.is_ok());
        progress.logs(saved(title, name, &commit, result.is_err()));
        result
    }

    /// Returns the result of a cancelled build. The build's own transaction could contain a part of
    /// a file, so the result is stored in a new one.
    async fn cancelled(
        &self,
        branch: &D::Branch,
        temporary: &AtomicBool,
    ) -> Result<(D::Transaction, Built<B>)> {
        // The build must not be repeated.
        temporary.store(false, Relaxed);
        let transaction = branch.transaction().await?;
        clear(&transaction).await?;
        Ok((transaction, Err(CANCELLED.to_owned())))
    }

    async fn generate(
        &self,
        transaction: &D::Transaction,
        key: &B::Key,
        log: &BuildLog,
        progress: &Progress,
        temporary: &Arc<AtomicBool>,
    ) -> Built<B> {
        let (log, progress) = (log.clone(), progress.clone());
        let build = Build { log, progress, temporary: temporary.clone() };
        self.builder.generate(transaction, &build, key).await
    }

    /// Marks the result in a branch as unusable.
    async fn mark(&self, branch: &str) -> Result<()> {
        let branch = self.db.branch(branch).await?;
        if branch.head().await?.is_none() {
            return Ok(());
        }
        let transaction = branch.transaction().await?;
        transaction.create_or_replace_file(&file(REBUILD)?, b"").await?;
        transaction.commit("Marked for rebuild").await.map(drop)
    }
}

/// Removes the last result.
async fn clear<T: TransactionOps>(transaction: &T) -> Result<()> {
    for name in [LOG, FAILURE, VALUE, REBUILD, REPOSITORY] {
        match transaction.remove(&file(name)?).await {
            Ok(()) | Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The files to store besides the value and the log.
struct Ending<'r> {
    failure: Option<&'r String>,
    /// Whether to mark the failure for rebuild.
    temporary: bool,
    repository: Option<String>,
}

/// Commits the log and the other files of a result.
async fn store<T: TransactionOps>(
    transaction: &T,
    log: &str,
    result: Ending<'_>,
) -> Result<T::Commit> {
    transaction.create_or_replace_file(&file(LOG)?, log.as_bytes()).await?;
    if let Some(repository) = result.repository {
        let text = format!("{repository}\n");
        transaction.create_or_replace_file(&file(REPOSITORY)?, text.as_bytes()).await?;
    }
    let message = match result.failure {
        None => "Cached successful result".to_owned(),
        Some(failure) => {
            let text = format!("{failure}\n");
            transaction.create_or_replace_file(&file(FAILURE)?, text.as_bytes()).await?;
            if result.temporary {
                transaction.create_or_replace_file(&file(REBUILD)?, b"").await?;
                format!("Temporary failure: {}", first_line(failure))
            } else {
                format!("Cached failure: {}", first_line(failure))
            }
        }
    };
    transaction.commit(&message).await
}

fn saved<C: CommitOps>(title: String, branch: &str, commit: &C, failed: bool) -> Logs {
    let commit = commit.id().to_string();
    Logs::Saved(Arc::new(SavedLog { title, branch: branch.to_owned(), commit, failed }))
}

fn file(name: &str) -> Result<Path> {
    Path::from_names([name])
}

impl<D: Database, B: Builder> Clone for Cache<D, B> {
    fn clone(&self) -> Cache<D, B> {
        Cache { shared: self.shared.clone() }
    }
}

impl<D: Database, B: Builder> fmt::Debug for Cache<D, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("builder", &self.shared.builder.name())
            .finish_non_exhaustive()
    }
}
