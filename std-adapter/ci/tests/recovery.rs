//! Kills the server at random moments and checks that nothing is lost, repeated or left behind.
//!
//! The environment variables `DATAKIT_CI_KILLS` and `DATAKIT_CI_TARGETS` set the number of kills
//! and the number of targets.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{METADATA, Process, Repository, TIMEOUT, status, wait_for};
use datakit_client::db::Db;
use tempfile::TempDir;

/// Each step takes long enough that many steps are interrupted.
const PIPELINE: &str = r#"
[step.first]
run = "sleep 0.1; echo first"

[step.second]
needs = ["first"]
run = "sleep 0.1; cat name"
"#;

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A small pseudorandom number generator, which makes failures reproducible.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_server_loses_and_repeats_nothing() {
    let (kills, targets) = (number("DATAKIT_CI_KILLS", 8), number("DATAKIT_CI_TARGETS", 10));
    let (state, work) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let app = Repository::new();
    let mut heads = vec![app.commit(&[(".datakit-ci.toml", PIPELINE), ("name", "master\n")])];
    for index in 1..targets {
        app.git(&["checkout", "-q", "-b", &format!("topic-{index}")]);
        heads.push(app.commit(&[("name", &format!("topic {index}\n"))]));
    }
    let (_database, address) = common::database(state.path(), "tcp://127.0.0.1:0");
    let _bridge = common::bridge(&address, app.path());
    let db = Db::connect(&address.parse().unwrap()).await.unwrap();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..kills {
        let mut ci = Process::start(common::ci(&address, work.path()).args(["--jobs", "4"]));
        tokio::time::sleep(Duration::from_millis(150 + random.below(900))).await;
        ci.kill();
    }
    let mut ci = Process::start(common::ci(&address, work.path()).args(["--jobs", "4"]));
    for head in &heads {
        wait_for(&db, METADATA, &status(head, "second", "state"), "success").await;
    }
    assert_eq!(ci.terminate(), Some(0));

    for branch in db.branches().await.unwrap() {
        let name = branch.to_string();
        if name.starts_with("step-") {
            let head = db.branch(&name).await.unwrap().head().await.unwrap().unwrap();
            assert_eq!(head.message().await.unwrap().trim(), "Cached successful result", "{name}");
            assert!(head.parents().await.unwrap().is_empty(), "{name} was built twice");
        }
    }
    assert_eq!(worktrees(work.path()), Vec::<String>::new());
    let began = Instant::now();
    while let Some(process) = process_in(work.path()) {
        assert!(began.elapsed() < TIMEOUT, "process {process} is still running");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_database_is_used_again() {
    let (state, work) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let app = Repository::new();
    // The step runs until the file appears, so that the database can be restarted in the meantime.
    let go = TempDir::new().unwrap();
    let wait =
        format!("echo waiting; while ! [ -e {}/go ]; do sleep 0.05; done", go.path().display());
    let pipeline = format!("[step.wait]\nrun = {wait:?}\n");
    let head = app.commit(&[(".datakit-ci.toml", &pipeline)]);
    let (mut database, address) = common::database(state.path(), "tcp://127.0.0.1:0");
    let _bridge = common::bridge(&address, app.path());
    let mut command = common::ci(&address, work.path());
    let mut ci = Process::start(command.arg("--unsandboxed"));
    let web = ci.line_after("listening on ");
    let db = Db::connect(&address.parse().unwrap()).await.unwrap();
    wait_for(&db, METADATA, &status(&head, "wait", "state"), "pending").await;
    database.kill();
    let (_database, again) = common::database(state.path(), &address);
    assert_eq!(again, address);
    std::fs::write(go.path().join("go"), "").unwrap();
    let db = Db::connect(&address.parse().unwrap()).await.unwrap();
    wait_for(&db, METADATA, &status(&head, "wait", "state"), "success").await;
    let (code, page) = common::get(&format!("{web}{}/ref/heads/master", common::REPO));
    assert_eq!(code, 200);
    assert!(page.contains("waiting"), "{page}");
    assert_eq!(ci.terminate(), Some(0));
}

/// Returns the names of the remaining worktrees.
fn worktrees(work_dir: &Path) -> Vec<String> {
    let dir = work_dir.join("clones/me/app/worktrees");
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Returns a process whose current directory is in the work directory, or whose command line
/// contains the path of the work directory.
fn process_in(work_dir: &Path) -> Option<String> {
    let work_dir = work_dir.to_string_lossy();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut found = processes.filter(|entry| {
        let dir = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        dir.starts_with(&*work_dir) || String::from_utf8_lossy(&command).contains(&*work_dir)
    });
    found.next().map(|entry| entry.file_name().to_string_lossy().into_owned())
}
