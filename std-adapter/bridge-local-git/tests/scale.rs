//! Tests that the bridge publishes thousands of branches quickly.

mod common;

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Repository, Server, wait_for};

/// The number of branches. The number is smaller in debug builds, which are an order of magnitude
/// slower.
const BRANCHES: u32 = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
/// The time limit for publishing all branches. `CHANGE` is the time limit for publishing a later
/// change. It applies to the median, because other programs may delay a single change.
const FIRST: Duration = Duration::from_secs(10);
const CHANGE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn many_branches_are_published_quickly() {
    let (server, source) = (Server::in_memory(), Repository::new(&[]));
    let hash = source.heads().into_values().next().unwrap();
    let mut update =
        source.command().args(["update-ref", "--stdin"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = update.stdin.take().unwrap();
    for number in 0..BRANCHES {
        writeln!(input, "create refs/heads/topic/{number} {hash}").unwrap();
    }
    drop(input);
    assert!(update.wait().unwrap().success());
    let branch = server.branch().await;
    let heads = source.heads();

    let start = Instant::now();
    let _bridge = source.bridge(&server.address);
    // All branches are published in a single commit, which follows the initial commit.
    let mut watch = branch.watch_head().await.unwrap();
    let path = "me/x/ref/heads/topic/0/head".parse().unwrap();
    loop {
        let head = tokio::time::timeout(common::TIMEOUT, watch.next()).await.unwrap();
        if let Some(head) = head.unwrap().unwrap()
            && head.tree().exists(&path).await.unwrap()
        {
            break;
        }
    }
    let first = start.elapsed();
    wait_for(&branch, &heads).await;

    let mut times = Vec::new();
    for number in 0..5 {
        let path = "me/x/ref/heads/topic/7/head".parse().unwrap();
        let start = Instant::now();
        let commit = source.commit("topic/7", &format!("change {number}"));
        loop {
            let head = tokio::time::timeout(common::TIMEOUT, watch.next()).await.unwrap();
            let head = head.unwrap().unwrap().unwrap();
            if head.tree().read_file(&path).await.unwrap().starts_with(commit.as_bytes()) {
                break;
            }
        }
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!("{BRANCHES} branches: published in {first:?}, changes in {times:?}");
    assert!(first < FIRST && times[times.len() / 2] < CHANGE, "{first:?} {times:?}");
}
