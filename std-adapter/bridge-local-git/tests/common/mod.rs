//! Support code that runs a server and the bridge as separate processes and creates a temporary
//! repository.
// Each test file uses only part of this module. The Clippy configuration allows panics in test
// functions but not in other functions.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use datakit_client::db::{Branch, Commit, Db};
use datakit_github::{RefName, read_refs};
use tempfile::TempDir;

pub(crate) const BRIDGE: &str = env!("CARGO_BIN_EXE_datakit-bridge-local-git");
/// The maximum duration of any step, even on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
pub(crate) const BRANCH: &str = "github-metadata";
pub(crate) const REPO: &str = "me/x";

/// Returns the path of the `datakit` program, which is in the same directory as the bridge. Builds
/// the program if it does not exist.
pub(crate) fn datakit() -> PathBuf {
    static BUILD: Once = Once::new();
    let program = Path::new(BRIDGE).with_file_name("datakit");
    BUILD.call_once(|| {
        if !program.exists() {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "-q", "-p", "datakit"]);
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            assert!(build.status().unwrap().success());
        }
    });
    program
}

/// A process that is killed at the end of the test.
pub(crate) struct Process {
    pub(crate) child: Child,
    lines: Receiver<String>,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Process {
        for variable in ["DATAKIT_ADDRESS", "DATAKIT_VERBOSE", "RUST_LOG"] {
            command.env_remove(variable);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines(child.stdout.take().unwrap());
        Process { child, lines }
    }

    /// Returns the next line that the process prints.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(TIMEOUT).expect("a line is printed")
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns a channel that receives the lines of a pipe.
pub(crate) fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        BufReader::new(pipe)
            .lines()
            .map_while(Result::ok)
            .take_while(|line| sender.send(line.clone()).is_ok())
            .count()
    });
    receiver
}

/// A database server.
pub(crate) struct Server {
    process: Process,
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn start(address: &str, options: &[&OsStr]) -> Server {
        let mut command = Command::new(datakit());
        command.args(["serve", "--listen-9p", address]).args(options);
        let process = Process::start(command);
        let address = process.line().strip_prefix("listening on ").unwrap().to_owned();
        Server { process, address }
    }

    pub(crate) fn in_memory() -> Server {
        Server::start("tcp://127.0.0.1:0", &[])
    }

    pub(crate) fn git(address: &str, dir: &Path) -> Server {
        Server::start(address, &["--git".as_ref(), dir.as_ref()])
    }

    pub(crate) async fn db(&self) -> Db {
        Db::connect(&self.address.parse().unwrap()).await.unwrap()
    }

    pub(crate) async fn branch(&self) -> Branch {
        self.db().await.branch(BRANCH).await.unwrap()
    }

    /// Kills the server and returns its address.
    pub(crate) fn kill(mut self) -> String {
        self.process.kill();
        self.address.clone()
    }
}

/// A directory for a repository. The repository does not have to exist yet.
pub(crate) struct Repository {
    pub(crate) dir: TempDir,
}

impl Repository {
    /// Creates a repository whose `master` branch has one commit.
    pub(crate) fn new(options: &[&str]) -> Repository {
        let repository = Repository { dir: TempDir::new().unwrap() };
        repository.init(options);
        repository
    }

    pub(crate) fn init(&self, options: &[&str]) {
        self.git(&[&["init", "-q", "-b", "master"], options, &["."]].concat());
        self.commit("master", "first");
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("git");
        command.current_dir(self.path()).env("GIT_CONFIG_NOSYSTEM", "1");
        for name in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{name}_NAME"), "me");
            command.env(format!("GIT_{name}_EMAIL"), "me@example.org");
        }
        command
    }

    pub(crate) fn git(&self, arguments: &[impl AsRef<OsStr>]) -> String {
        let Output { status, stdout, stderr } =
            self.command().args(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap().trim().to_owned()
    }

    /// Creates a commit, points a branch to it, and returns the commit's hash.
    pub(crate) fn commit(&self, branch: impl AsRef<OsStr>, message: &str) -> String {
        let tree = self.git(&["hash-object", "-t", "tree", "-w", "/dev/null"]);
        let commit = self.git(&["commit-tree", "-m", message, &tree]);
        let mut name = std::ffi::OsString::from("refs/heads/");
        name.push(branch);
        self.git(&["update-ref".as_ref(), name.as_os_str(), commit.as_ref()]);
        commit
    }

    /// Returns the branches that `git` lists.
    pub(crate) fn heads(&self) -> Heads {
        let format = "--format=%(objectname) %(refname:lstrip=1)";
        let output = self.command().args(["for-each-ref", format, "refs/heads"]).output().unwrap();
        let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let parse = |line: &[u8]| {
            let (hash, name) = line.split_at(line.iter().position(|byte| *byte == b' ').unwrap());
            let hash = String::from_utf8(hash.to_vec()).unwrap();
            (RefName::parse(&name[1..]).unwrap(), hash)
        };
        lines.map(parse).collect()
    }

    /// Starts the bridge.
    pub(crate) fn bridge(&self, address: &str) -> Process {
        Process::start(bridge(address, self.path()))
    }
}

/// Branch names and the hashes of their commits.
pub(crate) type Heads = BTreeMap<RefName, String>;

pub(crate) fn bridge(address: &str, path: &Path) -> Command {
    let mut command = Command::new(BRIDGE);
    let mut repository = std::ffi::OsString::from(format!("{REPO}:"));
    repository.push(path);
    command.args(["--metadata-store", address, "-v"]).arg(repository);
    command
}

pub(crate) async fn published(commit: &Commit) -> Heads {
    let refs = read_refs(&commit.tree(), &REPO.parse().unwrap()).await.unwrap();
    refs.into_iter().map(|reference| (reference.id.name, reference.head.to_string())).collect()
}

/// Waits until the refs in the database equal `expected`, and returns the commit.
pub(crate) async fn wait_for(branch: &Branch, expected: &Heads) -> Commit {
    let mut last = None;
    let waiting = branch.wait_for_head(async |head| {
        let Some(head) = head else { return Ok(ControlFlow::Continue(())) };
        let found = published(&head).await;
        let done = found == *expected;
        last = Some(found);
        Ok(if done { ControlFlow::Break(head) } else { ControlFlow::Continue(()) })
    });
    match tokio::time::timeout(TIMEOUT, waiting).await {
        Ok(head) => head.unwrap(),
        Err(_) => panic!("not within {TIMEOUT:?}: {expected:?}, but {last:?}"),
    }
}

/// Returns the number of commits in the history.
pub(crate) async fn commits(head: &Commit) -> usize {
    let mut history = head.history().await.unwrap().unwrap();
    let mut count = 0;
    while history.next().await.unwrap().is_some() {
        count += 1;
    }
    count
}
