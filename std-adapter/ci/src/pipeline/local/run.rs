//! Runs the tasks of a plan, several at the same time.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tempfile::TempDir;

use super::super::artifacts::{self, ARTIFACT_LIMITS};
use super::super::execute::{TaskError, TaskRun};
use super::super::files;
use super::super::inputs::{self, INPUT_LIMITS};
use super::super::plan::Task;
use super::super::{DEFAULT_POOL, Plan, Settings, Trust};
use super::ExitStatus;
use super::copy::{self, WorkTree};
use super::git;
use super::output::Printer;
use crate::Target;
use crate::build::BuildLog;
use crate::command::Sandbox;
use crate::git::remove_tree;
use crate::pool::{Holder, Pool, Pools};

/// A local run.
pub(super) struct LocalRun<'a> {
    pub(super) dir: PathBuf,
    pub(super) target: Target,
    pub(super) settings: Arc<Settings>,
    /// The default pool and the pools that the settings do not define. Each undefined pool has a
    /// capacity of 1.
    pub(super) pools: Pools,
    /// The artifacts of the tasks that have passed. Each task has a subdirectory.
    pub(super) artifacts: TempDir,
    pub(super) output: Mutex<&'a mut (dyn Write + Send)>,
}

/// The result of a task. The outer error means that the output could not be written.
type TaskResult = io::Result<Result<(), TaskError>>;

/// A task that is running.
struct Running<'r> {
    name: &'r str,
    began: Instant,
    ended: Pin<Box<dyn Future<Output = TaskResult> + Send + 'r>>,
}

/// The result of a task.
enum Ended {
    Passed(Duration),
    Failed(TaskError),
    /// A needed task did not pass.
    NotRun(Arc<str>),
}

impl LocalRun<'_> {
    /// Runs all tasks of a plan. Each task starts when the tasks that it needs have passed and its
    /// pool has capacity.
    pub(super) async fn all(&self, plan: &Plan) -> io::Result<ExitStatus> {
        let mut ended: BTreeMap<&str, Ended> = BTreeMap::new();
        let mut waiting: Vec<&Arc<Task>> = plan.tasks.iter().collect();
        let mut running: Vec<Running<'_>> = Vec::new();
        loop {
            waiting.retain(|task| self.start(task, &mut ended, &mut running));
            let Some((name, result)) = next(&mut running).await else { break };
            ended.insert(name, result?);
        }
        self.summarize(plan, &ended)
    }

    /// Starts a task if the tasks that it needs have passed. Returns whether the task is still
    /// waiting.
    fn start<'r>(
        &'r self,
        task: &'r Arc<Task>,
        ended: &mut BTreeMap<&'r str, Ended>,
        running: &mut Vec<Running<'r>>,
    ) -> bool {
        let mut all_passed = true;
        for need in &task.needs {
            match ended.get(&**need) {
                Some(Ended::Passed(_)) => {}
                Some(_) => {
                    ended.insert(&task.name, Ended::NotRun(need.clone()));
                    return false;
                }
                None => all_passed = false,
            }
        }
        if all_passed {
            let (name, began) = (&*task.name, Instant::now());
            running.push(Running { name, began, ended: Box::pin(self.task(task)) });
        }
        !all_passed
    }

    fn summarize(&self, plan: &Plan, ended: &BTreeMap<&str, Ended>) -> io::Result<ExitStatus> {
        let (mut status, mut output) = (ExitStatus::Passed, self.output.lock());
        for task in &plan.tasks {
            let (task_status, text) = match ended.get(&*task.name) {
                Some(Ended::Passed(time)) => {
                    (ExitStatus::Passed, format!("passed in {:.1} s", time.as_secs_f64()))
                }
                Some(Ended::Failed(error)) => {
                    let failed = matches!(error, TaskError::Failed(_));
                    let status = if failed { ExitStatus::Failed } else { ExitStatus::Error };
                    (status, format!("failed: {error}"))
                }
                Some(Ended::NotRun(need)) => {
                    (ExitStatus::Failed, format!("not run, because {need} did not pass"))
                }
                None => (ExitStatus::Error, "not run".to_owned()),
            };
            status = status.max(task_status);
            writeln!(output, "{}: {text}", task.name)?;
        }
        for step in &plan.skipped {
            writeln!(output, "{}: not run: {}", step.step, step.reason)?;
        }
        if plan.tasks.is_empty() {
            writeln!(output, "no step runs for {}", self.target)?;
        }
        output.flush()?;
        Ok(status)
    }

    /// Runs a task and prints its log. The outer error means that the output could not be written.
    async fn task(&self, task: &Arc<Task>) -> TaskResult {
        let title = format!("Step {}", task.name);
        let log = BuildLog::new(&title, self.settings.masked(), self.settings.log);
        let (mut reader, mut printer) = (log.reader(), Printer::new(&task.name));
        let mut attempts = std::pin::pin!(async {
            let ended = self.attempts(task, &log).await;
            log.finish();
            ended
        });
        let mut ended = None;
        loop {
            tokio::select! {
                result = &mut attempts, if ended.is_none() => ended = Some(result),
                part = reader.next() => match (part, ended.take()) {
                    (Some(part), result) => {
                        ended = result;
                        printer.print(&part, &mut **self.output.lock())?;
                    }
                    (None, Some(result)) => {
                        printer.finish(&mut **self.output.lock())?;
                        return Ok(result);
                    }
                    // The log is finished only after all attempts have ended.
                    (None, None) => ended = Some((&mut attempts).await),
                },
            }
        }
    }

    fn pool(&self, task: &Task) -> Pool {
        match task.pool.as_deref() {
            None | Some(DEFAULT_POOL) => self.pools.get_or_add(DEFAULT_POOL, 1),
            Some(name) => {
                self.settings.pools.get(name).unwrap_or_else(|| self.pools.get_or_add(name, 1))
            }
        }
    }

    async fn attempts(&self, task: &Arc<Task>, log: &BuildLog) -> Result<(), TaskError> {
        let (pool, mut attempt) = (self.pool(task), 1);
        let holder = Holder::new(self.target.repo().to_string(), task.name.clone());
        loop {
            let place = pool.acquire_with(&holder, None).await;
            let place = place.map_err(|error| TaskError::Setup(error.to_string()))?;
            let ended = self.attempt(task, log).await;
            drop(place);
            let error = match ended {
                Err(TaskError::Failed(error)) if attempt < task.step.retry.attempts => error,
                ended => return ended,
            };
            let pause = task.step.retry.pause_after(attempt);
            log.line(&format!("Attempt {attempt} failed: {error}; next in {pause:?}"));
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, task: &Arc<Task>, log: &BuildLog) -> Result<(), TaskError> {
        let setup = |error: io::Error| TaskError::Setup(format!("copy of the work tree: {error}"));
        let (from, artifacts, task_of) =
            (self.dir.clone(), self.artifacts.path().to_owned(), task.clone());
        let copy = move || {
            let copied = copy::work_tree(&from)?;
            let inputs = copy_inputs(&task_of, &artifacts, &copied)?;
            Ok::<_, io::Error>((copied, inputs))
        };
        let copied = tokio::task::spawn_blocking(copy).await.map_err(io::Error::other);
        let (copied, inputs) = copied.and_then(|copied| copied).map_err(setup)?;
        let head = git::output(&self.dir, &["rev-parse", "--verify", "--quiet", "HEAD"]);
        let head = String::from_utf8_lossy(head.as_deref().unwrap_or_default()).trim().to_owned();
        let sandbox = match (self.settings.sandbox.clone(), &copied.git) {
            (Sandbox::Isolated(isolation), Some(git)) => {
                let dirs = git.objects.iter().chain([&git.path]);
                dirs.fold(isolation, |isolation, dir| isolation.read_only(dir.clone())).into()
            }
            (sandbox, _) => sandbox,
        };
        let job = TaskRun {
            task: task.clone(),
            repo: self.target.repo().clone(),
            commit: head,
            target: task.step.per_target.then(|| self.target.clone()),
            trust: Trust::Trusted,
            images: Arc::new([]),
            inputs: inputs.as_ref().map(|dir| dir.path().to_owned()),
            sandbox,
            settings: self.settings.clone(),
        };
        let ended = job.run(&copied.tree, log).await;
        drop(inputs);
        let (task, kept) = (task.clone(), self.artifacts.path().join(&*task.name));
        let passed = ended.is_ok();
        let finish = move || {
            let found = artifacts::read(&copied.tree, &task.step.artifacts, ARTIFACT_LIMITS);
            if passed && found.1.is_empty() && !task.step.artifacts.is_empty() {
                artifacts::write(&kept, &found.0)?;
            }
            // A step could have made directories read-only.
            remove_tree(&copied.dir.keep())?;
            Ok::<_, io::Error>(found)
        };
        let found = tokio::task::spawn_blocking(finish).await.map_err(io::Error::other);
        let found = found.and_then(|found| found);
        ended?;
        let (artifacts, problems) =
            found.map_err(|error| TaskError::Setup(format!("artifacts: {error}")))?;
        for (path, artifact) in artifacts {
            let size = artifact.content.len();
            log.line(&format!("Artifact {}: {size} bytes", path.escape_ascii()));
        }
        problems.into_iter().next().map_or(Ok(()), |problem| Err(TaskError::Failed(problem)))
    }
}

/// Copies the inputs of a task to a directory next to the task's work tree. The inputs are the
/// artifacts of the tasks that the task needs.
fn copy_inputs(task: &Task, artifacts: &Path, copied: &WorkTree) -> io::Result<Option<TempDir>> {
    if task.inputs.is_empty() {
        return Ok(None);
    }
    let (dir, mut limits) = (inputs::new_dir(&copied.tree)?, INPUT_LIMITS);
    for input in &task.inputs {
        let name = &*input.task;
        files::copy(&artifacts.join(name), &dir.path().join(name), &mut limits)?;
    }
    Ok(Some(dir))
}

/// Waits until a task ends, and removes it. Returns `None` if no task is running.
async fn next<'r>(running: &mut Vec<Running<'r>>) -> Option<(&'r str, io::Result<Ended>)> {
    if running.is_empty() {
        return None;
    }
    let (index, result) = poll_fn(|context| {
        for (index, task) in running.iter_mut().enumerate() {
            if let Poll::Ready(result) = task.ended.as_mut().poll(context) {
                return Poll::Ready((index, result));
            }
        }
        Poll::Pending
    })
    .await;
    let task = running.swap_remove(index);
    let ended = result.map(|result| match result {
        Ok(()) => Ended::Passed(task.began.elapsed()),
        Err(error) => Ended::Failed(error),
    });
    Some((task.name, ended))
}
