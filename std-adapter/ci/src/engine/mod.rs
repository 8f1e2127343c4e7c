//! The engine evaluates the tests of all targets and writes their results to the database.
//!
//! The engine works in rounds. A round starts when the metadata branch has a new head or when a
//! term should be evaluated again. The engine then evaluates these terms, commits the changed
//! results to the history branches, and commits all changed statuses to the metadata branch. The
//! GitHub bridge publishes the statuses.

mod jobs;
mod publish;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datakit_client::db::{
    BranchExt, BranchOps, CommitOps, Database, Error, Result, TransactionOps, Watch,
};
use datakit_github::{Changes, DEFAULT_BRANCH, Repo, Snapshot, add_monitors, ensure_branch};

use crate::term::Term;
use crate::{Metadata, Target};
use jobs::Jobs;
use publish::{Published, Round};

pub use jobs::{Job, JobId};

/// The time to wait before a failed write is repeated.
const RETRY: Duration = Duration::from_secs(1);

/// A repository and its tests.
#[derive(Clone)]
pub struct Project {
    /// The repository.
    pub repo: Repo,
    /// Returns the names of the tests of a target and their terms.
    tests: Arc<Tests>,
}

type Tests = dyn Fn(&TestInput) -> Vec<(String, Term<String>)> + Send + Sync;

impl Project {
    /// Creates a project. `tests` is called for each target and returns the tests of the target.
    pub fn new(
        repo: Repo,
        tests: impl Fn(&TestInput) -> Vec<(String, Term<String>)> + Send + Sync + 'static,
    ) -> Project {
        Project { repo, tests: Arc::new(tests) }
    }
}

impl fmt::Debug for Project {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Project").field("repo", &self.repo).finish_non_exhaustive()
    }
}

/// The inputs on which the tests of a target may depend.
#[derive(Debug, Clone)]
pub struct TestInput {
    /// The target.
    pub target: Target,
    /// The metadata branch.
    pub metadata: Arc<Metadata>,
}

impl TestInput {
    /// Returns a term for the commit under test.
    #[must_use]
    pub fn head(&self) -> Term<datakit_github::Commit> {
        self.metadata.head(&self.target)
    }
}

/// The options of an engine.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The name of the metadata branch.
    pub branch: String,
    /// The prefix of the context of each status. The prefix is followed by the name of the test.
    pub context: String,
    /// The root URL of the web pages to which the statuses link. The URL ends with a slash.
    pub web_url: String,
    /// The targets to test. If the set is empty, all targets are tested.
    pub canaries: BTreeSet<Target>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            branch: DEFAULT_BRANCH.to_owned(),
            context: "ci/datakit".to_owned(),
            web_url: "https://127.0.0.1:8443/".to_owned(),
            canaries: BTreeSet::new(),
        }
    }
}

/// Evaluates the tests of all targets of the projects.
pub struct Engine<D: Database> {
    db: D,
    options: Options,
    projects: Vec<Project>,
    metadata: Arc<Metadata>,
    jobs: Jobs,
    published: Published<D>,
}

impl<D: Database> Engine<D> {
    /// Creates an engine.
    pub fn new(db: D, options: Options, projects: Vec<Project>) -> Engine<D> {
        Engine {
            db,
            options,
            projects,
            metadata: Arc::new(Metadata::new()),
            jobs: Jobs::new(),
            published: Published::new(),
        }
    }

    /// Returns the content of the metadata branch as inputs of terms.
    #[must_use]
    pub fn metadata(&self) -> Arc<Metadata> {
        self.metadata.clone()
    }

    /// Returns the jobs of the last round.
    pub fn jobs(&self) -> impl Iterator<Item = (&JobId, &Job)> {
        self.jobs.iter()
    }

    /// Runs rounds until the database returns an error, for example because the connection was lost.
    /// Call the method again with a new connection to resume.
    ///
    /// # Errors
    /// Returns the error of the database.
    pub async fn run(&mut self) -> Result<()> {
        let branch = ensure_branch(&self.db, &self.options.branch).await?;
        self.monitor(&branch).await?;
        let mut heads = branch.watch_head().await?;
        let mut seen: Option<D::Commit> = None;
        loop {
            tokio::select! {
                head = next_head(&mut heads) => {
                    if let Some(head) = head? {
                        self.read_metadata(&head, seen.as_ref()).await?;
                        seen = Some(head);
                    }
                }
                stale = self.jobs.stale.next() => {
                    self.published.add(self.jobs.evaluate(stale));
                }
                () = tokio::time::sleep(RETRY), if self.published.is_incomplete() => {}
            }
            if let Some(seen) = &seen {
                let round = Round {
                    options: &self.options,
                    jobs: &self.jobs,
                    snapshot: self.metadata.snapshot(),
                    metadata: seen,
                };
                self.published.write(&self.db, &branch, &round).await?;
            }
        }
    }

    /// Marks the repositories of the projects as monitored, so that the bridge writes their targets.
    async fn monitor(&self, branch: &D::Branch) -> Result<()> {
        let repos: Vec<Repo> = self.projects.iter().map(|project| project.repo.clone()).collect();
        let added = branch.with_transaction(async |transaction| {
            if add_monitors(transaction, &repos).await? == 0 {
                transaction.abort().await;
                return Ok(());
            }
            transaction.commit("Add .monitor files").await.map(drop)
        });
        added.await
    }

    /// Reads the metadata at `head`, adds the jobs of new targets and removes the jobs of targets that
    /// no longer exist.
    async fn read_metadata(&mut self, head: &D::Commit, seen: Option<&D::Commit>) -> Result<()> {
        let state = match seen {
            None => datakit_github::read(&head.tree()).await?,
            Some(seen) => {
                let changes = Changes::of(&head.diff(seen).await?);
                let old = self.metadata.snapshot();
                datakit_github::update(&old, &head.tree(), &changes).await?
            }
        };
        let targets = self.targets(&state.snapshot);
        self.published.seen(&state.snapshot);
        let diff = self.metadata.update(state.snapshot);
        // When the head of a target changes, a new commit is added to its history.
        self.published.add(diff.updates().filter_map(|element| Target::of(&element.id())));
        let (projects, metadata) = (&self.projects, &self.metadata);
        let new = self.jobs.set_targets(targets, |target| {
            let input = TestInput { target: target.clone(), metadata: metadata.clone() };
            let project = projects.iter().find(|project| project.repo == *target.repo());
            project.map(|project| (project.tests)(&input)).unwrap_or_default()
        });
        self.published.add(new);
        Ok(())
    }

    fn targets(&self, snapshot: &Snapshot) -> BTreeSet<Target> {
        let canaries = &self.options.canaries;
        self.projects
            .iter()
            .flat_map(|project| Target::all_of(snapshot, &project.repo))
            .filter(|target| canaries.is_empty() || canaries.contains(target))
            .collect()
    }
}

async fn next_head<C: Send + 'static>(heads: &mut Watch<Option<C>>) -> Result<Option<C>> {
    heads.next().await.ok_or(Error::StreamEnded)?
}

impl<D: Database> fmt::Debug for Engine<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("projects", &self.projects).finish_non_exhaustive()
    }
}
