//! Tests for the engine, with an in-memory database.

mod hostile;

use std::sync::Arc;
use std::time::Duration;

use datakit_client::db::TransactionOps;
use datakit_client::db::{BranchExt, BranchOps, CommitOps, Database as _, Path, TreeOps};
use datakit_db::store::MemoryStore;
use datakit_db::{Database, DirectDb};
use datakit_github::{Diff, Element, Hash, Ref, Repo, ensure_branch, write};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::state::{INDEX_BRANCH, JobResult, JobStatus, history_branch};
use crate::term::{External, Input, Outcome, Pending, Term, Wait};

type Done = std::result::Result<(), Box<dyn std::error::Error>>;

/// The time limit for every wait in these tests.
const LIMIT: Duration = Duration::from_secs(60);

fn repo() -> Repo {
    "me/app".parse().unwrap()
}

fn target(name: &str) -> Target {
    format!("me/app/heads/{name}").parse().unwrap()
}

fn hash(number: usize) -> Hash {
    Hash::parse(format!("{number:040x}")).unwrap()
}

/// An in-memory database and its metadata branch.
struct Fixture {
    db: DirectDb,
    branch: <DirectDb as datakit_client::db::Database>::Branch,
}

impl Fixture {
    async fn new() -> Fixture {
        let db = DirectDb::new(Database::new(Arc::new(MemoryStore::new())).unwrap());
        let branch = ensure_branch(&db, DEFAULT_BRANCH).await.unwrap();
        Fixture { db, branch }
    }

    /// Commits a diff to the metadata branch, as a bridge does.
    async fn commit(&self, diff: &Diff) {
        let committed = self.branch.with_transaction(async |transaction| {
            write(transaction, diff).await?;
            transaction.commit("bridge").await
        });
        committed.await.unwrap();
    }

    async fn set_head(&self, name: &str, head: usize) {
        let Target::Ref(id) = target(name) else { panic!("a branch is a ref") };
        self.commit(&Diff::new([Element::from(Ref { id, head: hash(head) })], [])).await;
    }

    fn start(&self, projects: Vec<Project>) -> JoinHandle<Result<()>> {
        let mut engine = Engine::new(self.db.clone(), Options::default(), projects);
        tokio::spawn(async move { engine.run().await })
    }

    /// Waits until the file in the branch has the expected content.
    async fn wait_for(&self, branch: &str, path: &str, expected: &str) {
        let path: Path = path.parse().unwrap();
        let waited = tokio::time::timeout(LIMIT, async {
            let branch = self.db.branch(branch).await.unwrap();
            let mut heads = branch.watch_head().await.unwrap();
            while let Some(head) = heads.next().await {
                let Some(head) = head.unwrap() else { continue };
                let found = head.tree().read_file(&path).await;
                if found.is_ok_and(|found| found.trim_ascii() == expected.as_bytes()) {
                    return;
                }
            }
            panic!("the watch ended");
        });
        if waited.await.is_err() {
            panic!("{branch}/{path} does not become {expected:?}");
        }
    }

    async fn head_message(&self, branch: &str) -> String {
        let branch = self.db.branch(branch).await.unwrap();
        branch.head().await.unwrap().unwrap().message().await.unwrap()
    }

    /// Counts the commits of a branch.
    async fn commits(&self, branch: &str) -> usize {
        let branch = self.db.branch(branch).await.unwrap();
        let (mut count, mut at) = (0, branch.head().await.unwrap());
        while let Some(commit) = at {
            count += 1;
            at = commit.parents().await.unwrap().into_iter().next();
        }
        count
    }
}

fn status_path(head: usize, test: &str, file: &str) -> String {
    format!("me/app/commit/{}/status/ci/datakit/{test}/{file}", hash(head))
}

/// A project with a `build` test, which succeeds if the commit number is even.
fn even_project() -> Project {
    Project::new(repo(), |input| {
        let build = input.head().map(|commit| {
            let text = commit.hash.to_string();
            match u8::from_str_radix(text.get(38..).unwrap_or_default(), 16) {
                Ok(number) if number % 2 == 0 => Outcome::Success(format!("built {number}")),
                Ok(number) => Outcome::failure(format!("{number} is odd")),
                Err(error) => Outcome::failure(error.to_string()),
            }
        });
        vec![("build".to_owned(), build.of_state())]
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn results_appear_as_statuses_history_and_index() -> Done {
    let fixture = Fixture::new().await;
    fixture.set_head("master", 4).await;
    let engine = fixture.start(vec![even_project()]);
    fixture.wait_for(DEFAULT_BRANCH, "me/app/.monitor", "").await;
    fixture.wait_for(DEFAULT_BRANCH, &status_path(4, "build", "state"), "success").await;
    fixture.wait_for(DEFAULT_BRANCH, &status_path(4, "build", "description"), "built 4").await;
    let url = format!("https://127.0.0.1:8443/me/app/commit/{}?test=build", hash(4));
    fixture.wait_for(DEFAULT_BRANCH, &status_path(4, "build", "target_url"), &url).await;
    assert_eq!(
        fixture.head_message(DEFAULT_BRANCH).await.trim(),
        "Set me/app/heads/master:build to built 4"
    );
    let history = history_branch(&target("master"));
    fixture.wait_for(&history, "source-commit", &hash(4).to_string()).await;
    let result = JobResult {
        status: JobStatus::Success,
        text: "built 4".to_owned(),
        logs: crate::term::Logs::None,
    };
    fixture.wait_for(&history, "job/build/output", &result.to_json()).await;
    let index = format!("me/app/commit/{}/ref-heads-master", hash(4));
    let branch = fixture.db.branch(&history).await?;
    let head = branch.head().await?.expect("the history has a commit");
    fixture.wait_for(INDEX_BRANCH, &index, &head.id().to_string()).await;

    // A new head is tested. The statuses of the old head remain.
    fixture.set_head("master", 5).await;
    fixture.wait_for(DEFAULT_BRANCH, &status_path(5, "build", "state"), "failure").await;
    fixture.wait_for(DEFAULT_BRANCH, &status_path(5, "build", "description"), "5 is odd").await;
    fixture.wait_for(DEFAULT_BRANCH, &status_path(4, "build", "state"), "success").await;
    fixture.wait_for(&history, "source-commit", &hash(5).to_string()).await;
    engine.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unchanged_results_are_not_written_again() -> Done {
    let fixture = Fixture::new().await;
    fixture.set_head("master", 2).await;
    let engine = fixture.start(vec![even_project()]);
    let history = history_branch(&target("master"));
    fixture.wait_for(DEFAULT_BRANCH, &status_path(2, "build", "state"), "success").await;
    fixture.wait_for(&history, "source-commit", &hash(2).to_string()).await;
    let counts = async || (fixture.commits(DEFAULT_BRANCH).await, fixture.commits(&history).await);
    let before = counts().await;
    engine.abort();
    let _ = engine.await;
    // After a restart, the results are the same. A status for the new head of another branch shows
    // that the engine has finished its first rounds.
    let engine = fixture.start(vec![even_project()]);
    fixture.set_head("other", 6).await;
    fixture.wait_for(DEFAULT_BRANCH, &status_path(6, "build", "state"), "success").await;
    let after = counts().await;
    assert_eq!(after.1, before.1, "the history of master has no new commit");
    // The commit that sets the new head, and one or two commits that set its status.
    assert!((2..=3).contains(&(after.0 - before.0)), "{before:?} {after:?}");
    engine.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn index_entry_that_a_crash_prevented_is_written_after_a_restart() -> Done {
    let fixture = Fixture::new().await;
    fixture.set_head("master", 2).await;
    let engine = fixture.start(vec![even_project()]);
    let index = format!("me/app/commit/{}/ref-heads-master", hash(2));
    let history = history_branch(&target("master"));
    fixture.wait_for(DEFAULT_BRANCH, &status_path(2, "build", "state"), "success").await;
    let head = fixture.db.branch(&history).await?.head().await?.expect("a state").id().to_string();
    fixture.wait_for(INDEX_BRANCH, &index, &head).await;
    engine.abort();
    let _ = engine.await;
    let branch = fixture.db.branch(INDEX_BRANCH).await?;
    let transaction = branch.transaction().await?;
    transaction.create_or_replace_file(&index.parse()?, b"an earlier state\n").await?;
    transaction.commit("As after a crash").await?;
    let engine = fixture.start(vec![even_project()]);
    fixture.wait_for(INDEX_BRANCH, &index, &head).await;
    engine.abort();
    Ok(())
}

/// Positions in a queue change often, and each stored status becomes a request to GitHub.
#[tokio::test(flavor = "multi_thread")]
async fn position_in_a_queue_is_shown_but_not_stored() -> Done {
    let wait = |position| {
        Outcome::<String>::Pending(Pending {
            text: "Waiting for resource in \"docker\"".into(),
            wait: Some(Arc::new(Wait {
                resource: "docker".into(),
                since: std::time::SystemTime::UNIX_EPOCH,
                position: Some(position),
                holders: vec!["me/app/prs/1:build".into()],
            })),
        })
    };
    let input = Arc::new(Input::new("build", wait(2)));
    let term = input.term();
    let project = Project::new(repo(), move |_| vec![("build".to_owned(), term.clone())]);
    let fixture = Fixture::new().await;
    fixture.set_head("master", 2).await;
    let mut engine = Engine::new(fixture.db.clone(), Options::default(), vec![project]);
    let view = engine.view();
    let mut changes = view.changes();
    let running = tokio::spawn(async move { engine.run().await });
    let path = status_path(2, "build", "description");
    fixture.wait_for(DEFAULT_BRANCH, &path, "Waiting for resource in \"docker\"").await;
    let history = history_branch(&target("master"));
    let before = (fixture.commits(DEFAULT_BRANCH).await, fixture.commits(&history).await);
    input.set(wait(1));
    let expected = "Waiting for resource in \"docker\" (since 1970-01-01 00:00.00 UTC, \
                    position 1 in the queue, held by me/app/prs/1:build)";
    tokio::time::timeout(LIMIT, async {
        while view.target(&target("master")).is_none_or(|view| view.jobs[0].text() != expected) {
            changes.recv().await.expect("the view exists");
        }
    })
    .await?;
    fixture.set_head("other", 4).await;
    fixture.wait_for(DEFAULT_BRANCH, &status_path(4, "build", "state"), "pending").await;
    let after = (fixture.commits(DEFAULT_BRANCH).await, fixture.commits(&history).await);
    // The commits that set the new head and its status.
    assert_eq!(after, (before.0 + 2, before.1));
    running.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn build_of_a_removed_branch_is_cancelled() -> Done {
    struct Report(Option<oneshot::Sender<()>>);
    impl Drop for Report {
        fn drop(&mut self) {
            let _ = self.0.take().map(|sender| sender.send(()));
        }
    }
    let fixture = Fixture::new().await;
    fixture.set_head("topic", 1).await;
    let (sender, cancelled) = oneshot::channel();
    let report = Arc::new(parking_lot::Mutex::new(Some(Report(Some(sender)))));
    let project = Project::new(repo(), move |_| {
        let report = report.clone();
        let build = External::<String>::new("queued", move |progress| {
            let report = report.lock().take();
            async move {
                let _report = report;
                progress.text("Building");
                std::future::pending().await
            }
        });
        vec![("build".to_owned(), build.term())]
    });
    let engine = fixture.start(vec![project]);
    fixture.wait_for(DEFAULT_BRANCH, &status_path(1, "build", "description"), "Building").await;
    let Target::Ref(id) = target("topic") else { panic!("a branch is a ref") };
    fixture.commit(&Diff::new([], [id.into()])).await;
    tokio::time::timeout(LIMIT, cancelled).await??;
    engine.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn panic_in_one_test_does_not_affect_the_others() -> Done {
    let fixture = Fixture::new().await;
    fixture.set_head("master", 1).await;
    let project = Project::new(repo(), |input| {
        let bad = input.head().map(|_| -> String { panic!("no such key") });
        let good = input.head().map(|_| "fine".to_owned());
        vec![("bad".to_owned(), bad), ("good".to_owned(), good)]
    });
    let engine = fixture.start(vec![project]);
    fixture.wait_for(DEFAULT_BRANCH, &status_path(1, "good", "state"), "success").await;
    fixture
        .wait_for(
            DEFAULT_BRANCH,
            &status_path(1, "bad", "description"),
            "the term panicked: no such key",
        )
        .await;
    engine.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_canaries_are_tested() -> Done {
    let fixture = Fixture::new().await;
    fixture.set_head("master", 2).await;
    fixture.set_head("topic", 4).await;
    let options = Options { canaries: [target("topic")].into(), ..Options::default() };
    let mut engine = Engine::new(fixture.db.clone(), options, vec![even_project()]);
    let running = tokio::spawn(async move { engine.run().await });
    fixture.wait_for(DEFAULT_BRANCH, &status_path(4, "build", "state"), "success").await;
    let head = fixture.branch.head().await?.expect("the branch has commits");
    let master = status_path(2, "build", "state").parse()?;
    assert!(!head.tree().exists(&master).await?);
    running.abort();
    Ok(())
}

/// A project whose tests depend on the commit. For commit number 9, the tests cannot be determined.
fn dynamic_project(ready: &Input<()>) -> Project {
    let ready = ready.term();
    Project::dynamic(repo(), move |input| {
        let tests = ready.pair(&input.head()).map(|((), commit)| {
            let number = commit.hash.to_string().trim_start_matches('0').to_owned();
            let test = |name: String| (name, Term::success("passed".to_owned()));
            match &*number {
                "9" => Outcome::failure("line 1, column 1: unknown key"),
                number => Outcome::Success(Arc::new(vec![
                    test("build".to_owned()),
                    test(format!("only-{number}")),
                ])),
            }
        });
        tests.of_state()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_of_a_dynamic_project_follow_the_commit() -> Done {
    let fixture = Fixture::new().await;
    fixture.set_head("master", 1).await;
    let ready = Input::new("ready", Outcome::Success(()));
    let mut engine =
        Engine::new(fixture.db.clone(), Options::default(), vec![dynamic_project(&ready)]);
    let view = engine.view();
    let running = tokio::spawn(async move { engine.run().await });
    fixture.wait_for(DEFAULT_BRANCH, &status_path(1, "only-1", "state"), "success").await;
    fixture.wait_for(DEFAULT_BRANCH, &status_path(1, PIPELINE, "description"), "2 tests").await;
    fixture.set_head("master", 2).await;
    fixture.wait_for(DEFAULT_BRANCH, &status_path(2, "only-2", "state"), "success").await;
    let names = || {
        let target = view.target(&target("master")).expect("the target exists");
        target.jobs.iter().map(|job| job.test.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["build", "only-2", PIPELINE]);
    fixture.set_head("master", 9).await;
    let reason = "line 1, column 1: unknown key";
    fixture.wait_for(DEFAULT_BRANCH, &status_path(9, PIPELINE, "description"), reason).await;
    assert_eq!(names(), [PIPELINE]);
    running.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn results_remain_until_the_tests_are_known_after_a_restart() -> Done {
    let fixture = Fixture::new().await;
    fixture.set_head("master", 3).await;
    let ready = Input::new("ready", Outcome::Success(()));
    let engine = fixture.start(vec![dynamic_project(&ready)]);
    let history = history_branch(&target("master"));
    fixture.wait_for(DEFAULT_BRANCH, &status_path(3, "only-3", "state"), "success").await;
    engine.abort();
    let _ = engine.await;
    let before = fixture.commits(&history).await;
    let ready = Input::new("ready", Outcome::pending("Reading"));
    let engine = fixture.start(vec![dynamic_project(&ready)]);
    // A status for another target shows that the engine has finished its first rounds.
    fixture.set_head("other", 4).await;
    fixture.wait_for(DEFAULT_BRANCH, &status_path(4, PIPELINE, "state"), "pending").await;
    assert_eq!(fixture.commits(&history).await, before, "the results are still there");
    ready.set(Outcome::Success(()));
    fixture.wait_for(DEFAULT_BRANCH, &status_path(4, "only-4", "state"), "success").await;
    assert_eq!(fixture.commits(&history).await, before);
    engine.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn view_shows_results_and_forgets_removed_targets() -> Done {
    let fixture = Fixture::new().await;
    fixture.set_head("topic", 4).await;
    let mut engine = Engine::new(fixture.db.clone(), Options::default(), vec![even_project()]);
    let view = engine.view();
    let mut changes = view.changes();
    let running = tokio::spawn(async move { engine.run().await });
    let changed = tokio::time::timeout(LIMIT, changes.recv()).await??;
    assert_eq!(changed, target("topic"));
    let shown = view.target(&changed).expect("the target exists");
    assert_eq!(shown.head.hash, hash(4));
    let [job] = shown.jobs.as_slice() else { panic!("{shown:?}") };
    assert_eq!((&*job.test, &*job.result.text), ("build", "built 4"));
    let Target::Ref(id) = target("topic") else { panic!("a branch is a ref") };
    fixture.commit(&Diff::new([], [id.into()])).await;
    tokio::time::timeout(LIMIT, async {
        while !view.targets().is_empty() {
            changes.recv().await.expect("the view exists");
        }
    })
    .await?;
    running.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn times_of_states_are_kept_over_a_restart() -> Done {
    let fixture = Fixture::new().await;
    fixture.set_head("master", 2).await;
    let project = || {
        Project::new(repo(), |input| {
            let wait = Input::<String>::new("wait", Outcome::pending("Waiting for a review"));
            let done = input.head().map(|_| "done".to_owned());
            vec![("review".to_owned(), wait.term()), ("done".to_owned(), done)]
        })
    };
    let since = async |view: &View, test: &str| {
        let found = async {
            loop {
                if let Some(target) = view.target(&target("master")) {
                    let job = target.jobs.iter().find(|job| job.test == test).unwrap();
                    return (target.head.hash, job.since);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, found).await.unwrap()
    };
    let start = || {
        let mut engine = Engine::new(fixture.db.clone(), Options::default(), vec![project()]);
        let view = engine.view();
        (tokio::spawn(async move { engine.run().await }), view)
    };
    let (engine, view) = start();
    fixture.wait_for(DEFAULT_BRANCH, &status_path(2, "review", "state"), "pending").await;
    let first = (since(&view, "review").await, since(&view, "done").await);
    engine.abort();
    let restarted = std::time::SystemTime::now();
    let (engine, view) = start();
    // The time is known as soon as the history has been read.
    let kept = async {
        while (since(&view, "review").await, since(&view, "done").await) != first {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, kept).await.expect("the times of the first run");
    assert_eq!(fixture.commits(&history_branch(&target("master"))).await, 1);
    // The jobs of the next commit start waiting later.
    fixture.set_head("master", 4).await;
    fixture.wait_for(DEFAULT_BRANCH, &status_path(4, "review", "state"), "pending").await;
    let (head, time) = since(&view, "review").await;
    assert!(head == hash(4) && time > restarted, "{head} {time:?}");
    engine.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn overall_result_names_the_failed_test() -> Done {
    let fixture = Fixture::new().await;
    fixture.set_head("master", 1).await;
    let lint = Input::new("lint", Outcome::pending("Linting"));
    let term = lint.term();
    let project = Project::new(repo(), move |input| {
        let mut tests = vec![("lint".to_owned(), term.clone())];
        tests.push(("build".to_owned(), input.head().map(|commit| commit.hash.to_string())));
        tests
    });
    let options = Options { overall: true, ..Options::default() };
    let mut engine = Engine::new(fixture.db.clone(), options, vec![project]);
    let counters = engine.counters();
    let running = tokio::spawn(async move { engine.run().await });
    let path = |file: &str| format!("me/app/commit/{}/status/ci/datakit/{file}", hash(1));
    let description = path("description");
    fixture.wait_for(DEFAULT_BRANCH, &description, "1 of 2 tests passed").await;
    lint.set(Outcome::failure("2 warnings"));
    fixture.wait_for(DEFAULT_BRANCH, &description, "lint failed").await;
    lint.set(Outcome::Success("no warnings".to_owned()));
    fixture.wait_for(DEFAULT_BRANCH, &description, "2 tests passed").await;
    fixture.wait_for(DEFAULT_BRANCH, &path("state"), "success").await;
    assert!(counters.status_updates() >= 5 && counters.evaluations() >= 2, "{counters:?}");
    running.abort();
    Ok(())
}
