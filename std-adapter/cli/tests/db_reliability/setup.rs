//! Helper functions that set up repositories, servers and commits for the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use datakit_client::db::{Db, Error, Path as DbPath, Transaction};
use tokio::time::timeout;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// Returns `full` if `RELIABILITY=full` is set, and `short` otherwise.
pub(crate) fn short_or_full(short: usize, full: usize) -> usize {
    if std::env::var("RELIABILITY").is_ok_and(|form| form == "full") { full } else { short }
}

/// A repository in a directory that is removed at the end of the test.
pub(crate) struct TempRepository(pub(crate) PathBuf);

impl TempRepository {
    pub(crate) fn new(name: &str) -> TempRepository {
        let path = std::env::temp_dir().join(format!("datakit-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        TempRepository(path)
    }

    /// Creates a repository from the commands of a `git fast-import` stream.
    pub(crate) fn imported(name: &str, commands: &[u8]) -> TempRepository {
        let repository = TempRepository::new(name);
        repository.git(&["init", "-q", "-b", "master", "."]);
        // Make the repository bare, so that no work tree needs to be updated along with the
        // branches.
        repository.git(&["config", "core.bare", "true"]);
        repository.git_fed(&["fast-import", "--quiet"], commands);
        repository
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut git = Command::new("git");
        git.arg("-C").arg(&self.0).args(args);
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "git")
                .env(format!("GIT_{who}_EMAIL"), "git@localhost");
        }
        git
    }

    /// Runs `git` and returns its trimmed output. Fails the test if `git` fails.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        printed(args, &self.command(args).output().unwrap())
    }

    pub(crate) fn git_fed(&self, args: &[&str], input: &[u8]) -> String {
        let mut git = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Each command prints little before it has read all of its input, so writing the input
        // cannot deadlock on a full output pipe.
        git.stdin.take().unwrap().write_all(input).unwrap();
        printed(args, &git.wait_with_output().unwrap())
    }

    pub(crate) fn lines(&self, args: &[&str]) -> BTreeSet<String> {
        self.git(args).lines().map(str::to_owned).collect()
    }

    /// Returns the messages of all non-merge commits on a branch.
    pub(crate) fn messages(&self, branch: &str) -> BTreeSet<String> {
        self.lines(&["log", "--no-merges", "--format=%s", branch])
    }

    pub(crate) fn assert_sound(&self) {
        let found = self.git(&["fsck", "--strict", "--no-dangling"]);
        assert_eq!(found, "", "fsck");
    }

    /// Returns the number of loose objects.
    pub(crate) fn count_loose(&self) -> usize {
        self.git(&["count-objects"]).split(' ').next().unwrap().parse().unwrap()
    }

    /// Returns the paths of all branch lock files.
    pub(crate) fn locks(&self) -> Vec<PathBuf> {
        let (mut locks, mut dirs) = (Vec::new(), vec![self.0.join(".git/refs")]);
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
                match entry.path() {
                    dir if dir.is_dir() => dirs.push(dir),
                    file if file.extension().is_some_and(|extension| extension == "lock") => {
                        locks.push(file)
                    }
                    _ => {}
                }
            }
        }
        locks
    }
}

fn printed(args: &[&str], out: &Output) -> String {
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

impl Drop for TempRepository {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running `datakit serve --git` process, which is killed when dropped.
pub(crate) struct Server(Child, String);

impl Server {
    /// Starts a server and waits until it is listening.
    pub(crate) fn start(path: &Path) -> Server {
        let mut server = Command::new(env!("CARGO_BIN_EXE_datakit"))
            .args(["serve", "--listen-9p", "tcp://127.0.0.1:0", "--git"])
            .arg(path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect("the address").to_owned();
        Server(server, url)
    }

    /// Returns the server's address without the scheme.
    pub(crate) fn address(&self) -> &str {
        self.1.strip_prefix("tcp://").unwrap()
    }

    pub(crate) async fn connect(&self) -> Db {
        timeout(TIMEOUT, Db::connect(&self.1.parse().unwrap())).await.unwrap().unwrap()
    }

    /// Returns the database counters.
    pub(crate) async fn counters(&self) -> BTreeMap<String, u64> {
        counters(&self.connect().await).await
    }
}

pub(crate) async fn counters(db: &Db) -> BTreeMap<String, u64> {
    let text = db.client().read("/debug/server/database").await.unwrap();
    let text = String::from_utf8(text).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(name, number)| (name.to_owned(), number.parse().unwrap())).collect()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Commits one file, using the path as the commit message, and returns the new head.
pub(crate) async fn commit(db: &Db, branch: &str, path: &str, text: &str) -> Result<String, Error> {
    commit_as(db, branch, path, text, path).await
}

pub(crate) async fn commit_as(
    db: &Db,
    branch: &str,
    path: &str,
    text: &str,
    message: &str,
) -> Result<String, Error> {
    let transaction = begin(db, branch, path, text).await?;
    Ok(transaction.commit(message).await?.id().to_string())
}

/// Begins a transaction and writes one file.
pub(crate) async fn begin(
    db: &Db,
    branch: &str,
    path: &str,
    text: &str,
) -> Result<Transaction, Error> {
    let transaction = db.branch(branch).await?.transaction().await?;
    let path: DbPath = path.parse()?;
    if let Some((dir, _)) = path.split_last() {
        transaction.make_dirs(&dir).await?;
    }
    transaction.create_or_replace_file(&path, text.as_bytes()).await?;
    Ok(transaction)
}

/// Awaits a future and returns its result and the elapsed time.
pub(crate) async fn timed<T>(what: &str, work: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    let done =
        timeout(TIMEOUT, work).await.unwrap_or_else(|_| panic!("not within {TIMEOUT:?}: {what}"));
    let took = begun.elapsed();
    println!("{what}: {:.1} ms", took.as_secs_f64() * 1000.0);
    (done, took)
}
