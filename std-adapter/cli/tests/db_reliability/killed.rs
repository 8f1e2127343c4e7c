//! A server that is killed while it commits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::place::{PATIENCE, Program, Repository, commit, wanted};

/// What was acknowledged: branch, head, path of the file.
type Acknowledged = Arc<Mutex<Vec<[String; 3]>>>;

const CLIENTS: usize = 3;

/// The same times each run, none of them round.
fn moments(count: usize) -> impl Iterator<Item = Duration> {
    (0..count as u64).map(|round| Duration::from_millis(100 + round.wrapping_mul(7919) % 307))
}

/// Commits to a branch of its own and to that of all, by turns, until the server is gone.
async fn load(
    program: &Program,
    round: usize,
    client: usize,
    acknowledged: &Acknowledged,
) -> JoinHandle<()> {
    let (db, acknowledged) = (program.connect().await, acknowledged.clone());
    tokio::spawn(async move {
        for number in 0.. {
            let branch =
                if number % 2 == 0 { "shared".to_owned() } else { format!("own/{client}") };
            let path = format!("{round}/{client}/{number}");
            let Ok(head) = commit(&db, &branch, &path, &path).await else { return };
            acknowledged.lock().unwrap().push([branch, head, path]);
        }
    })
}

/// No lock of the server before is in the way of any branch.
async fn every_branch_moves(program: &Program, round: usize, acknowledged: &Acknowledged) {
    let db = program.connect().await;
    for branch in
        ["shared".to_owned()].into_iter().chain((0..CLIENTS).map(|client| format!("own/{client}")))
    {
        let path = format!("{round}/first");
        let head = timeout(PATIENCE, commit(&db, &branch, &path, &path)).await.unwrap().unwrap();
        acknowledged.lock().unwrap().push([branch, head, path]);
    }
}

fn all_is_there(repository: &Repository, acknowledged: &[[String; 3]]) {
    let branches: BTreeSet<_> = acknowledged.iter().map(|[branch, ..]| branch).collect();
    let there: BTreeMap<_, _> = branches
        .into_iter()
        .map(|branch| {
            let commits = repository.lines(&["rev-list", branch]);
            (branch, (commits, repository.lines(&["ls-tree", "-r", "--name-only", branch])))
        })
        .collect();
    for [branch, head, path] in acknowledged {
        let (commits, files) = &there[branch];
        assert!(
            commits.contains(head) && files.contains(path),
            "{branch} has lost {head} with {path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d57_nothing_acknowledged_is_lost() {
    let repository = Repository::new("killed");
    let acknowledged = Acknowledged::default();
    let kills = wanted(8, 100);
    let mut slowest = Duration::ZERO;
    for (round, moment) in moments(kills).enumerate() {
        let begun = Instant::now();
        let program = Program::start(&repository.0);
        every_branch_moves(&program, round, &acknowledged).await;
        slowest = slowest.max(begun.elapsed());
        // Some find their branches packed, some all of it. Not before: git gives up at locks that a
        // killed server left.
        match round % 4 {
            1 => drop(repository.git(&["pack-refs", "--all"])),
            3 => drop(repository.git(&["gc", "-q"])),
            _ => {}
        }
        let mut clients = Vec::new();
        for client in 0..CLIENTS {
            clients.push(load(&program, round, client, &acknowledged).await);
        }
        tokio::time::sleep(moment).await;
        drop(program);
        for client in clients {
            timeout(PATIENCE, client).await.unwrap().unwrap();
        }
        repository.is_sound();
    }
    let program = Program::start(&repository.0);
    every_branch_moves(&program, kills, &acknowledged).await;
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    all_is_there(&repository, &acknowledged);
    repository.is_sound();
    let commits = acknowledged.len();
    println!(
        "{kills} kills: all of {commits} acknowledged commits are there; back within {slowest:?}"
    );
    assert!(commits > kills * (CLIENTS + 2), "too few to mean anything");
}
