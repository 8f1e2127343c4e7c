//! A database whose server is killed, and whose branch everybody wants.
//!
//! `DATAKIT_KILLS` and `DATAKIT_CLIENTS` are for the long form: 100 and 64.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datakit::client::db::{Db, Error, Path as DbPath};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

fn wanted(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A repository in a directory that goes with the test.
struct Repository(PathBuf);

impl Repository {
    fn new(name: &str) -> Repository {
        let path = std::env::temp_dir().join(format!("datakit-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Repository(path)
    }

    fn git(&self, args: &[&str]) -> String {
        let out = Command::new("git").arg("-C").arg(&self.0).args(args).output().unwrap();
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `datakit serve --git`, killed when it goes.
struct Program(Child, String);

impl Program {
    fn start(path: &Path) -> Program {
        let mut program = Command::new(env!("CARGO_BIN_EXE_datakit"))
            .args(["serve", "--listen-9p", "tcp://127.0.0.1:0", "--git"])
            .arg(path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect("where it listens").to_owned();
        Program(program, url)
    }

    async fn connect(&self) -> Db {
        timeout(PATIENCE, Db::connect(&self.1.parse().unwrap())).await.unwrap().unwrap()
    }
}

impl Drop for Program {
    /// SIGKILL.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn commit(db: &Db, branch: &str, path: &str, text: &str) -> Result<String, Error> {
    let transaction = db.branch(branch).await?.transaction().await?;
    let path: DbPath = path.parse()?;
    if let Some((dir, _)) = path.pop() {
        transaction.make_dirs(&dir).await?;
    }
    transaction.create_or_replace_file(&path, text.as_bytes()).await?;
    Ok(transaction.commit("a commit").await?.id().to_string())
}

/// The same times each run, none of them round.
fn moments(count: usize) -> impl Iterator<Item = Duration> {
    (0..count as u64).map(|round| Duration::from_millis(100 + round.wrapping_mul(7919) % 307))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d57_nothing_acknowledged_is_lost() {
    let repository = Repository::new("killed");
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let kills = wanted("DATAKIT_KILLS", 8);
    for (round, moment) in moments(kills).enumerate() {
        let program = Program::start(&repository.0);
        let mut clients = Vec::new();
        for client in 0..2 {
            let (db, acknowledged) = (program.connect().await, acknowledged.clone());
            clients.push(tokio::spawn(async move {
                for number in 0.. {
                    let branch = if number % 2 == 0 { "shared".to_owned() } else { format!("own-{client}") };
                    let path = format!("{round}/{client}/{number}");
                    let Ok(head) = commit(&db, &branch, &path, "x").await else { return };
                    acknowledged.lock().unwrap().push((branch, head));
                }
            }));
        }
        tokio::time::sleep(moment).await;
        drop(program);
        for client in clients {
            timeout(PATIENCE, client).await.unwrap().unwrap();
        }
        repository.git(&["fsck", "--strict"]);
    }
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    assert!(acknowledged.len() > kills, "only {} commits were acknowledged", acknowledged.len());
    for (branch, head) in &acknowledged {
        repository.git(&["merge-base", "--is-ancestor", head, branch]);
    }
    println!("{} commits were acknowledged, all are there", acknowledged.len());
    // No lock stays in the way.
    let program = Program::start(&repository.0);
    for branch in ["shared", "own-0", "own-1"] {
        commit(&program.connect().await, branch, "after", "x").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_commit_to_one_branch() {
    const EACH: usize = 5;
    let clients = wanted("DATAKIT_CLIENTS", 16);
    let repository = Repository::new("many");
    let program = Program::start(&repository.0);
    let mut tasks = Vec::new();
    for client in 0..clients {
        let db = program.connect().await;
        tasks.push(tokio::spawn(async move {
            let mut conflicts = 0;
            for number in 0..EACH {
                commit(&db, "master", &format!("{client}/{number}"), "x").await.unwrap();
                match commit(&db, "master", "same", &format!("{client} {number}")).await {
                    Ok(_) => {}
                    Err(Error::Conflict(_)) => conflicts += 1,
                    Err(other) => panic!("{other}"),
                }
            }
            conflicts
        }));
    }
    let mut conflicts = 0;
    for task in tasks {
        conflicts += timeout(PATIENCE * 4, task).await.unwrap().unwrap();
    }
    let files = repository.git(&["ls-tree", "-r", "--name-only", "master"]);
    assert_eq!(files.lines().count(), clients * EACH + 1);
    let landed = repository.git(&["rev-list", "--count", "--no-merges", "master"]).parse::<usize>().unwrap();
    assert_eq!(landed, 2 * clients * EACH - conflicts);
    let counters = program.connect().await.client().read("/debug/server/database").await.unwrap();
    println!("{conflicts} conflicts; {}", String::from_utf8(counters).unwrap().replace('\n', ", "));
    repository.git(&["fsck", "--strict"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_repack_meanwhile() {
    let repository = Repository::new("repacked");
    let program = Program::start(&repository.0);
    commit(&program.connect().await, "master", "first", "x").await.unwrap();
    let mut tasks = Vec::new();
    for client in 0..4 {
        let db = program.connect().await;
        tasks.push(tokio::spawn(async move {
            for number in 0..10 {
                commit(&db, "master", &format!("{client}/{number}"), "x").await.unwrap();
            }
        }));
    }
    while tasks.iter().any(|task| !task.is_finished()) {
        repository.git(&["pack-refs", "--all"]);
        repository.git(&["gc", "-q"]);
    }
    for task in tasks {
        timeout(PATIENCE, task).await.unwrap().unwrap();
    }
    assert_eq!(repository.git(&["ls-tree", "-r", "--name-only", "master"]).lines().count(), 41);
    repository.git(&["fsck", "--strict"]);
}
