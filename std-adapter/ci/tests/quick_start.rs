//! Follows the quick start in the README: starts a database, the local bridge and the CI, and runs
//! a failing and a passing build.

mod common;

use std::process::Command;

use common::{CI, METADATA, Process, REPO, Repository, get, program, status, wait_for};
use datakit_client::db::Db;
use tempfile::TempDir;

const PIPELINE: &str = r#"
[step.build]
run = "echo building; test -f good"

[step.report]
needs = ["build"]
run = "cat good"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn red_build_becomes_green() {
    let (state, work) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let app = Repository::new();
    let bad = app.commit(&[(".datakit-ci.toml", PIPELINE)]);
    let (_database, address) = common::database(state.path(), "tcp://127.0.0.1:0");
    let _bridge = common::bridge(&address, app.path());
    let mut ci = Process::start(&mut common::ci(&address, work.path()));
    let web = ci.line_after("listening on ");
    let db = Db::connect(&address.parse().unwrap()).await.unwrap();

    wait_for(&db, METADATA, &status(&bad, "build", "state"), "failure").await;
    wait_for(&db, METADATA, &status(&bad, "report", "description"), "build failed").await;
    let (code, page) = get(&format!("{web}{REPO}/ref/heads/master"));
    assert_eq!(code, 200);
    assert!(page.contains("build") && page.contains("building"), "{page}");

    let good = app.commit(&[("good", "all is well\n")]);
    wait_for(&db, METADATA, &status(&good, "report", "state"), "success").await;
    let overall = format!("{REPO}/commit/{good}/status/ci/datakit/state");
    wait_for(&db, METADATA, &overall, "success").await;
    let (code, page) = get(&format!("{web}{REPO}/ref/heads/master?test=report"));
    assert_eq!(code, 200);
    assert!(page.contains("all is well"), "{page}");

    let explained = Command::new(CI)
        .args(["explain", "me/app/heads/master", "--work-dir"])
        .arg(work.path())
        .output()
        .unwrap();
    let explained = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(explained.contains("build: success"), "{explained}");

    assert_eq!(ci.terminate(), Some(0));
    let left: Vec<_> =
        std::fs::read_dir(work.path()).unwrap().flatten().map(|e| e.path()).collect();
    assert!(!left.iter().any(|path| path.ends_with("control.sock")), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn second_server_on_the_same_database_is_refused() {
    let (state, work, other) =
        (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let (_database, address) = common::database(state.path(), "tcp://127.0.0.1:0");
    let mut first = Process::start(&mut common::ci(&address, work.path()));
    first.line_after("listening on ");
    let db = Db::connect(&address.parse().unwrap()).await.unwrap();
    // The first server holds the lease by the time its projects are monitored.
    wait_for(&db, METADATA, &format!("{REPO}/.monitor"), "").await;
    let second = common::ci(&address, other.path()).output().unwrap();
    let error = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{error}");
    assert!(error.contains("another CI server uses the database"), "{error}");
    assert_eq!(first.terminate(), Some(0));
}

#[test]
fn mistakes_on_the_command_line_are_explained() {
    let work = TempDir::new().unwrap();
    for (args, expected) in [
        (&["serve"][..], "no repository to test"),
        (&["serve", "app"], "user/project"),
        (&["serve", "me/app:"], "a path or URL must follow the colon"),
        (&["explain", "me/app/heads/master"], "no CI server uses"),
        (&["explain", "master"], "expected USER/REPO/prs/N"),
    ] {
        let output =
            Command::new(CI).args(args).env("DATAKIT_CI_WORK_DIR", work.path()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(expected), "{args:?}: {error}");
    }
    let _ = program("datakit");
}
