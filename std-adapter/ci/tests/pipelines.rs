//! Tests that the engine runs a repository's pipelines and publishes their statuses.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use datakit_ci::build::{Builds, LiveLogs};
use datakit_ci::command::Sandbox;
use datakit_ci::git::Repository;
use datakit_ci::pipeline::{FILE, Pipelines, Settings};
use datakit_ci::{Engine, Options, Project};
use datakit_client::db::Database as _;
use datakit_client::db::prelude::*;
use datakit_db::store::MemoryStore;
use datakit_db::{Database, DirectDb};
use datakit_github::{
    DEFAULT_BRANCH, Diff, Element, Hash, Pr, PrId, PrState, Ref, RefId, RefName, Repo, Snapshot,
    Text, ensure_branch, read, write,
};

type Done = Result<(), Box<dyn std::error::Error>>;

/// The time limit for every wait in these tests.
const LIMIT: Duration = Duration::from_secs(60);

fn git(dir: &Path, args: &[&str]) -> String {
    let user = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"];
    let output = Command::new("git").args(user).args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Commits a pipeline and returns the hash of the commit.
fn commit(dir: &Path, pipeline: &str) -> Hash {
    std::fs::write(dir.join(FILE), pipeline).unwrap();
    git(dir, &["add", "."]);
    git(dir, &["commit", "-q", "-m", "x"]);
    Hash::parse(git(dir, &["rev-parse", "HEAD"])).unwrap()
}

fn repo() -> Repo {
    "me/app".parse().unwrap()
}

fn branch(name: &str, head: Hash) -> Element {
    let id = RefId { repo: repo(), name: RefName::parse(format!("heads/{name}")).unwrap() };
    Ref { id, head }.into()
}

fn pr(number: u64, head: Hash) -> Element {
    Pr {
        id: PrId { repo: repo(), number },
        head,
        state: PrState::Open,
        title: Text::from("title"),
        owner: Text::from("stranger"),
        base: Text::from("master"),
        comments: Vec::new(),
    }
    .into()
}

/// Adds metadata elements in the same way as the bridge.
async fn bridge(db: &DirectDb, elements: Vec<Element>) -> Done {
    let metadata = ensure_branch(db, DEFAULT_BRANCH).await?;
    let head = metadata.head().await?.unwrap();
    let old = read(&head.tree()).await?.snapshot;
    let mut new = old.clone();
    elements.into_iter().for_each(|element| new.insert(element));
    let transaction = metadata.transaction().await?;
    write(&transaction, &Diff::between(&new, &old)).await?;
    transaction.commit("Bridge").await?;
    Ok(())
}

/// Waits until no status is pending and `expected` is the list of all statuses.
async fn statuses(db: &DirectDb, expected: &[&str]) -> Done {
    let metadata = ensure_branch(db, DEFAULT_BRANCH).await?;
    let mut heads = metadata.watch_head().await?;
    let mut last = Vec::new();
    let wait = async {
        while let Some(Ok(head)) = heads.next().await {
            let Some(head) = head else { continue };
            let snapshot: Snapshot = read(&head.tree()).await.unwrap().snapshot;
            last = snapshot
                .statuses()
                .values()
                .map(|status| {
                    let text = status.description.as_ref().map(ToString::to_string);
                    let text = text.unwrap_or_default();
                    let text = text.split(" in ").next().unwrap_or_default().to_owned();
                    format!("{} {}: {text}", status.id.context, status.state.as_str())
                })
                .collect();
            last.sort();
            if last == expected {
                return;
            }
        }
    };
    let ended = tokio::time::timeout(LIMIT, wait).await;
    assert!(ended.is_ok(), "{last:#?} instead of {expected:#?}");
    Ok(())
}

/// Starts an engine that runs the pipelines of the repository in `origin`.
async fn start(
    origin: &Path,
    clone: &Path,
) -> Result<(DirectDb, Builds, tokio::task::JoinHandle<()>), Box<dyn std::error::Error>> {
    let remote = origin.display().to_string();
    let repository = Repository::open_or_clone(&remote, clone).await?;
    let db = DirectDb::new(Database::new(Arc::new(MemoryStore::new()))?);
    let mut settings = Settings::default();
    settings.sandbox = Sandbox::Unsandboxed;
    let pipelines = Pipelines::new(db.clone(), repository, settings, LiveLogs::new());
    let builds = Builds::new();
    pipelines.add_to(&builds);
    let project = Project::dynamic(repo(), move |input| pipelines.tests(input));
    let mut engine = Engine::new(db.clone(), Options::default(), vec![project]);
    let running = tokio::spawn(async move { engine.run().await.unwrap() });
    Ok((db, builds, running))
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_follow_the_pipeline_at_the_commit() -> Done {
    let (origin, clone) = (tempfile::tempdir()?, tempfile::tempdir()?);
    git(origin.path(), &["init", "-q", "-b", "master"]);
    let master = commit(
        origin.path(),
        "[step.build]\nrun='true'\n[step.test]\nrun='exit 3'\nneeds='build'\n\
         [step.deploy]\nrun='true'\nneeds='test'\n[step.tag]\nrun='true'\nwhen={tags=true}\n",
    );
    git(origin.path(), &["checkout", "-q", "-b", "topic"]);
    let topic = commit(origin.path(), "[step.build]\nrn='true'\n");
    git(origin.path(), &["update-ref", "refs/pull/7/head", "HEAD"]);
    git(origin.path(), &["checkout", "-q", "master"]);

    let (db, builds, running) = start(origin.path(), clone.path()).await?;

    bridge(&db, vec![branch("master", master)]).await?;
    let first = [
        "ci/datakit/build success: Passed",
        "ci/datakit/deploy failure: test failed",
        "ci/datakit/test failure: exit status: 3",
    ];
    let with_pipeline = |pipeline: &[&'static str]| {
        let mut all: Vec<&str> = first.iter().chain(pipeline).copied().collect();
        all.sort_unstable();
        all
    };
    let read = "ci/datakit/pipeline success: 3 tests";
    let metadata = statuses(&db, &with_pipeline(&[read])).await;
    metadata?;

    // A pull request with an invalid pipeline file has only the pipeline status.
    bridge(&db, vec![pr(7, topic)]).await?;
    let error = "ci/datakit/pipeline failure: 2 errors; the first: .datakit-ci.toml:1:7: the step \
                 `build` has no commands; add `run = \"...\"`";
    statuses(&db, &with_pipeline(&[read, error])).await?;

    // The database contains the pipeline's log, and a rebuild reads the pipeline file again.
    let stored = format!("pipeline-me-app-into-master-of-{topic}");
    let head = db.branch(&stored).await?.head().await?.unwrap();
    let log = head.tree().read_file(&"log".parse()?).await?;
    assert!(String::from_utf8(log)?.contains(".datakit-ci.toml:2:1: unknown key `rn`"));
    builds.rebuild(&stored).await?;
    running.abort();
    Ok(())
}

/// A user cancels a step by giving the name of its branch.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_step_fails_and_its_processes_end() -> Done {
    let (origin, clone) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let marker = origin.path().join("started");
    git(origin.path(), &["init", "-q", "-b", "master"]);
    let head = commit(
        origin.path(),
        &format!(
            "[step.slow]\nrun='echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000'\n[step.other]\nrun='true'\n",
            marker.display()
        ),
    );
    let (db, builds, running) = start(origin.path(), clone.path()).await?;
    bridge(&db, vec![branch("master", head)]).await?;
    let started = async {
        while !marker.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, started).await?;
    let pid = std::fs::read_to_string(&marker)?.trim().to_owned();
    assert!(builds.cancel(&format!("step-me-app-slow-of-{head}"))?);
    let expected = [
        "ci/datakit/other success: Passed",
        "ci/datakit/pipeline success: 2 tests",
        "ci/datakit/slow failure: Cancelled at user's request",
    ];
    statuses(&db, &expected).await?;
    let ended = async {
        while std::path::Path::new("/proc").join(&pid).join("cwd").read_link().is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, ended).await?;
    running.abort();
    Ok(())
}
