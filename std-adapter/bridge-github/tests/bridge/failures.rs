//! Tests that the bridge never removes data or sends anything twice when GitHub or the database
//! fails.

use std::time::Duration;

use datakit_client::db::Branch;
use datakit_tests::github::{Fault, Repository};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::expected;
use crate::setup::{Bridge, Setup, commit, eventually, files, until, until_file};

/// Starts a bridge for a repository that has a pull request with a status, and waits until the
/// bridge has read the repository.
async fn start(setup: &Setup, arguments: &[&str]) -> (Repository, Branch, Bridge) {
    let repo = setup.fake.create("alice/hello");
    let head = repo.push("topic", "Add a greeting");
    repo.open_pull("bob", "Say hello", "topic", "master");
    repo.set_status(&head, "other", "success", None, None);
    let bridge = setup.bridge(&[&["-r", "alice/hello"], arguments].concat());
    let branch = setup.branch().await;
    let expected = expected::files(&repo);
    until(&branch, "the repository is read", |files| *files == expected).await;
    (repo, branch, bridge)
}

#[tokio::test]
async fn failed_lists_keep_what_is_known() {
    for fault in [
        Fault::Status(502),
        Fault::Status(500),
        Fault::Close,
        Fault::Cut,
        Fault::HalfBody,
        Fault::Hang,
        Fault::Status(404),
        Fault::Status(401),
        Fault::Status(403),
    ] {
        let setup = Setup::new();
        let (repo, branch, _bridge) =
            start(&setup, &["--resync-interval", "1", "--github-timeout", "1"]).await;
        let before = files(&branch).await;
        for list in ["pulls", "git/matching-refs", "commits"] {
            setup.fake.fault(&format!("GET /repos/alice/hello/{list}*"), fault.clone(), 1000);
        }
        setup.fake.forget_calls();
        setup.until("the lists fail", |fake| fake.calls().len() >= 8).await;
        assert_eq!(files(&branch).await, before, "{fault:?}");
        // Changes in the branch are still sent to GitHub.
        let head = repo.head("topic").unwrap();
        commit(
            &branch,
            &[(&format!("alice/hello/commit/{head}/status/ci/state"), Some("success"))],
        )
        .await;
        setup.until("the status arrives", |_| repo.statuses(&head).len() == 2).await;

        repo.set_title(1, "Another title");
        setup.fake.heal();
        let after = expected::files(&repo);
        until(&branch, &format!("{fault:?} ends"), |files| *files == after).await;
    }
}

#[tokio::test]
async fn a_first_round_that_fails_changes_nothing() {
    let setup = Setup::new();
    let (repo, branch, bridge) = start(&setup, &[]).await;
    bridge.kill();
    let before = files(&branch).await;
    setup.fake.fault("GET *", Fault::Status(502), 1000);
    let _bridge = setup.bridge(&["-c", "*:x"]);
    setup.fake.forget_calls();
    setup.until("both lists fail twice", |fake| fake.calls().len() >= 12).await;
    assert_eq!(files(&branch).await, before);
    assert_eq!(expected::writes(&setup.fake), Vec::<String>::new());
    setup.fake.heal();
    setup.until("GitHub is read", |fake| fake.counts().keys().any(|r| r.contains("status"))).await;
    assert_eq!(files(&branch).await, expected::files(&repo));
}

#[tokio::test]
async fn a_status_without_an_answer_is_not_sent_twice() {
    for fault in
        [Fault::Lost, Fault::Cut, Fault::HalfBody, Fault::Close, Fault::Status(502), Fault::Hang]
    {
        let setup = Setup::new();
        let (repo, branch, _bridge) = start(&setup, &["--github-timeout", "1"]).await;
        let head = repo.head("topic").unwrap();
        let dir = format!("alice/hello/commit/{head}/status/ci");
        setup.fake.fault("POST *", fault.clone(), 1);
        commit(
            &branch,
            &[
                (&format!("{dir}/state"), Some("success\n")),
                (&format!("{dir}/description"), Some("Once\n")),
            ],
        )
        .await;
        setup.until("the status arrives", |_| repo.statuses(&head).len() == 2).await;
        // Once the bridge has read the status, it processes other changes.
        commit(&branch, &[("alice/hello/.dirty", Some(""))]).await;
        until(&branch, "the bridge is done", |files| !files.contains_key("alice/hello/.dirty"))
            .await;
        assert_eq!(repo.statuses(&head).len(), 2, "{fault:?}");
        assert_eq!(files(&branch).await, expected::files(&repo), "{fault:?}");
    }
}

#[tokio::test]
async fn an_invisible_repository_keeps_its_files() {
    let setup = Setup::new();
    let (repo, branch, _bridge) = start(&setup, &["--resync-interval", "1"]).await;
    let before = files(&branch).await;
    repo.set_member("datakit-bot", false);
    repo.set_private(true);
    let marks = ["alice/hello/pr/1/.dirty", "alice/hello/ref/heads/topic/.dirty"];
    commit(&branch, &marks.map(|path| (path, Some("")))).await;
    setup.fake.forget_calls();
    setup.until("reading fails", |fake| fake.calls().len() >= 10).await;
    let without_marks = |mut files: std::collections::BTreeMap<String, String>| {
        files.retain(|path, _| !path.ends_with(".dirty"));
        files
    };
    assert_eq!(without_marks(files(&branch).await), before);

    repo.set_private(false);
    repo.set_title(1, "Visible again");
    let after = expected::files(&repo);
    until(&branch, "the repository is visible again", |files| *files == after).await;

    repo.rename("greeting");
    repo.set_title(1, "Renamed");
    until_file(&branch, "alice/hello/pr/1/title", "Renamed\n").await;
    let renamed = files(&branch).await;
    repo.remove();
    setup.fake.forget_calls();
    setup.until("reading fails", |fake| fake.calls().len() >= 6).await;
    assert_eq!(files(&branch).await, renamed);
}

/// Forwards connections to a server that a test can replace.
struct Forwarder {
    address: String,
    target: watch::Sender<Option<String>>,
}

impl Forwarder {
    async fn start(target: &str) -> Forwarder {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        let target = watch::Sender::new(Some(target.trim_start_matches("tcp://").to_owned()));
        let mut targets = target.subscribe();
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let Some(target) = targets.borrow_and_update().clone() else { continue };
                let mut changes = targets.clone();
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = changes.changed() => {}
                    }
                });
            }
        });
        Forwarder { address, target }
    }

    /// Closes all connections, and forwards new ones to `target`.
    fn redirect(&self, target: Option<&str>) {
        let target = target.map(|url| url.trim_start_matches("tcp://").to_owned());
        self.target.send_replace(target);
    }
}

#[tokio::test]
async fn the_bridge_continues_when_the_database_is_back() {
    let setup = Setup::new();
    let repo = setup.fake.create("alice/hello");
    let forwarder = Forwarder::start(&setup.database.url()).await;
    let arguments = ["-r", "alice/hello", "--datakit", &forwarder.address];
    let bridge = setup.bridge(&[&arguments[..], &["--resync-interval", "1"]].concat());
    let branch = setup.branch().await;
    let expected = expected::files(&repo);
    until(&branch, "the repository is read", |files| *files == expected).await;
    forwarder.redirect(None);
    let head = repo.push("topic", "While the database is away");
    let status = format!("alice/hello/commit/{head}/status/ci/state");
    commit(&branch, &[(&status, Some("success"))]).await;
    eventually("the loss is noticed", async || bridge.log().contains("the database failed")).await;
    forwarder.redirect(Some(&setup.database.url()));
    setup.until("the status arrives", |_| repo.statuses(&head).len() == 1).await;
    let expected = expected::files(&repo);
    until(&branch, "both are equal", |files| *files == expected).await;
}

#[tokio::test]
async fn an_empty_database_removes_nothing_on_github() {
    let setup = Setup::new();
    let repo = setup.fake.create("alice/hello");
    repo.push("topic", "Add a greeting");
    let forwarder = Forwarder::start(&setup.database.url()).await;
    let _bridge =
        setup.bridge(&["-r", "alice/hello", "--datakit", &forwarder.address, "-c", "*:rw"]);
    let expected = expected::files(&repo);
    until(&setup.branch().await, "the repository is read", |files| *files == expected).await;
    let other = Setup::new();
    forwarder.redirect(Some(&other.database.url()));
    until(&other.branch().await, "the repository is read again", |files| *files == expected).await;
    // The bridge also recovers if the branch is removed and recreated while the bridge is
    // connected.
    other.branch().await.remove().await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    until(&other.branch().await, "and again", |files| *files == expected).await;
    assert_eq!(expected::writes(&setup.fake), Vec::<String>::new());
    assert!(repo.head("topic").is_some());
}
