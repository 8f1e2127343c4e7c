//! Writes the results of a round to the database.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datakit_client::db::{
    BranchExt, BranchOps, CommitOps, Database, Error, Path, Result, TransactionOps, TreeExt,
};
use datakit_github::{
    Commit, Context, Description, Diff, Element, ElementId, FILE_MAX, Snapshot, Status, StatusId,
    StatusState, Text, layout, write,
};

use super::jobs::Jobs;
use super::obstacles::remove_obstacles;
use super::{Options, View};
use crate::Target;
use crate::state::{History, INDEX_BRANCH, JobResult, JobStatus, Record, index_path};
use crate::state::{is_no_file, is_no_usable_file};

/// How long after a restart a pending result does not replace an older result for the same commit.
/// Most build results are read from the database within this time.
const GRACE: Duration = Duration::from_secs(2);

/// The target histories, and the statuses that still have to be written.
pub(super) struct Published<D: Database> {
    /// The open histories, and the times at which they were opened.
    histories: BTreeMap<Target, (History<D>, Instant)>,
    /// The targets whose results might differ from those in the database.
    waiting: BTreeSet<Target>,
    /// The statuses that were written but are not in the snapshot yet.
    statuses: BTreeMap<StatusId, Status>,
    /// The index entries that have not been written yet.
    index: BTreeMap<(Commit, Target), String>,
    /// The index entries that an earlier run might not have written. A history and its index entry
    /// are in different branches, so a crash can separate them.
    unchecked: BTreeMap<(Commit, Target), String>,
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

/// A job whose status has changed.
struct ChangedStatus {
    target: Target,
    test: String,
    status: Status,
}

impl<D: Database> Published<D> {
    pub(super) fn new() -> Published<D> {
        Published {
            histories: BTreeMap::new(),
            waiting: BTreeSet::new(),
            statuses: BTreeMap::new(),
            index: BTreeMap::new(),
            unchecked: BTreeMap::new(),
        }
    }

    /// Forgets what was written through the last connection, and marks the results of all targets
    /// as not yet written.
    pub(super) fn reset<'t>(&mut self, targets: impl Iterator<Item = &'t Target>) {
        *self = Published::new();
        self.waiting = targets.cloned().collect();
    }

    /// Returns `true` if the last round could not write everything.
    pub(super) fn is_incomplete(&self) -> bool {
        !self.waiting.is_empty() || !self.index.is_empty() || !self.unchecked.is_empty()
    }

    /// Adds targets whose results might differ from those in the database.
    pub(super) fn add(&mut self, targets: impl IntoIterator<Item = Target>) {
        self.waiting.extend(targets);
    }

    /// Removes statuses that are in the snapshot from the list of written statuses.
    pub(super) fn seen(&mut self, snapshot: &Snapshot) {
        self.statuses.retain(|id, status| snapshot.statuses().get(id) != Some(status));
    }

    /// Writes the results of the waiting targets. If a write fails, the error is logged and the
    /// write is retried in the next round. Targets that no longer exist are skipped. Returns the
    /// number of statuses written.
    pub(super) async fn write(
        &mut self,
        db: &D,
        branch: &D::Branch,
        round: &Round<'_, D>,
    ) -> Result<usize> {
        let mut changed = Vec::new();
        for target in std::mem::take(&mut self.waiting) {
            let Some(head) = target.head(&round.snapshot) else {
                self.histories.remove(&target);
                continue;
            };
            match self.add_history(db, &target, &head, round).await {
                Ok(results) => self.collect(round, &target, &head, results, &mut changed),
                Err(error) => self.postpone([target], error)?,
            }
        }
        if let Err(error) = self.write_index(db).await {
            self.postpone([], error)?;
        }
        match write_statuses(branch, &changed).await {
            Ok(()) => {
                let count = changed.len();
                let written = changed.into_iter().map(|change| change.status);
                self.statuses.extend(written.map(|status| (status.id.clone(), status)));
                Ok(count)
            }
            Err(error) => {
                self.postpone(changed.into_iter().map(|change| change.target), error)?;
                Ok(0)
            }
        }
    }

    /// Keeps the targets for the next round. Returns `error` if the connection was lost.
    fn postpone(&mut self, targets: impl IntoIterator<Item = Target>, error: Error) -> Result<()> {
        for target in targets {
            // The next round reads the history again, because it might have changed.
            self.histories.remove(&target);
            self.waiting.insert(target);
        }
        if matches!(error, Error::Client(_)) {
            return Err(error);
        }
        tracing::warn!(%error, "results could not be written, retrying");
        Ok(())
    }

    /// Adds the results of a target to its history and returns the results.
    async fn add_history(
        &mut self,
        db: &D,
        target: &Target,
        head: &Commit,
        round: &Round<'_, D>,
    ) -> Result<BTreeMap<String, JobResult>> {
        let (history, opened) = match self.histories.entry(target.clone()) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => {
                let history = History::open(db, target).await?;
                let is_of_head = history.last().source == Some(head.hash);
                if let Some(commit) = history.opened().filter(|_| is_of_head) {
                    let entry = (head.clone(), target.clone());
                    self.unchecked.insert(entry, commit.id().to_string());
                }
                place.insert((history, Instant::now()))
            }
        };
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
        let record = Record { source: Some(head.hash), jobs: jobs.clone() };
        let since = round.view.since(target);
        let metadata = round.metadata.id().to_string();
        let added = history.add(record, &since, &metadata).await?;
        round.view.set_since(target, history);
        if let Some(commit) = added {
            self.index.insert((head.clone(), target.clone()), commit.id().to_string());
        }
        Ok(jobs)
    }

    /// Collects the statuses of a target that differ from those in the metadata branch.
    fn collect(
        &self,
        round: &Round<'_, D>,
        target: &Target,
        head: &Commit,
        results: BTreeMap<String, JobResult>,
        changed: &mut Vec<ChangedStatus>,
    ) {
        let overall = round.options.overall.then(|| (String::new(), overall(&results)));
        for (test, result) in results.into_iter().chain(overall) {
            let Some(status) = status(round.options, head, &test, &result) else { continue };
            let found = || round.snapshot.statuses().get(&status.id);
            if self.statuses.get(&status.id).or_else(found) != Some(&status) {
                changed.push(ChangedStatus { target: target.clone(), test, status });
            }
        }
    }

    async fn write_index(&mut self, db: &D) -> Result<()> {
        if self.index.is_empty() && self.unchecked.is_empty() {
            return Ok(());
        }
        let branch = db.branch(INDEX_BRANCH).await?;
        self.check_index(&branch).await?;
        if self.index.is_empty() {
            return Ok(());
        }
        let transaction = branch.transaction().await?;
        for ((commit, target), history) in &self.index {
            let path = index_path(commit, target)?;
            transaction.make_dirs(&path.parent()).await?;
            transaction.create_or_replace_file(&path, format!("{history}\n").as_bytes()).await?;
        }
        let count = self.index.len();
        transaction.commit(&format!("Index {count} commits")).await?;
        self.index.clear();
        Ok(())
    }

    /// Adds the unchecked entries that are missing or out of date to the entries to be written.
    async fn check_index(&mut self, branch: &D::Branch) -> Result<()> {
        if self.unchecked.is_empty() {
            return Ok(());
        }
        let head = branch.head().await?;
        for ((commit, target), history) in &self.unchecked {
            let found = match &head {
                Some(head) => {
                    let path = index_path(commit, target)?;
                    head.tree().read_file_up_to(&path, FILE_MAX).await
                }
                None => Err(Error::NotFound),
            };
            match found {
                Ok(found) if found.trim_ascii() == history.as_bytes() => continue,
                Err(error) if !is_no_usable_file(&error) => return Err(error),
                _ => {}
            }
            let entry = self.index.entry((commit.clone(), target.clone()));
            entry.or_insert_with(|| history.clone());
        }
        self.unchecked.clear();
        Ok(())
    }
}

/// Returns a job's result from the history if the job finished and tested the same commit.
fn finished_before<'r>(last: &'r Record, head: &Commit, test: &str) -> Option<&'r JobResult> {
    let result = last.jobs.get(test).filter(|_| last.source == Some(head.hash))?;
    (result.status != JobStatus::Pending).then_some(result)
}

/// Writes the statuses in one commit.
async fn write_statuses<B: BranchOps>(branch: &B, changed: &[ChangedStatus]) -> Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    let elements = changed.iter().map(|change| Element::from(change.status.clone()));
    let diff = Diff::new(elements, []);
    let written = branch.with_transaction(async |transaction| {
        write(transaction, &diff).await?;
        transaction.commit(&message(changed)).await
    });
    match written.await {
        Err(error) if is_no_file(&error) || error == Error::Exists => {}
        written => return written.map(drop),
    }
    let files: Vec<Path> = changed.iter().flat_map(status_files).collect();
    let written = branch.with_transaction(async |transaction| {
        remove_obstacles(transaction, &files).await?;
        write(transaction, &diff).await?;
        transaction.commit(&message(changed)).await
    });
    written.await.map(drop)
}

/// Returns the paths of a status.
fn status_files(change: &ChangedStatus) -> impl Iterator<Item = Path> + use<> {
    let dir = layout::dir(&ElementId::Status(change.status.id.clone()));
    let names = ["state", "description", "target_url"];
    names.into_iter().filter_map(move |name| dir.clone().join(name).ok())
}

/// Returns the overall result of a target: a failure if any test failed, otherwise pending if any
/// test is pending.
fn overall(results: &BTreeMap<String, JobResult>) -> JobResult {
    let of = |status: JobStatus| -> Vec<&str> {
        results.iter().filter(|(_, r)| r.status == status).map(|(test, _)| &**test).collect()
    };
    let (failed, pending) = (of(JobStatus::Failure), of(JobStatus::Pending));
    let (status, text) = match (failed.as_slice(), pending.as_slice()) {
        ([], []) => (JobStatus::Success, format!("{} tests passed", results.len())),
        ([], _) => {
            let done = results.len().saturating_sub(pending.len());
            (JobStatus::Pending, format!("{done} of {} tests passed", results.len()))
        }
        ([test], _) => (JobStatus::Failure, format!("{test} failed")),
        (failed, _) => {
            let text = format!("{} of {} tests failed", failed.len(), results.len());
            (JobStatus::Failure, text)
        }
    };
    JobResult { status, text, logs: crate::term::Logs::None }
}

/// Returns the status for a result, or `None` if the test name is not valid in a context.
fn status(options: &Options, head: &Commit, test: &str, result: &JobResult) -> Option<Status> {
    let repo = &head.repo;
    let (context, url) =
        (&options.context, format!("{}{repo}/commit/{}", options.web_url, head.hash));
    let (context, url) = match test {
        "" => (context.clone(), url),
        test => (format!("{context}/{test}"), format!("{url}?test={}", percent_encode(test))),
    };
    let context = Context::new(&context).ok()?;
    Some(Status {
        id: StatusId { commit: head.clone(), context },
        state: match result.status {
            JobStatus::Pending => StatusState::Pending,
            JobStatus::Success => StatusState::Success,
            JobStatus::Failure => StatusState::Failure,
        },
        description: Some(Description::from(&*result.text)),
        target_url: Some(Text::from(url)),
    })
}

/// Encodes a name for use in a URL query.
fn percent_encode(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Describes the written statuses: `Set TARGET:TEST to TEXT`, `Update N jobs in TARGET`, or `N
/// updates` followed by a list.
fn message(changed: &[ChangedStatus]) -> String {
    let text = |change: &ChangedStatus| {
        change.status.description.as_ref().map(ToString::to_string).unwrap_or_default()
    };
    if let [change] = changed {
        return format!("Set {}:{} to {}", change.target, change.test, text(change));
    }
    let targets: BTreeSet<&Target> = changed.iter().map(|change| &change.target).collect();
    if let (1, Some(target)) = (targets.len(), targets.first()) {
        return format!("Update {} jobs in {target}", changed.len());
    }
    let lines = changed.iter().map(|change| {
        format!("{}:{} {}\n", change.target, change.test, change.status.state.as_str())
    });
    format!("{} updates\n\n{}", changed.len(), lines.collect::<String>())
}
