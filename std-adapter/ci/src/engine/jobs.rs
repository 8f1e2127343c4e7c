//! The jobs of the engine. There is one job for each test of each target.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::Target;
use crate::state::JobResult;
use crate::term::{Registration, StaleSet, Term};

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
    _registration: Registration,
}

/// All jobs.
pub(super) struct Jobs {
    jobs: BTreeMap<JobId, Job>,
    targets: BTreeSet<Target>,
    pub(super) stale: StaleSet<JobId>,
}

impl Jobs {
    pub(super) fn new() -> Jobs {
        Jobs { jobs: BTreeMap::new(), targets: BTreeSet::new(), stale: StaleSet::new() }
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

    /// Adds and evaluates the jobs of new targets, and removes the jobs of targets that are not in
    /// `targets`. `tests` returns the tests of a target. Removing a job cancels its builds. Returns
    /// the new targets.
    pub(super) fn set_targets(
        &mut self,
        targets: BTreeSet<Target>,
        tests: impl Fn(&Target) -> Vec<(String, Term<String>)>,
    ) -> Vec<Target> {
        self.jobs.retain(|id, _| targets.contains(&id.target));
        let new: Vec<Target> = targets.difference(&self.targets).cloned().collect();
        for target in &new {
            for (test, term) in tests(target) {
                let id = JobId { target: target.clone(), test };
                let registration = self.stale.register(id.clone(), &term);
                let result = JobResult::of(term.evaluate());
                self.jobs.insert(id, Job { term, result, _registration: registration });
            }
        }
        self.targets = targets;
        new
    }

    /// Evaluates the given jobs and returns the targets of the jobs whose results have changed.
    pub(super) fn evaluate(&mut self, stale: BTreeSet<JobId>) -> BTreeSet<Target> {
        let mut changed = BTreeSet::new();
        for id in stale {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let result = JobResult::of(job.term.evaluate());
            if job.result != result {
                job.result = result;
                changed.insert(id.target);
            }
        }
        changed
    }
}
