//! Runs the server with a system clock that jumps. `libfaketime` replaces the clock of the process.
// The Clippy configuration allows panics in tests, but not in helper functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{METADATA, Process, Repository, TIMEOUT, read, status, wait_for};
use datakit_client::db::Db;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

/// A repository with one step, which appends a line to `runs` and ends when the file `go` exists.
/// The step is rebuilt every day at 03:00.
struct Fixture {
    state: TempDir,
    work: TempDir,
    files: TempDir,
    app: Repository,
    /// The value of `LD_PRELOAD` that replaces the clock.
    preload: String,
}

impl Fixture {
    fn new() -> Fixture {
        let [state, work, files] = [(); 3].map(|()| TempDir::new().unwrap());
        let mut faketime = Command::new("faketime");
        faketime.args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"]);
        let printed = faketime.output().expect("`tests/run setup` installs faketime");
        let preload = String::from_utf8(printed.stdout).unwrap().trim().to_owned();
        assert!(preload.contains("libfaketime"), "{preload}");
        Fixture { state, work, files, app: Repository::new(), preload }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Sets the clock of the server.
    fn set_clock(&self, time: &str) {
        let time: DateTime = time.parse().unwrap();
        let time = time.to_zoned(TimeZone::UTC).unwrap().timestamp();
        let ahead: SignedDuration = time.duration_since(Timestamp::now());
        fs::write(self.path("new"), format!("{:+}\n", ahead.as_secs())).unwrap();
        fs::rename(self.path("new"), self.path("clock")).unwrap();
    }

    fn ci(&self, address: &str, settings: &str) -> Process {
        fs::write(self.path("settings"), settings).unwrap();
        let mut command = common::ci(address, self.work.path());
        command.args(["-v", "--unsandboxed", "--lease-timeout", "10", "--config"]);
        command.arg(self.path("settings")).stderr(File::create(self.path("log")).unwrap());
        command.env("LD_PRELOAD", &self.preload).env("FAKETIME_NO_CACHE", "1");
        command.env("FAKETIME_TIMESTAMP_FILE", self.path("clock"));
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Process::start(&mut command)
    }

    /// Waits until a file contains `text` at least `count` times.
    async fn wait_for(&self, file: &str, text: &str, count: usize) {
        let began = Instant::now();
        let content = || fs::read_to_string(self.path(file)).unwrap_or_default();
        while content().matches(text).count() < count {
            let log = || fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(began.elapsed() < TIMEOUT, "{file}: {text}\n{}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.path("runs")).unwrap_or_default().lines().count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jumps_of_the_clock_neither_lose_nor_repeat_builds() {
    let fixture = Fixture::new();
    let script = format!(
        "cd {} && echo run >>runs && while ! [ -e go ]; do sleep 0.05; done; echo done >>done",
        fixture.files.path().display()
    );
    let pipeline = format!("[step.wait]\nrun = {script:?}\n");
    let head = fixture.app.commit(&[(".datakit-ci.toml", &pipeline)]);
    let (_database, address) = common::database(fixture.state.path(), "tcp://127.0.0.1:0");
    let _bridge = common::bridge(&address, fixture.app.path());
    let db = Db::connect(&address.parse().unwrap()).await.unwrap();
    let schedule = "[projects.\"me/app\"]\ndashboards = [\"master\"]\nrebuild = [\"0 3 * * *\"]\n";

    // The clock jumps 25 hours ahead and then 24 hours back while the step is running.
    fixture.set_clock("2030-06-01T01:00:00");
    let mut ci = fixture.ci(&address, schedule);
    fixture.wait_for("runs", "run", 1).await;
    fixture.set_clock("2030-06-02T02:00:00");
    fixture.wait_for("log", "building again", 1).await;
    fixture.set_clock("2030-06-01T02:00:00");
    fixture.wait_for("log", "the system clock was set back", 1).await;
    assert_eq!(fixture.runs(), 1, "the step is still running");
    fs::write(fixture.path("go"), "").unwrap();
    wait_for(&db, METADATA, &status(&head, "wait", "state"), "success").await;
    assert_eq!(fixture.runs(), 1);

    // The clock reaches the next scheduled time, and then jumps past the one after it.
    for (jump, time) in ["2030-06-01T03:00:01", "2030-06-03T01:00:00"].iter().enumerate() {
        fixture.set_clock(time);
        fixture.wait_for("log", "building again", jump + 2).await;
        fixture.wait_for("done", "done", jump + 2).await;
        wait_for(&db, METADATA, &status(&head, "wait", "state"), "success").await;
    }
    assert_eq!(fixture.runs(), 3);
    // The lease was neither lost nor acquired again.
    let lease = db.branch("ci-lease").await.unwrap().head().await.unwrap().unwrap();
    assert!(lease.parents().await.unwrap().is_empty());
    assert_eq!(ci.terminate(), Some(0));

    // After a restart with a wrong clock, the server enforces the maximum number of logs, but not
    // their maximum age.
    fixture.set_clock("2031-01-01T00:00:00");
    let logs = format!("{schedule}[logs]\nmax-age-days = 1\nmax-count = 1\n");
    let mut ci = fixture.ci(&address, &logs);
    fixture.wait_for("log", "removed old logs", 1).await;
    let branches = ["step-me-app-wait-of", "pipeline-me-app-of"];
    let mut logs = 0;
    for branch in branches.map(|name| format!("{name}-{head}")) {
        assert_eq!(read(&db, &branch, "failure").await, None, "{branch}");
        logs += usize::from(read(&db, &branch, "log").await.is_some());
    }
    assert_eq!(logs, 1);
    assert_eq!(ci.terminate(), Some(0));

    // A server whose clock is behind the previous server's clock can acquire the lease.
    fixture.set_clock("2029-01-01T00:00:00");
    let mut ci = fixture.ci(&address, schedule);
    let web = ci.line_after("listening on ");
    assert_eq!(common::get(&format!("{web}health")).0, 200);
    assert_eq!(fixture.runs(), 3);
    assert_eq!(ci.terminate(), Some(0));
}
