//! The statuses in the metadata branch.

use std::collections::{BTreeMap, BTreeSet};

use datakit_client::db::{BranchOps, Error, Path, Result, TransactionOps};
use datakit_github::{
    Commit, Context, Description, Diff, Element, ElementId, Status, StatusId, StatusState, Text,
    layout, write,
};

use super::Options;
use super::obstacles::remove_obstacles;
use crate::Target;
use crate::state::{JobResult, JobStatus, is_no_file};

/// A job whose status has changed.
pub(super) struct ChangedStatus {
    pub(super) target: Target,
    pub(super) test: String,
    pub(super) status: Status,
}

/// A transaction with changed statuses, or nothing if no status has changed.
pub(super) struct PreparedStatuses<T>(Option<T>);

impl<T: TransactionOps> PreparedStatuses<T> {
    /// Writes the statuses without committing them.
    pub(super) async fn write<B>(
        branch: &B,
        changed: &[ChangedStatus],
    ) -> Result<PreparedStatuses<T>>
    where
        B: BranchOps<Transaction = T>,
    {
        if changed.is_empty() {
            return Ok(PreparedStatuses(None));
        }
        let elements = changed.iter().map(|change| Element::from(change.status.clone()));
        let diff = Diff::new(elements, []);
        let transaction = branch.transaction().await?;
        match write(&transaction, &diff).await {
            Err(error) if is_no_file(&error) || error == Error::Exists => {}
            written => return written.map(|()| PreparedStatuses(Some(transaction))),
        }
        transaction.abort().await;
        let transaction = branch.transaction().await?;
        let files: Vec<Path> = changed.iter().flat_map(status_files).collect();
        remove_obstacles(&transaction, &files).await?;
        write(&transaction, &diff).await?;
        Ok(PreparedStatuses(Some(transaction)))
    }

    pub(super) async fn commit(self, message: &str) -> Result<()> {
        match self.0 {
            Some(transaction) => transaction.commit(message).await.map(drop),
            None => Ok(()),
        }
    }
}

/// Returns the paths of a status.
fn status_files(change: &ChangedStatus) -> impl Iterator<Item = Path> + use<> {
    let dir = layout::dir(&ElementId::Status(change.status.id.clone()));
    let names = ["state", "description", "target_url"];
    names.into_iter().filter_map(move |name| dir.clone().join(name).ok())
}

/// Returns the overall result of a target: a failure if any test failed, otherwise pending if any
/// test is pending.
pub(super) fn overall(results: &BTreeMap<String, JobResult>) -> JobResult {
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
pub(super) fn status(
    options: &Options,
    head: &Commit,
    test: &str,
    result: &JobResult,
) -> Option<Status> {
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
pub(super) fn message(changed: &[ChangedStatus]) -> String {
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
