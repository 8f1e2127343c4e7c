//! Tests how the server handles late, incomplete and missing replies from the database, and how it
//! handles restarts.
// The Clippy configuration allows panics in tests, but not in helper functions.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;
mod proxy;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{METADATA, Process, Repository, TIMEOUT, read, status, wait_for};
use datakit_client::db::{Db, TransactionExt};
use proxy::{Mode, Proxy};
use tempfile::TempDir;

/// A database, a repository with one step, and a proxy between the CI and the database.
///
/// The step appends a line to `runs`, and ends when the file `go` exists. If two runs overlap, the
/// file `overlap` is created.
struct Fixture {
    _state: TempDir,
    work: TempDir,
    files: TempDir,
    _app: Repository,
    head: String,
    _database: Process,
    _bridge: Process,
    db: Db,
    address: String,
    proxy: Proxy,
}

impl Fixture {
    async fn new(mode: Mode) -> Fixture {
        let [state, work, files] = [(); 3].map(|()| TempDir::new().unwrap());
        let script = "exec 9>lock; flock -n 9 || echo overlap >>overlap; echo $$ >>runs; \
                      while ! [ -e go ]; do sleep 0.05; done; echo done >>done; echo the result";
        let script = format!("cd {} && {{ {script}; }}", files.path().display());
        let app = Repository::new();
        let head = app.commit(&[(".datakit-ci.toml", &format!("[step.wait]\nrun = {script:?}\n"))]);
        let (database, address) = common::database(state.path(), "tcp://127.0.0.1:0");
        let bridge = common::bridge(&address, app.path());
        let db = Db::connect(&address.parse().unwrap()).await.unwrap();
        let proxy = Proxy::start(&address, mode).await;
        Fixture {
            _state: state,
            work,
            files,
            _app: app,
            head,
            _database: database,
            _bridge: bridge,
            db,
            address,
            proxy,
        }
    }

    /// Returns the command that starts the CI behind the proxy. The log is written to a file.
    fn ci(&self, lease_timeout: &str) -> Command {
        let mut command = common::ci(&self.proxy.address, self.work.path());
        command.args(["--unsandboxed", "--lease-timeout", lease_timeout]);
        command.stderr(File::create(self.path("log")).unwrap());
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Waits until a file has the given number of lines.
    async fn wait_for_lines(&self, name: &str, count: usize) {
        let lines = || fs::read_to_string(self.path(name)).unwrap_or_default().lines().count();
        self.wait(name, || lines() >= count).await;
        assert_eq!(lines(), count, "{name}");
    }

    async fn wait(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let began = Instant::now();
        while !condition() {
            let log = || fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(began.elapsed() < TIMEOUT, "{what}: {}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets the step end.
    fn go(&self) {
        fs::write(self.path("go"), "").unwrap();
    }

    async fn wait_for_state(&self, state: &str) {
        wait_for(&self.db, METADATA, &status(&self.head, "wait", "state"), state).await;
    }

    /// Waits for the result. Then checks that the step ran `runs` times, that no runs overlapped,
    /// and that only one result was stored.
    async fn check_result(&self, runs: usize) {
        self.wait_for_state("success").await;
        self.wait_for_lines("runs", runs).await;
        assert!(!self.path("overlap").exists());
        let branch = format!("step-me-app-wait-of-{}", self.head);
        let head = self.db.branch(&branch).await.unwrap().head().await.unwrap().unwrap();
        assert_eq!(head.message().await.unwrap().trim(), "Cached successful result");
        assert!(head.parents().await.unwrap().is_empty(), "two results were stored");
        let log = read(&self.db, &branch, "log").await.unwrap();
        assert!(log.contains("the result"), "{log}");
    }

    /// Returns the process ids of the runs.
    fn pids(&self) -> Vec<String> {
        let runs = fs::read_to_string(self.path("runs")).unwrap_or_default();
        runs.lines().map(str::to_owned).collect()
    }

    /// Returns the messages of the commits to a branch, starting with the newest commit.
    async fn messages(&self, branch: &str) -> Vec<String> {
        let mut next = self.db.branch(branch).await.unwrap().head().await.unwrap();
        let mut messages = Vec::new();
        while let Some(commit) = next {
            messages.push(commit.message().await.unwrap());
            next = commit.parents().await.unwrap().pop();
        }
        messages
    }
}

fn exists(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_run_although_every_reply_is_late() {
    let fixture = Fixture::new(Mode::Delay(Duration::from_millis(100))).await;
    fixture.go();
    let mut ci = Process::start(&mut fixture.ci("10"));
    fixture.wait_for_state("pending").await;
    fixture.wait_for_lines("done", 1).await;
    fixture.check_result(1).await;
    // Independent requests are sent at the same time. If they were sent one after another, they
    // would take more than 400 round trips. On a slow machine, the server also sees, and therefore
    // writes, states that a fast machine passes through too quickly. Each of these updates adds
    // 20 to 35 round trips. A fast machine writes three updates, which take about 136 round trips
    // in total.
    let round_trips = fixture.proxy.round_trips();
    let is_update = |message: &&String| ["Set ", "Update "].iter().any(|s| message.starts_with(s));
    let updates = fixture.messages(METADATA).await.iter().filter(is_update).count();
    println!("{round_trips} round trips until the result of the first build, {updates} updates");
    assert!(round_trips <= 60 + 35 * updates, "{round_trips} round trips, {updates} updates");
    assert_eq!(fixture.messages("ci-lease").await.len(), 1);
    assert_eq!(ci.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn build_continues_while_the_connection_is_cut() {
    let fixture = Fixture::new(Mode::Pass).await;
    let mut ci = Process::start(&mut fixture.ci("60"));
    fixture.wait_for_lines("runs", 1).await;
    fixture.proxy.set(Mode::Cut);
    // The step ends while the database cannot be reached, so the server must keep the result and
    // store it later.
    fixture.go();
    fixture.wait_for_lines("done", 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    fixture.proxy.set(Mode::Pass);
    fixture.check_result(1).await;
    assert_eq!(ci.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn build_continues_after_half_a_message_and_silence() {
    let fixture = Fixture::new(Mode::Pass).await;
    let mut ci = Process::start(&mut fixture.ci("20"));
    let web = ci.line_after("listening on ");
    fixture.wait_for_lines("runs", 1).await;
    // The server sends a probe within a quarter of the lease timeout. Only the first bytes of the
    // reply arrive on this connection, and then nothing more.
    fixture.proxy.set(Mode::Half);
    let health = format!("{web}health");
    fixture.wait("the database is lost", || common::get(&health).0 == 503).await;
    fixture.proxy.set(Mode::Pass);
    fixture.wait("the database is connected", || common::get(&health).0 == 200).await;
    fixture.go();
    fixture.check_result(1).await;
    assert_eq!(ci.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_end_before_another_server_could_run_them() {
    let fixture = Fixture::new(Mode::Pass).await;
    let mut ci = Process::start(&mut fixture.ci("2"));
    fixture.wait_for_lines("runs", 1).await;
    fixture.proxy.set(Mode::Hold);
    let pids = fixture.pids();
    fixture.wait("the build ends", || !exists(&pids[0])).await;
    // The replies arrive late.
    fixture.proxy.set(Mode::Pass);
    fixture.wait_for_lines("runs", 2).await;
    fixture.go();
    fixture.check_result(2).await;
    assert_eq!(ci.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn server_stops_although_the_database_never_answers() {
    let fixture = Fixture::new(Mode::Hold).await;
    let mut ci = Process::start(&mut fixture.ci("10"));
    let web = ci.line_after("listening on ");
    assert_eq!(common::get(&format!("{web}health")).0, 503);
    fixture
        .wait("the log", || {
            fs::read_to_string(fixture.path("log")).unwrap().contains("reconnecting")
        })
        .await;
    let began = Instant::now();
    assert_eq!(ci.terminate(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn server_connects_when_the_database_answers() {
    let fixture = Fixture::new(Mode::Half).await;
    fixture.go();
    let mut ci = Process::start(&mut fixture.ci("10"));
    let health = format!("{}health", ci.line_after("listening on "));
    assert_eq!(common::get(&health).0, 503);
    fixture.proxy.set(Mode::Pass);
    fixture.check_result(1).await;
    assert_eq!(common::get(&health).0, 200);
    assert_eq!(ci.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn second_server_exits_before_it_announces_its_pages() {
    let fixture = Fixture::new(Mode::Pass).await;
    let mut first = Process::start(&mut fixture.ci("10"));
    fixture.wait_for_lines("runs", 1).await;
    let other = TempDir::new().unwrap();
    let mut command = common::ci(&fixture.address, other.path());
    let second = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&second.stdout), "");
    let stderr = String::from_utf8_lossy(&second.stderr);
    assert!(stderr.contains("another CI server uses the database"), "{stderr}");
    fixture.go();
    fixture.check_result(1).await;
    assert_eq!(first.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_build_runs_once_more_after_a_restart() {
    let fixture = Fixture::new(Mode::Pass).await;
    let mut ci = Process::start(&mut fixture.ci("10"));
    fixture.wait_for_lines("runs", 1).await;
    assert_eq!(ci.terminate(), Some(0));
    fixture.wait("the build ends", || !exists(&fixture.pids()[0])).await;
    let worktrees = fixture.work.path().join("clones/me/app/worktrees");
    let left = fs::read_dir(&worktrees).into_iter().flatten().count();
    assert_eq!(left, 0, "worktrees are left in {}", worktrees.display());
    assert_eq!(read(&fixture.db, "ci-lease", "holder").await, None);
    let mut ci = Process::start(&mut fixture.ci("10"));
    fixture.wait_for_lines("runs", 2).await;
    fixture.go();
    fixture.check_result(2).await;
    assert_eq!(ci.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn clone_url_cannot_run_commands() {
    let [state, work] = [(); 2].map(|()| TempDir::new().unwrap());
    let (_database, address) = common::database(state.path(), "tcp://127.0.0.1:0");
    let db = Db::connect(&address.parse().unwrap()).await.unwrap();
    let mut ci = Process::start(&mut common::ci(&address, work.path()));
    let touched = work.path().join("touched");
    let touch = format!("touch {}", touched.display());
    for (number, url) in [
        format!("--upload-pack={touch}"),
        format!("ext::sh -c {}", touch.replace(' ', "% ")),
        format!("ssh://-oProxyCommand={}/x", touch.replace(' ', "%20")),
        format!("{}\n{touch}", work.path().display()),
    ]
    .iter()
    .enumerate()
    {
        let head = format!("{:040x}", number + 1);
        let branch = db.branch(METADATA).await.unwrap();
        let written = branch.with_transaction(async |transaction| {
            for (path, text) in [("ref/heads/master/head", &head), (".clone-url", url)] {
                let path = format!("{}/{path}", common::REPO).parse()?;
                transaction.write_file(&path, text.as_bytes()).await?;
            }
            transaction.commit("hostile").await
        });
        written.await.unwrap();
        wait_for(&db, METADATA, &status(&head, "pipeline", "state"), "failure").await;
        let text = read(&db, METADATA, &status(&head, "pipeline", "description")).await.unwrap();
        let reasons = ["start with '-'", "transport helpers", "control characters"];
        assert!(reasons.iter().any(|reason| text.contains(reason)), "{url}: {text}");
        assert!(!touched.exists(), "{url}");
    }
    assert_eq!(ci.terminate(), Some(0));
}
