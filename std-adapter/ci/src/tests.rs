//! Tests for terms that depend on the metadata branch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use datakit_github::{
    Commit, Context, Description, Hash, Pr, PrId, PrState, Ref, RefId, RefName, Repo, Snapshot,
    Status, StatusId, StatusState, Text,
};

use crate::term::{Outcome, Term, Watcher, wait_for_all};
use crate::{Metadata, Target};

type Done = Result<(), Box<dyn std::error::Error>>;

fn hash(number: usize) -> Hash {
    Hash::parse(format!("{number:040x}")).unwrap()
}

fn commit(number: usize) -> Commit {
    Commit { repo: repo(), hash: hash(number) }
}

fn repo() -> Repo {
    "me/app".parse().unwrap()
}

fn branch(name: &str, head: usize) -> Ref {
    let id = RefId { repo: repo(), name: RefName::parse(format!("heads/{name}")).unwrap() };
    Ref { id, head: hash(head) }
}

fn status(of: usize, state: StatusState, url: Option<&str>) -> Status {
    Status {
        id: StatusId { commit: commit(of), context: "ci/other".parse().unwrap() },
        state,
        description: None::<Description>,
        target_url: url.map(Text::from),
    }
}

fn snapshot(elements: impl IntoIterator<Item = datakit_github::Element>) -> Snapshot {
    let mut snapshot = Snapshot::new();
    elements.into_iter().for_each(|element| snapshot.insert(element));
    snapshot
}

#[test]
fn targets_are_open_pull_requests_branches_and_tags() {
    let pr = |number, state| Pr {
        id: PrId { repo: repo(), number },
        head: hash(1),
        state,
        title: Text::from("title"),
        owner: Text::from("me"),
        base: Text::from("master"),
        comments: Vec::new(),
    };
    let all = snapshot([
        pr(1, PrState::Open).into(),
        pr(2, PrState::Closed).into(),
        branch("master", 1).into(),
    ]);
    let targets: Vec<_> = Target::all_of(&all, &repo()).map(|target| target.to_string()).collect();
    assert_eq!(targets, ["me/app/prs/1", "me/app/heads/master"]);
    let closed: Target = "me/app/prs/2".parse().unwrap();
    assert_eq!((closed.head(&all), all.prs().len()), (None, 2));
}

#[test]
fn status_of_another_ci_is_followed() -> Done {
    let metadata = Arc::new(Metadata::new());
    let target: Target = "me/app/heads/master".parse()?;
    let context: Context = "ci/other".parse()?;
    let url = metadata.ci_success_target_url(&target, &context);
    let outcome = |elements: Vec<datakit_github::Element>| {
        metadata.update(snapshot(elements));
        url.evaluate().outcome
    };
    assert_eq!(outcome(vec![]), Outcome::failure("Target me/app/heads/master does not exist"));
    let head = branch("master", 1);
    assert_eq!(
        outcome(vec![head.clone().into()]),
        Outcome::pending("Waiting for ci/other status to appear")
    );
    for (state, link, expected) in [
        (StatusState::Pending, None, Outcome::pending("Waiting for ci/other to complete")),
        (StatusState::Failure, None, Outcome::failure("ci/other failed")),
        (StatusState::Error, None, Outcome::failure("ci/other errored")),
        (StatusState::Success, None, Outcome::failure("ci/other succeeded, but has no URL!")),
        (StatusState::Success, Some("http://x/1"), Outcome::Success("http://x/1".to_owned())),
    ] {
        let elements = vec![head.clone().into(), status(1, state, link).into()];
        assert_eq!(outcome(elements), expected);
    }
    // A status of the old head does not count for the new head.
    let moved = vec![
        branch("master", 2).into(),
        status(1, StatusState::Success, Some("http://x/1")).into(),
    ];
    assert_eq!(outcome(moved), Outcome::pending("Waiting for ci/other status to appear"));
    Ok(())
}

/// When a status changes, only the terms that depend on it must be evaluated again.
#[tokio::test]
async fn one_change_evaluates_one_of_5000_jobs() -> Done {
    const TARGETS: usize = 1000;
    const TESTS: usize = 5;
    let metadata = Arc::new(Metadata::new());
    let evaluations = Arc::new(AtomicUsize::new(0));
    let context: Context = "ci/other".parse()?;
    let began = Instant::now();
    let branches: Vec<_> = (0..TARGETS).map(|n| branch(&format!("b{n}"), n)).collect();
    metadata.update(snapshot(branches.iter().cloned().map(Into::into)));
    let mut jobs: Vec<Term<()>> = Vec::new();
    for reference in &branches {
        let target = Target::Ref(reference.id.clone());
        for test in 0..TESTS {
            let evaluations = evaluations.clone();
            let gate = metadata.ci_status(&target, &context).map(move |status| {
                evaluations.fetch_add(1, Ordering::Relaxed);
                status.state == StatusState::Success
            });
            let build = metadata.head(&target).map(|commit| commit.hash);
            jobs.push(wait_for_all([
                (format!("gate {test}"), gate.unit()),
                (format!("build {test}"), build.unit()),
            ]));
        }
    }
    let watchers: Vec<_> = jobs.iter().map(Watcher::new).collect();
    for job in &jobs {
        assert!(matches!(job.evaluate().outcome, Outcome::Pending(_)));
    }
    let cold = began.elapsed();
    let mut changed = Snapshot::clone(&metadata.snapshot());
    changed.insert(status(500, StatusState::Success, None));
    let began = Instant::now();
    let diff = metadata.update(changed);
    for (job, watcher) in jobs.iter().zip(&watchers).skip(500 * TESTS).take(TESTS) {
        watcher.changed().await;
        assert_eq!(job.evaluate().outcome, Outcome::Success(()));
    }
    let warm = began.elapsed();
    println!("{TARGETS} targets with {TESTS} tests: cold {cold:?}, one status {warm:?}");
    assert_eq!((diff.updates().len(), evaluations.load(Ordering::Relaxed)), (1, TESTS));
    Ok(())
}
