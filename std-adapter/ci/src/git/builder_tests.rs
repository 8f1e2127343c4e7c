//! Tests for the builders.

use std::sync::Arc;

use datakit_client::db::{BranchOps, CommitOps, Database as _, TreeOps};
use datakit_db::store::MemoryStore;
use datakit_db::{Database, DirectDb};
use datakit_github::Commit;

use super::tests::{Done, Fixture, LIMIT, main_branch, new_log, removed, result};
use super::*;
use crate::Target;
use crate::build::{Cache, LiveLogs};
use crate::command::Sandbox;
use crate::term::Outcome;

#[tokio::test]
async fn builds_can_read_the_history_but_not_change_it() -> Done {
    if crate::command::find_program("bwrap").is_none() {
        println!("skipped: bubblewrap is not installed");
        return Ok(());
    }
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("file", "1")]);
    let repository = fixture.open().await?;
    repository.fetch_quietly(&main_branch(), &commit, &new_log()).await?;
    let db = DirectDb::new(Database::new(Arc::new(MemoryStore::new()))?);
    let script = format!(
        "test \"$(git log --format=%s)\" = change; git status --short
         ! git config --file '{git}/config' core.fsmonitor evil 2>/dev/null
         ! git tag new 2>/dev/null; touch new",
        git = repository.git_dir().display()
    );
    let shell = Shell::new(repository.clone(), "log", [script], ShellOptions::default());
    let cache = Cache::new(db, shell, LiveLogs::new());
    let key = ShellKey { target: main_branch(), commit };
    assert_eq!(result(&cache.find(&key)).await, Outcome::Success(()));
    removed(&repository).await;
    Ok(())
}

/// A fork has the same commits as the original, so its builds use the same branches.
#[tokio::test(flavor = "multi_thread")]
async fn repositories_with_the_same_commit_have_their_own_results() -> Done {
    let (fixture, empty) = (Fixture::new(), Fixture::new());
    let ours = fixture.commit(&[("file", "1")]);
    let theirs = Commit { repo: "evil/app".parse()?, hash: ours.hash };
    let db = DirectDb::new(Database::new(Arc::new(MemoryStore::new()))?);
    let (ours_target, theirs_target) = (main_branch(), "evil/app/heads/main".parse::<Target>()?);
    let (repository, without) = (fixture.open().await?, empty.open().await?);
    // In the second round, the results are read from the database.
    for _ in 0..2 {
        let logs = LiveLogs::new();
        let ok = Cache::new(db.clone(), FetchHead::new(repository.clone()), logs.clone());
        let bad = Cache::new(db.clone(), FetchHead::new(without.clone()), logs.clone());
        let key = |target: &Target, commit: &Commit| FetchKey {
            target: target.clone(),
            commit: commit.clone(),
        };
        let (bad, ok) =
            (bad.find(&key(&theirs_target, &theirs)), ok.find(&key(&ours_target, &ours)));
        let (bad, ok) = tokio::join!(result(&bad), result(&ok));
        assert!(matches!(bad, Outcome::Failure(_)), "{bad:?}");
        assert_eq!(ok, Outcome::Success(ours.clone()));

        let options = ShellOptions { sandbox: Sandbox::Unsandboxed, ..ShellOptions::default() };
        let shell = |script: &str| {
            let shell = Shell::new(repository.clone(), "unit", [script], options.clone());
            Cache::new(db.clone(), shell, logs.clone())
        };
        let (good, bad) = (shell("true"), shell("exit 3"));
        let key = |target: &Target, commit: &Commit| ShellKey {
            target: target.clone(),
            commit: commit.clone(),
        };
        let (bad, good) =
            (bad.find(&key(&theirs_target, &theirs)), good.find(&key(&ours_target, &ours)));
        let (bad, good) = tokio::join!(result(&bad), result(&good));
        assert_eq!(bad, Outcome::failure("exit status: 3"));
        assert_eq!(good, Outcome::Success(()));
    }
    removed(&repository).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn builders_store_their_results() -> Done {
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("test.sh", "echo \"tested $TOKEN\"\n")]);
    let db = DirectDb::new(Database::new(Arc::new(MemoryStore::new()))?);
    let (repository, logs) = (fixture.open().await?, LiveLogs::new());
    let fetch = Cache::new(db.clone(), FetchHead::new(repository.clone()), logs.clone());
    let key = FetchKey { target: main_branch(), commit: commit.clone() };
    assert_eq!(result(&fetch.find(&key)).await, Outcome::Success(commit.clone()));
    let mut options = ShellOptions { sandbox: Sandbox::Unsandboxed, ..ShellOptions::default() };
    options.secrets.push(("TOKEN".to_owned(), "hunter2".to_owned()));
    let shell = |label, script: &str| {
        Shell::new(repository.clone(), label, [script.to_owned()], options.clone())
    };
    let key = ShellKey { target: main_branch(), commit: commit.clone() };
    let good = Cache::new(db.clone(), shell("unit tests", "sh test.sh"), logs.clone());
    assert_eq!(result(&good.find(&key)).await, Outcome::Success(()));
    let bad = Cache::new(db.clone(), shell("..", "exit 3"), logs.clone());
    assert_eq!(result(&bad.find(&key)).await, Outcome::failure("exit status: 3"));
    removed(&repository).await;

    let hash = &commit.hash;
    let read = async |branch: String, path: &str| {
        let head = db.branch(&branch).await.unwrap().head().await.unwrap().unwrap();
        let content = head.tree().read_file(&path.parse().unwrap()).await.unwrap();
        String::from_utf8(content).unwrap()
    };
    assert_eq!(read(format!("git-pull-of-{hash}"), "value").await, format!("{hash}\n"));
    let log = read(format!("shell-of-unit_20tests-on-{hash}"), "log").await;
    assert!(log.contains("tested ********\n"), "{log}");
    let failure = read(format!("shell-of-._2e-on-{hash}"), "failure").await;
    assert_eq!(failure, "exit status: 3\n");

    // The result in the database is used even if the clone was deleted. The commit is fetched
    // again.
    drop((fetch, good, bad, repository));
    let lock = async {
        while let Err(error) = fixture.open().await {
            assert!(matches!(error, RepositoryError::InUse { .. }), "{error}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, lock).await?;
    std::fs::remove_dir_all(fixture.clone_dir())?;
    let repository = fixture.open().await?;
    let fetch = Cache::new(db.clone(), FetchHead::new(repository.clone()), logs);
    let key = FetchKey { target: main_branch(), commit: commit.clone() };
    assert_eq!(result(&fetch.find(&key)).await, Outcome::Success(commit.clone()));
    assert!(repository.contains(&commit).await?);
    Ok(())
}
