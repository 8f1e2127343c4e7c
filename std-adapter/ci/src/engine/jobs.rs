//! The engine's jobs. There is one job for each test of each target.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::project::{PIPELINE, Planned, Tests};
use crate::Target;
use crate::state::JobResult;
use crate::term::{Evaluation, Outcome, Registration, StaleSet, Term, Wait};

/// Identifies a job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId {
    /// The target.
    pub target: Target,
    /// The name of the test.
    pub test: String,
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.target, self.test)
    }
}

/// A test of a target.
#[derive(Debug)]
pub struct Job {
    /// The term that computes the result.
    pub term: Term<String>,
    /// The result of the last evaluation.
    pub result: JobResult,
    /// The resource that the job is waiting for, which is shown but not stored.
    wait: Option<Arc<Wait>>,
    _registration: Registration,
}

/// All jobs.
pub(super) struct Jobs {
    jobs: BTreeMap<JobId, Job>,
    targets: BTreeMap<Target, TargetJobs>,
    pub(super) stale: StaleSet<JobId>,
}

/// How the jobs of a target are determined.
enum TargetJobs {
    /// The jobs were created when the target appeared.
    Fixed,
    /// The value of a term determines the jobs.
    Dynamic {
        plan: Term<Arc<Tests>>,
        /// The value of the term from which the current jobs were created.
        current: Option<Arc<Tests>>,
        /// Whether the term is pending.
        pending: bool,
    },
}

impl Jobs {
    pub(super) fn new() -> Jobs {
        Jobs { jobs: BTreeMap::new(), targets: BTreeMap::new(), stale: StaleSet::new() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&JobId, &Job)> {
        self.jobs.iter()
    }

    /// Returns the jobs of a target.
    pub(super) fn of<'j>(&'j self, target: &'j Target) -> impl Iterator<Item = (&'j str, &'j Job)> {
        let first = JobId { target: target.clone(), test: String::new() };
        let jobs = self.jobs.range(first..).take_while(move |(id, _)| id.target == *target);
        jobs.map(|(id, job)| (&*id.test, job))
    }

    /// Returns all targets.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.keys()
    }

    pub(super) fn contains(&self, target: &Target) -> bool {
        self.targets.contains_key(target)
    }

    /// Returns `true` if the tests of a target are known.
    pub(super) fn is_planned(&self, target: &Target) -> bool {
        !matches!(self.targets.get(target), Some(TargetJobs::Dynamic { pending: true, .. }))
    }

    /// Adds and evaluates jobs for new targets, and removes the jobs of targets that are not in
    /// `targets`. `plan` returns the tests for a target. Removing a job cancels its builds. Returns
    /// the new targets.
    pub(super) fn set_targets(
        &mut self,
        targets: BTreeSet<Target>,
        plan: impl Fn(&Target) -> Planned,
    ) -> Vec<Target> {
        self.jobs.retain(|id, _| targets.contains(&id.target));
        self.targets.retain(|target, _| targets.contains(target));
        let new: Vec<Target> =
            targets.into_iter().filter(|target| !self.targets.contains_key(target)).collect();
        for target in &new {
            let jobs = match plan(target) {
                Planned::Fixed(tests) => {
                    self.add(target, &tests);
                    TargetJobs::Fixed
                }
                Planned::Dynamic(plan) => {
                    let text = plan.map(|tests| count(tests.len()));
                    self.add(target, &[(PIPELINE.to_owned(), text)]);
                    TargetJobs::Dynamic { plan, current: None, pending: true }
                }
            };
            self.targets.insert(target.clone(), jobs);
            self.replan(target);
        }
        new
    }

    /// Evaluates the given jobs. Returns the targets of the jobs whose result or awaited resource
    /// has changed.
    pub(super) fn evaluate(&mut self, stale: BTreeSet<JobId>) -> BTreeSet<Target> {
        let mut changed = BTreeSet::new();
        for id in stale {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let (result, wait) = result_and_wait(job.term.evaluate());
            let differs = job.result != result || job.wait != wait;
            (job.result, job.wait) = (result, wait);
            if (id.test == PIPELINE && self.replan(&id.target)) || differs {
                changed.insert(id.target);
            }
        }
        changed
    }

    fn add(&mut self, target: &Target, tests: &[(String, Term<String>)]) {
        for (test, term) in tests {
            let id = JobId { target: target.clone(), test: test.clone() };
            let registration = self.stale.register(id.clone(), term);
            let (result, wait) = result_and_wait(term.evaluate());
            let job = Job { term: term.clone(), result, wait, _registration: registration };
            self.jobs.insert(id, job);
        }
    }

    /// Replaces the jobs of a target and returns `true` if the target's tests have changed.
    fn replan(&mut self, target: &Target) -> bool {
        let Some(TargetJobs::Dynamic { plan, current, pending }) = self.targets.get_mut(target)
        else {
            return false;
        };
        let outcome = plan.evaluate().outcome;
        *pending = matches!(outcome, Outcome::Pending(_));
        let new = match outcome {
            Outcome::Success(tests) => Some(tests),
            Outcome::Failure(_) | Outcome::Pending(_) => None,
        };
        let same = match (&*current, &new) {
            (Some(current), Some(new)) => Arc::ptr_eq(current, new),
            (None, None) => true,
            _ => false,
        };
        if same {
            return false;
        }
        current.clone_from(&new);
        self.jobs.retain(|id, _| id.target != *target || id.test == PIPELINE);
        // A test cannot replace the pipeline job.
        let tests = new.as_deref().map(Vec::as_slice).unwrap_or_default();
        for test in tests.iter().filter(|(name, _)| name != PIPELINE) {
            self.add(target, std::slice::from_ref(test));
        }
        true
    }
}

fn result_and_wait(evaluation: Evaluation<String>) -> (JobResult, Option<Arc<Wait>>) {
    let wait = match &evaluation.outcome {
        Outcome::Pending(pending) => pending.wait.clone(),
        _ => None,
    };
    (JobResult::of(evaluation), wait)
}

/// Formats the number of tests for display.
fn count(tests: usize) -> String {
    format!("{tests} {}", if tests == 1 { "test" } else { "tests" })
}
