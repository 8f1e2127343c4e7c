//! Pushes branches to another repository whenever they change.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::push::{Push, PushError};
use super::sanitize::sanitize_url;
use crate::{BranchName, Database, Id, Result};

/// The default delay between the first change to a branch and the push. Changes that occur during
/// the delay are included in the same push.
pub const PUSH_DEBOUNCE: Duration = Duration::from_secs(2);

/// The maximum delay between attempts to push a branch.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// Pushes all branches to `url` and then keeps pushing every branch that changes.
///
/// Changes that occur within `debounce` of the first change are pushed together. After each round
/// of pushes in which at least one branch was pushed, `on_push` is called with the duration of the
/// round. Failures are logged. Each branch has its own exponential backoff for retries, so a branch
/// that the remote rejects does not delay the others.
///
/// The future never completes. Dropping the future does not stop a push that is in progress.
pub async fn auto_push(
    database: Database,
    push: Arc<dyn Push>,
    url: String,
    debounce: Duration,
    on_push: impl Fn(Duration),
) {
    // Subscribe before reading the heads for the first time, so that no change is missed.
    let mut changes = database.moves();
    let mut pusher =
        Pusher { database: database.clone(), push, url, debounce, branches: HashMap::new() };
    loop {
        let start = std::time::Instant::now();
        match pusher.push_due().await {
            Ok(true) => on_push(start.elapsed()),
            Ok(false) => {}
            Err(error) => tracing::warn!("cannot push: {error}"),
        }
        let retry = pusher.next_retry();
        tokio::select! {
            () = branch_changed(&mut changes) => tokio::time::sleep(debounce).await,
            () = sleep_until(retry) => {}
        }
        // Discard all pending notifications, because the next call to `push_due` reads the heads of
        // all branches anyway.
        changes = changes.resubscribe();
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Waits for a notification that a branch may have changed.
async fn branch_changed(changes: &mut Receiver<Option<BranchName>>) {
    match changes.recv().await {
        Ok(_) | Err(RecvError::Lagged(_)) => {}
        // The channel is never closed, because the caller holds the database, which owns the
        // sender.
        Err(RecvError::Closed) => std::future::pending().await,
    }
}

/// The state of [`auto_push`].
struct Pusher {
    database: Database,
    push: Arc<dyn Push>,
    url: String,
    debounce: Duration,
    branches: HashMap<BranchName, RemoteBranch>,
}

/// The last known state of a branch on the remote.
#[derive(Default)]
struct RemoteBranch {
    /// The head of the branch on the remote after the last successful push.
    head: Option<Id>,
    retry: Option<Retry>,
}

/// The next retry for a branch whose last push failed.
struct Retry {
    at: Instant,
    /// The delay before the next attempt. The delay is doubled after every failure.
    backoff: Duration,
}

impl Pusher {
    /// Pushes every branch that has changed since the last push or is due for a retry. Returns
    /// whether at least one branch was pushed.
    async fn push_due(&mut self) -> Result<bool> {
        let heads = self.database.run(Database::heads).await?;
        let head_of = |name: &BranchName| {
            let position = heads.binary_search_by(|(found, _)| found.cmp(name)).ok()?;
            heads.get(position).map(|(_, head)| *head)
        };
        // Remove the state of branches that exist neither in this repository nor on the remote.
        self.branches.retain(|name, branch| {
            head_of(name).is_some() || branch.head.is_some() || branch.retry.is_some()
        });
        let mut names: Vec<_> = heads.iter().map(|(name, _)| name.clone()).collect();
        names.extend(self.branches.keys().cloned());
        names.sort();
        names.dedup();
        let now = Instant::now();
        let is_due = |name: &BranchName| {
            let branch = self.branches.get(name);
            match branch.and_then(|branch| branch.retry.as_ref()) {
                Some(retry) => retry.at <= now,
                None => head_of(name) != branch.and_then(|branch| branch.head),
            }
        };
        let due = names.into_iter().filter(is_due).map(|name| {
            let head = head_of(&name);
            (name, head)
        });
        // Push new changes first, so that they do not have to wait for branches whose last push
        // failed.
        let (retries, new): (Vec<_>, Vec<_>) = due.partition(|(name, _)| self.has_failed(name));
        Ok(self.push_all(new).await? | self.push_all(retries).await?)
    }

    fn has_failed(&self, name: &BranchName) -> bool {
        self.branches.get(name).is_some_and(|branch| branch.retry.is_some())
    }

    /// Pushes branches together. If the remote rejects some of the branches, the list is repeatedly
    /// split in half so that the others are still pushed. Returns whether at least one branch was
    /// pushed.
    async fn push_all(&mut self, branches: Vec<(BranchName, Option<Id>)>) -> Result<bool> {
        let (mut pushed, mut parts) = (false, vec![branches]);
        while let Some(mut part) = parts.pop().filter(|part| !part.is_empty()) {
            match self.try_push(&part).await? {
                Ok(()) => {
                    pushed = true;
                    for (name, head) in part {
                        self.branches.insert(name, RemoteBranch { head, retry: None });
                    }
                }
                Err(PushError::Rejected(_)) if part.len() > 1 => {
                    let half = part.split_off(part.len() / 2);
                    parts.extend([half, part]);
                }
                Err(error) => self.schedule_retries(&part, &error),
            }
        }
        Ok(pushed)
    }

    async fn try_push(
        &self,
        branches: &[(BranchName, Option<Id>)],
    ) -> Result<std::result::Result<(), PushError>> {
        let (push, url, branches) = (self.push.clone(), self.url.clone(), branches.to_vec());
        self.database.run_blocking(move |_| Ok(push.push(&url, &branches))).await
    }

    fn schedule_retries(&mut self, branches: &[(BranchName, Option<Id>)], error: &PushError) {
        let waits: Vec<_> = branches.iter().map(|(name, _)| self.schedule_retry(name)).collect();
        let (Some((name, _)), Some(wait)) = (branches.first(), waits.into_iter().min()) else {
            return;
        };
        let others = branches.len() - 1;
        let others = if others > 0 { format!(" and {others} others") } else { String::new() };
        tracing::warn!(
            "cannot push to {}, next try in {} s: {error} ({name}{others})",
            sanitize_url(&self.url),
            wait.as_secs_f64()
        );
    }

    /// Schedules another attempt to push a branch and returns the delay before that attempt.
    fn schedule_retry(&mut self, name: &BranchName) -> Duration {
        let debounce = self.debounce;
        let branch = self.branches.entry(name.clone()).or_default();
        let doubled = |retry: &Retry| retry.backoff.saturating_mul(2).min(MAX_BACKOFF);
        let backoff = branch.retry.as_ref().map_or(debounce, doubled);
        branch.retry = Some(Retry { at: Instant::now() + backoff, backoff });
        backoff
    }

    /// Returns the time at which the next retry is due.
    fn next_retry(&self) -> Option<Instant> {
        self.branches.values().filter_map(|branch| Some(branch.retry.as_ref()?.at)).min()
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::super::push::GitPush;
    use super::*;
    use crate::object::{Commit, encode_tree};
    use crate::store::{GitStore, MemoryStore};

    fn git(dir: &Path, args: &[&str]) -> String {
        let output = Command::new("git").arg("-C").arg(dir).args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Waits until the repository contains exactly the given branches.
    async fn wait_for_branches(dir: &Path, wanted: &str) {
        for _ in 0..500 {
            let refs = git(dir, &["for-each-ref", "--format=%(refname:short)"]);
            if refs.replace('\n', " ") == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the branches never became {wanted:?}");
    }

    #[tokio::test]
    async fn d60_auto_push_mirrors_the_branches() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let there = there.path().join("remote");
        let store = GitStore::open(here.path()).unwrap();
        let dir = store.dir();
        let database = Database::new(Arc::new(store)).unwrap();
        let (tree, empty) = encode_tree([]).unwrap();
        let (id, commit) = Commit::encode(tree, &[], b"x", 1).unwrap();
        database.objects().store().write(&[(tree, empty), (id, commit)]).unwrap();
        let set = |name: &str, from, to| {
            database.branch(&BranchName::new(name).unwrap()).advance(from, to).unwrap();
        };
        set("before", None, Some(id));
        std::fs::write(dir.join("refs/heads/x.lock"), "").unwrap();
        let pushing = tokio::spawn(auto_push(
            database.clone(),
            Arc::new(GitPush::new(dir)),
            there.display().to_string(),
            Duration::from_millis(20),
            |_| {},
        ));
        // At first, the remote repository does not exist.
        tokio::time::sleep(Duration::from_millis(50)).await;
        std::fs::create_dir_all(&there).unwrap();
        git(&there, &["init", "-q", "--bare", "."]);
        wait_for_branches(&there, "before").await;
        set("new", None, Some(id));
        set("nested/one", None, Some(id));
        wait_for_branches(&there, "before nested/one new").await;
        set("before", Some(id), None);
        wait_for_branches(&there, "nested/one new").await;
        // Removing a branch that no longer exists on the remote is not an error.
        git(&there, &["update-ref", "-d", "refs/heads/new"]);
        set("new", Some(id), None);
        set("late", None, Some(id));
        wait_for_branches(&there, "late nested/one").await;
        // A branch that the remote refuses to remove does not delay other branches.
        git(&there, &["symbolic-ref", "HEAD", "refs/heads/late"]);
        git(&there, &["config", "receive.denyDeleteCurrent", "refuse"]);
        set("late", Some(id), None);
        set("last", None, Some(id));
        wait_for_branches(&there, "last late nested/one").await;
        git(&there, &["config", "receive.denyDeleteCurrent", "ignore"]);
        wait_for_branches(&there, "last nested/one").await;
        pushing.abort();
    }

    #[tokio::test]
    async fn a_refused_branch_does_not_delay_others() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let there = there.path();
        git(there, &["init", "-q", "--bare", "."]);
        let hook = there.join("hooks/update");
        std::fs::create_dir_all(there.join("hooks")).unwrap();
        std::fs::write(&hook, "#!/bin/sh\necho $1 >>tried\n[ $1 != refs/heads/bad ]\n").unwrap();
        std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let store = GitStore::open(here.path()).unwrap();
        let dir = store.dir();
        let database = Database::new(Arc::new(store)).unwrap();
        let (tree, empty) = encode_tree([]).unwrap();
        database.objects().store().write(&[(tree, empty)]).unwrap();
        let mut last = None;
        let mut commit_to = |name: &str| {
            let parents: Vec<_> = last.into_iter().collect();
            let (id, commit) = Commit::encode(tree, &parents, name.as_bytes(), 1).unwrap();
            database.objects().store().write(&[(id, commit)]).unwrap();
            let branch = database.branch(&BranchName::new(name).unwrap());
            branch.advance(branch.head().unwrap(), Some(id)).unwrap();
            last = Some(id);
            id
        };
        commit_to("bad");
        commit_to("good");
        // The delay is long enough for the test to detect whether one branch waits for another.
        let debounce = Duration::from_millis(200);
        let pushing = tokio::spawn(auto_push(
            database.clone(),
            Arc::new(GitPush::new(dir)),
            there.display().to_string(),
            debounce,
            |_| {},
        ));
        wait_for_branches(there, "good").await;
        for round in 0..8 {
            let id = commit_to("good");
            let start = std::time::Instant::now();
            while git(there, &["rev-parse", "good"]) != id.to_string() {
                assert!(start.elapsed() < Duration::from_secs(10), "round {round}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        // Because of the backoff, `auto_push` tried to push the rejected branch less often than the
        // accepted branch.
        let tried = std::fs::read_to_string(there.join("tried")).unwrap();
        let (bad, good) = (tried.matches("heads/bad").count(), tried.matches("heads/good").count());
        assert!(bad < good, "{tried}");
        pushing.abort();
    }

    #[tokio::test]
    async fn nothing_due_pushes_nothing() {
        let database = Database::new(Arc::new(MemoryStore::new())).unwrap();
        let push: Arc<dyn Push> = Arc::new(GitPush::new(PathBuf::from("/nowhere")));
        let (url, branches) = ("/nowhere".to_owned(), HashMap::new());
        let mut pusher = Pusher { database, push, url, debounce: PUSH_DEBOUNCE, branches };
        assert_eq!(pusher.push_due().await, Ok(false));
    }
}
