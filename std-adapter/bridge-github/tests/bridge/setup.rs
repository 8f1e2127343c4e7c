//! Sets up a fake GitHub, a database, and bridges between the two.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use datakit_client::db::{Branch, Content, Db, Path};
use datakit_tests::db::TestDb;
use datakit_tests::github::{Fake, GitHub};
use parking_lot::Mutex;
use tempfile::TempDir;

/// The maximum time that a test waits for a condition.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// The branch that the tests use.
pub(crate) const BRANCH: &str = "github-metadata";

/// A fake GitHub server and a database.
pub(crate) struct Setup {
    pub(crate) fake: Fake,
    pub(crate) database: TestDb,
    pub(crate) token: String,
    dir: TempDir,
}

impl Setup {
    pub(crate) fn new() -> Setup {
        let fake = Fake::start();
        let token = fake.token();
        Setup { database: TestDb::memory(), token, fake, dir: tempfile::tempdir().unwrap() }
    }

    /// Creates a file that only its owner can read. Returns the file's path.
    pub(crate) fn secret(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        std::io::Write::write_all(file.as_mut().unwrap(), content.as_bytes()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Starts a bridge with a token and additional arguments.
    pub(crate) fn bridge(&self, arguments: &[&str]) -> Bridge {
        let token = self.secret("token", &self.token);
        let token = ["--token-file", &token];
        self.bare_bridge(&[&token, arguments].concat())
    }

    /// Starts a bridge without a token.
    pub(crate) fn bare_bridge(&self, arguments: &[&str]) -> Bridge {
        let datakit = self.database.url();
        let mut command = Command::new(env!("CARGO_BIN_EXE_datakit-bridge-github"));
        if !arguments.iter().any(|argument| ["--datakit", "-d"].contains(argument)) {
            command.args(["--datakit", &datakit]);
        }
        if !arguments.contains(&"--github-url") {
            command.args(["--github-url", &self.fake.url()]);
        }
        command.args(arguments).env_remove("GITHUB_TOKEN").env("HOME", self.dir.path());
        Bridge::start(command)
    }

    /// Waits until a condition holds on GitHub.
    pub(crate) async fn until(&self, what: &str, mut is_so: impl FnMut(&GitHub) -> bool) {
        eventually(what, async || is_so(&self.fake)).await;
    }

    pub(crate) async fn db(&self) -> Db {
        Db::connect(&self.database.url().parse().unwrap()).await.unwrap()
    }

    pub(crate) async fn branch(&self) -> Branch {
        self.db().await.branch(BRANCH).await.unwrap()
    }
}

/// A running bridge. Dropping the value kills the process.
pub(crate) struct Bridge {
    child: Child,
    output: Arc<Mutex<String>>,
    log: Arc<Mutex<String>>,
}

impl Bridge {
    fn start(mut command: Command) -> Bridge {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (output, log) = (Arc::default(), Arc::default());
        collect(child.stdout.take().unwrap(), &output);
        collect(child.stderr.take().unwrap(), &log);
        Bridge { child, output, log }
    }

    /// Waits for a line of output that starts with `start`, and returns the rest of the line.
    pub(crate) async fn printed(&self, start: &str) -> String {
        let find =
            || self.output.lock().lines().find_map(|l| Some(l.strip_prefix(start)?.to_owned()));
        eventually(start, async || find().is_some()).await;
        find().unwrap()
    }

    /// Returns everything that the bridge has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().clone()
    }

    /// Kills the bridge without giving it time to clean up.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Spawns a thread that appends each line of `stream` to `text`.
fn collect(stream: impl Read + Send + 'static, text: &Arc<Mutex<String>>) {
    let text = text.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let line = line.unwrap();
            if std::env::var_os("SHOW_LOG").is_some() {
                eprintln!("| {line}");
            }
            let mut text = text.lock();
            text.push_str(&line);
            text.push('\n');
        }
    });
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the files in the branch, except for `README.md`, keyed by path.
pub(crate) async fn files(branch: &Branch) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let Some(head) = branch.head().await.unwrap() else { return files };
    let mut waiting = vec![Path::ROOT];
    while let Some(path) = waiting.pop() {
        match head.tree().read(&path).await.unwrap() {
            Content::Dir(names) => {
                waiting.extend(names.iter().map(|name| path.clone().join(name).unwrap()));
            }
            Content::File(content) => {
                files.insert(path.to_string(), String::from_utf8(content).unwrap());
            }
            Content::Link(_) => panic!("{path} is a link"),
        }
    }
    files.remove("README.md");
    files
}

/// Waits until the files in the branch meet a condition.
pub(crate) async fn until(
    branch: &Branch,
    what: &str,
    is_so: impl Fn(&BTreeMap<String, String>) -> bool,
) -> BTreeMap<String, String> {
    let wait = async {
        let mut heads = branch.watch_head().await.unwrap();
        loop {
            heads.next().await.unwrap().unwrap();
            let files = files(branch).await;
            if is_so(&files) {
                return files;
            }
        }
    };
    match tokio::time::timeout(TIMEOUT, wait).await {
        Ok(files) => files,
        Err(_) => panic!("not within {TIMEOUT:?}: {what}\n{:#?}", files(branch).await),
    }
}

/// Waits until a file has the given content.
pub(crate) async fn until_file(branch: &Branch, path: &str, content: &str) {
    until(branch, &format!("{path} is {content:?}"), |files| {
        files.get(path).is_some_and(|found| found == content)
    })
    .await;
}

/// Polls a condition until it holds. Use this function only if there is no event to wait for.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(TIMEOUT, wait).await.is_ok(), "not within {TIMEOUT:?}: {what}");
}

/// Commits files. Files whose content is `None` are removed.
pub(crate) async fn commit(branch: &Branch, files: &[(&str, Option<&str>)]) {
    branch
        .with_transaction(async |transaction| {
            for (path, content) in files {
                let path: Path = path.parse()?;
                match content {
                    Some(content) => {
                        // Add the newline that the bridge would write, because the bridge keeps
                        // values exactly as users wrote them.
                        let is_line = !content.is_empty() && !path.to_string().ends_with("/body");
                        let line = format!("{}\n", content.trim_end());
                        let content = if is_line { &line } else { *content };
                        transaction.make_dirs(&path.parent()).await?;
                        transaction.create_or_replace_file(&path, content.as_bytes()).await?;
                    }
                    None => transaction.remove(&path).await?,
                }
            }
            transaction.commit("Change by a user").await
        })
        .await
        .unwrap();
}
