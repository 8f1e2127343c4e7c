//! Tests for killing a server while it is committing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::setup::{Server, TIMEOUT, TempRepository, commit, short_or_full};

/// The branch, hash and file path of each acknowledged commit.
type Acknowledged = Arc<Mutex<Vec<[String; 3]>>>;

const CLIENTS: usize = 3;

/// For each of `count` rounds, returns the delay before the server is killed. The delays differ
/// from each other but are the same in every run.
fn kill_delays(count: usize) -> impl Iterator<Item = Duration> {
    (0..count as u64).map(|round| Duration::from_millis(100 + round.wrapping_mul(7919) % 307))
}

/// Commits alternately to a shared branch and to the client's own branch until the server is
/// killed.
async fn commit_until_killed(
    server: &Server,
    round: usize,
    client: usize,
    acknowledged: &Acknowledged,
) -> JoinHandle<()> {
    let (db, acknowledged) = (server.connect().await, acknowledged.clone());
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

/// Commits to every branch. The commits would fail if the killed server had left a lock behind.
async fn commit_to_every_branch(server: &Server, round: usize, acknowledged: &Acknowledged) {
    let db = server.connect().await;
    for branch in
        ["shared".to_owned()].into_iter().chain((0..CLIENTS).map(|client| format!("own/{client}")))
    {
        let path = format!("{round}/first");
        let head = timeout(TIMEOUT, commit(&db, &branch, &path, &path)).await.unwrap().unwrap();
        acknowledged.lock().unwrap().push([branch, head, path]);
    }
}

fn assert_all_present(repository: &TempRepository, acknowledged: &[[String; 3]]) {
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
async fn d57_a_kill_loses_no_acknowledged_commit() {
    let repository = TempRepository::new("killed");
    let acknowledged = Acknowledged::default();
    let kills = short_or_full(8, 100);
    let mut slowest = Duration::ZERO;
    for (round, moment) in kill_delays(kills).enumerate() {
        let begun = Instant::now();
        let server = Server::start(&repository.0);
        commit_to_every_branch(&server, round, &acknowledged).await;
        slowest = slowest.max(begun.elapsed());
        // Pack the branches in some iterations and the objects in others. Pack while the server is
        // running rather than after it has been killed, because locks left behind by a killed
        // server can make `git` fail.
        match round % 4 {
            1 => drop(repository.git(&["pack-refs", "--all"])),
            3 => drop(repository.git(&["gc", "-q"])),
            _ => {}
        }
        let mut clients = Vec::new();
        for client in 0..CLIENTS {
            clients.push(commit_until_killed(&server, round, client, &acknowledged).await);
        }
        tokio::time::sleep(moment).await;
        drop(server);
        for client in clients {
            timeout(TIMEOUT, client).await.unwrap().unwrap();
        }
        repository.assert_sound();
    }
    let server = Server::start(&repository.0);
    commit_to_every_branch(&server, kills, &acknowledged).await;
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    assert_all_present(&repository, &acknowledged);
    repository.assert_sound();
    let commits = acknowledged.len();
    println!(
        "{kills} kills: all of {commits} acknowledged commits are there; back within {slowest:?}"
    );
    assert!(commits > kills * (CLIENTS + 2), "too few commits for a meaningful result");
}
