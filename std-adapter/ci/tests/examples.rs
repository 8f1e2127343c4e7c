//! Runs the examples with an in-memory database.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use datakit_ci::build::{Cache, LiveLogs};
use datakit_ci::command::Sandbox;
use datakit_ci::git::{Repository, ShellOptions};
use datakit_ci::term::{Outcome, Term, Watcher};
use datakit_ci::{Metadata, Target, TestInput, Tests};
use datakit_db::store::MemoryStore;
use datakit_db::{Database, DirectDb};
use datakit_github::{
    Commit, Element, Hash, Ref, RefId, RefName, Snapshot, Status, StatusId, StatusState, Text,
};

#[allow(dead_code)]
#[path = "../examples/gate.rs"]
mod gate;
#[allow(dead_code)]
#[path = "../examples/self_ci.rs"]
mod self_ci;

type Done = Result<(), Box<dyn std::error::Error>>;

/// The time limit for every wait in these tests.
const LIMIT: Duration = Duration::from_secs(60);

fn memory() -> DirectDb {
    DirectDb::new(Database::new(Arc::new(MemoryStore::new())).unwrap())
}

fn branch(target: &Target, head: Hash) -> Element {
    let Target::Ref(id) = target else { panic!("{target} is not a branch") };
    let id = RefId { repo: id.repo.clone(), name: RefName::parse(id.name.to_string()).unwrap() };
    Ref { id, head }.into()
}

fn update(metadata: &Metadata, elements: Vec<Element>) {
    let mut snapshot = Snapshot::new();
    elements.into_iter().for_each(|element| snapshot.insert(element));
    metadata.update(snapshot);
}

/// Evaluates a term until it is no longer pending.
async fn settle(term: &Term<String>) -> Outcome<String> {
    let watcher = Watcher::new(term);
    let settled = async {
        loop {
            let outcome = term.evaluate().outcome;
            if !matches!(outcome, Outcome::Pending(_)) {
                return outcome;
            }
            watcher.changed().await;
        }
    };
    tokio::time::timeout(LIMIT, settled).await.unwrap()
}

fn git(dir: &Path, args: &[&str]) -> String {
    let user = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"];
    let output = Command::new("git").args(user).args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn self_ci_tests_the_components_in_the_order_of_their_dependencies() -> Done {
    let (origin, clone) = (tempfile::tempdir()?, tempfile::tempdir()?);
    git(origin.path(), &["init", "-q", "-b", "master"]);
    std::fs::write(origin.path().join("file"), "x")?;
    git(origin.path(), &["add", "."]);
    git(origin.path(), &["commit", "-q", "-m", "x"]);
    let head = Hash::parse(git(origin.path(), &["rev-parse", "HEAD"]))?;
    let remote = origin.path().display().to_string();
    let repository = Repository::open_or_clone(&remote, clone.path()).await?;
    let mut options = ShellOptions::default();
    options.sandbox = Sandbox::Unsandboxed;
    let commands = self_ci::COMMANDS.map(|(label, _)| match label {
        "ci" => (label, "exit 2"),
        label => (label, "test -e file"),
    });
    let components = self_ci::Components::new(&memory(), &repository, &options, commands);
    let metadata = Arc::new(Metadata::new());
    let target: Target = "datakit-rs/datakit/heads/master".parse()?;
    update(&metadata, vec![branch(&target, head)]);
    let tests = components.tests(&TestInput { target, metadata: metadata.clone() });
    let mut outcomes = BTreeMap::new();
    for (name, term) in &tests {
        outcomes.insert(name.as_str(), settle(term).await);
    }
    let success = |text: &str| Outcome::Success(text.to_owned());
    let expected = [
        ("ci", Outcome::failure("exit status: 2")),
        ("datakit", success("Tests passed")),
        ("github", success("Build succeeded")),
        ("libraries", success("Library tests succeeded")),
        ("local-git", success("Build succeeded")),
        // The component is not built, because a component that it needs failed.
        ("self-ci", Outcome::failure("exit status: 2")),
    ];
    assert_eq!(outcomes, expected.into());
    let pages = "datakit-rs/datakit/heads/gh-pages".parse()?;
    assert!(components.tests(&TestInput { target: pages, metadata }).is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn gate_waits_for_the_other_ci_and_uses_its_url() -> Done {
    let builder = gate::Integration {
        script: "test \"$PACKAGES\" = 'http://x/$(1)'".to_owned(),
        sandbox: Sandbox::Unsandboxed,
    };
    let cache = Cache::new(memory(), builder, LiveLogs::new());
    let (metadata, context) = (Arc::new(Metadata::new()), "ci/packages".parse()?);
    let target: Target = "me/app/heads/master".parse()?;
    let head = Hash::parse("83a4d0f4dd5f8ab15c73bd53adb3ea0dd1fc5b3e")?;
    let input = TestInput { target: target.clone(), metadata: metadata.clone() };
    let tests: Tests = gate::tests(&cache, &context, &input);
    let [(name, term)] = &*tests else { panic!("one test is expected") };
    let status = |state, url: Option<&str>| -> Element {
        let commit = Commit { repo: target.repo().clone(), hash: head };
        let id = StatusId { commit, context: context.clone() };
        Status { id, state, description: None, target_url: url.map(Text::from) }.into()
    };
    update(&metadata, vec![branch(&target, head)]);
    assert_eq!(name, "integration");
    assert_eq!(
        term.evaluate().outcome,
        Outcome::pending("Waiting for ci/packages status to appear")
    );
    update(&metadata, vec![branch(&target, head), status(StatusState::Pending, None)]);
    assert_eq!(term.evaluate().outcome, Outcome::pending("Waiting for ci/packages to complete"));
    update(&metadata, vec![branch(&target, head), status(StatusState::Failure, None)]);
    assert_eq!(term.evaluate().outcome, Outcome::failure("ci/packages failed"));
    let url = Some("http://x/$(1)");
    update(&metadata, vec![branch(&target, head), status(StatusState::Success, url)]);
    assert_eq!(settle(term).await, Outcome::Success("Passed with http://x/$(1)".to_owned()));
    Ok(())
}
