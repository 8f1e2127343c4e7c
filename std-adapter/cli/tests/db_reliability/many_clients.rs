//! Tests in which many clients commit to one branch concurrently.

use std::collections::BTreeSet;
use std::time::Instant;

use datakit_client::db::{Db, Error};
use tokio::time::timeout;

use crate::setup::{Server, TIMEOUT, TempRepository, commit, commit_as, short_or_full};

const CLIENTS: usize = 64;

/// Checks that no commit was retried. A commit is retried only if another program has updated the
/// branch.
async fn assert_no_retries(server: &Server, commits: usize, begun: Instant) {
    let took = begun.elapsed().as_secs_f64();
    let counters = server.counters().await;
    let (retries, landed) = (counters["retries"], counters["commits"]);
    println!(
        "{CLIENTS} clients, {landed} commits: {:.0} a second, {:.2} retries each, {} conflicts",
        landed as f64 / took,
        retries as f64 / landed as f64,
        counters["conflicts"]
    );
    assert_eq!(landed, commits as u64);
    assert_eq!(retries, 0, "{counters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_of_different_files_all_succeed() {
    let each = short_or_full(3, 16);
    let repository = TempRepository::new("crowd");
    let server = Server::start(&repository.0);
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for client in 0..CLIENTS {
        let db = server.connect().await;
        tasks.push(tokio::spawn(async move {
            for number in 0..each {
                commit(&db, "master", &format!("{client}/{number}"), "x").await.unwrap();
            }
        }));
    }
    for task in tasks {
        timeout(TIMEOUT * 4, task).await.unwrap().unwrap();
    }
    assert_no_retries(&server, CLIENTS * each, begun).await;
    let all: BTreeSet<_> = (0..CLIENTS)
        .flat_map(|client| (0..each).map(move |number| format!("{client}/{number}")))
        .collect();
    assert_eq!(repository.lines(&["ls-tree", "-r", "--name-only", "master"]), all);
    assert_eq!(repository.messages("master"), all);
    repository.assert_sound();
}

/// Tries `each` times to commit a change to the same file. Returns the messages of the commits that
/// succeeded.
async fn commit_same_file(db: Db, client: usize, each: usize) -> Vec<String> {
    let mut landed = Vec::new();
    for number in 0..each {
        let text = format!("{client} {number}");
        match commit_as(&db, "master", "same", &text, &text).await {
            Ok(_) => landed.push(text),
            Err(Error::Conflict(why)) => assert!(why.ends_with(": same"), "{why}"),
            Err(other) => panic!("{other}"),
        }
    }
    landed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_of_one_file_succeed_or_report_a_conflict() {
    let each = short_or_full(2, 16);
    let repository = TempRepository::new("same");
    let server = Server::start(&repository.0);
    commit(&server.connect().await, "master", "same", "first").await.unwrap();
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for client in 0..CLIENTS {
        tasks.push(tokio::spawn(commit_same_file(server.connect().await, client, each)));
    }
    let mut landed = BTreeSet::from(["same".to_owned()]);
    for task in tasks {
        landed.extend(timeout(TIMEOUT * 4, task).await.unwrap().unwrap());
    }
    assert_no_retries(&server, landed.len(), begun).await;
    // Check that the history contains exactly the acknowledged commits and that the last commit is
    // one of them.
    assert_eq!(repository.messages("master"), landed);
    assert!(landed.contains(&repository.git(&["show", "master:same"])));
    let conflicts = server.counters().await["conflicts"];
    assert_eq!(conflicts as usize, CLIENTS * each + 1 - landed.len());
    assert!(landed.len() > 1, "every commit had a conflict");
    repository.assert_sound();
}
