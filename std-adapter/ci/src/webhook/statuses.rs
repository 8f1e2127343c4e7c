//! Watches the statuses in the metadata branch.
//!
//! The engine writes each status to the metadata branch, which also contains the statuses from
//! earlier runs. The watcher therefore reports each change once, even if the database connection is
//! lost. After a restart, it reports the changes that were not delivered before.

use std::collections::BTreeSet;
use std::fmt;

use datakit_client::db::{BranchOps, CommitOps, Database, Error, Result};
use datakit_github::{
    Changes, ElementId, PrState, Snapshot, Status, StatusId, ensure_branch, read, update,
};

use super::{Event, Webhooks};
use crate::Target;

/// Sends an event whenever one of this CI's statuses changes.
pub struct StatusWatcher {
    webhooks: Webhooks,
    branch: String,
    context: String,
    /// The last known content of the branch, or `None` if it has not been read yet.
    snapshot: Option<Snapshot>,
}

impl StatusWatcher {
    /// Creates a watcher. `branch` is the name of the metadata branch, and `context` is the prefix
    /// of the statuses to watch, for example `ci/datakit`.
    #[must_use]
    pub fn new(webhooks: Webhooks, branch: &str, context: &str) -> StatusWatcher {
        let (branch, context) = (branch.to_owned(), context.to_owned());
        StatusWatcher { webhooks, branch, context, snapshot: None }
    }

    /// Watches the branch until the database returns an error, for example because the connection
    /// was lost. Call the method again with a new connection to resume. The first call reports the
    /// changes that an earlier run did not deliver to a receiver. A new receiver is not notified of
    /// statuses that already exist. Later calls also report changes that happened between the
    /// calls.
    ///
    /// # Errors
    /// Returns the error that the database returned.
    pub async fn run<D: Database>(&mut self, db: &D) -> Result<()> {
        let branch = ensure_branch(db, &self.branch).await?;
        let mut heads = branch.watch_head().await?;
        let mut seen: Option<D::Commit> = None;
        loop {
            let Some(head) = heads.next().await.ok_or(Error::StreamEnded)?? else { continue };
            match (&seen, &self.snapshot) {
                (Some(seen), Some(old)) => {
                    let changes = Changes::of(&head.diff(seen).await?);
                    let new = update(old, &head.tree(), &changes).await?.snapshot;
                    let ids = changes.ids.iter().filter_map(as_status);
                    self.report(old, &new, ids, |event| self.webhooks.send(event));
                    self.snapshot = Some(new);
                }
                (_, last) => {
                    let undelivered = match last {
                        Some(_) => Vec::new(),
                        None => self.undelivered(db).await?,
                    };
                    let new = read(&head.tree()).await?.snapshot;
                    for (old, receivers) in undelivered {
                        let send = |event: &Event| {
                            self.webhooks.send_to(event, |id| receivers.contains(id));
                        };
                        self.report(&old, &new, new.statuses().keys(), send);
                    }
                    self.replace(new);
                }
            }
            self.webhooks.queued_all(&head.id().to_string());
            seen = Some(head);
        }
    }

    /// Groups the receivers by the commit up to which events have been delivered to them. Returns
    /// the metadata at each of these commits and the ids of the receivers in the group.
    async fn undelivered<D: Database>(&self, db: &D) -> Result<Vec<(Snapshot, BTreeSet<String>)>> {
        let mut undelivered = Vec::new();
        for (commit, receivers) in self.webhooks.checkpoints() {
            let old = async { read(&db.commit(&commit).await?.tree()).await };
            match old.await {
                Ok(old) => undelivered.push((old.snapshot, receivers)),
                Err(error @ Error::Client(datakit_client::Error::Lost(_))) => return Err(error),
                Err(error) => {
                    tracing::warn!(commit, %error, "some webhooks might not be delivered");
                }
            }
        }
        Ok(undelivered)
    }

    /// Replaces the last known content of the branch, and reports all statuses that have changed.
    pub(super) fn replace(&mut self, new: Snapshot) {
        if let Some(old) = &self.snapshot {
            let send = |event: &Event| self.webhooks.send(event);
            self.report(old, &new, new.statuses().keys(), send);
        }
        self.snapshot = Some(new);
    }

    /// Sends an event for each given status whose state has changed.
    fn report<'i>(
        &self,
        old: &Snapshot,
        new: &Snapshot,
        ids: impl Iterator<Item = &'i StatusId>,
        send: impl Fn(&Event),
    ) {
        for status in ids.filter_map(|id| new.statuses().get(id)) {
            // If monitoring of a repository has just started, its statuses do not count as changes.
            if !old.repos().contains(&status.id.commit.repo) {
                continue;
            }
            let previous = old.statuses().get(&status.id).map(|old| old.state);
            if previous != Some(status.state)
                && let Some(test) = self.test(status)
            {
                send(&event(new, status, test, previous));
            }
        }
    }

    /// Returns the test name, or `None` if the status was written by another program. For the
    /// overall status, the name is empty.
    fn test<'s>(&self, status: &'s Status) -> Option<&'s str> {
        let rest = status.id.context.as_str().strip_prefix(&self.context)?;
        if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
    }
}

fn as_status(id: &ElementId) -> Option<&StatusId> {
    match id {
        ElementId::Status(id) => Some(id),
        _ => None,
    }
}

fn event(
    snapshot: &Snapshot,
    status: &Status,
    test: &str,
    previous: Option<datakit_github::StatusState>,
) -> Event {
    let commit = &status.id.commit;
    let prs = snapshot.prs_of(&commit.repo);
    let mut prs = prs.filter(|pr| pr.state == PrState::Open && pr.head == commit.hash);
    let targets = Target::all_of(snapshot, &commit.repo);
    let targets = targets.filter(|target| target.head(snapshot).as_ref() == Some(commit));
    Event {
        project: commit.repo.to_string(),
        commit: commit.hash.to_string(),
        targets: targets.map(|target| target.to_string()).collect(),
        title: prs.next().map(|pr| pr.title.to_string()),
        test: (!test.is_empty()).then(|| test.to_owned()),
        context: status.id.context.as_str().to_owned(),
        state: status.state,
        previous,
        description: status.description.as_ref().map(ToString::to_string),
        url: status.target_url.as_ref().map(ToString::to_string),
    }
}

impl fmt::Debug for StatusWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusWatcher")
            .field("branch", &self.branch)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}
