//! Removes old logs without removing the results.
//!
//! A build's branch keeps its value or failure, but its new commit has no `log` file and no parent,
//! so Git's garbage collection can remove the old log.

use std::time::{Duration, SystemTime};

use datakit_client::db::{
    BranchOps, CommitOps, Database, Error, Path, Result, TransactionOps, TreeOps,
};

use crate::build::LiveLogs;

/// The name prefix of temporary branches. A temporary branch holds a result while the result's
/// original branch is being replaced.
const TEMPORARY: &str = "pruned-";

/// The message of the commit that replaces a commit with a log.
const MESSAGE: &str = "Removed the log";

/// The logs to keep. A log that exceeds any of the limits is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogPolicy {
    /// The maximum age of a log.
    pub max_age: Option<Duration>,
    /// The maximum number of logs.
    pub max_count: Option<usize>,
}

/// Removes build logs that violate the policy and returns the number of logs removed. Does not
/// remove the logs in `live`, which are still being written.
///
/// No results are lost if the future is dropped or the process is killed; the next call finishes
/// the work.
///
/// # Errors
/// Returns any error that the database reports.
pub async fn prune_logs<D: Database>(
    db: &D,
    policy: LogPolicy,
    live: &LiveLogs,
    now: SystemTime,
) -> Result<usize> {
    let mut logs: Vec<(SystemTime, String)> = Vec::new();
    for name in db.branches().await? {
        let Some(name) = name.to_str() else { continue };
        if let Some(original) = name.strip_prefix(TEMPORARY) {
            finish(db, original).await?;
        } else if let Some(time) = time_of_log(db, name).await? {
            logs.push((time, name.to_owned()));
        }
    }
    // Newest first.
    logs.sort_by(|a, b| b.cmp(a));
    let mut removed = 0;
    for (index, (time, name)) in logs.iter().enumerate() {
        let age = now.duration_since(*time).unwrap_or_default();
        let keep = policy.max_age.is_none_or(|max| age <= max)
            && policy.max_count.is_none_or(|max| index < max);
        if !keep && live.get(name).is_none() && remove_log(db, name).await? {
            removed += 1;
        }
    }
    Ok(removed)
}

/// Returns the time of a branch's result, or `None` if the branch has no result or no log.
async fn time_of_log<D: Database>(db: &D, name: &str) -> Result<Option<SystemTime>> {
    let Some(head) = db.branch(name).await?.head().await? else { return Ok(None) };
    let tree = head.tree();
    let has_result = tree.exists(&file("value")?).await? || tree.exists(&file("failure")?).await?;
    if !has_result || !tree.exists(&file("log")?).await? {
        return Ok(None);
    }
    // The original database server does not provide the time.
    let time: Option<jiff::Timestamp> = head.details().await?.date.parse().ok();
    Ok(time.map(SystemTime::from))
}

/// Replaces the branch's history with a single commit that has no log. Returns `false` if the
/// branch has changed in the meantime.
async fn remove_log<D: Database>(db: &D, name: &str) -> Result<bool> {
    let Some(head) = db.branch(name).await?.head().await? else { return Ok(false) };
    let temporary = db.branch(format!("{TEMPORARY}{name}")).await?;
    let transaction = temporary.transaction().await?;
    let committed = async {
        transaction.merge(&head).await?;
        transaction.remove(&file("log")?).await?;
        transaction.set_parents(&[]).await?;
        transaction.commit(MESSAGE).await
    };
    let committed = committed.await;
    transaction.abort().await;
    committed?;
    let branch = db.branch(name).await?;
    if branch.head().await?.as_ref() != Some(&head) {
        temporary.remove().await?;
        return Ok(false);
    }
    branch.remove().await?;
    finish(db, name).await?;
    Ok(true)
}

/// Moves a result from its temporary branch back to its original branch, unless the original branch
/// exists.
async fn finish<D: Database>(db: &D, name: &str) -> Result<()> {
    let temporary = db.branch(format!("{TEMPORARY}{name}")).await?;
    let branch = db.branch(name).await?;
    if branch.head().await?.is_none()
        && let Some(head) = temporary.head().await?
    {
        branch.fast_forward(&head).await?;
    }
    match temporary.remove().await {
        Ok(()) | Err(Error::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

fn file(name: &str) -> Result<Path> {
    Path::from_names([name])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datakit_client::db::TransactionExt;
    use datakit_db::store::MemoryStore;
    use datakit_db::{Database as Files, DirectDb};

    use super::*;

    async fn commit(db: &DirectDb, branch: &str, files: &[(&str, &str)]) {
        let transaction = db.branch(branch).await.unwrap().transaction().await.unwrap();
        for (path, content) in files {
            let path: Path = path.parse().unwrap();
            transaction.write_file(&path, content.as_bytes()).await.unwrap();
        }
        transaction.commit("Cached successful result").await.unwrap();
    }

    async fn names(db: &DirectDb, branch: &str) -> Vec<String> {
        let head = db.branch(branch).await.unwrap().head().await.unwrap().unwrap();
        let names = head.tree().read_dir(&Path::default()).await.unwrap();
        names.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn old_logs_are_removed_and_results_remain() {
        let db = DirectDb::new(Files::new(Arc::new(MemoryStore::new())).unwrap());
        commit(&db, "build-1", &[("log", "one"), ("value/a/b", "1")]).await;
        commit(&db, "build-1", &[("log", "one again")]).await;
        commit(&db, "build-2", &[("log", "two"), ("failure", "exit status 1")]).await;
        commit(&db, "other", &[("log", "this branch is not a result")]).await;
        let (now, live) = (SystemTime::now(), LiveLogs::new());
        let hour = Duration::from_secs(3600);
        let policy = LogPolicy { max_age: Some(hour), max_count: None };
        assert_eq!(prune_logs(&db, policy, &live, now).await.unwrap(), 0);
        assert_eq!(prune_logs(&db, policy, &live, now + 2 * hour).await.unwrap(), 2);
        assert_eq!(names(&db, "build-1").await, ["value"]);
        assert_eq!(names(&db, "build-2").await, ["failure"]);
        assert_eq!(names(&db, "other").await, ["log"]);
        let head = db.branch("build-1").await.unwrap().head().await.unwrap().unwrap();
        let value = head.tree().read_file(&"value/a/b".parse().unwrap()).await.unwrap();
        assert_eq!((head.parents().await.unwrap().len(), &*value), (0, &b"1"[..]));
        assert_eq!(prune_logs(&db, policy, &live, now + 2 * hour).await.unwrap(), 0);
        assert!(
            db.branches()
                .await
                .unwrap()
                .iter()
                .all(|name| !name.as_bytes().starts_with(b"pruned-"))
        );
    }

    #[tokio::test]
    async fn only_the_newest_logs_are_kept() {
        let db = DirectDb::new(Files::new(Arc::new(MemoryStore::new())).unwrap());
        for number in 0..5 {
            commit(&db, &format!("build-{number}"), &[("log", "x"), ("value", "1")]).await;
        }
        let policy = LogPolicy { max_age: None, max_count: Some(2) };
        let removed = prune_logs(&db, policy, &LiveLogs::new(), SystemTime::now()).await.unwrap();
        assert_eq!(removed, 3);
    }

    #[tokio::test]
    async fn interrupted_removal_is_finished() {
        let db = DirectDb::new(Files::new(Arc::new(MemoryStore::new())).unwrap());
        // The branch was removed, but its replacement has not been moved yet.
        commit(&db, "pruned-build-1", &[("value", "1")]).await;
        // The branch has a new result.
        commit(&db, "pruned-build-2", &[("value", "old")]).await;
        commit(&db, "build-2", &[("value", "new"), ("log", "x")]).await;
        let now = SystemTime::now();
        prune_logs(&db, LogPolicy::default(), &LiveLogs::new(), now).await.unwrap();
        assert_eq!(names(&db, "build-1").await, ["value"]);
        assert_eq!(names(&db, "build-2").await, ["log", "value"]);
        let mut branches: Vec<String> =
            db.branches().await.unwrap().iter().map(ToString::to_string).collect();
        branches.sort();
        assert_eq!(branches, ["build-1", "build-2"]);
    }
}
