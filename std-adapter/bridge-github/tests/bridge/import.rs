//! Tests that the bridge reads repositories correctly and with few calls.

use std::collections::BTreeMap;
use std::time::Duration;

use datakit_tests::github::{Object, Repository};
use tokio::process::Command;

use crate::expected;
use crate::setup::{Setup, commit, eventually, files, until};

/// Creates a repository that contains pull requests, statuses and all kinds of refs.
fn full_repository(setup: &Setup, name: &str) -> Repository {
    let repo = setup.fake.create(name);
    let head = repo.push("topic/c++#1@home", "Add a greeting");
    let number = repo.open_pull("bob", "Say hello", "topic/c++#1@home", "master");
    repo.set_status(&head, "ci/build", "success", Some("All good"), Some("http://ci/1"));
    repo.set_status(&head, "ci/build", "failure", Some("No"), None);
    repo.set_status(&head, "ci", "pending", None, None);
    let tag = repo.tag("v1", Object::commit(&head), "First");
    repo.tag("v1-again", Object { kind: "tag".into(), sha: tag }, "A tag of a tag");
    repo.set_ref("refs/tags/light", Object::commit(&head));
    repo.set_ref("refs/tags/file", Object { kind: "blob".into(), sha: "1".repeat(40) });
    repo.set_ref("refs/notes/commits", Object::commit(&head));
    // Advance the clock because GitHub's timestamps have a resolution of one second.
    setup.fake.advance(Duration::from_secs(1));
    repo.comment(number, "eve", " Looks good\n\n");
    let closed = repo.push("closed", "Another change");
    repo.set_status(&closed, "other", "error", None, None);
    let closed = repo.open_pull("bob", "Closed", "closed", "master");
    repo.close_pull(closed);
    repo
}

#[tokio::test]
async fn repositories_arrive_in_the_branch() {
    let setup = Setup::new();
    let repos = ["alice/hello", "alice/other"].map(|name| full_repository(&setup, name));
    let _bridge = setup.bridge(&["-r", "alice/hello,alice/other"]);
    let expected: BTreeMap<String, String> = repos.iter().flat_map(expected::files).collect();
    until(&setup.branch().await, "both are read", |files| *files == expected).await;
    assert_eq!(expected::writes(&setup.fake), Vec::<String>::new());
}

#[tokio::test]
async fn an_enterprise_server_is_read() {
    let setup = Setup::new();
    let repo = full_repository(&setup, "alice/hello");
    let url = setup.fake.enterprise_url();
    let _bridge = setup.bridge(&["-r", "alice/hello", "--github-url", &url]);
    let expected = expected::files(&repo);
    until(&setup.branch().await, "the repository is read", |files| *files == expected).await;
}

#[tokio::test]
async fn a_repository_without_a_server_is_written() {
    let setup = Setup::new();
    let repo = setup.fake.create("alice/hello");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metadata");
    let _bridge = setup.bridge(&["-r", "alice/hello", "-d", &format!("git://{}", path.display())]);
    let master = "github-metadata:alice/hello/ref/heads/master/head";
    let head = format!("{}\n", repo.head("master").unwrap());
    eventually("the repository is read", async || {
        let mut git = Command::new("git");
        git.arg("-C").arg(&path).args(["show", master]);
        git.output().await.unwrap().stdout == head.as_bytes()
    })
    .await;
}

/// Returns the number of calls for each route. The routes do not include the repository.
fn calls(setup: &Setup) -> Vec<(String, u64)> {
    let short = |route: &String| route.replace("/repos/{owner}/{repo}", "");
    setup.fake.counts().iter().map(|(route, count)| (short(route), *count)).collect()
}

#[tokio::test]
async fn a_first_round_and_a_restart_cost_the_same_and_quiet_rounds_nothing() {
    let setup = Setup::new();
    let repo = setup.fake.create("alice/hello");
    // There are only two heads, because the pull request and its branch share one.
    repo.push("topic", "Add a greeting");
    repo.open_pull("bob", "Say hello", "topic", "master");
    let branch = setup.branch().await;
    let expected = expected::files(&repo);
    let cost =
        [("GET /commits/{ref}/status", 2), ("GET /git/matching-refs/{ref}", 1), ("GET /pulls", 1)];
    let cost: Vec<(String, u64)> = cost.map(|(route, count)| (route.to_owned(), count)).into();
    for arguments in [&["-r", "alice/hello"][..], &[]] {
        let bridge = setup.bridge(arguments);
        setup.until("all heads are read", |_| calls(&setup) == cost).await;
        until(&branch, "the repository is read", |files| *files == expected).await;
        let head = branch.head().await.unwrap();
        // A commit that does not affect the repository triggers a synchronization, but the
        // synchronization makes no calls.
        commit(&branch, &[("unrelated", Some("text"))]).await;
        commit(&branch, &[("unrelated", None)]).await;
        // The last commit to the branch must be the test's own commit.
        let quiet = branch.head().await.unwrap();
        assert_ne!(head, quiet);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(calls(&setup), cost);
        assert_eq!(branch.head().await.unwrap(), quiet);
        bridge.kill();
        setup.fake.forget_calls();
    }
}

#[tokio::test]
async fn long_lists_are_read_to_the_end() {
    let setup = Setup::new();
    let repo = setup.fake.create("alice/hello");
    let head = repo.head("master").unwrap();
    for number in 0..230 {
        repo.set_branch(&format!("b/{number}"), &head);
        repo.set_ref(&format!("refs/tags/t{number}"), Object::commit(&head));
    }
    for number in 0..130 {
        repo.open_pull_from_fork("bob", &format!("Change {number}"), &format!("f{number}"), &head);
        repo.set_status(&head, &format!("ci/{number}"), "success", None, None);
    }
    let _bridge = setup.bridge(&["-r", "alice/hello"]);
    let expected = expected::files(&repo);
    until(&setup.branch().await, "all pages are read", |files| *files == expected).await;
}

#[tokio::test]
async fn dirty_files_cause_reads() {
    let setup = Setup::new();
    let repo = setup.fake.create("alice/hello");
    repo.push("topic", "Add a greeting");
    let number = repo.open_pull("bob", "Say hello", "topic", "master");
    let other = setup.fake.create("alice/other");
    let _bridge = setup.bridge(&["-r", "alice/hello"]);
    let branch = setup.branch().await;
    let expected_before = expected::files(&repo);
    until(&branch, "the repository is read", |files| *files == expected_before).await;

    // The bridge is not notified of these changes.
    repo.set_title(number, "Say hello to all");
    repo.push("topic", "Correct the greeting");
    repo.delete_ref("refs/heads/topic");
    let pr = format!("alice/hello/pr/{number}/.dirty");
    let marks = [&*pr, "alice/hello/ref/heads/topic/.dirty"].map(|path| (path, Some("")));
    commit(&branch, &marks).await;
    let changed = expected::files(&repo);
    until(&branch, "both are read again", |files| *files == changed).await;

    repo.close_pull(number);
    commit(&branch, &[(&pr, Some("")), ("alice/other/.dirty", Some(""))]).await;
    let expected: BTreeMap<String, String> =
        [expected::files(&repo), expected::files(&other)].into_iter().flatten().collect();
    until(&branch, "a repository that was not monitored is read", |files| *files == expected).await;
}

#[tokio::test]
async fn changes_are_found_by_reading_everything_again() {
    let setup = Setup::new();
    let repo = full_repository(&setup, "alice/hello");
    let _bridge = setup.bridge(&["-r", "alice/hello", "--resync-interval", "1"]);
    let branch = setup.branch().await;
    let before = expected::files(&repo);
    until(&branch, "the repository is read", |files| *files == before).await;
    let used = setup.fake.used();
    repo.push("another", "Another branch");
    repo.set_title(1, "Another title");
    repo.delete_ref("refs/tags/light");
    let after = expected::files(&repo);
    until(&branch, "the changes are found", |files| *files == after).await;
    let number = setup.fake.calls().len();
    setup.until("everything is read once more", |fake| fake.calls().len() > number + 8).await;
    // Unchanged responses do not count against the limit. The lists have changed once, and there is
    // one new head.
    assert!(setup.fake.used() <= used + 8, "{} calls", setup.fake.used() - used);
    assert_eq!(expected::writes(&setup.fake), Vec::<String>::new());
}

#[tokio::test]
async fn a_repository_that_is_not_monitored_any_more_is_left_alone() {
    let setup = Setup::new();
    let repo = full_repository(&setup, "alice/hello");
    let _bridge = setup.bridge(&["-r", "alice/hello"]);
    let branch = setup.branch().await;
    let expected = expected::files(&repo);
    until(&branch, "the repository is read", |files| *files == expected).await;
    commit(&branch, &[("alice/hello/.monitor", None)]).await;
    commit(&branch, &[("alice/hello/ref/heads/master/head", None)]).await;
    let after = files(&branch).await;
    setup.fake.forget_calls();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(files(&branch).await, after);
    assert_eq!(setup.fake.calls().len(), 0);
}
