//! Tests that no change is lost when the repository, the database or the bridge fails.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::process::Command;
use std::time::Duration;

use common::{
    BRANCH, BRIDGE, Heads, Process, Repository, Server, bridge, lines, published, wait_for,
};
use datakit_client::db::Branch;

/// Starts the bridge. Returns the process and its log lines.
fn logging(mut command: Command) -> (Process, std::sync::mpsc::Receiver<String>) {
    let mut process = Process::start({
        command.stderr(std::process::Stdio::piped());
        command
    });
    let log = lines(process.child.stderr.take().unwrap());
    (process, log)
}

fn wait_for_line(log: &std::sync::mpsc::Receiver<String>, text: &str) -> String {
    let mut seen = Vec::new();
    loop {
        match log.recv_timeout(common::TIMEOUT) {
            Ok(line) if line.contains(text) => return line,
            Ok(line) => seen.push(line),
            Err(_) => panic!("no {text:?} in {seen:#?}"),
        }
    }
}

async fn assert_published(branch: &Branch, expected: &Heads) {
    let head = branch.head().await.unwrap().unwrap();
    assert_eq!(published(&head).await, *expected);
}

#[tokio::test]
async fn a_repository_may_disappear_and_return() {
    let (server, source) = (Server::in_memory(), Repository::new(&[]));
    source.commit("topic", "second");
    let (_bridge, log) = logging(bridge(&server.address, source.path()));
    let branch = server.branch().await;
    let heads = source.heads();
    wait_for(&branch, &heads).await;

    // Move the repository away, as if its file system had been unmounted.
    let aside = source.path().join("aside");
    std::fs::rename(source.path().join(".git"), &aside).unwrap();
    wait_for_line(&log, "the published branches are kept");
    assert_published(&branch, &heads).await;

    // Create a different repository, which has no branches, at the same path.
    source.git(&["init", "-q", "-b", "master", "."]);
    wait_for_line(&log, "the repository can be read again");
    assert_published(&branch, &heads).await;
    let third = source.commit("new", "third");
    let new: Heads = [("heads/new".parse().unwrap(), third)].into_iter().collect();
    wait_for(&branch, &new).await;

    // Restore the first repository.
    std::fs::rename(source.path().join(".git"), source.path().join("aside2")).unwrap();
    wait_for_line(&log, "the published branches are kept");
    std::fs::rename(&aside, source.path().join(".git")).unwrap();
    wait_for(&branch, &heads).await;
    // The bridge publishes the deletion of all branches only if it knows that the repository has
    // not been replaced.
    source.git(&["update-ref", "-d", "refs/heads/topic"]);
    source.git(&["update-ref", "-d", "refs/heads/master"]);
    wait_for(&branch, &Heads::new()).await;
}

#[tokio::test]
async fn damaged_refs_keep_their_values() {
    let (server, source) = (Server::in_memory(), Repository::new(&[]));
    source.commit("a", "second");
    source.commit("b/c", "third");
    let (_bridge, log) = logging(bridge(&server.address, source.path()));
    let branch = server.branch().await;
    let mut expected = source.heads();
    wait_for(&branch, &expected).await;

    // A crash may leave an empty file behind.
    let heads = source.path().join(".git/refs/heads");
    std::fs::write(heads.join("a"), "").unwrap();
    expected.insert("heads/d".parse().unwrap(), source.commit("d", "fourth"));
    wait_for(&branch, &expected).await;

    // The bridge cannot read any branch while this file is damaged.
    std::fs::write(source.path().join(".git/packed-refs"), "damaged\n").unwrap();
    wait_for_line(&log, "packed-refs: line 1 is not a hash and a name");
    assert_published(&branch, &expected).await;
    std::fs::remove_file(source.path().join(".git/packed-refs")).unwrap();
    std::fs::remove_file(heads.join("a")).unwrap();
    expected.remove(&"heads/a".parse().unwrap());
    wait_for(&branch, &expected).await;
}

#[tokio::test]
async fn the_database_may_restart() {
    let source = Repository::new(&[]);
    let data = tempfile::TempDir::new().unwrap();
    let mut server = Server::git("tcp://127.0.0.1:0", data.path());
    let _bridge = source.bridge(&server.address);
    wait_for(&server.branch().await, &source.heads()).await;
    for round in 0..3 {
        let address = server.kill();
        source.commit(format!("b{round}"), "while the database is down");
        server = Server::git(&address, data.path());
        wait_for(&server.branch().await, &source.heads()).await;
    }
    // The new database is in memory, so it is empty.
    let address = server.kill();
    let server = Server::start(&address, &[]);
    wait_for(&server.branch().await, &source.heads()).await;
}

#[tokio::test]
async fn the_bridge_may_start_before_the_database() {
    let source = Repository::new(&[]);
    // Start and kill a server to find a free port.
    let address = Server::in_memory().kill();
    let (_bridge, log) = logging(bridge(&address, source.path()));
    wait_for_line(&log, "connecting again");
    let server = Server::start(&address, &[]);
    wait_for(&server.branch().await, &source.heads()).await;
}

#[tokio::test]
async fn the_bridge_may_be_killed_at_any_moment() {
    let (server, source) = (Server::in_memory(), Repository::new(&[]));
    let branch = server.branch().await;
    for round in 0..20u64 {
        let mut process = source.bridge(&server.address);
        for number in 0..5 {
            source.commit(format!("b{}/x", (round + number) % 7), &format!("{round} {number}"));
        }
        // Kill the bridge at various times between its start and its first commits.
        tokio::time::sleep(Duration::from_millis(round * 13)).await;
        process.kill();
    }
    let _bridge = source.bridge(&server.address);
    wait_for(&branch, &source.heads()).await;
}

#[tokio::test]
async fn the_repository_of_the_database_is_refused() {
    let source = Repository::new(&[]);
    let server = Server::git("tcp://127.0.0.1:0", source.path());
    let output = bridge(&server.address, source.path()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("this repository stores the database"), "{error}");
    // The branch contains only the initial commit.
    let head = server.branch().await.head().await.unwrap().unwrap();
    assert_eq!(common::commits(&head).await, 1);
}

#[tokio::test]
async fn a_mirror_of_the_database_is_refused() {
    let (source, data) = (Repository::new(&[]), tempfile::TempDir::new().unwrap());
    let server = Server::git("tcp://127.0.0.1:0", data.path());
    let (mut process, log) = logging(bridge(&server.address, source.path()));
    wait_for(&server.branch().await, &source.heads()).await;
    let refspec = format!("refs/heads/{BRANCH}:refs/heads/{BRANCH}");
    let url = data.path().to_str().unwrap();
    source.git(&["fetch", "-q", url, &refspec]);
    wait_for_line(&log, "this repository stores the database");
    assert_eq!(process.child.wait().unwrap().code(), Some(1));
}

#[test]
fn the_exit_status_tells_the_signal() {
    let (server, source) = (Server::in_memory(), Repository::new(&[]));
    for (signal, status) in [("TERM", 0), ("INT", 1)] {
        let (mut process, log) = logging(bridge(&server.address, source.path()));
        wait_for_line(&log, "connected to the database");
        let id = process.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        assert_eq!(process.child.wait().unwrap().code(), Some(status), "{signal} {BRIDGE}");
    }
}
