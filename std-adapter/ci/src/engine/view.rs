//! Makes an engine's jobs visible to other parts of the program, for example the web pages.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use datakit_client::db::Database;
use datakit_github::{Commit, ElementId, OversizedFile, Snapshot};
use parking_lot::RwLock;
use tokio::sync::broadcast;

use super::jobs::Jobs;
use crate::Target;
use crate::state::{History, JobResult, JobStatus, Record};
use crate::term::{AnyNode, State};

/// The number of changes by which a receiver can fall behind.
const CHANGES_MAX: usize = 1024;

/// A read-only view of the jobs of an engine. All clones show the same jobs. The view remains valid
/// after the engine is dropped.
#[derive(Clone)]
pub struct View {
    shared: Arc<ViewInner>,
}

struct ViewInner {
    targets: RwLock<BTreeMap<Target, Arc<TargetView>>>,
    /// The targets whose metadata could not be read, and the reasons.
    problems: RwLock<BTreeMap<Target, String>>,
    changes: broadcast::Sender<Target>,
}

/// A target and its jobs.
#[derive(Debug, Clone)]
pub struct TargetView {
    /// The target.
    pub target: Target,
    /// The commit under test.
    pub head: Commit,
    /// The title of a pull request. Branches and tags have no title.
    pub title: Option<String>,
    /// The jobs, sorted by name.
    pub jobs: Vec<JobView>,
}

/// A job and its last result.
#[derive(Clone)]
pub struct JobView {
    /// The name of the test.
    pub test: String,
    /// The last result.
    pub result: JobResult,
    /// The node of the job's term. Call [`explain`](crate::term::explain) to find out what the job
    /// is waiting for.
    pub node: Arc<dyn AnyNode>,
    /// The time at which the job reached its current status for the commit under test. This time is
    /// kept when the server is restarted.
    pub since: SystemTime,
}

impl JobView {
    /// Returns the text of the result. For a pending job, the text also names the resource that the
    /// job is waiting for.
    #[must_use]
    pub fn text(&self) -> String {
        match self.node.state() {
            State::Pending(pending) if self.result.status == JobStatus::Pending => {
                pending.to_string()
            }
            _ => self.result.text.clone(),
        }
    }
}

impl View {
    /// Creates an empty view.
    #[must_use]
    pub fn new() -> View {
        let changes = broadcast::Sender::new(CHANGES_MAX);
        let (targets, problems) = Default::default();
        View { shared: Arc::new(ViewInner { targets, problems, changes }) }
    }

    /// Returns all targets in order.
    #[must_use]
    pub fn targets(&self) -> Vec<Arc<TargetView>> {
        self.shared.targets.read().values().cloned().collect()
    }

    /// Returns a target, or `None` if the engine does not test it.
    #[must_use]
    pub fn target(&self, target: &Target) -> Option<Arc<TargetView>> {
        self.shared.targets.read().get(target).cloned()
    }

    /// Returns the reason why the metadata of a target could not be read. Without its metadata, the
    /// target can be missing.
    #[must_use]
    pub fn problem(&self, target: &Target) -> Option<String> {
        self.shared.problems.read().get(target).cloned()
    }

    /// Returns the targets that are missing because their metadata could not be read, and the
    /// reasons.
    #[must_use]
    pub fn unreadable(&self) -> BTreeMap<Target, String> {
        let targets = self.shared.targets.read();
        let mut problems = self.shared.problems.read().clone();
        problems.retain(|target, _| !targets.contains_key(target));
        problems
    }

    /// Replaces the reasons why metadata could not be read.
    pub(super) fn set_problems(&self, oversized: &BTreeMap<ElementId, OversizedFile>) {
        let problem =
            |(id, file): (&ElementId, &OversizedFile)| Some((Target::of(id)?, file.to_string()));
        *self.shared.problems.write() = oversized.iter().filter_map(problem).collect();
    }

    /// Returns a receiver that reports changed targets. After
    /// [`RecvError::Lagged`](broadcast::error::RecvError::Lagged), any target could have changed.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Target> {
        self.shared.changes.subscribe()
    }

    /// Removes all targets.
    pub(super) fn clear(&self) {
        let targets = std::mem::take(&mut *self.shared.targets.write());
        for target in targets.into_keys() {
            // The call fails if there is no receiver.
            let _ = self.shared.changes.send(target);
        }
    }

    /// Returns the times at which the jobs of a target reached their current status, keyed by test
    /// name.
    pub(super) fn since(&self, target: &Target) -> BTreeMap<String, SystemTime> {
        let view = self.target(target);
        let jobs = view.iter().flat_map(|view| &view.jobs);
        jobs.map(|job| (job.test.clone(), job.since)).collect()
    }

    /// Copies the time from the history to each job whose status is the same there. The time may
    /// predate a restart.
    pub(super) fn set_since<D: Database>(&self, target: &Target, history: &History<D>) {
        let Record { source, jobs } = history.last();
        let stored = |test: &str, status: JobStatus| {
            jobs.get(test).filter(|last| last.status == status)?;
            history.since().get(test).copied()
        };
        {
            let mut targets = self.shared.targets.write();
            let Some(view) = targets.get_mut(target) else { return };
            let mut views = view.jobs.iter();
            let is_known = |job: &JobView| {
                stored(&job.test, job.result.status).is_none_or(|since| since == job.since)
            };
            if *source != Some(view.head.hash) || views.all(is_known) {
                return;
            }
            for job in &mut Arc::make_mut(view).jobs {
                job.since = stored(&job.test, job.result.status).unwrap_or(job.since);
            }
        }
        // The call fails if there is no receiver.
        let _ = self.shared.changes.send(target.clone());
    }

    /// Replaces the jobs of a target, or removes the target if it no longer exists.
    pub(super) fn set(&self, target: &Target, snapshot: &Snapshot, jobs: &Jobs) {
        let old = self.target(target);
        let new = target.head(snapshot).filter(|_| jobs.contains(target)).map(|head| TargetView {
            title: target.title(snapshot),
            jobs: job_views(target, jobs, old.as_deref().filter(|old| old.head == head)),
            target: target.clone(),
            head,
        });
        {
            let mut targets = self.shared.targets.write();
            match new {
                Some(new) => drop(targets.insert(target.clone(), Arc::new(new))),
                None => drop(targets.remove(target)),
            }
        }
        // The call fails if there is no receiver.
        let _ = self.shared.changes.send(target.clone());
    }
}

fn job_views(target: &Target, jobs: &Jobs, old: Option<&TargetView>) -> Vec<JobView> {
    let now = SystemTime::now();
    let since = |test: &str, result: &JobResult| {
        let before = old?.jobs.iter().find(|job| job.test == test)?;
        (before.result.status == result.status).then_some(before.since)
    };
    let views = jobs.of(target).map(|(test, job)| JobView {
        test: test.to_owned(),
        result: job.result.clone(),
        node: job.term.node(),
        since: since(test, &job.result).unwrap_or(now),
    });
    views.collect()
}

impl fmt::Debug for JobView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobView")
            .field("test", &self.test)
            .field("result", &self.result)
            .finish_non_exhaustive()
    }
}

impl Default for View {
    fn default() -> View {
        View::new()
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let targets = self.shared.targets.read().len();
        f.debug_struct("View").field("targets", &targets).finish_non_exhaustive()
    }
}
