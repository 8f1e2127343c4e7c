//! The engine evaluates the tests of all targets and writes their results to the database.
//!
//! The engine works in rounds. A round starts when the metadata branch has a new head or when a
//! term needs to be evaluated again. In each round, the engine evaluates the affected terms,
//! commits changed results to the history branches, and commits all changed statuses to the
//! metadata branch. The GitHub bridge publishes the statuses.

mod counters;
mod failures;
mod index;
mod jobs;
mod obstacles;
mod project;
mod publish;
mod statuses;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datakit_client::db::{
    BranchExt, BranchOps, CommitOps, Database, Error, Result, TransactionOps, Watch,
};
use datakit_github::{
    Changes, DEFAULT_BRANCH, ElementId, Repo, Snapshot, StatusId, add_monitors, ensure_branch,
};

use crate::{Metadata, SharedDb, Target};
use jobs::Jobs;
use project::Planned;
use publish::{Published, Round};

pub use counters::Counters;
pub use jobs::{Job, JobId};
pub use project::{PIPELINE, Project, TestInput, Tests};
pub use view::{JobView, TargetView, View};

/// The options of an engine.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The name of the metadata branch.
    pub branch: String,
    /// The prefix of each status context. It is followed by the name of the test.
    pub context: String,
    /// The root URL of the web pages to which the statuses link. The URL ends with a slash.
    pub web_url: String,
    /// The targets to test. If the set is empty, all targets are tested.
    pub canaries: BTreeSet<Target>,
    /// Whether to write an overall status for each target. Its context is
    /// [`context`](Options::context) without a test name.
    pub overall: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            branch: DEFAULT_BRANCH.to_owned(),
            context: "ci/datakit".to_owned(),
            web_url: "https://127.0.0.1:8443/".to_owned(),
            canaries: BTreeSet::new(),
            overall: false,
        }
    }
}

/// Evaluates the tests of all targets in the projects.
pub struct Engine<D: Database> {
    db: SharedDb<D>,
    options: Options,
    projects: Vec<Project>,
    metadata: Arc<Metadata>,
    jobs: Jobs,
    published: Published<D>,
    view: View,
    counters: Counters,
}

impl<D: Database> Engine<D> {
    /// Creates an engine.
    pub fn new(db: impl Into<SharedDb<D>>, options: Options, projects: Vec<Project>) -> Engine<D> {
        Engine {
            db: db.into(),
            options,
            projects,
            metadata: Arc::new(Metadata::new()),
            jobs: Jobs::new(),
            published: Published::new(),
            view: View::new(),
            counters: Counters::default(),
        }
    }

    /// Returns the content of the metadata branch as term inputs.
    #[must_use]
    pub fn metadata(&self) -> Arc<Metadata> {
        self.metadata.clone()
    }

    /// Returns a view of the jobs. The view reflects all later changes.
    #[must_use]
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Makes the engine show its jobs in `view` and count its work in `counters`. Both can come
    /// from an earlier engine that used another connection. All targets in the view are removed.
    #[must_use]
    pub fn with_view(mut self, view: View, counters: Counters) -> Engine<D> {
        view.clear();
        (self.view, self.counters) = (view, counters);
        self
    }

    /// Returns the engine's counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.clone()
    }

    /// Returns the jobs of the last round.
    pub fn jobs(&self) -> impl Iterator<Item = (&JobId, &Job)> {
        self.jobs.iter()
    }

    /// Runs rounds until the database returns an error, for example because the connection was
    /// lost. Call the method again to resume with the next connection. Builds continue in the
    /// meantime.
    ///
    /// # Errors
    /// Returns the database error.
    pub async fn run(&mut self) -> Result<()> {
        let db = self.db.get().await;
        let branch = ensure_branch(&db, &self.options.branch).await?;
        self.monitor(&branch).await?;
        let mut heads = branch.watch_head().await?;
        let mut seen: Option<D::Commit> = None;
        self.published.reset(self.jobs.targets());
        loop {
            let retry = self.published.retry_delay();
            tokio::select! {
                head = next_head(&mut heads) => {
                    if let Some(head) = head? {
                        self.read_metadata(&head, seen.as_ref()).await?;
                        seen = Some(head);
                    }
                }
                stale = self.jobs.stale.next() => {
                    self.counters.add_evaluations(stale.len());
                    let changed = self.jobs.evaluate(stale);
                    self.changed(changed);
                }
                () = sleep(retry) => {}
            }
            if let Some(seen) = &seen {
                let round = Round {
                    options: &self.options,
                    jobs: &self.jobs,
                    view: &self.view,
                    snapshot: self.metadata.snapshot(),
                    metadata: seen,
                };
                let written = self.published.write(&db, &branch, &round).await?;
                self.counters.add_status_updates(written);
            }
        }
    }

    /// Marks the projects' repositories as monitored, so the bridge writes their targets.
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

    /// Reads the metadata at `head`, adds the jobs of new targets and removes the jobs of targets
    /// that no longer exist.
    async fn read_metadata(&mut self, head: &D::Commit, seen: Option<&D::Commit>) -> Result<()> {
        let (diff, oversized) = match seen {
            None => {
                let state = datakit_github::read(&head.tree()).await?;
                let diff = self.metadata.update(state.snapshot);
                (diff, self.metadata.set_oversized(|_| true, state.oversized))
            }
            Some(seen) => {
                let changes = Changes::of(&head.diff(seen).await?);
                let old = self.metadata.snapshot();
                let state = datakit_github::update(&old, &head.tree(), &changes).await?;
                let diff = self.metadata.update_changed(state.snapshot, &changes.ids);
                let is_read = |id: &ElementId| is_changed(id, &changes.ids);
                (diff, self.metadata.set_oversized(is_read, state.oversized))
            }
        };
        self.view.set_problems(&oversized);
        self.counters.add_metadata_update();
        let snapshot = self.metadata.snapshot();
        self.published.seen(&snapshot);
        // When the head of a target changes, a new commit is added to the target's history.
        let updated = diff.updates().filter_map(|element| Target::of(&element.id()));
        let removed = diff.removals().filter_map(Target::of);
        let mut changed: BTreeSet<Target> = updated.chain(removed).collect();
        if changed.is_empty() && seen.is_some() {
            // Only statuses have changed, for example those written by this engine.
            return Ok(());
        }
        let targets = self.targets(&snapshot);
        let (projects, metadata) = (&self.projects, &self.metadata);
        changed.extend(self.jobs.set_targets(targets, |target| {
            let input = TestInput { target: target.clone(), metadata: metadata.clone() };
            let project = projects.iter().find(|project| project.repo == *target.repo());
            project.map_or_else(|| Planned::Fixed(Tests::new()), |project| project.plan(&input))
        }));
        self.changed(changed);
        Ok(())
    }

    /// Updates the changed targets in the view and marks their results as not yet written.
    fn changed(&mut self, changed: BTreeSet<Target>) {
        let snapshot = self.metadata.snapshot();
        for target in &changed {
            self.view.set(target, &snapshot, &self.jobs);
        }
        self.published.add(changed);
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

/// Returns `true` if an element, or the commit or repository that contains it, has changed.
fn is_changed(id: &ElementId, changed: &BTreeSet<ElementId>) -> bool {
    let in_commit = |status: &StatusId| changed.contains(&status.commit.clone().into());
    changed.contains(id)
        || changed.contains(&id.repo().clone().into())
        || matches!(id, ElementId::Status(status) if in_commit(status))
}

/// Waits for a delay, or forever if there is none.
async fn sleep(delay: Option<Duration>) {
    match delay {
        Some(delay) => tokio::time::sleep(delay).await,
        None => std::future::pending().await,
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
