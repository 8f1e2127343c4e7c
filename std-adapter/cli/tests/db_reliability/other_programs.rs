//! Tests in which `git` commits to a branch while clients commit to the same branch and the
//! repository is repacked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::setup::{Server, TIMEOUT, TempRepository, commit, short_or_full};

/// The maximum number of times that `git` tries to make one commit while clients are updating the
/// branch.
const MAX_ATTEMPTS: usize = 10_000;

const CLIENTS: usize = 4;

/// Commits one file with Git's plumbing commands. Returns the number of failed attempts.
fn commit_with_git(repository: &TempRepository, index: &str, path: &str) -> usize {
    std::fs::write(repository.0.join("content"), path).unwrap();
    let done = (0..MAX_ATTEMPTS).find(|_| try_with_git(repository, index, path).is_some());
    done.unwrap_or_else(|| panic!("{path}: the branch changed {MAX_ATTEMPTS} times"))
}

/// Makes one attempt to commit. Returns `None` if the branch changed in the meantime, or if `git
/// gc` removed the directory of a new object.
fn try_with_git(repository: &TempRepository, index: &str, path: &str) -> Option<()> {
    let git = |args: &[&str]| {
        let out = repository.command(args).env("GIT_INDEX_FILE", index).output().unwrap();
        out.status.success().then(|| String::from_utf8(out.stdout).unwrap().trim().to_owned())
    };
    let head = git(&["rev-parse", "refs/heads/master"])?;
    let blob = git(&["hash-object", "-w", "content"])?;
    git(&["read-tree", &head])?;
    git(&["update-index", "--add", "--cacheinfo", &format!("100644,{blob},{path}")])?;
    let tree = git(&["write-tree"])?;
    let commit = git(&["commit-tree", &tree, "-p", &head, "-m", path])?;
    git(&["update-ref", "refs/heads/master", &commit, &head]).map(drop)
}

/// A guard that sets the stop flag when dropped, so that the threads stop even if the test fails.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Packs refs, collects garbage and repacks until `stop` is set. Returns how many times each
/// command succeeded. A command fails if another process holds a lock that it needs.
fn run_maintenance(repository: &TempRepository, stop: &AtomicBool) -> [usize; 3] {
    let mut done = [0; 3];
    while !stop.load(Ordering::Relaxed) || done.contains(&0) {
        for (count, args) in
            done.iter_mut().zip([&["pack-refs", "--all"][..], &["gc", "-q"], &["repack", "-adq"]])
        {
            *count += usize::from(repository.command(args).output().unwrap().status.success());
        }
    }
    done
}

/// Starts client number `client`, which commits `each` files in sequence.
async fn commit_all(server: &Server, client: usize, each: usize) -> JoinHandle<()> {
    let db = server.connect().await;
    tokio::spawn(async move {
        for number in 0..each {
            commit(&db, "master", &format!("{client}-{number}"), "x").await.unwrap();
        }
    })
}

/// Checks that no commit made to a branch by clients or by `git` is lost during maintenance.
async fn assert_all_survives(repository: TempRepository, each: usize, theirs: usize) {
    let repository = Arc::new(repository);
    let server = Server::start(&repository.0);
    commit(&server.connect().await, "master", "first", "x").await.unwrap();
    let stop = SetOnDrop(Arc::default());
    let maintenance = {
        let (repository, stop) = (repository.clone(), stop.0.clone());
        tokio::task::spawn_blocking(move || run_maintenance(&repository, &stop))
    };
    let git = {
        let repository = repository.clone();
        tokio::task::spawn_blocking(move || {
            let index = repository.0.join("an.index").display().to_string();
            (0..theirs)
                .map(|number| commit_with_git(&repository, &index, &format!("git-{number}")))
                .sum::<usize>()
        })
    };
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        clients.push(commit_all(&server, client, each).await);
    }
    for client in clients {
        timeout(TIMEOUT * 4, client).await.unwrap().unwrap();
    }
    let tried = timeout(TIMEOUT * 4, git).await.unwrap().unwrap();
    drop(stop);
    let [refs, gc, repacks] = timeout(TIMEOUT, maintenance).await.unwrap().unwrap();
    let ours =
        (0..CLIENTS).flat_map(|client| (0..each).map(move |number| format!("{client}-{number}")));
    let git = (0..theirs).map(|number| format!("git-{number}"));
    let all: BTreeSet<_> = ours.chain(git).chain(["first".to_owned()]).collect();
    assert_eq!(repository.lines(&["ls-tree", "-r", "--name-only", "master"]), all);
    assert_eq!(repository.messages("master"), all);
    repository.assert_sound();
    let retries = server.counters().await["retries"];
    println!(
        "{} commits by clients ({retries} retries) and {theirs} by git ({tried}), \
         pack-refs {refs} times, gc {gc}, repack {repacks}",
        CLIENTS * each
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_git_commits_and_repacks() {
    let repository = TempRepository::imported("others", b"");
    // Disable cruft packs. Otherwise, `git gc` would move new unreachable objects to a cruft pack,
    // `git repack -ad` would drop the pack, and `git` would lose its own commits.
    repository.git(&["config", "gc.cruftPacks", "false"]);
    assert_all_survives(repository, short_or_full(10, 200), short_or_full(5, 100)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_git_drops_unreachable_objects() {
    assert_all_survives(TempRepository::imported("drops", b""), short_or_full(10, 200), 0).await;
}

/// Uses branches whose refs are in subdirectories, because `git pack-refs` removes empty
/// subdirectories.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_are_created_and_removed_while_git_packs_them() {
    let repository = Arc::new(TempRepository::imported("come-and-go", b""));
    let server = Server::start(&repository.0);
    let stop = SetOnDrop(Arc::default());
    let maintenance = {
        let (repository, stop) = (repository.clone(), stop.0.clone());
        tokio::task::spawn_blocking(move || run_maintenance(&repository, &stop))
    };
    let each = short_or_full(15, 150);
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let db = server.connect().await;
        clients.push(tokio::spawn(async move {
            for number in 0..each {
                let [first, second] =
                    ["first", "second"].map(|side| format!("deep/{client}/{number}/{side}"));
                commit(&db, &first, "f", &first).await.unwrap();
                commit(&db, &first, "g", &first).await.unwrap();
                let head = db.branch(&first).await.unwrap().head().await.unwrap().unwrap();
                db.branch(&second).await.unwrap().fast_forward(&head).await.unwrap();
                db.remove_branch(&first).await.unwrap();
            }
        }));
    }
    for client in clients {
        timeout(TIMEOUT * 4, client).await.unwrap().unwrap();
    }
    drop(stop);
    let [refs, gc, repacks] = timeout(TIMEOUT, maintenance).await.unwrap().unwrap();
    let left = repository.lines(&["for-each-ref", "--format=%(refname:lstrip=2)"]);
    let second = |client| (0..each).map(move |number| format!("deep/{client}/{number}/second"));
    assert_eq!(left, (0..CLIENTS).flat_map(second).collect());
    repository.assert_sound();
    println!("{} branches, pack-refs {refs} times, gc {gc}, repack {repacks}", CLIENTS * each);
}
