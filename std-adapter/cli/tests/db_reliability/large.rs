//! Repositories of 100,000 files and of 50,000 commits.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

use datakit_client::db::{Change, Db, Path};
use tokio::time::timeout;

use crate::place::{PATIENCE, Program, Repository, begin, commit, timed};

const FILES: usize = 100_000;
const COMMITS: usize = 50_000;

/// What nothing may take that looks at all of the history or of a directory. The program is not
/// optimised, which makes a walk ten times as long, and others use the machine.
const LONG: Duration = Duration::from_secs(30);

const WHO: &str = "committer a <a@b> 1700000000 +0000\ndata 1\nx\n";

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

/// A commit of so many files, a hundred in each directory.
fn files(count: usize) -> Vec<u8> {
    let mut commands = format!("blob\nmark :1\ndata 4\nfile\ncommit refs/heads/master\n{WHO}");
    for number in 0..count {
        writeln!(commands, "M 644 :1 d{}/f{number}", number / 100).unwrap();
    }
    commands.into_bytes()
}

/// All of them in one directory, which takes `git fast-import` a minute.
fn flat() -> Repository {
    let repository = Repository::imported("flat", b"");
    let blob = repository.git_fed(&["hash-object", "-w", "--stdin"], b"file");
    let lines: String =
        (0..FILES).map(|number| format!("100644 blob {blob}\tf{number}\n")).collect();
    let dir = repository.git_fed(&["mktree"], lines.as_bytes());
    let top = repository.git_fed(&["mktree"], format!("040000 tree {dir}\td0\n").as_bytes());
    let commit = repository.git(&["commit-tree", &top, "-m", "x"]);
    repository.git(&["update-ref", "refs/heads/master", &commit]);
    repository
}

/// The median of some commits that change one file each, and the objects of the last of them.
async fn cost(repository: &Repository, db: &Db) -> (Duration, usize) {
    let mut times = Vec::new();
    let mut objects = 0;
    for number in 0..9 {
        let before = repository.loose();
        let transaction = begin(db, "master", "d0/f0", &format!("{number}")).await.unwrap();
        let begun = Instant::now();
        timeout(PATIENCE, transaction.commit("one file")).await.unwrap().unwrap();
        times.push(begun.elapsed());
        objects = repository.loose() - before;
    }
    times.sort();
    (times[times.len() / 2], objects)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_files_cost_what_is_changed() {
    let small = Repository::imported("small", &files(100));
    let program = Program::start(&small.0);
    let (little, objects) = cost(&small, &program.connect().await).await;
    assert_eq!(objects, 4, "a file, two directories, a commit");

    let large = Repository::imported("large", &files(FILES));
    let (program, opened) = timed("open 100,000 files", async { Program::start(&large.0) }).await;
    let db = program.connect().await;
    let before = db.branch("master").await.unwrap().head().await.unwrap().unwrap();
    let tree = before.tree();
    let (names, listed) = timed("list 1000 directories", tree.read_dir(&Path::ROOT)).await;
    assert_eq!(names.unwrap().len(), FILES / 100);
    assert_eq!(timed("list 100 files", tree.read_dir(&path("d999"))).await.0.unwrap().len(), 100);
    assert_eq!(
        timed("read a file", tree.read_file(&path("d500/f50000"))).await.0.unwrap(),
        b"file"
    );

    let (much, objects) = cost(&large, &db).await;
    println!("a commit: {little:?} in 100 files, {much:?} in {FILES}");
    assert_eq!(objects, 4);
    assert!(much < little * 5 + Duration::from_millis(50));
    let after = db.branch("master").await.unwrap().head().await.unwrap().unwrap();
    let (changes, differ) = timed("diff", after.diff(&before)).await;
    assert_eq!(changes.unwrap(), [Change::Updated(path("d0/f0"))]);
    assert!(opened.max(listed).max(differ) < LONG);
    assert_eq!(large.git(&["ls-tree", "-r", "master"]).lines().count(), FILES);
    large.is_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_a_hundred_thousand_files_works() {
    let flat = flat();
    let program = Program::start(&flat.0);
    let db = program.connect().await;
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
    assert!(listed.max(took) < LONG);
    assert_eq!(flat.git(&["show", "master:d0/f7"]), "new");
    flat.is_sound();
}

/// A line of commits, `first` at its start and `master` at its end; `side` has one more on `first`.
fn history() -> Vec<u8> {
    let mut commands = String::new();
    for number in 0..COMMITS {
        let branch = if number == 0 { "first" } else { "master" };
        write!(commands, "commit refs/heads/{branch}\nmark :{}\n{WHO}", number + 1).unwrap();
        if number == 1 {
            commands.push_str("from :1\n");
        }
        let text = number.to_string();
        write!(commands, "M 644 inline f\ndata {}\n{text}\n", text.len()).unwrap();
    }
    write!(commands, "commit refs/heads/side\n{WHO}from :1\nM 644 inline g\ndata 4\nside\n")
        .unwrap();
    commands.into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_commits_are_walked() {
    let repository = Repository::imported("history", &history());
    let (program, opened) =
        timed("open 50,000 commits", async { Program::start(&repository.0) }).await;
    let db = program.connect().await;
    let [first, master, side] =
        [db.branch("first").await, db.branch("master").await, db.branch("side").await]
            .map(Result::unwrap);
    let head = master.head().await.unwrap().unwrap();
    let start = first.head().await.unwrap().unwrap();
    let (changes, _) = timed("diff of both ends", head.diff(&start)).await;
    assert_eq!(changes.unwrap(), [Change::Updated(path("f"))]);

    let (near, quick) = timed("commit at the end", commit(&db, "master", "new", "x")).await;
    near.unwrap();
    // Both ways of looking at all of the history: is one end behind the other, and where do two
    // meet.
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

    // A transaction that is as old as the history.
    let old = begin(&db, "side", "late", "x").await.unwrap();
    old.set_parents(&[start]).await.unwrap();
    let (late, walked) = timed("commit on the first one", old.commit("Late")).await;
    // All that was changed since then is as old as it.
    assert!(late.is_err() || repository.git(&["show", "side:late"]) == "x");
    assert!(
        [opened, quick, forward, base, landed, again, walked].into_iter().max().unwrap() < LONG
    );
    assert_eq!(repository.git(&["rev-list", "--count", "master"]), (COMMITS + 3).to_string());
    repository.is_sound();
}
