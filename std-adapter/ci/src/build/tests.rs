//! Tests for the cache, with an in-memory database.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use datakit_client::db::{
    BranchOps, CommitOps, Database as _, Path, TransactionExt, TransactionOps, TreeOps,
};
use datakit_db::store::MemoryStore;
use datakit_db::{Database, DirectDb};
use tokio::sync::Semaphore;

use super::*;
use crate::SharedDb;
use crate::term::{Logs, Outcome, Retry, Term, Watcher};

type Done = Result<(), Box<dyn std::error::Error>>;

/// The time limit for every wait in these tests.
const LIMIT: Duration = Duration::from_secs(20);

/// The key of a build that fails for a temporary reason.
const NO_NETWORK: i32 = -1000;

/// A builder that converts numbers to strings. Building a negative number fails.
#[derive(Clone)]
struct Numbers {
    builds: Arc<AtomicUsize>,
    /// Each build waits for a permit from this semaphore.
    permits: Arc<Semaphore>,
    /// The delay before a build is repeated.
    pause: Duration,
}

impl Numbers {
    fn new(permits: usize) -> Numbers {
        let (permits, pause) = (Arc::new(Semaphore::new(permits)), Duration::from_millis(1));
        Numbers { builds: Arc::default(), permits, pause }
    }

    fn builds(&self) -> usize {
        self.builds.load(Ordering::Relaxed)
    }
}

fn value() -> Path {
    "value".parse().unwrap()
}

impl Builder for Numbers {
    type Key = i32;
    type Value = String;

    fn name(&self) -> &str {
        "numbers"
    }

    fn title(&self, key: &i32) -> String {
        format!("Number {key}")
    }

    fn branch(&self, key: &i32) -> String {
        format!("number-of-{key}")
    }

    fn retry(&self) -> Retry {
        Retry { attempts: 2, pause: self.pause, pause_max: self.pause }
    }

    async fn generate(&self, build: &Build, key: &i32) -> Result<String, String> {
        self.builds.fetch_add(1, Ordering::Relaxed);
        build.log().write("counting\n");
        build.progress().text("counting");
        self.permits.acquire().await.map_err(|error| error.to_string())?.forget();
        if *key == NO_NETWORK {
            build.set_temporary();
            return Err("the network is down".to_owned());
        }
        if *key < 0 {
            return Err(format!("{key} is negative\nsecond line"));
        }
        let text = key.to_string();
        build.write_file(value(), &*text);
        Ok(text)
    }

    async fn load<T: TreeOps>(&self, tree: &T, _: &i32) -> datakit_client::db::Result<String> {
        let content = tree.read_file(&value()).await?;
        Ok(String::from_utf8_lossy(&content).into_owned())
    }
}

fn memory() -> DirectDb {
    DirectDb::new(Database::new(Arc::new(MemoryStore::new())).unwrap())
}

/// Evaluates the term until `until` returns `true` for its outcome.
async fn settle(
    term: &Term<String>,
    until: impl Fn(&Outcome<String>) -> bool,
) -> crate::term::Evaluation<String> {
    let watcher = Watcher::new(term);
    let settled = async {
        loop {
            let evaluation = term.evaluate();
            if until(&evaluation.outcome) {
                return evaluation;
            }
            watcher.changed().await;
        }
    };
    tokio::time::timeout(LIMIT, settled).await.unwrap()
}

async fn result(term: &Term<String>) -> crate::term::Evaluation<String> {
    settle(term, |outcome| !matches!(outcome, Outcome::Pending(_))).await
}

async fn read(db: &DirectDb, branch: &str, path: &str) -> String {
    let head = db.branch(branch).await.unwrap().head().await.unwrap().unwrap();
    let content = head.tree().read_file(&path.parse().unwrap()).await.unwrap();
    String::from_utf8(content).unwrap()
}

async fn message(db: &DirectDb, branch: &str) -> String {
    let head = db.branch(branch).await.unwrap().head().await.unwrap().unwrap();
    head.message().await.unwrap().trim_end().to_owned()
}

#[tokio::test]
async fn invalid_files_in_a_branch_are_replaced() -> Done {
    let db = memory();
    for (key, files) in [
        (1, &["value/dir/file"][..]),
        (2, &["failure/dir/file", "value"]),
        (3, &["log/file", "value/a", "failure/b", "rebuild-requested/c"]),
        (4, &["something/else"]),
    ] {
        let transaction = db.branch(format!("number-of-{key}")).await?.transaction().await?;
        for path in files {
            transaction.write_file(&path.parse()?, b"\xff\0 rubbish").await?;
        }
        transaction.commit("rubbish").await?;
        let cache = Cache::new(db.clone(), Numbers::new(1), LiveLogs::new());
        assert_eq!(result(&cache.find(&key)).await.outcome, Outcome::Success(key.to_string()));
        assert_eq!(read(&db, &format!("number-of-{key}"), "value").await, key.to_string());
    }
    Ok(())
}

#[tokio::test]
async fn result_is_stored_after_the_connection_was_replaced() -> Done {
    let (db, builder, logs) = (memory(), Numbers::new(0), LiveLogs::new());
    let shared = SharedDb::disconnected();
    let cache = Cache::new(shared.clone(), builder.clone(), logs.clone());
    let term = cache.find(&7);
    let progress =
        |text: &'static str| move |outcome: &Outcome<String>| *outcome == Outcome::pending(text);
    assert_eq!(term.evaluate().outcome, Outcome::pending("Number 7"));
    shared.connect(db.clone());
    settle(&term, progress("counting")).await;
    // The build ends while the database is not connected, and the build's result is kept even if
    // other builds are stopped.
    shared.disconnect();
    builder.permits.add_permits(1);
    let log = logs.get("number-of-7").unwrap();
    let mut reader = log.reader();
    while reader.next().await.is_some() {}
    shared.end_builds();
    shared.connect(db.clone());
    assert_eq!(result(&term).await.outcome, Outcome::Success("7".to_owned()));
    assert_eq!((builder.builds(), &*read(&db, "number-of-7", "value").await), (1, "7"));

    // A running build is stopped and then starts again.
    let term = cache.find(&8);
    settle(&term, progress("counting")).await;
    shared.disconnect();
    shared.end_builds();
    settle(&term, progress("Waiting for the database")).await;
    assert!(logs.get("number-of-8").is_none());
    builder.permits.add_permits(1);
    shared.connect(db.clone());
    assert_eq!(result(&term).await.outcome, Outcome::Success("8".to_owned()));
    assert_eq!(builder.builds(), 3);

    // Another server has stored a result in the meantime.
    let term = cache.find(&9);
    settle(&term, progress("counting")).await;
    shared.disconnect();
    let transaction = db.branch("number-of-9").await?.transaction().await?;
    transaction.write_file(&value(), b"nine").await?;
    transaction.commit("another server").await?;
    builder.permits.add_permits(1);
    shared.connect(db.clone());
    assert_eq!(result(&term).await.outcome, Outcome::Success("nine".to_owned()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_kept_over_a_restart() -> Done {
    let (db, builder) = (memory(), Numbers::new(2));
    let cache = Cache::new(db.clone(), builder.clone(), LiveLogs::new());
    let good = result(&cache.find(&7)).await;
    assert_eq!(good.outcome, Outcome::Success("7".to_owned()));
    assert_eq!(message(&db, "number-of-7").await, "Cached successful result");
    let log = read(&db, "number-of-7", "log").await;
    let lines: Vec<&str> = log.lines().collect();
    let [title, starting, counting, success] = *lines else { panic!("{log}") };
    assert_eq!((title, counting), ("=== Number 7", "counting"));
    assert!(starting.ends_with("] Starting...") && success.ends_with("] Success"), "{log}");

    let bad = result(&cache.find(&-7)).await;
    assert_eq!(bad.outcome, Outcome::failure("-7 is negative\nsecond line"));
    assert_eq!(message(&db, "number-of--7").await, "Cached failure: -7 is negative");
    assert_eq!(read(&db, "number-of--7", "failure").await, "-7 is negative\nsecond line\n");

    // Another cache finds both results in the database.
    let cache = Cache::new(db.clone(), builder.clone(), LiveLogs::new());
    let (again, bad_again) = (result(&cache.find(&7)).await, result(&cache.find(&-7)).await);
    assert_eq!((again, bad_again, builder.builds()), (good.clone(), bad, 2));
    let Logs::Saved(log) = good.logs else { panic!("{:?}", good.logs) };
    let head = db.branch("number-of-7").await?.head().await?.expect("the branch has a commit");
    assert_eq!((log.commit.as_str(), log.failed), (head.id().to_string().as_str(), false));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_terms_share_a_build() {
    let (db, builder) = (memory(), Numbers::new(0));
    let logs = LiveLogs::new();
    let cache = Cache::new(db, builder.clone(), logs.clone());
    let (first, second) = (cache.find(&1), cache.find(&1));
    let waiting = settle(&first, |outcome| *outcome == Outcome::pending("counting")).await;
    assert_eq!(waiting.logs, Logs::Live { branch: "number-of-1".into() });
    assert_eq!(second.evaluate(), waiting);
    let mut reader = logs.get("number-of-1").unwrap().reader();
    builder.permits.add_permits(1);
    let expected = Outcome::Success("1".to_owned());
    assert_eq!(result(&first).await.outcome, expected);
    assert_eq!((result(&second).await.outcome, builder.builds()), (expected, 1));
    let mut log = String::new();
    while let Some(part) = reader.next().await {
        log.push_str(&part);
    }
    assert!(log.starts_with("=== Number 1\n") && log.ends_with("Success\n"), "{log}");
    assert!(logs.get("number-of-1").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuild_marks_the_branch_and_builds_again() -> Done {
    let (db, builder) = (memory(), Numbers::new(1));
    let cache = Cache::new(db.clone(), builder.clone(), LiveLogs::new());
    assert_eq!(
        cache.rebuild("number-of-3").await.unwrap_err().to_string(),
        "No job depends on number-of-3"
    );
    let term = cache.find(&3);
    result(&term).await;
    cache.rebuild("number-of-3").await?;
    assert_eq!(message(&db, "number-of-3").await, "Marked for rebuild");
    settle(&term, |outcome| *outcome == Outcome::pending("counting")).await;
    // A build that is running is not restarted.
    cache.rebuild("number-of-3").await?;
    builder.permits.add_permits(1);
    assert_eq!((result(&term).await.outcome, builder.builds()), (Outcome::Success("3".into()), 2));
    assert_eq!(message(&db, "number-of-3").await, "Cached successful result");
    // The build's task might not have reported yet that the build has ended, so the term can still
    // exist for a short time.
    drop(term);
    let forgotten = async {
        while cache.rebuild("number-of-3").await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, forgotten).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_build_keeps_its_log() -> Done {
    let (db, builder) = (memory(), Numbers::new(0));
    let logs = LiveLogs::new();
    let cache = Cache::new(db.clone(), builder.clone(), logs.clone());
    let term = cache.find(&5);
    settle(&term, |outcome| *outcome == Outcome::pending("counting")).await;
    let mut reader = logs.get("number-of-5").expect("the build is running").reader();
    assert!(cache.cancel("number-of-5")?);
    let cancelled = result(&term).await;
    assert_eq!(cancelled.outcome, Outcome::failure("Cancelled at user's request"));
    assert!(matches!(&cancelled.logs, Logs::Saved(log) if log.failed), "{:?}", cancelled.logs);
    let mut log = String::new();
    while let Some(part) = tokio::time::timeout(LIMIT, reader.next()).await? {
        log.push_str(&part);
    }
    assert!(log.ends_with("] Failed: Cancelled at user's request\n"), "{log}");
    assert_eq!(read(&db, "number-of-5", "log").await, log);
    // After a restart, the build does not run again until a user asks for it.
    let restarted = Cache::new(db.clone(), builder.clone(), LiveLogs::new());
    assert_eq!((result(&restarted.find(&5)).await, builder.builds()), (cancelled, 1));
    builder.permits.add_permits(1);
    cache.rebuild("number-of-5").await?;
    assert_eq!(result(&term).await.outcome, Outcome::Success("5".to_owned()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn build_that_is_about_to_be_repeated_is_cancelled() {
    let (db, mut builder) = (memory(), Numbers::new(1));
    builder.pause = Duration::from_secs(1000);
    let cache = Cache::new(db, builder, LiveLogs::new());
    let term = cache.find(&NO_NETWORK);
    settle(&term, |outcome| matches!(outcome, Outcome::Pending(p) if p.text.contains("next in")))
        .await;
    assert_eq!(cache.cancel(&format!("number-of-{NO_NETWORK}")), Ok(true));
    assert_eq!(result(&term).await.outcome, Outcome::failure("Cancelled at user's request"));
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_are_found_by_branch_and_counted() {
    let (db, builder) = (memory(), Numbers::new(2));
    let cache = Cache::new(db, builder.clone(), LiveLogs::new());
    let builds = Builds::new();
    builds.add(&cache);
    let (good, bad) = (cache.find(&4), cache.find(&-4));
    let outcomes = (result(&good).await.outcome, result(&bad).await.outcome);
    assert!(matches!(outcomes, (Outcome::Success(_), Outcome::Failure(_))), "{outcomes:?}");
    assert_eq!(builds.cancel("number-of-4"), Ok(false));
    let missing = builds.rebuild("number-of-5").await.unwrap_err();
    assert_eq!(missing.to_string(), "No job depends on number-of-5");
    builds.rebuild("number-of-4").await.unwrap();
    settle(&good, |outcome| *outcome == Outcome::pending("counting")).await;
    assert_eq!(builds.cancel("number-of-4"), Ok(true));
    let cancelled = Outcome::failure("Cancelled at user's request");
    assert_eq!(result(&good).await.outcome, cancelled);
    let [counts] = &*builds.counts() else { panic!("there is one cache") };
    let of = (counts.started, counts.succeeded, counts.failed, counts.ended_without_result);
    assert_eq!((of, &*counts.name), ((3, 1, 2, 0), builder.name()));
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_failure_is_not_kept_over_a_restart() {
    let (db, builder) = (memory(), Numbers::new(4));
    for count in 1..=2 {
        let cache = Cache::new(db.clone(), builder.clone(), LiveLogs::new());
        let failed = result(&cache.find(&NO_NETWORK)).await;
        assert_eq!(failed.outcome, Outcome::failure("the network is down"));
        assert!(matches!(failed.logs, Logs::Saved(log) if log.failed));
        // There are two attempts after each start.
        assert_eq!(builder.builds(), 2 * count);
    }
    let branch = format!("number-of-{NO_NETWORK}");
    assert_eq!(message(&db, &branch).await, "Temporary failure: the network is down");
}
