//! Tests that changes in the branch are sent to GitHub.

use crate::expected;
use crate::setup::{Setup, commit, files, until, until_file};
use datakit_client::db::Branch;
use datakit_tests::github::Repository;

/// Starts a bridge for a repository that has a pull request, and waits until the bridge has read
/// the repository.
async fn start(setup: &Setup, arguments: &[&str]) -> (Repository, Branch, crate::setup::Bridge) {
    let repo = setup.fake.create("alice/hello");
    repo.push("topic", "Add a greeting");
    repo.open_pull("bob", "Say hello", "topic", "master");
    let bridge = setup.bridge(&[&["-r", "alice/hello"], arguments].concat());
    let branch = setup.branch().await;
    let expected = expected::files(&repo);
    until(&branch, "the repository is read", |files| *files == expected).await;
    (repo, branch, bridge)
}

fn status_path(hash: &str, rest: &str) -> String {
    format!("alice/hello/commit/{hash}/status/{rest}")
}

#[tokio::test]
async fn a_status_is_sent_once() {
    let setup = Setup::new();
    let (repo, branch, bridge) = start(&setup, &[]).await;
    let head = repo.head("topic").unwrap();
    let file = |name: &str| status_path(&head, &format!("ci/datakit/build/{name}"));
    let long = "long ".repeat(50);
    commit(
        &branch,
        &[
            (&file("state"), Some("pending\n")),
            (&file("description"), Some(&long)),
            (&file("target_url"), Some("http://ci/1\n")),
        ],
    )
    .await;
    setup.until("the status arrives", |_| repo.statuses(&head).len() == 1).await;
    let status = repo.statuses(&head).remove(0);
    assert_eq!((&*status.context, &*status.state), ("ci/datakit/build", "pending"));
    assert_eq!(status.description.unwrap(), long[..140].trim());
    assert_eq!(status.target_url.unwrap(), "http://ci/1");

    commit(&branch, &[(&file("state"), Some("success"))]).await;
    setup.until("the change arrives", |_| repo.statuses(&head).len() == 2).await;
    // Neither another commit nor a restart makes the bridge send the status again.
    commit(&branch, &[("unrelated", Some("text"))]).await;
    bridge.kill();
    let _bridge = setup.bridge(&["-c", "*:x", "--resync-interval", "1"]);
    setup.fake.forget_calls();
    setup.until("everything is read twice", |fake| fake.calls().len() >= 8).await;
    assert_eq!(repo.statuses(&head).len(), 2);
    assert_eq!(expected::writes(&setup.fake), Vec::<String>::new());
}

#[tokio::test]
async fn a_pull_request_is_edited_and_closed() {
    let setup = Setup::new();
    let (repo, branch, _bridge) = start(&setup, &[]).await;
    repo.push("next", "Another base");
    commit(
        &branch,
        &[
            ("alice/hello/pr/1/title", Some("Another title\n")),
            ("alice/hello/pr/1/base", Some("next\n")),
            // The author and the comments cannot be changed.
            ("alice/hello/pr/1/owner", Some("eve\n")),
            ("alice/hello/pr/1/comments/0/body", Some("Another description")),
        ],
    )
    .await;
    setup.until("the edit arrives", |_| repo.pull(1).unwrap().title == "Another title").await;
    assert_eq!(repo.pull(1).unwrap().base, "next");
    until_file(&branch, "alice/hello/pr/1/owner", "bob\n").await;
    until_file(&branch, "alice/hello/pr/1/comments/0/body", "").await;

    commit(&branch, &[("alice/hello/pr/1/state", Some("closed\n"))]).await;
    setup.until("the pull request is closed", |_| !repo.pull(1).unwrap().open).await;
    until(&branch, "its files are removed", |files| {
        !files.keys().any(|path| path.starts_with("alice/hello/pr/"))
    })
    .await;
    // Removing the directory of a pull request does not remove the pull request, and adding a
    // directory does not create one.
    repo.reopen_pull(1);
    commit(&branch, &[("alice/hello/.dirty", Some(""))]).await;
    until_file(&branch, "alice/hello/pr/1/title", "Another title\n").await;
    let head = repo.head("topic").unwrap();
    commit(
        &branch,
        &[
            ("alice/hello/pr/1", None),
            ("alice/hello/pr/9/head", Some(&head)),
            ("alice/hello/pr/9/state", Some("open")),
            ("alice/hello/pr/9/owner", Some("bob")),
        ],
    )
    .await;
    let mut expected = expected::files(&repo);
    // The bridge was not notified that the `next` branch was created.
    expected.retain(|path, _| !path.contains("/next/"));
    until(&branch, "the branch follows GitHub", |files| {
        let mut files = files.clone();
        files.retain(|path, _| !path.contains("/next/"));
        files == expected
    })
    .await;
}

#[tokio::test]
async fn refs_are_created_moved_and_deleted() {
    let setup = Setup::new();
    let (repo, branch, _bridge) = start(&setup, &[]).await;
    let (master, topic) = (repo.head("master").unwrap(), repo.head("topic").unwrap());
    let created = "alice/hello/ref/heads/a/b+c@d/head";
    commit(&branch, &[(created, Some(&topic)), ("alice/hello/ref/tags/v1/head", Some(&master))])
        .await;
    setup.until("the refs exist", |_| repo.state().refs.contains_key("refs/tags/v1")).await;
    setup.until("the branch exists", |_| repo.head("a/b+c@d") == Some(topic.clone())).await;
    // Move the ref to a commit that is not a descendant of its old commit.
    commit(&branch, &[(created, Some(&master))]).await;
    setup.until("the branch moves", |_| repo.head("a/b+c@d") == Some(master.clone())).await;
    commit(&branch, &[(created, None)]).await;
    setup.until("the branch is deleted", |_| repo.head("a/b+c@d").is_none()).await;

    // GitHub rejects these changes, so the bridge reverts them in the branch.
    let unknown = "1".repeat(40);
    commit(&branch, &[("alice/hello/ref/heads/x/head", Some(&unknown))]).await;
    commit(&branch, &[("alice/hello/ref/heads/master/head", None)]).await;
    let expected = expected::files(&repo);
    until(&branch, "the branch follows GitHub", |files| *files == expected).await;

    // The bridge does not overwrite a branch that another user has moved in the meantime.
    let pushed = repo.push("topic", "By somebody else");
    commit(&branch, &[("alice/hello/ref/heads/topic/head", Some(&master))]).await;
    until_file(&branch, "alice/hello/ref/heads/topic/head", &format!("{pushed}\n")).await;
    assert_eq!(repo.head("topic").unwrap(), pushed);
}

#[tokio::test]
async fn without_write_nothing_is_sent() {
    let setup = Setup::new();
    let (repo, branch, _bridge) = start(&setup, &["-c", "*:r"]).await;
    let topic = repo.head("topic").unwrap();
    let expected = files(&branch).await;
    commit(
        &branch,
        &[
            ("alice/hello/pr/1/title", Some("Another title")),
            ("alice/hello/ref/heads/new/head", Some(&topic)),
            ("alice/hello/ref/heads/topic/head", None),
            (&status_path(&topic, "ci/state"), Some("success")),
        ],
    )
    .await;
    until(&branch, "the changes are undone", |files| *files == expected).await;
    assert_eq!(expected::writes(&setup.fake), Vec::<String>::new());
}

#[tokio::test]
async fn with_exclusive_rights_github_becomes_the_branch() {
    let setup = Setup::new();
    let (repo, branch, bridge) = start(&setup, &[]).await;
    bridge.kill();
    let (master, topic) = (repo.head("master").unwrap(), repo.head("topic").unwrap());
    repo.set_title(1, "By somebody else");
    repo.push("unknown", "A branch that the DataKit branch does not have");
    repo.set_branch("topic", &master);
    commit(
        &branch,
        &[
            ("alice/hello/ref/heads/new/head", Some(&topic)),
            (&status_path(&topic, "ci/state"), Some("success")),
        ],
    )
    .await;
    let _bridge = setup.bridge(&["-c", "*:x"]);
    setup.until("the status arrives", |_| repo.statuses(&topic).len() == 1).await;
    until(&branch, "both are equal", |files| *files == expected::files(&repo)).await;
    assert_eq!(repo.pull(1).unwrap().title, "Say hello");
    assert_eq!(repo.head("topic"), Some(topic.clone()));
    assert_eq!((repo.head("new"), repo.head("unknown")), (Some(topic), None));
}

#[tokio::test]
async fn a_status_of_a_former_head_is_not_sent_again() {
    let setup = Setup::new();
    let (repo, branch, bridge) = start(&setup, &["-c", "*:x"]).await;
    let topic = repo.head("topic").unwrap();
    let state = status_path(&topic, "ci/state");
    commit(&branch, &[(&state, Some("success"))]).await;
    setup.until("the status arrives", |_| repo.statuses(&topic).len() == 1).await;
    bridge.kill();
    // Remove all refs to the commit from GitHub and from the branch, but keep the commit's status
    // in the branch.
    let master = repo.head("master").unwrap();
    repo.close_pull(1);
    repo.set_branch("topic", &master);
    commit(
        &branch,
        &[
            ("alice/hello/pr/1", None),
            ("alice/hello/ref/heads/topic/head", Some(&master)),
            (&state, Some("success")),
        ],
    )
    .await;
    let _bridge = setup.bridge(&["-c", "*:x"]);
    until(&branch, "both are equal", |files| *files == expected::files(&repo)).await;
    assert_eq!(repo.statuses(&topic).len(), 1);
}

#[tokio::test]
async fn at_the_start_github_has_precedence() {
    let setup = Setup::new();
    let (repo, branch, bridge) = start(&setup, &["-c", "*:rw,status[ci]:x"]).await;
    bridge.kill();
    let topic = repo.head("topic").unwrap();
    commit(
        &branch,
        &[
            ("alice/hello/pr/1/title", Some("Another title")),
            ("alice/hello/ref/heads/topic/head", None),
            (&status_path(&topic, "ci/state"), Some("success")),
            (&status_path(&topic, "other/state"), Some("success")),
        ],
    )
    .await;
    let _bridge = setup.bridge(&["-c", "*:rw,status[ci]:x"]);
    setup.until("the status arrives", |_| repo.statuses(&topic).len() == 1).await;
    until(&branch, "both are equal", |files| *files == expected::files(&repo)).await;
    assert_eq!(expected::writes(&setup.fake).len(), 1);
}

#[tokio::test]
async fn what_may_not_be_read_is_left_alone() {
    let setup = Setup::new();
    let repo = setup.fake.create("alice/hello");
    let head = repo.head("master").unwrap();
    let branch = setup.branch().await;
    let status = status_path(&head, "ci/state");
    commit(
        &branch,
        &[
            ("alice/hello/.monitor", Some("")),
            ("alice/hello/pr/7/head", Some(&head)),
            ("alice/hello/pr/7/state", Some("open")),
            ("alice/hello/pr/7/owner", Some("bob")),
            (&status, Some("pending")),
        ],
    )
    .await;
    let _bridge = setup.bridge(&["-c", "ref:r,repo:r,status:w"]);
    until_file(&branch, "alice/hello/ref/heads/master/head", &format!("{head}\n")).await;
    commit(&branch, &[(&status, Some("success"))]).await;
    setup.until("the status arrives", |_| repo.statuses(&head).len() == 1).await;
    assert!(files(&branch).await.contains_key("alice/hello/pr/7/head"));
    let calls = setup.fake.counts();
    assert!(calls.keys().all(|route| !route.contains("/pulls")
        && !route.starts_with("GET /repos/{owner}/{repo}/commits")));
}
