//! Tests for repositories that contain 100,000 files or 50,000 commits.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

use datakit_client::db::{Change, Db, Path};
use tokio::time::timeout;

use crate::setup::{Server, TIMEOUT, TempRepository, begin, commit, timed};

const FILES: usize = 100_000;
const COMMITS: usize = 50_000;

/// The time limit for each operation that traverses the whole history or reads a whole directory.
/// The limit is generous, because debug builds are ten times slower and the machine may be busy.
const MAX_WALK: Duration = Duration::from_secs(30);

const COMMITTER: &str = "committer a <a@b> 1700000000 +0000\ndata 1\nx\n";

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

/// Returns the `git fast-import` commands that create a commit with a hundred files in each
/// directory.
fn commit_with_files(count: usize) -> Vec<u8> {
    let mut commands =
        format!("blob\nmark :1\ndata 4\nfile\ncommit refs/heads/master\n{COMMITTER}");
    for number in 0..count {
        writeln!(commands, "M 644 :1 d{}/f{number}", number / 100).unwrap();
    }
    commands.into_bytes()
}

/// Creates a repository with all files in one directory. `git fast-import` would take a minute to
/// create the same repository.
fn flat_repository() -> TempRepository {
    let repository = TempRepository::imported("flat", b"");
    let blob = repository.git_fed(&["hash-object", "-w", "--stdin"], b"file");
    let lines: String =
        (0..FILES).map(|number| format!("100644 blob {blob}\tf{number}\n")).collect();
    let dir = repository.git_fed(&["mktree"], lines.as_bytes());
    let top = repository.git_fed(&["mktree"], format!("040000 tree {dir}\td0\n").as_bytes());
    let commit = repository.git(&["commit-tree", &top, "-m", "x"]);
    repository.git(&["update-ref", "refs/heads/master", &commit]);
    repository
}

/// Commits a file repeatedly. Returns the median duration of a commit and the number of objects
/// created by the last commit.
async fn measure_commit(repository: &TempRepository, db: &Db) -> (Duration, usize) {
    let mut times = Vec::new();
    let mut objects = 0;
    for number in 0..9 {
        let before = repository.count_loose();
        let transaction = begin(db, "master", "d0/f0", &format!("{number}")).await.unwrap();
        let begun = Instant::now();
        timeout(TIMEOUT, transaction.commit("one file")).await.unwrap().unwrap();
        times.push(begun.elapsed());
        objects = repository.count_loose() - before;
    }
    times.sort();
    (times[times.len() / 2], objects)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_cost_depends_on_the_change_not_on_the_tree() {
    let small = TempRepository::imported("small", &commit_with_files(100));
    let server = Server::start(&small.0);
    let (little, objects) = measure_commit(&small, &server.connect().await).await;
    assert_eq!(objects, 4, "a file, two directories, a commit");

    let large = TempRepository::imported("large", &commit_with_files(FILES));
    let (server, opened) = timed("open 100,000 files", async { Server::start(&large.0) }).await;
    let db = server.connect().await;
    let before = db.branch("master").await.unwrap().head().await.unwrap().unwrap();
    let tree = before.tree();
    let (names, listed) = timed("list 1000 directories", tree.read_dir(&Path::ROOT)).await;
    assert_eq!(names.unwrap().len(), FILES / 100);
    assert_eq!(timed("list 100 files", tree.read_dir(&path("d999"))).await.0.unwrap().len(), 100);
    assert_eq!(
        timed("read a file", tree.read_file(&path("d500/f50000"))).await.0.unwrap(),
        b"file"
    );

    let (much, objects) = measure_commit(&large, &db).await;
    println!("a commit: {little:?} in 100 files, {much:?} in {FILES}");
    assert_eq!(objects, 4);
    assert!(much < little * 5 + Duration::from_millis(50));
    let after = db.branch("master").await.unwrap().head().await.unwrap().unwrap();
    let (changes, differ) = timed("diff", after.diff(&before)).await;
    assert_eq!(changes.unwrap(), [Change::Updated(path("d0/f0"))]);
    assert!(opened.max(listed).max(differ) < MAX_WALK);
    assert_eq!(large.git(&["ls-tree", "-r", "master"]).lines().count(), FILES);
    large.assert_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_can_have_100_000_files() {
    let flat = flat_repository();
    let server = Server::start(&flat.0);
    let db = server.connect().await;
    let tree = db.branch("master").await.unwrap().head().await.unwrap().unwrap().tree();
    let (names, listed) = timed("list 100,000 files", tree.read_dir(&path("d0"))).await;
    assert_eq!(names.unwrap().len(), FILES);
    let (read, _) = timed("read 100 of them", async {
        let mut read = BTreeSet::new();
        for number in 0..100 {
            read.insert(tree.read_file(&path(&format!("d0/f{}", number * 999))).await.unwrap());
        }
        read
    })
    .await;
    assert_eq!(read, BTreeSet::from([b"file".to_vec()]));
    let (commit, took) = timed("commit one of them", commit(&db, "master", "d0/f7", "new")).await;
    commit.unwrap();
    assert!(listed.max(took) < MAX_WALK);
    assert_eq!(flat.git(&["show", "master:d0/f7"]), "new");
    flat.assert_sound();
}

/// Returns the `git fast-import` commands that create a linear history from `first` to `master` and
/// a `side` branch with one commit on top of `first`.
fn long_history() -> Vec<u8> {
    let mut commands = String::new();
    for number in 0..COMMITS {
        let branch = if number == 0 { "first" } else { "master" };
        write!(commands, "commit refs/heads/{branch}\nmark :{}\n{COMMITTER}", number + 1).unwrap();
        if number == 1 {
            commands.push_str("from :1\n");
        }
        let text = number.to_string();
        write!(commands, "M 644 inline f\ndata {}\n{text}\n", text.len()).unwrap();
    }
    write!(commands, "commit refs/heads/side\n{COMMITTER}from :1\nM 644 inline g\ndata 4\nside\n")
        .unwrap();
    commands.into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_of_50_000_commits_can_be_walked() {
    let repository = TempRepository::imported("history", &long_history());
    let (server, opened) =
        timed("open 50,000 commits", async { Server::start(&repository.0) }).await;
    let db = server.connect().await;
    let [first, master, side] =
        [db.branch("first").await, db.branch("master").await, db.branch("side").await]
            .map(Result::unwrap);
    let head = master.head().await.unwrap().unwrap();
    let start = first.head().await.unwrap().unwrap();
    let (changes, _) = timed("diff of both ends", head.diff(&start)).await;
    assert_eq!(changes.unwrap(), [Change::Updated(path("f"))]);

    let (near, quick) = timed("commit at the end", commit(&db, "master", "new", "x")).await;
    near.unwrap();
    // Measure the ancestry check and the search for the merge base. Both traverse the whole
    // history.
    let (moved, forward) = timed("fast-forward over all", first.fast_forward(&head)).await;
    moved.unwrap();
    assert_eq!(first.head().await.unwrap(), Some(head));
    let mut log = master.reflog().await.unwrap();
    let transaction = side.transaction().await.unwrap();
    let (merge, base) =
        timed("merge of both ends", transaction.merge(&master.head().await.unwrap().unwrap()))
            .await;
    assert_eq!(merge.unwrap().conflicts, []);
    let (merged, landed) = timed("commit of the merge", transaction.commit("Both")).await;
    let merged = merged.unwrap();
    let (moved, again) = timed("fast-forward to the merge", master.fast_forward(&merged)).await;
    moved.unwrap();
    assert_eq!(timed("reflog", log.next()).await.0.unwrap().unwrap(), Some(merged));

    // Begin a transaction that is based on the first commit.
    let old = begin(&db, "side", "late", "x").await.unwrap();
    old.set_parents(&[start]).await.unwrap();
    let (late, walked) = timed("commit on the first one", old.commit("Late")).await;
    // The commit is allowed to conflict with later changes to the branch.
    assert!(late.is_err() || repository.git(&["show", "side:late"]) == "x");
    assert!(
        [opened, quick, forward, base, landed, again, walked].into_iter().max().unwrap() < MAX_WALK
    );
    assert_eq!(repository.git(&["rev-list", "--count", "master"]), (COMMITS + 3).to_string());
    repository.assert_sound();
}
