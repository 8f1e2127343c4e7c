//! Tests against a real server with an in-memory database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datakit_client::Url;
use datakit_client::db::prelude::*;
use datakit_client::db::{self, Branch, Commit as DbCommit, Db, Path};
use datakit_db::store::MemoryStore;
use datakit_db::{Database, DirectDb, file_tree};
use datakit_server::tree::{Dir, Entry};
use datakit_server::{Limits, Server};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::strategies::stored_snapshot;
use crate::*;

async fn serve() -> Url {
    let url = "tcp://127.0.0.1:0".parse().unwrap();
    let server = Server::bind(&[url], Limits::default()).await.unwrap();
    let url = server.urls().remove(0);
    let database = Database::new(Arc::new(MemoryStore::new())).unwrap();
    let debug = Entry::dir("debug", Dir::new());
    tokio::spawn(
        server.serve(move |_| file_tree(&database, debug.clone()), std::future::pending()),
    );
    url
}

async fn branch(name: &str) -> Branch {
    let db = Db::connect(&serve().await).await.unwrap();
    ensure_branch(&db, name).await.unwrap()
}

async fn commit_diff<B: BranchOps>(branch: &B, diff: &Diff) -> B::Commit {
    let transaction = branch.transaction().await.unwrap();
    write(&transaction, diff).await.unwrap();
    transaction.commit(&diff.message()).await.unwrap()
}

async fn commit_files(branch: &Branch, added: &[(&str, &str)], removed: &[&str]) -> DbCommit {
    let transaction = branch.transaction().await.unwrap();
    for (path, content) in added {
        let path: Path = path.parse().unwrap();
        transaction.make_dirs(&path.parent()).await.unwrap();
        transaction.create_file(&path, content.as_bytes(), false).await.unwrap();
    }
    for path in removed {
        transaction.remove(&path.parse().unwrap()).await.unwrap();
    }
    transaction.commit("Change files").await.unwrap()
}

async fn changes<C: CommitOps>(old: &C, new: &C) -> Changes {
    Changes::of(&new.diff(old).await.unwrap())
}

/// Replaces each snapshot with the next one and reads the result with both `read` and `update`.
async fn check_sequence<D: db::Database>(db: &D, number: usize, snapshots: Vec<Snapshot>) {
    let branch = ensure_branch(db, &format!("metadata-{number}")).await.unwrap();
    let mut head = branch.head().await.unwrap().unwrap();
    let mut found = read(&head.tree()).await.unwrap().snapshot;
    assert_eq!(found, Snapshot::new());
    for wanted in snapshots {
        let new = commit_diff(&branch, &Diff::between(&wanted, &found)).await;
        assert_eq!(read(&new.tree()).await.unwrap().snapshot, wanted);
        let changes = changes(&head, &new).await;
        assert_eq!(update(&found, &new.tree(), &changes).await.unwrap().snapshot, wanted);
        (head, found) = (new, wanted);
    }
}

#[test]
fn what_is_written_is_read_back() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let db = runtime.block_on(async { Db::connect(&serve().await).await.unwrap() });
    check_sequences(&runtime, &db);
    let database = Database::new(Arc::new(MemoryStore::new())).unwrap();
    check_sequences(&runtime, &DirectDb::new(database));
}

fn check_sequences<D: db::Database>(runtime: &tokio::runtime::Runtime, db: &D) {
    let mut runner = TestRunner::new(ProptestConfig { cases: 20, ..Default::default() });
    let number = std::cell::Cell::new(0);
    let sequences = proptest::collection::vec(stored_snapshot(), 1..4);
    let checked = runner.run(&sequences, |snapshots| {
        number.set(number.get() + 1);
        runtime.block_on(check_sequence(db, number.get(), snapshots));
        Ok(())
    });
    checked.unwrap();
}

#[tokio::test]
async fn the_first_commit_has_a_readme() {
    let branch = branch(DEFAULT_BRANCH).await;
    let head = branch.head().await.unwrap().unwrap();
    assert_eq!(head.message().await.unwrap().trim(), "Initial commit");
    let text = head.tree().read_file(&"README.md".parse().unwrap()).await.unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), "### DataKit -- GitHub bridge\n");
    assert_eq!(read(&head.tree()).await.unwrap(), BranchContent::default());
}

const HASH: &str = "0123456789abcdef0123456789abcdef01234567";

#[tokio::test]
async fn only_monitored_repositories_are_read() {
    let branch = branch("metadata").await;
    let first = branch.head().await.unwrap().unwrap();
    let head = [("a/b/ref/heads/x/head", HASH)];
    let unmonitored = commit_files(&branch, &head, &[]).await;
    let changed = changes(&first, &unmonitored).await;
    let empty = Snapshot::new();
    assert_eq!(
        update(&empty, &unmonitored.tree(), &changed).await.unwrap(),
        BranchContent::default()
    );
    let repo: Repo = "a/b".parse().unwrap();
    assert_eq!(read_refs(&unmonitored.tree(), &repo).await.unwrap().len(), 1);

    let monitored = commit_files(&branch, &[("a/b/.monitor", "")], &[]).await;
    let changed = changes(&unmonitored, &monitored).await;
    let found = update(&empty, &monitored.tree(), &changed).await.unwrap().snapshot;
    assert_eq!((found.refs().len(), found.commits().len()), (1, 1));
    assert_eq!(read(&monitored.tree()).await.unwrap().snapshot, found);

    let stopped = commit_files(&branch, &[], &["a/b/.monitor"]).await;
    let changed = changes(&monitored, &stopped).await;
    assert_eq!(update(&found, &stopped.tree(), &changed).await.unwrap(), BranchContent::default());
    assert_eq!(read(&stopped.tree()).await.unwrap(), BranchContent::default());
}

#[tokio::test]
async fn oversized_files_are_reported_and_not_read() {
    let branch = branch("metadata").await;
    let huge = "7".repeat(1 + usize::try_from(FILE_MAX).unwrap());
    let old = commit_files(&branch, &[("a/b/.monitor", ""), ("a/b/pr/3/head", HASH)], &[]).await;
    let texts = [("a/b/pr/3/state", "open"), ("a/b/pr/3/owner", "me"), ("a/b/pr/3/title", &huge)];
    commit_files(&branch, &texts, &[]).await;
    let new = commit_files(&branch, &[("a/b/ref/heads/x/head", &*huge)], &[]).await;
    let whole = read(&new.tree()).await.unwrap();
    let snapshot = read(&old.tree()).await.unwrap().snapshot;
    let incremental = update(&snapshot, &new.tree(), &changes(&old, &new).await).await.unwrap();
    assert_eq!(whole, incremental);
    assert_eq!((whole.snapshot.prs().len(), whole.snapshot.refs().len()), (1, 0));
    let found: Vec<String> = whole.oversized.values().map(ToString::to_string).collect();
    let error = |path| format!("the metadata file {path} has 1048577 bytes; the limit is 1048576");
    assert_eq!(found, ["a/b/pr/3/title", "a/b/ref/heads/x/head"].map(error));
}

#[tokio::test]
async fn dirty_files_are_found_and_removed() {
    let branch = branch("metadata").await;
    let old = commit_files(&branch, &[("a/b/.monitor", "")], &[]).await;
    let dirty = [
        ("a/b/.dirty", ""),
        ("a/b/pr/3/.dirty", ""),
        ("a/b/ref/tags/v1/x/.dirty", ""),
        ("c/d/.dirty", ""),
        ("c/d/pr/3/.dirty", ""),
    ];
    let new = commit_files(&branch, &dirty, &[]).await;
    let whole = read(&new.tree()).await.unwrap();
    let snapshot = read(&old.tree()).await.unwrap().snapshot;
    let incremental = update(&snapshot, &new.tree(), &changes(&old, &new).await).await.unwrap();
    assert_eq!(whole, incremental);
    let found: Vec<String> = whole.dirty.iter().map(|id| layout::dirty(id).to_string()).collect();
    let expected = ["a/b/.dirty", "c/d/.dirty", "a/b/pr/3/.dirty", "a/b/ref/tags/v1/x/.dirty"];
    assert_eq!(found, expected);

    let transaction = branch.transaction().await.unwrap();
    remove_dirty(&transaction, &whole.dirty).await.unwrap();
    // Removing the same files again succeeds.
    remove_dirty(&transaction, &whole.dirty).await.unwrap();
    let clean = transaction.commit(CLEAN_MESSAGE).await.unwrap();
    let changed = changes(&new, &clean).await;
    assert_eq!(changed, Changes::default());
    assert_eq!(
        read(&clean.tree()).await.unwrap(),
        BranchContent { snapshot, ..BranchContent::default() }
    );
}

#[tokio::test]
async fn monitors_are_added_once() {
    let branch = branch("metadata").await;
    let repos: Vec<Repo> = ["a/b", "c/d", "a/b"].map(|repo| repo.parse().unwrap()).to_vec();
    for added in [2, 0] {
        let transaction = branch.transaction().await.unwrap();
        assert_eq!(add_monitors(&transaction, &repos).await.unwrap(), added);
        transaction.commit("initial commit").await.unwrap();
    }
    let head = branch.head().await.unwrap().unwrap();
    assert_eq!(read(&head.tree()).await.unwrap().snapshot.repos().len(), 2);
}

#[tokio::test]
async fn a_shorter_pull_request_has_no_old_comments() {
    let branch = branch("metadata").await;
    let mut pr = Pr {
        id: PrId { repo: "a/b".parse().unwrap(), number: 1 },
        head: Hash::parse(HASH).unwrap(),
        state: PrState::Open,
        title: "Title".into(),
        owner: "me".into(),
        base: "master".into(),
        comments: Vec::new(),
    };
    for count in [12, 3, 0, 1] {
        pr.comments = (0..count)
            .map(|id| Comment { id, user: "me".into(), body: format!("comment {id}") })
            .collect();
        let head =
            commit_diff(&branch, &Diff::new([pr.clone().into(), pr.id.repo.clone().into()], []))
                .await;
        let found = read(&head.tree()).await.unwrap().snapshot;
        assert_eq!(found.prs().values().next(), Some(&pr));
    }
}

#[tokio::test]
async fn a_branch_may_replace_one_whose_name_is_its_prefix() {
    let branch = branch("metadata").await;
    let snapshot = |name: &str| -> Snapshot {
        let id = RefId { repo: "a/b".parse().unwrap(), name: name.parse().unwrap() };
        [Ref { id, head: Hash::parse(HASH).unwrap() }].into_iter().collect()
    };
    // The longer name requires a directory at the path of the shorter name's `head` file.
    let names = ["heads/x", "heads/x/head", "heads/x/head/head", "heads/x"];
    let mut found = Snapshot::new();
    for name in names {
        let wanted = snapshot(name);
        let head = commit_diff(&branch, &Diff::between(&wanted, &found)).await;
        assert_eq!(read(&head.tree()).await.unwrap().snapshot, wanted, "{name}");
        found = wanted;
    }
}

/// The number of refs. Debug builds use fewer refs because they run an order of magnitude slower.
const REFS: u32 = if cfg!(debug_assertions) { 2_000 } else { 10_000 };

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_refs_are_written_and_read_quickly() {
    let branch = branch("metadata").await;
    let repo: Repo = "a/b".parse().unwrap();
    let wanted: Snapshot = (0..REFS)
        .map(|number| {
            let name = format!("heads/topic/{number}").parse().unwrap();
            let head = Hash::parse(format!("{number:040x}")).unwrap();
            Ref { id: RefId { repo: repo.clone(), name }, head }
        })
        .collect();
    let start = Instant::now();
    let head = commit_diff(&branch, &Diff::between(&wanted, &Snapshot::new())).await;
    let written = start.elapsed();
    let found = read(&head.tree()).await.unwrap().snapshot;
    let read = start.elapsed().saturating_sub(written);
    println!("{REFS} refs: written in {written:?}, read in {read:?}");
    assert_eq!(found, wanted);
    // The limit is generous because the machine may be busy.
    assert!(start.elapsed() < Duration::from_secs(30), "{written:?} + {read:?}");
}
