//! Support code that runs a database, the local bridge and the CI as separate processes.
// Each test file uses only parts of this module. The Clippy configuration allows panics in tests,
// but not in other functions.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use datakit_client::db::{Db, Path as DbPath};
use tempfile::TempDir;

pub(crate) const CI: &str = env!("CARGO_BIN_EXE_datakit-ci");
/// The time limit for each step, which is long enough even for a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(90);
pub(crate) const METADATA: &str = "github-metadata";
pub(crate) const REPO: &str = "me/app";

/// Returns the path of another program in the workspace. Builds the program if it does not exist.
pub(crate) fn program(name: &str) -> PathBuf {
    static BUILD: Once = Once::new();
    BUILD.call_once(|| {
        let programs = ["datakit", "datakit-bridge-local-git"];
        if !programs.iter().all(|name| Path::new(CI).with_file_name(name).exists()) {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "-q", "-p", "datakit", "-p", "datakit-bridge-local-git"]);
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            assert!(build.status().unwrap().success());
        }
    });
    Path::new(CI).with_file_name(name)
}

/// A process that is killed at the end of the test.
pub(crate) struct Process {
    pub(crate) child: Child,
    lines: Receiver<String>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Process {
        for variable in ["DATAKIT_ADDRESS", "DATAKIT_VERBOSE", "RUST_LOG"] {
            command.env_remove(variable);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let lines = output.lines().map_while(Result::ok);
            lines.take_while(|line| sender.send(line.clone()).is_ok()).count()
        });
        Process { child, lines }
    }

    /// Returns the next line that the process prints.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(TIMEOUT).expect("a line is printed")
    }

    /// Waits for the next line that starts with `prefix`, and returns the rest of that line.
    pub(crate) fn line_after(&self, prefix: &str) -> String {
        loop {
            if let Some(rest) = self.line().strip_prefix(prefix) {
                return rest.to_owned();
            }
        }
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM and waits for the process to exit. Returns the exit status.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < TIMEOUT, "the process does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a database that stores its data in `dir`. Returns the process and its address.
pub(crate) fn database(dir: &Path, address: &str) -> (Process, String) {
    let mut command = Command::new(program("datakit"));
    let server = Process::start(command.args(["serve", "--listen-9p", address, "--git"]).arg(dir));
    let address = server.line_after("listening on ");
    (server, address)
}

/// Starts the bridge for a repository.
pub(crate) fn bridge(address: &str, repository: &Path) -> Process {
    let mut command = Command::new(program("datakit-bridge-local-git"));
    let source = format!("{REPO}:{}", repository.display());
    Process::start(command.args(["--metadata-store", address, &source]))
}

/// Returns the command that starts the CI. The web pages are served without TLS.
pub(crate) fn ci(address: &str, work_dir: &Path) -> Command {
    let mut command = Command::new(CI);
    command.args(["serve", REPO, "--metadata-store", address, "--listen-http", "127.0.0.1:0"]);
    command.arg("--work-dir").arg(work_dir);
    command
}

/// A repository under test.
pub(crate) struct Repository {
    pub(crate) dir: TempDir,
}

impl Repository {
    /// Creates an empty repository.
    pub(crate) fn new() -> Repository {
        let repository = Repository { dir: TempDir::new().unwrap() };
        repository.git(&["init", "-q", "-b", "master", "."]);
        repository
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn git(&self, arguments: &[impl AsRef<OsStr>]) -> String {
        let mut command = Command::new("git");
        command.current_dir(self.path()).env("GIT_CONFIG_NOSYSTEM", "1");
        for name in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{name}_NAME"), "me");
            command.env(format!("GIT_{name}_EMAIL"), "me@example.org");
        }
        let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Writes files to the work tree and commits them. Returns the hash.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, content) in files {
            std::fs::write(self.path().join(path), content).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "change"]);
        self.git(&["rev-parse", "HEAD"])
    }
}

/// Reads a file from the head of a branch.
pub(crate) async fn read(db: &Db, branch: &str, path: &str) -> Option<String> {
    let head = db.branch(branch).await.unwrap().head().await.unwrap()?;
    let path: DbPath = path.parse().unwrap();
    let bytes = head.tree().read_file(&path).await.ok()?;
    Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// Waits until a file in the head of a branch has the expected content.
pub(crate) async fn wait_for(db: &Db, branch: &str, path: &str, expected: &str) {
    let waited = tokio::time::timeout(TIMEOUT, async {
        let mut heads = db.branch(branch).await.unwrap().watch_head().await.unwrap();
        while let Some(head) = heads.next().await {
            head.unwrap();
            if read(db, branch, path).await.as_deref() == Some(expected) {
                return;
            }
        }
    });
    if waited.await.is_err() {
        for name in db.branches().await.unwrap() {
            if let Some(failure) = read(db, &name.to_string(), "failure").await {
                let log = read(db, &name.to_string(), "log").await.unwrap_or_default();
                println!("{name}: {failure}\n{log}\n");
            }
        }
        let found = read(db, branch, path).await;
        let description = path.replace("/state", "/description");
        println!("{description}: {:?}", read(db, branch, &description).await);
        panic!("{branch}/{path} is {found:?} and does not become {expected:?}");
    }
}

/// Returns the path of a status file.
pub(crate) fn status(commit: &str, test: &str, file: &str) -> String {
    format!("{REPO}/commit/{commit}/status/ci/datakit/{test}/{file}")
}

/// Sends a GET request and returns the status and the body.
pub(crate) fn get(url: &str) -> (u16, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    BufReader::new(stream).read_to_string(&mut reply).unwrap();
    let status = reply.split(' ').nth(1).unwrap().parse().unwrap();
    let body = reply.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    (status, body.unwrap_or_default())
}
