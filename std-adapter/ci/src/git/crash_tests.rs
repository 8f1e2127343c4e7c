//! Kills a process that fetches a commit and runs commands, and checks that it leaves nothing
//! behind.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command as StdCommand, Stdio};

use super::tests::{Done, Fixture, LIMIT, in_worktree, main_branch, new_log, removed};
use super::*;
use crate::command::{Cgroup, Command, Limits, Sandbox, find_program};
use crate::pool::Holder;
use datakit_github::{Commit, Hash};

/// The variable that contains the test directory and marks all processes.
const DIR: &str = "DATAKIT_CI_CRASH_DIR";
const URL: &str = "DATAKIT_CI_CRASH_URL";

/// The process to kill: runs until it is killed. The function does nothing unless the other test
/// started it.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    let (Some(dir), Ok(url)) = (std::env::var_os(DIR), std::env::var(URL)) else { return };
    let dir = PathBuf::from(dir);
    let source = dir.join("source");
    let repository =
        Repository::open_or_clone(source.to_str().unwrap(), dir.join("clone")).await.unwrap();
    let hash = fs::read_to_string(dir.join("hash")).unwrap();
    let (repo, hash) = ("me/app".parse().unwrap(), Hash::parse(hash).unwrap());
    let (commit, target, log) = (Commit { repo, hash }, main_branch(), new_log());
    repository.fetch_quietly(&target, &commit, &log).await.unwrap();
    let holder = Holder::new("me/app", "victim");
    let worktree = repository.worktree_with(&commit, &holder, None).await.unwrap();
    let other = Repository::open_or_clone(&url, dir.join("other")).await.unwrap();
    let command = |name: &str, sandbox: Sandbox| {
        let script = format!("setsid sleep 1000 & touch {name}; sleep 1000");
        Command::shell(&script, worktree.path()).env(DIR, &dir).sandbox(sandbox)
    };
    let (free, sandboxed) =
        (command("free", Sandbox::Unsandboxed), command("sandboxed", Sandbox::default()));
    let absent = Hash::parse("00112233445566778899aabbccddeeff00112233").unwrap();
    let absent = Commit { repo: commit.repo.clone(), hash: absent };
    let ended = tokio::join!(
        other.fetch_quietly(&target, &absent, &log),
        free.run(&log),
        sandboxed.run(&log)
    );
    panic!("{ended:?}: {}", log.finish());
}

/// Returns the ids of the processes that have the marker in their environment.
fn processes(marker: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has_marker = |id: &i32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(marker)
    };
    ids.filter(has_marker).collect()
}

/// Waits until a condition is true.
async fn until(condition: impl Fn() -> bool) -> bool {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT / 3, waiting).await.is_ok()
}

#[tokio::test]
async fn nothing_of_a_killed_process_is_left() -> Done {
    if find_program("bwrap").is_none() {
        println!("skipped: bubblewrap is not installed");
        return Ok(());
    }
    let fixture = Fixture::new();
    let (dir, commit) = (fixture.dir.path(), fixture.commit(&[("file", "1")]));
    fs::write(dir.join("hash"), commit.hash.to_string())?;
    // The server accepts a connection and sends nothing.
    let server = TcpListener::bind("127.0.0.1:0")?;
    let mut victim = StdCommand::new(std::env::current_exe()?)
        .args(["git::crash_tests::victim", "--exact", "--nocapture"])
        .env(DIR, dir)
        .env(URL, format!("http://{}/app", server.local_addr()?))
        .stdout(Stdio::null())
        .spawn()?;
    let connection =
        tokio::task::spawn_blocking(move || server.accept().map(|found| (server, found)));
    let _connection = tokio::time::timeout(LIMIT, connection).await???;
    let worktrees = || fs::read_dir(dir.join("clone/worktrees")).unwrap().flatten();
    let started = |name: &str| worktrees().any(|entry| entry.path().join(name).exists());
    assert!(until(|| started("free") && started("sandboxed")).await);
    victim.kill()?;
    victim.wait()?;

    let repository = fixture.open().await?;
    removed(&repository).await;
    in_worktree(&repository, &commit, |dir| assert!(dir.join("file").exists())).await;
    let marker = format!("{DIR}={}", dir.display());
    if Cgroup::create(&Limits::NONE).join_files().next().is_some() {
        assert!(until(|| processes(&marker).is_empty()).await, "{:?}", processes(&marker));
    } else {
        // Without control groups, a process that has left its group is killed only in a sandbox.
        println!("not checked: processes outside of a sandbox");
        for id in processes(&marker).into_iter().filter_map(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(id, rustix::process::Signal::KILL)?;
        }
    }
    Ok(())
}
