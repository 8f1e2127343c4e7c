//! Tests that the bridge respects GitHub's rate limits.

use std::time::{Duration, Instant};

use datakit_tests::github::{Fault, Object};

use crate::expected;
use crate::setup::{Setup, commit, until};

#[tokio::test]
async fn calls_wait_for_the_time_that_github_asks_for() {
    for (status, call) in [(403, "GET */pulls*"), (429, "GET *status*"), (403, "GET *refs*")] {
        let setup = Setup::new();
        let repo = setup.fake.create("alice/hello");
        setup.fake.fault(call, Fault::Abuse { status, retry_after: Some(2) }, 1);
        let began = Instant::now();
        let _bridge = setup.bridge(&["-r", "alice/hello"]);
        let expected = expected::files(&repo);
        until(&setup.branch().await, "the repository is read", |files| *files == expected).await;
        assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
        // The bridge made no calls while waiting, and then repeated only the refused call.
        assert_eq!(setup.fake.calls().len(), 4);
    }
}

#[tokio::test]
async fn a_refused_status_is_sent_once_after_the_wait() {
    let setup = Setup::new();
    let repo = setup.fake.create("alice/hello");
    let head = repo.head("master").unwrap();
    let _bridge = setup.bridge(&["-r", "alice/hello"]);
    let branch = setup.branch().await;
    let expected = expected::files(&repo);
    until(&branch, "the repository is read", |files| *files == expected).await;
    setup.fake.fault("POST *", Fault::Abuse { status: 403, retry_after: Some(1) }, 1);
    let paths: Vec<String> =
        (0..20).map(|n| format!("alice/hello/commit/{head}/status/ci/{n}/state")).collect();
    let statuses: Vec<(&str, Option<&str>)> =
        paths.iter().map(|path| (&**path, Some("success"))).collect();
    commit(&branch, &statuses).await;
    setup.until("all statuses arrive", |_| repo.statuses(&head).len() >= 20).await;
    assert_eq!(repo.statuses(&head).len(), 20);
    assert_eq!(setup.fake.peaks(), (1, 1), "one call at a time");
}

#[tokio::test]
async fn calls_stop_at_80_percent_of_the_limit() {
    let setup = Setup::new();
    let repo = setup.fake.create("alice/hello");
    for number in 0..60 {
        let commit = repo.commit(&[], &format!("Commit {number}"));
        repo.set_ref(&format!("refs/tags/{number}"), Object::commit(&commit));
    }
    setup.fake.limit(50);
    let bridge = setup.bridge(&["-r", "alice/hello", "-v"]);
    setup.until("60 % are used", |fake| fake.used() >= 30).await;
    crate::setup::eventually("the bridge waits", async || {
        bridge.log().contains("waiting for GitHub's limit")
    })
    .await;
    let used = setup.fake.used();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The bridge spreads the ten usable calls over the rest of the hour.
    assert!(used <= 31 && setup.fake.used() <= used + 1, "{used} {}", setup.fake.used());
}
