//! Many clients that commit to one branch at once.

use std::collections::BTreeSet;
use std::time::Instant;

use datakit_client::db::{Db, Error};
use tokio::time::timeout;

use crate::place::{PATIENCE, Program, Repository, commit, commit_as, wanted};

const CLIENTS: usize = 64;

/// Where nothing but clients of one server moves the branch, nobody tries in vain.
async fn nothing_is_tried_again(program: &Program, commits: usize, begun: Instant) {
    let took = begun.elapsed().as_secs_f64();
    let counters = program.counters().await;
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
async fn a_crowd_that_changes_different_files_succeeds() {
    let each = wanted(3, 16);
    let repository = Repository::new("crowd");
    let program = Program::start(&repository.0);
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for client in 0..CLIENTS {
        let db = program.connect().await;
        tasks.push(tokio::spawn(async move {
            for number in 0..each {
                commit(&db, "master", &format!("{client}/{number}"), "x").await.unwrap();
            }
        }));
    }
    for task in tasks {
        timeout(PATIENCE * 4, task).await.unwrap().unwrap();
    }
    nothing_is_tried_again(&program, CLIENTS * each, begun).await;
    let all: BTreeSet<_> = (0..CLIENTS)
        .flat_map(|client| (0..each).map(move |number| format!("{client}/{number}")))
        .collect();
    assert_eq!(repository.lines(&["ls-tree", "-r", "--name-only", "master"]), all);
    assert_eq!(repository.messages("master"), all);
    repository.is_sound();
}

/// The messages of what was committed to one file; conflicts are told, and nothing else.
async fn insist(db: Db, client: usize, each: usize) -> Vec<String> {
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
async fn a_crowd_that_changes_one_file_is_told_of_conflicts() {
    let each = wanted(2, 16);
    let repository = Repository::new("same");
    let program = Program::start(&repository.0);
    commit(&program.connect().await, "master", "same", "first").await.unwrap();
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for client in 0..CLIENTS {
        tasks.push(tokio::spawn(insist(program.connect().await, client, each)));
    }
    let mut landed = BTreeSet::from(["same".to_owned()]);
    for task in tasks {
        landed.extend(timeout(PATIENCE * 4, task).await.unwrap().unwrap());
    }
    nothing_is_tried_again(&program, landed.len(), begun).await;
    // What was acknowledged is there, what was refused is not, and one of them is the last.
    assert_eq!(repository.messages("master"), landed);
    assert!(landed.contains(&repository.git(&["show", "master:same"])));
    let conflicts = program.counters().await["conflicts"];
    assert_eq!(conflicts as usize, CLIENTS * each + 1 - landed.len());
    assert!(landed.len() > 1, "nobody got through");
    repository.is_sound();
}
