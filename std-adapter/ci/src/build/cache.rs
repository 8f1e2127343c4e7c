//! Caches build results in memory and in the database.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use datakit_client::db::{
    BackendError, BranchOps, CommitOps, Content, Database, Error, Path, Result, TransactionExt,
    TransactionOps, TreeExt, TreeOps,
};
use datakit_github::FILE_MAX;
use parking_lot::Mutex;

use super::counts::Counted;
use super::switch::Switch;
use super::{Build, BuildCounts, BuildLog, Builder, LiveLog, LiveLogs};
use crate::SharedDb;
use crate::concurrent::{Concurrent, boxed};
use crate::state::{first_line, is_no_usable_file};
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

/// The results that a builder has produced. Create only one cache for each builder: two caches
/// could build the same key at the same time.
pub struct Cache<D: Database, B: Builder> {
    shared: Arc<CacheInner<D, B>>,
}

struct CacheInner<D: Database, B: Builder> {
    db: SharedDb<D>,
    builder: B,
    logs: LiveLogs,
    /// The builds that terms depend on, keyed by branch.
    builds: Mutex<BTreeMap<String, CachedBuild<B>>>,
    counts: Mutex<BuildCounts>,
}

/// A build that terms depend on.
struct CachedBuild<B: Builder> {
    external: Weak<External<B::Value>>,
    switch: Switch,
}

/// A build that was looked up by its branch.
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
    /// The database returned an error while the result was being marked for a rebuild.
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
    pub fn new(db: impl Into<SharedDb<D>>, builder: B, logs: LiveLogs) -> Cache<D, B> {
        let counts = BuildCounts { name: builder.name().to_owned(), ..BuildCounts::default() };
        let (db, builds, counts) = (db.into(), Mutex::default(), Mutex::new(counts));
        Cache { shared: Arc::new(CacheInner { db, builder, logs, builds, counts }) }
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
        let entry = CachedBuild { external: Arc::downgrade(&external), switch: entry_switch };
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
    /// at user's request`, which is stored with the build's log. Returns `false` if no build is
    /// running.
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

/// A build that has ended but whose result has not been stored yet.
struct Unstored<'c, B: Builder> {
    result: Built<B>,
    output: BuildOutput,
    counted: Counted<'c>,
    /// Keeps the log in the list of live logs until the result is stored.
    _live: LiveLog,
}

/// The files of a result.
struct BuildOutput {
    log: String,
    failure: Option<String>,
    /// Whether the failure is temporary.
    temporary: bool,
    files: BTreeMap<Path, Content>,
    executables: BTreeMap<Path, Vec<u8>>,
    repository: Option<String>,
}

impl<D: Database, B: Builder> CacheInner<D, B> {
    /// Reads the result for a key, or builds the value.
    async fn find_or_build(&self, key: &B::Key, progress: Progress, switch: &Switch) -> Built<B> {
        let name = self.builder.branch(key);
        let retry = self.builder.retry();
        let mut attempt = 1;
        loop {
            let stored = tokio::select! {
                stored = self.db.retry(|db| self.stored(db, key, &name, &progress)) => stored,
                () = switch.cancelled() => return Err(CANCELLED.to_owned()),
            };
            if let Some(result) = stored.map_err(|error| format!("database: {error}"))? {
                return result;
            }
            let ended = self.db.builds_ended();
            let unstored = tokio::select! {
                unstored = self.build(key, &name, &progress, switch) => unstored?,
                // Another server could be using the database by now. If that server has stored a
                // result, the result is found once this server has reconnected.
                () = ended => {
                    progress.text("Waiting for the database");
                    continue;
                }
            };
            let temporary = unstored.output.temporary;
            match self.store(key, &name, unstored, &progress).await? {
                Err(error) if temporary && attempt < retry.attempts => {
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

    /// Reads the result for a key. Returns `None` if there is no usable result, for example because
    /// one of its files is a directory.
    async fn stored(
        &self,
        db: D,
        key: &B::Key,
        name: &str,
        progress: &Progress,
    ) -> Result<Option<Built<B>>> {
        self.stored_in(&db.branch(name).await?, key, name, progress).await
    }

    async fn stored_in(
        &self,
        branch: &D::Branch,
        key: &B::Key,
        name: &str,
        progress: &Progress,
    ) -> Result<Option<Built<B>>> {
        match branch.head().await? {
            Some(head) => match self.load(key, name, &head, progress).await {
                Err(error) if is_no_usable_file(&error) => {
                    tracing::warn!(branch = name, %error, "the result is ignored");
                    Ok(None)
                }
                found => found,
            },
            None => Ok(None),
        }
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
        let [rebuild, repository, failure, value, log] =
            [REBUILD, REPOSITORY, FAILURE, VALUE, LOG].map(file);
        let (rebuild, value, log) = (rebuild?, value?, log?);
        let (rebuild, repository, failure, has_value, has_log) = tokio::try_join!(
            boxed(tree.exists(&rebuild)),
            boxed(read_optional(&tree, repository?)),
            boxed(read_optional(&tree, failure?)),
            boxed(tree.exists(&value)),
            boxed(tree.exists(&log)),
        )?;
        // The original CI does not store the repository.
        let is_of_other = match (self.builder.repository(key), repository) {
            (Some(expected), Some(stored)) => stored.trim_ascii() != expected.as_bytes(),
            _ => false,
        };
        // The original CI does not store a `value` for a build without a value.
        if rebuild || is_of_other || (failure.is_none() && !has_value && !has_log) {
            return Ok(None);
        }
        let failure =
            failure.map(|failure| String::from_utf8_lossy(&failure).trim_end().to_owned());
        progress.next_logs(saved(self.builder.title(key), branch, commit, failure.is_some()));
        match failure {
            Some(failure) => Ok(Some(Err(failure))),
            None => Ok(Some(Ok(self.builder.load(&tree, key).await?))),
        }
    }

    /// Builds the value.
    async fn build(
        &self,
        key: &B::Key,
        name: &str,
        progress: &Progress,
        switch: &Switch,
    ) -> std::result::Result<Unstored<'_, B>, String> {
        let title = self.builder.title(key);
        let log = BuildLog::new(&title, self.builder.secrets(), self.builder.log_limits());
        let repository = self.builder.repository(key);
        let live = loop {
            match self.logs.add(name, log.clone()) {
                // A job of another repository is building the same commit.
                Err(_) if repository.is_some() => self.logs.ended(name).await,
                live => break live?,
            }
        };
        let counted = Counted::start(&self.counts);
        progress.logs(Logs::Live { branch: name.into() });
        log.line("Starting...");
        let build = Build::new(log.clone(), progress.clone());
        let generated = tokio::select! {
            result = self.builder.generate(&build, key) => Some(result),
            // Dropping the future ends the build's processes.
            () = switch.cancelled() => None,
        };
        let mut temporary = build.temporary.into_inner();
        let (mut files, mut executables) = build.files.into_inner();
        let result = generated.unwrap_or_else(|| {
            // The build must not be repeated, and its files could be incomplete.
            (temporary, files, executables) = (false, BTreeMap::new(), BTreeMap::new());
            Err(CANCELLED.to_owned())
        });
        match &result {
            Ok(_) => log.line("Success"),
            Err(failure) => log.line(&format!("Failed: {failure}")),
        }
        let failure = result.as_ref().err().cloned();
        let log = log.finish();
        let output = BuildOutput { log, failure, temporary, files, executables, repository };
        Ok(Unstored { result, output, counted, _live: live })
    }

    /// Commits the result, unless the branch already has one. Returns the result in the branch.
    async fn store(
        &self,
        key: &B::Key,
        name: &str,
        unstored: Unstored<'_, B>,
        progress: &Progress,
    ) -> std::result::Result<Built<B>, String> {
        let output = &unstored.output;
        let stored = self.db.retry(|db| async move {
            // If the connection was lost, the last attempt to store the result could have
            // succeeded, or another server could have built the value.
            let branch = db.branch(name).await?;
            let (stored, transaction) = tokio::try_join!(
                boxed(self.stored_in(&branch, key, name, progress)),
                boxed(branch.transaction()),
            )?;
            if let Some(result) = stored {
                transaction.abort().await;
                return Ok((None, Some(result)));
            }
            let committed = store(&transaction, output).await;
            transaction.abort().await;
            committed.map(|commit| (Some(commit), None))
        });
        let stored = stored.await;
        let (commit, found) =
            stored.map_err(|error| format!("the result could not be stored: {error}"))?;
        unstored.counted.end(unstored.result.is_ok());
        if let Some(commit) = commit {
            let title = self.builder.title(key);
            progress.next_logs(saved(title, name, &commit, output.failure.is_some()));
        }
        Ok(found.unwrap_or(unstored.result))
    }

    /// Marks the result in a branch as unusable.
    async fn mark(&self, branch: &str) -> Result<()> {
        let db = self
            .db
            .current()
            .ok_or_else(|| Error::Backend(BackendError::new("the database is not connected")))?;
        let branch = db.branch(branch).await?;
        if branch.head().await?.is_none() {
            return Ok(());
        }
        let transaction = branch.transaction().await?;
        transaction.create_or_replace_file(&file(REBUILD)?, b"").await?;
        transaction.commit("Marked for rebuild").await.map(drop)
    }
}

/// Reads a file. Returns `None` if it does not exist.
async fn read_optional<T: TreeOps>(tree: &T, path: Path) -> Result<Option<Vec<u8>>> {
    match tree.read_file_up_to(&path, FILE_MAX).await {
        Ok(content) => Ok(Some(content)),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the previous result.
async fn clear<T: TransactionOps>(transaction: &T) -> Result<()> {
    let mut removed = Concurrent::new();
    for name in [LOG, FAILURE, VALUE, REBUILD, REPOSITORY] {
        let path = file(name)?;
        removed.push(async move { transaction.remove_if_present(&path).await });
    }
    removed.try_all().await.map(drop)
}

/// Replaces the previous result and commits the new one. If the new result is a temporary failure,
/// it is marked for rebuild.
async fn store<T: TransactionOps>(transaction: &T, output: &BuildOutput) -> Result<T::Commit> {
    clear(transaction).await?;
    let mut texts = BTreeMap::new();
    let mut add = |name: &str, text: String| {
        texts.insert(file(name)?, Content::File(text.into_bytes()));
        Ok::<_, Error>(())
    };
    if let Some(repository) = &output.repository {
        add(REPOSITORY, format!("{repository}\n"))?;
    }
    add(LOG, output.log.clone())?;
    let message = match &output.failure {
        None => "Cached successful result".to_owned(),
        Some(failure) => {
            add(FAILURE, format!("{failure}\n"))?;
            if output.temporary {
                add(REBUILD, String::new())?;
                format!("Temporary failure: {}", first_line(failure))
            } else {
                format!("Cached failure: {}", first_line(failure))
            }
        }
    };
    let mut executables = Concurrent::new();
    for (path, content) in &output.executables {
        executables.push(async move {
            transaction.make_dirs(&path.parent()).await?;
            transaction.create_file(path, content, true).await
        });
    }
    tokio::try_join!(
        transaction.write_files(&output.files),
        transaction.write_files(&texts),
        executables.try_all(),
    )?;
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
