//! Writes the results of a round to the database.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datakit_client::db::{CommitOps, Database, Error, Result};
use datakit_github::{Commit, Snapshot, Status, StatusId};

use super::failures::Failures;
use super::index::{Index, PreparedIndex, index_dir};
use super::jobs::Jobs;
use super::statuses::{ChangedStatus, PreparedStatuses, message, overall, status};
use super::{Options, View};
use crate::Target;
use crate::concurrent::{Concurrent, boxed};
use crate::state::{History, JobResult, JobStatus, Record};

/// The time after a restart during which a pending result does not replace an older result for the
/// same commit. Most build results are read from the database within this time.
const GRACE: Duration = Duration::from_secs(2);

/// The target histories, and the statuses that still have to be written.
pub(super) struct Published<D: Database> {
    histories: BTreeMap<Target, OpenHistory<D>>,
    /// The targets whose results might differ from those in the database.
    waiting: BTreeSet<Target>,
    /// The statuses that were written but are not in the snapshot yet.
    statuses: BTreeMap<StatusId, Status>,
    index: Index,
    failures: Failures,
}

/// The results to be written in a round.
pub(super) struct Round<'r, D: Database> {
    pub(super) options: &'r Options,
    pub(super) jobs: &'r Jobs,
    pub(super) view: &'r View,
    pub(super) snapshot: Arc<Snapshot>,
    /// The commit of the snapshot.
    pub(super) metadata: &'r D::Commit,
}

struct OpenHistory<D: Database> {
    history: History<D>,
    /// The time at which the history was opened.
    opened: Instant,
}

/// The outcome of adding results to a history.
struct Addition<D: Database> {
    target: Target,
    head: Commit,
    open: OpenHistory<D>,
    result: Result<Option<D::Commit>>,
}

impl<D: Database> OpenHistory<D> {
    /// Adds the results of a target to its history. The results must differ from the last results
    /// in the history.
    async fn add(
        mut self,
        target: Target,
        head: Commit,
        record: Record,
        round: &Round<'_, D>,
    ) -> Addition<D> {
        let since = round.view.since(&target);
        let metadata = round.metadata.id().to_string();
        let result = self.history.add(record, &since, &metadata).await;
        Addition { target, head, open: self, result }
    }
}

impl<D: Database> Published<D> {
    pub(super) fn new() -> Published<D> {
        Published {
            histories: BTreeMap::new(),
            waiting: BTreeSet::new(),
            statuses: BTreeMap::new(),
            index: Index::new(),
            failures: Failures::default(),
        }
    }

    /// Forgets what was written through the previous connection, and marks the results of all
    /// targets as not yet written.
    pub(super) fn reset<'t>(&mut self, targets: impl Iterator<Item = &'t Target>) {
        *self = Published::new();
        self.waiting = targets.cloned().collect();
    }

    /// Returns the delay before the next round, or `None` if the last round wrote everything.
    pub(super) fn retry_delay(&self) -> Option<Duration> {
        let is_incomplete = !self.waiting.is_empty() || !self.index.is_complete();
        is_incomplete.then(|| self.failures.delay())
    }

    /// Adds targets whose results might differ from those in the database.
    pub(super) fn add(&mut self, targets: impl IntoIterator<Item = Target>) {
        self.waiting.extend(targets);
    }

    /// Removes statuses that are now in the snapshot from the list of written statuses.
    pub(super) fn seen(&mut self, snapshot: &Snapshot) {
        self.statuses.retain(|id, status| snapshot.statuses().get(id) != Some(status));
    }

    /// Writes the results of the waiting targets. If a write fails, the error is logged and the
    /// write is retried in the next round. Targets that no longer exist are skipped. Returns the
    /// number of statuses written.
    ///
    /// The histories, the statuses and the index are written concurrently, but the statuses and the
    /// index are committed after the histories.
    pub(super) async fn write(
        &mut self,
        db: &D,
        branch: &D::Branch,
        round: &Round<'_, D>,
    ) -> Result<usize> {
        let targets = self.open_histories(db, round).await?;
        let (mut additions, mut changed) = (Concurrent::new(), Vec::new());
        let mut dirs = self.index.dirs();
        for (target, head) in targets {
            let Some(open) = self.histories.remove(&target) else { continue };
            let results = self.results(&target, &head, &open, round);
            self.collect(round, &target, &head, &results, &mut changed);
            let record = Record { source: Some(head.hash), jobs: results };
            if *open.history.last() == record {
                round.view.set_since(&target, &open.history);
                self.histories.insert(target, open);
                continue;
            }
            dirs.extend(index_dir(&head, &target));
            additions.push(open.add(target, head, record, round));
        }
        let statuses = boxed(PreparedStatuses::write(branch, &changed));
        let index = boxed(PreparedIndex::create(db, dirs));
        let (added, statuses, index) = tokio::join!(additions.all(), statuses, index);
        let failed = self.added(added, round)?;
        let statuses = if failed.is_empty() {
            statuses
        } else {
            // The statuses of a target are committed only if its history has been written.
            changed.retain(|change| !failed.contains(&change.target));
            PreparedStatuses::write(branch, &changed).await
        };
        let indexed = boxed(async { self.index.write(index?).await });
        let committed = boxed(async { statuses?.commit(&message(&changed)).await });
        let (indexed, committed) = tokio::join!(indexed, committed);
        if let Err(error) = indexed {
            self.postpone([], error)?;
        }
        let count = match committed {
            Ok(()) => {
                let count = changed.len();
                let written = changed.into_iter().map(|change| change.status);
                self.statuses.extend(written.map(|status| (status.id.clone(), status)));
                count
            }
            Err(error) => {
                self.postpone(changed.into_iter().map(|change| change.target), error)?;
                0
            }
        };
        if self.failures.end_round() {
            tracing::info!("results are written again");
        }
        Ok(count)
    }

    /// Postpones the targets until the next round. Returns `error` if the connection was lost.
    fn postpone(&mut self, targets: impl IntoIterator<Item = Target>, error: Error) -> Result<()> {
        for target in targets {
            // The next round reads the history again, because it might have changed.
            self.histories.remove(&target);
            self.waiting.insert(target);
        }
        if matches!(error, Error::Client(_)) {
            return Err(error);
        }
        if self.failures.add(error.to_string()) {
            tracing::warn!(%error, "results could not be written, retrying");
        }
        Ok(())
    }

    /// Opens the histories of the waiting targets. Returns the targets whose histories are now
    /// open, with the head of each target.
    async fn open_histories(
        &mut self,
        db: &D,
        round: &Round<'_, D>,
    ) -> Result<Vec<(Target, Commit)>> {
        let (mut targets, mut opened) = (Vec::new(), Concurrent::new());
        for target in std::mem::take(&mut self.waiting) {
            let Some(head) = target.head(&round.snapshot) else {
                self.histories.remove(&target);
                continue;
            };
            if !self.histories.contains_key(&target) {
                let (target, head) = (target.clone(), head.clone());
                opened.push(async move {
                    let history = History::open(db, &target).await;
                    (target, head, history)
                });
            }
            targets.push((target, head));
        }
        for (target, head, history) in opened.all().await {
            match history {
                Ok(history) => {
                    if let Some(commit) = history.opened()
                        && history.last().source == Some(head.hash)
                    {
                        self.index.check(head, target.clone(), commit.id().to_string());
                    }
                    let open = OpenHistory { history, opened: Instant::now() };
                    self.histories.insert(target, open);
                }
                Err(error) => self.postpone([target], error)?,
            }
        }
        targets.retain(|(target, _)| self.histories.contains_key(target));
        Ok(targets)
    }

    /// Returns the results to be written for a target.
    fn results(
        &mut self,
        target: &Target,
        head: &Commit,
        OpenHistory { history, opened }: &OpenHistory<D>,
        round: &Round<'_, D>,
    ) -> BTreeMap<String, JobResult> {
        let mut jobs = BTreeMap::new();
        for (test, job) in round.jobs.of(target) {
            let result = match finished_before(history.last(), head, test) {
                Some(last)
                    if job.result.status == JobStatus::Pending && opened.elapsed() < GRACE =>
                {
                    self.waiting.insert(target.clone());
                    last.clone()
                }
                _ => job.result.clone(),
            };
            jobs.insert(test.to_owned(), result);
        }
        // The target keeps its earlier results until its tests are known.
        if !round.jobs.is_planned(target) && history.last().source == Some(head.hash) {
            for (test, result) in &history.last().jobs {
                jobs.entry(test.clone()).or_insert_with(|| result.clone());
            }
        }
        jobs
    }

    /// Keeps the histories that were written. Postpones the other targets and returns them.
    fn added(&mut self, added: Vec<Addition<D>>, round: &Round<'_, D>) -> Result<BTreeSet<Target>> {
        let mut failed = BTreeSet::new();
        for Addition { target, head, open, result } in added {
            match result {
                Ok(commit) => {
                    round.view.set_since(&target, &open.history);
                    self.histories.insert(target.clone(), open);
                    if let Some(commit) = commit {
                        self.index.add(head, target, commit.id().to_string());
                    }
                }
                Err(error) => {
                    self.postpone([target.clone()], error)?;
                    failed.insert(target);
                }
            }
        }
        Ok(failed)
    }

    /// Collects a target's statuses that differ from those in the metadata branch.
    fn collect(
        &self,
        round: &Round<'_, D>,
        target: &Target,
        head: &Commit,
        results: &BTreeMap<String, JobResult>,
        changed: &mut Vec<ChangedStatus>,
    ) {
        let overall = round.options.overall.then(|| overall(results));
        let overall = overall.iter().map(|overall| ("", overall));
        for (test, result) in results.iter().map(|(test, result)| (&**test, result)).chain(overall)
        {
            let Some(status) = status(round.options, head, test, result) else { continue };
            let found = || round.snapshot.statuses().get(&status.id);
            if self.statuses.get(&status.id).or_else(found) != Some(&status) {
                let (target, test) = (target.clone(), test.to_owned());
                changed.push(ChangedStatus { target, test, status });
            }
        }
    }
}

/// Returns a job's result from the history if the job finished and tested the same commit.
fn finished_before<'r>(last: &'r Record, head: &Commit, test: &str) -> Option<&'r JobResult> {
    let result = last.jobs.get(test).filter(|_| last.source == Some(head.hash))?;
    (result.status != JobStatus::Pending).then_some(result)
}
