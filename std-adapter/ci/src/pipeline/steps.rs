//! Builds tasks and stores their results.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use datakit_client::db::{self, Database, Path, TreeExt, TreeOps};
use datakit_github::FILE_MAX;
use serde::{Deserialize, Serialize};

use super::artifacts::{self, ARTIFACT_LIMITS, Artifact};
use super::execute::{TaskError, TaskRun};
use super::files;
use super::inputs;
use super::names::task_branch;
use super::plan::Task;
use super::settings::{DEFAULT_POOL, Settings};
use super::source::{Checkout, CheckoutRequest, Source, SourceError};
use super::step_key::StepKey;
use crate::SharedDb;
use crate::build::{Build, Builder, LogLimits};
use crate::command::Sandbox;
use crate::pool::{Holder, PoolGuard};

/// The result of a successful task, stored as JSON in `value/result`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResult {
    /// The time from the start of the first attempt to the end of the last one, in milliseconds.
    pub milliseconds: u64,
    /// The number of attempts.
    pub attempts: u32,
    /// The paths and sizes of the artifacts, which are stored in `value/artifacts`.
    pub artifacts: BTreeMap<String, u64>,
}

impl StepResult {
    /// Returns the description for the status, for example `Passed in 12 s`.
    #[must_use]
    pub fn text(&self) -> String {
        let seconds = self.milliseconds / 1000;
        let time = match (seconds / 60, seconds % 60) {
            (0, 0) => format!("{} ms", self.milliseconds),
            (0, seconds) => format!("{seconds} s"),
            (minutes, seconds) => format!("{minutes} min {seconds} s"),
        };
        match self.attempts {
            1 => format!("Passed in {time}"),
            attempts => format!("Passed in {time} on attempt {attempts}"),
        }
    }
}

/// Builds tasks.
#[derive(Debug)]
pub struct StepBuilder<D, S> {
    db: SharedDb<D>,
    source: Arc<S>,
    settings: Arc<Settings>,
}

impl<D: Database, S: Source> StepBuilder<D, S> {
    /// Creates a builder. The artifacts of needed tasks are read from the database.
    pub fn new(db: SharedDb<D>, source: Arc<S>, settings: Settings) -> StepBuilder<D, S> {
        StepBuilder { db, source, settings: Arc::new(settings) }
    }

    /// Waits for a free slot in the task's pool.
    async fn place(&self, key: &StepKey, build: &Build) -> Result<PoolGuard, String> {
        let name = key.task.pool.as_deref().unwrap_or(DEFAULT_POOL);
        let Some(pool) = self.settings.pools.get(name) else {
            let pools = self.settings.pools.status();
            let known: Vec<&str> = pools.iter().map(|pool| &*pool.name).collect();
            return Err(format!("there is no pool `{name}`; the pools: {}", known.join(", ")));
        };
        let job = format!("{}:{}", key.target, key.task.name);
        let holder = Holder::new(key.commit.repo.to_string(), job);
        pool.acquire(&holder, build.progress()).await.map_err(|error| error.to_string())
    }

    /// Runs the task in a new work tree, and adds the artifacts to the result.
    async fn attempt(
        &self,
        build: &Build,
        key: &StepKey,
    ) -> Result<BTreeMap<String, u64>, TaskError> {
        let request = CheckoutRequest {
            target: &key.target,
            commit: &key.commit,
            job: &key.task.name,
            build,
        };
        // Remove the artifacts from an earlier attempt.
        build.remove_files();
        build.progress().text(format!("Checking out {}", key.commit));
        let checkout = self.source.checkout(&request).await?;
        for notice in notices(checkout.path()) {
            build.log().line(notice);
        }
        let inputs = inputs::fetch(&self.db, key, checkout.path()).await?;
        let sandbox = match self.settings.sandbox.clone() {
            Sandbox::Isolated(isolation) => checkout.isolate(isolation).into(),
            other => other,
        };
        let job = TaskRun {
            sandbox,
            task: key.task.clone(),
            repo: key.commit.repo.clone(),
            commit: key.commit.hash.to_string(),
            target: key.task.step.per_target.then(|| key.target.clone()),
            trust: key.trust,
            images: key.images.clone(),
            inputs: inputs.as_ref().map(|dir| dir.path().to_owned()),
            settings: self.settings.clone(),
        };
        build.progress().text(format!("Running {}", key.task.name));
        let ended = job.run(checkout.path(), build.log()).await;
        let stored = store_artifacts(build, &key.task, checkout.path()).await;
        let (sizes, problems) = stored.map_err(TaskError::Failed)?;
        for problem in &problems {
            build.log().line(problem);
        }
        ended?;
        // If the commands failed, they might not have written the artifacts.
        problems.into_iter().next().map_or(Ok(sizes), |problem| Err(TaskError::Failed(problem)))
    }
}

impl From<SourceError> for TaskError {
    fn from(error: SourceError) -> TaskError {
        match error.is_temporary {
            true => TaskError::Temporary(error.message),
            false => TaskError::Setup(error.message),
        }
    }
}

/// Returns messages about files that a commit refers to but that are missing from a checkout. Only
/// the root directory is checked.
fn notices(dir: &std::path::Path) -> impl Iterator<Item = &'static str> {
    let submodules = dir.join(".gitmodules").symlink_metadata().is_ok();
    let attributes = files::read(&dir.join(".gitattributes"), ATTRIBUTES_MAX).unwrap_or_default();
    let lfs = attributes.windows(FILTER.len()).any(|part| part == FILTER);
    let notices = [
        submodules.then_some("Submodules are not checked out; their directories are empty"),
        lfs.then_some("Files in Git LFS are not downloaded; the work tree contains the pointers"),
    ];
    notices.into_iter().flatten()
}

/// The maximum size of a `.gitattributes` file that is searched for [`FILTER`].
const ATTRIBUTES_MAX: u64 = 1 << 20;

/// The attribute of files that are stored with Git LFS.
const FILTER: &[u8] = b"filter=lfs";

/// Adds the artifacts of a task to the result as `value/artifacts`. Returns their paths and sizes,
/// and the reasons why other artifacts were not stored.
async fn store_artifacts(
    build: &Build,
    task: &Arc<Task>,
    dir: &std::path::Path,
) -> Result<(BTreeMap<String, u64>, Vec<String>), String> {
    if task.step.artifacts.is_empty() {
        return Ok(Default::default());
    }
    let (task, dir) = (task.clone(), dir.to_owned());
    let read = move || artifacts::read(&dir, &task.step.artifacts, ARTIFACT_LIMITS);
    let read = tokio::task::spawn_blocking(read).await;
    let (found, problems) = read.map_err(|error| error.to_string())?;
    let mut sizes = BTreeMap::new();
    for (path, Artifact { content, executable }) in found {
        sizes.insert(String::from_utf8_lossy(&path).into_owned(), content.len() as u64);
        let names = [&b"value"[..], b"artifacts"].into_iter().chain(path.split(|b| *b == b'/'));
        let path = Path::from_names(names).map_err(|error| error.to_string())?;
        match executable {
            true => build.write_executable(path, content),
            false => build.write_file(path, content),
        }
    }
    Ok((sizes, problems))
}

fn result_file() -> db::Result<Path> {
    Path::from_names(["value", "result"])
}

impl<D: Database, S: Source> Builder for StepBuilder<D, S> {
    type Key = StepKey;
    type Value = StepResult;

    fn name(&self) -> &str {
        "step"
    }

    fn title(&self, key: &StepKey) -> String {
        format!("Step {}", key.task.name)
    }

    fn branch(&self, key: &StepKey) -> String {
        let target = key.task.step.per_target.then_some(&key.target);
        task_branch(&key.task.name, &key.commit, target, key.trust)
    }

    fn secrets(&self) -> Vec<String> {
        self.settings.masked()
    }

    fn log_limits(&self) -> LogLimits {
        self.settings.log
    }

    async fn generate(&self, build: &Build, key: &StepKey) -> Result<StepResult, String> {
        let retry = key.task.step.retry;
        let (mut began, mut attempt) = (None, 1);
        let artifacts = loop {
            let place = self.place(key, build).await.inspect_err(|_| build.set_temporary())?;
            began = began.or_else(|| Some(Instant::now()));
            let ended = self.attempt(build, key).await;
            drop(place);
            let error = match ended {
                Ok(artifacts) => break artifacts,
                Err(TaskError::Failed(error)) if attempt < retry.attempts => error,
                Err(error) => {
                    if matches!(error, TaskError::Temporary(_)) {
                        build.set_temporary();
                    }
                    return Err(error.to_string());
                }
            };
            let pause = retry.pause_after(attempt);
            let text = format!("Attempt {attempt} failed: {error}; next in {pause:?}");
            build.log().line(&text);
            build.progress().text(text);
            tokio::time::sleep(pause).await;
            attempt += 1;
        };
        let milliseconds = began.map_or(0, |began| began.elapsed().as_millis());
        let milliseconds = u64::try_from(milliseconds).unwrap_or(u64::MAX);
        let result = StepResult { milliseconds, attempts: attempt, artifacts };
        let json = serde_json::to_vec(&result).map_err(|error| error.to_string())?;
        build.write_file(result_file().map_err(|error| error.to_string())?, json);
        Ok(result)
    }

    async fn load<T: TreeOps>(&self, tree: &T, _: &StepKey) -> db::Result<StepResult> {
        let json = tree.read_file_up_to(&result_file()?, FILE_MAX).await?;
        // A result that was written by another version still counts as a success.
        Ok(serde_json::from_slice(&json).unwrap_or(StepResult {
            milliseconds: 0,
            attempts: 1,
            artifacts: BTreeMap::new(),
        }))
    }
}
