//! Plain git in the same repository: it commits to the branch of the clients, and repacks under
//! them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::place::{PATIENCE, Program, Repository, commit, wanted};

/// Times that git tries to bring one commit to a branch that others move.
const TRIES: usize = 10_000;

const CLIENTS: usize = 4;

/// A commit of one more file on top of the branch, as scripts make them; how often that was tried.
fn commit_with_git(repository: &Repository, index: &str, path: &str) -> usize {
    std::fs::write(repository.0.join("content"), path).unwrap();
    let done = (0..TRIES).find(|_| try_with_git(repository, index, path).is_some());
    done.unwrap_or_else(|| panic!("{path}: the branch has moved {TRIES} times"))
}

/// `None` when the branch moved meanwhile, or when gc removed the directory into which git was
/// about to write an object.
fn try_with_git(repository: &Repository, index: &str, path: &str) -> Option<()> {
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

/// Says when to stop, also where the test fails.
struct Until(Arc<AtomicBool>);

impl Drop for Until {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Tidies up until it is told to stop. A lock that somebody holds makes git give up; the next time
/// it may succeed.
fn tidy(repository: &Repository, stop: &AtomicBool) -> [usize; 3] {
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

/// Client `client` commits so many files, one by one.
async fn commit_all(program: &Program, client: usize, each: usize) -> JoinHandle<()> {
    let db = program.connect().await;
    tokio::spawn(async move {
        for number in 0..each {
            commit(&db, "master", &format!("{client}-{number}"), "x").await.unwrap();
        }
    })
}

/// What clients and, if `theirs` is not 0, git commit to one branch while git tidies up.
async fn all_survives(repository: Repository, each: usize, theirs: usize) {
    let repository = Arc::new(repository);
    let program = Program::start(&repository.0);
    commit(&program.connect().await, "master", "first", "x").await.unwrap();
    let until = Until(Arc::default());
    let tidying = {
        let (repository, stop) = (repository.clone(), until.0.clone());
        tokio::task::spawn_blocking(move || tidy(&repository, &stop))
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
        clients.push(commit_all(&program, client, each).await);
    }
    for client in clients {
        timeout(PATIENCE * 4, client).await.unwrap().unwrap();
    }
    let tried = timeout(PATIENCE * 4, git).await.unwrap().unwrap();
    drop(until);
    let [refs, gc, repacks] = timeout(PATIENCE, tidying).await.unwrap().unwrap();
    let ours =
        (0..CLIENTS).flat_map(|client| (0..each).map(move |number| format!("{client}-{number}")));
    let git = (0..theirs).map(|number| format!("git-{number}"));
    let all: BTreeSet<_> = ours.chain(git).chain(["first".to_owned()]).collect();
    assert_eq!(repository.lines(&["ls-tree", "-r", "--name-only", "master"]), all);
    assert_eq!(repository.messages("master"), all);
    repository.is_sound();
    let retries = program.counters().await["retries"];
    println!(
        "{} commits by clients ({retries} retries) and {theirs} by git ({tried}), \
         pack-refs {refs} times, gc {gc}, repack {repacks}",
        CLIENTS * each
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_commits_and_repacks_meanwhile() {
    let repository = Repository::imported("others", b"");
    // Else gc puts what no branch leads to yet in a pack, and repack drops that pack: git loses its
    // own commits so.
    repository.git(&["config", "gc.cruftPacks", "false"]);
    all_survives(repository, wanted(10, 200), wanted(5, 100)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_drops_what_no_branch_leads_to_meanwhile() {
    all_survives(Repository::imported("drops", b""), wanted(10, 200), 0).await;
}

/// Branches in directories, which git removes as soon as nothing is in them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_come_and_go_while_git_packs_them() {
    let repository = Arc::new(Repository::imported("come-and-go", b""));
    let program = Program::start(&repository.0);
    let until = Until(Arc::default());
    let tidying = {
        let (repository, stop) = (repository.clone(), until.0.clone());
        tokio::task::spawn_blocking(move || tidy(&repository, &stop))
    };
    let each = wanted(15, 150);
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let db = program.connect().await;
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
        timeout(PATIENCE * 4, client).await.unwrap().unwrap();
    }
    drop(until);
    let [refs, gc, repacks] = timeout(PATIENCE, tidying).await.unwrap().unwrap();
    let left = repository.lines(&["for-each-ref", "--format=%(refname:lstrip=2)"]);
    let second = |client| (0..each).map(move |number| format!("deep/{client}/{number}/second"));
    assert_eq!(left, (0..CLIENTS).flat_map(second).collect());
    repository.is_sound();
    println!("{} branches, pack-refs {refs} times, gc {gc}, repack {repacks}", CLIENTS * each);
}
