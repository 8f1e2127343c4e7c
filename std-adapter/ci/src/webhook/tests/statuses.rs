//! Tests for changes in the metadata branch.

use datakit_client::db::{BranchExt, Database as _, TransactionOps};
use datakit_db::store::MemoryStore;
use datakit_db::{Database, DirectDb};
use datakit_github::{
    Context, DEFAULT_BRANCH, Diff, Element, ElementId, Hash, Ref, RefId, Repo, Status, StatusId,
    StatusState, ensure_branch, write,
};

use super::*;

/// An in-memory database with a metadata branch.
struct Fixture {
    db: DirectDb,
    branch: <DirectDb as datakit_client::db::Database>::Branch,
}

impl Fixture {
    async fn new() -> Fixture {
        let db = DirectDb::new(Database::new(Arc::new(MemoryStore::new())).unwrap());
        let branch = ensure_branch(&db, DEFAULT_BRANCH).await.unwrap();
        let repo: Repo = "me/app".parse().unwrap();
        let id = RefId { repo: repo.clone(), name: "heads/main".parse().unwrap() };
        let fixture = Fixture { db, branch };
        fixture.commit([repo.into(), Ref { id, head: hash() }.into()], []).await;
        fixture
    }

    async fn commit<const N: usize, const M: usize>(
        &self,
        updates: [Element; N],
        removals: [ElementId; M],
    ) {
        let diff = Diff::new(updates, removals);
        let committed = self.branch.with_transaction(async |transaction| {
            write(transaction, &diff).await?;
            transaction.commit("change").await
        });
        committed.await.unwrap();
    }
}

fn hash() -> Hash {
    Hash::parse("83a4d0f4dd5f8ab15c73bd53adb3ea0dd1fc5b3e").unwrap()
}

fn status(context: &str, state: StatusState, description: &str) -> Element {
    let commit = datakit_github::Commit { repo: "me/app".parse().unwrap(), hash: hash() };
    let id = StatusId { commit, context: Context::new(context).unwrap() };
    let (description, target_url) = (Some(description.into()), Some("https://ci/x".into()));
    Status { id, state, description, target_url }.into()
}

#[tokio::test]
async fn changed_statuses_are_events() {
    use StatusState::{Failure, Pending, Success};

    let fixture = Fixture::new().await;
    fixture.commit([status("ci/datakit/old", Success, "before")], []).await;
    let (fake, url) = Fake::default().start().await;
    let webhooks = start(vec![config(&url)]);
    let mut watcher = StatusWatcher::new(webhooks.clone(), DEFAULT_BRANCH, "ci/datakit");
    let steps = async {
        // Once the watcher reports this status, it must have read the branch.
        let probe = async {
            for state in [Pending, Success].into_iter().cycle() {
                fixture.commit([status("ci/datakit/probe", state, "probe")], []).await;
                let reported = fake.wait_for(1);
                if tokio::time::timeout(Duration::from_millis(50), reported).await.is_ok() {
                    return;
                }
            }
        };
        tokio::time::timeout(LIMIT, probe).await.unwrap();
        fixture.commit([status("ci/datakit/build", Pending, "waits")], []).await;
        fixture.commit([status("ci/datakit/build", Pending, "still waits")], []).await;
        fixture.commit([status("ci/other/build", Failure, "not ours")], []).await;
        fixture.commit([status("ci/datakit2", Failure, "not ours")], []).await;
        fixture.commit([status("ci/datakit/build", Failure, "failed")], []).await;
        fixture.commit([status("ci/datakit", Failure, "overall")], []).await;
        let done = async {
            let is_there = |text: &str| fake.descriptions().iter().any(|found| found == text);
            while !is_there("overall") || !is_there("failed") {
                let count = fake.bodies().len();
                fake.wait_for(count + 1).await;
            }
        };
        tokio::time::timeout(LIMIT, done).await.unwrap();
    };
    tokio::select! {
        result = watcher.run(&fixture.db) => panic!("the watch ended: {result:?}"),
        () = steps => {}
    }
    // The watcher can miss a state that is quickly replaced.
    let texts = fake.descriptions();
    for text in ["not ours", "before"] {
        assert!(!texts.iter().any(|found| found == text), "{texts:?}");
    }
    let find = |text: &str| {
        let mut events = fake.bodies().into_iter();
        events.find(|event| event["description"] == text).unwrap()
    };
    let failed = find("failed");
    assert_eq!(failed["test"], "build");
    assert_eq!(failed["targets"], serde_json::json!(["me/app/heads/main"]));
    assert_eq!(failed["url"], "https://ci/x");
    assert_eq!(find("overall")["test"], Value::Null);

    // Change a status while the connection is lost.
    let before = fake.0.requests.lock().len();
    fixture.commit([status("ci/datakit/build", Success, "repaired")], []).await;
    tokio::select! {
        result = watcher.run(&fixture.db) => panic!("the watch ended: {result:?}"),
        () = fake.wait_for(before + 1) => {}
    }
    let last = fake.bodies().pop().unwrap();
    assert_eq!((&last["description"], &last["previous"]), (&"repaired".into(), &"failure".into()));
    assert!(webhooks.finish(LIMIT).await);
    assert_eq!(fake.0.requests.lock().len(), before + 1);
}

#[tokio::test]
async fn statuses_of_a_new_project_are_not_events() {
    let fixture = Fixture::new().await;
    fixture.commit([status("ci/datakit/build", StatusState::Failure, "old")], []).await;
    let (fake, url) = Fake::default().start().await;
    let webhooks = start(vec![config(&url)]);
    let mut watcher = StatusWatcher::new(webhooks.clone(), DEFAULT_BRANCH, "ci/datakit");
    watcher.replace(datakit_github::Snapshot::new());
    let branch = fixture.db.branch(DEFAULT_BRANCH).await.unwrap();
    let head = datakit_client::db::BranchOps::head(&branch).await.unwrap().unwrap();
    let tree = datakit_client::db::CommitOps::tree(&head);
    watcher.replace(datakit_github::read(&tree).await.unwrap().snapshot);
    assert!(webhooks.finish(LIMIT).await);
    assert_eq!(fake.bodies().len(), 0);
}
