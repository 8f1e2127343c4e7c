//! Tests for GitHub Apps.

use datakit_tests::github::Repository;

use crate::expected;
use crate::setup::{Bridge, Setup, commit, until, until_file};

/// Starts a bridge that authenticates as a GitHub App installed for alice.
async fn start(setup: &Setup, app: u64, arguments: &[&str]) -> (Repository, Bridge) {
    let repo = setup.fake.create("alice/hello");
    setup.fake.install(app, "alice", None);
    start_installed(setup, repo, app, arguments).await
}

async fn start_installed(
    setup: &Setup,
    repo: Repository,
    app: u64,
    arguments: &[&str],
) -> (Repository, Bridge) {
    let key = setup.secret("key.pem", setup.fake.app_key());
    let id = app.to_string();
    let app = ["--app-id", &id, "--app-key-file", &key, "-r", "alice/hello"];
    let bridge = setup.bare_bridge(&[&app, arguments].concat());
    let expected = expected::files(&repo);
    until(&setup.branch().await, "the repository is read", |files| *files == expected).await;
    (repo, bridge)
}

#[tokio::test]
async fn an_app_writes_check_runs() {
    let setup = Setup::new();
    let app = setup.fake.create_app("datakit-ci");
    let (repo, bridge) = start(&setup, app, &[]).await;
    let branch = setup.branch().await;
    let head = repo.head("master").unwrap();
    let dir = format!("alice/hello/commit/{head}/status/ci/build");
    let file = |name: &str| format!("{dir}/{name}");
    commit(&branch, &[(&file("state"), Some("pending")), (&file("description"), Some("Running"))])
        .await;
    setup.until("the run starts", |_| repo.state().runs.len() == 1).await;
    commit(
        &branch,
        &[
            (&file("state"), Some("success")),
            (&file("description"), None),
            (&file("target_url"), Some("http://ci/1")),
        ],
    )
    .await;
    let run = || repo.state().runs.values().next().unwrap().clone();
    setup.until("the run ends", |_| run().conclusion.is_some()).await;
    assert_eq!((run().name, run().conclusion.as_deref()), ("ci/build".to_owned(), Some("success")));
    assert_eq!(repo.state().runs.len(), 1, "the run was changed");
    assert_eq!(repo.statuses(&head).len(), 0);
    // After a restart, the bridge reads the same status from the branch, so it sends nothing.
    drop(bridge);
    setup.fake.forget_calls();
    let key = setup.secret("key.pem", setup.fake.app_key());
    let id = app.to_string();
    let _bridge = setup.bare_bridge(&["--app-id", &id, "--app-key-file", &key, "-c", "*:x"]);
    setup
        .until("runs are read", |fake| fake.counts().keys().any(|r| r.ends_with("/check-runs")))
        .await;
    commit(&branch, &[("alice/hello/.dirty", Some(""))]).await;
    until(&branch, "everything is read", |files| !files.contains_key("alice/hello/.dirty")).await;
    until_file(&branch, &file("state"), "success\n").await;
    let writes = expected::writes(&setup.fake);
    assert!(writes.iter().all(|write| write.contains("access_tokens")), "{writes:?}");
}

#[tokio::test]
async fn without_permission_for_checks_statuses_are_written() {
    let setup = Setup::new();
    let app = setup.fake.create_app("datakit-ci");
    setup.fake.set_permission(app, "checks", None);
    let (repo, _bridge) = start(&setup, app, &[]).await;
    let head = repo.head("master").unwrap();
    let path = format!("alice/hello/commit/{head}/status/ci/state");
    commit(&setup.branch().await, &[(&path, Some("failure"))]).await;
    setup.until("the status arrives", |_| repo.statuses(&head).len() == 1).await;
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed() {
    let setup = Setup::new();
    let app = setup.fake.create_app("datakit-ci");
    let (repo, first) = (setup.fake.create("alice/hello"), setup.fake.install(app, "alice", None));
    let (repo, bridge) =
        start_installed(&setup, repo, app, &["--resync-interval", "1", "-vv"]).await;
    // The app is installed again, so the token from the first installation becomes invalid.
    setup.fake.uninstall(first);
    setup.fake.install(app, "alice", None);
    repo.push("topic", "After the end of the token");
    let expected = expected::files(&repo);
    until(&setup.branch().await, "the change is read", |files| *files == expected).await;
    let log = bridge.log();
    assert!(!log.contains("ghs_") && !log.contains("eyJ"), "{log}");
}
