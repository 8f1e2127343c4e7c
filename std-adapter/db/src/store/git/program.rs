//! `git fetch` as a program that may hang, flood, or be told to end.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use gix::Repository;
use gix::bstr::ByteSlice;
use rustix::event::{PollFd, PollFlags};

use super::fetch::Limits;
use crate::BranchName;
use crate::remote::process_group::Group;
use crate::remote::said;
use crate::remote::schemes::Scheme;
use crate::remote::timeout::wait;
use crate::store::{FetchError, Stop};

/// By what `git` may have been told where its own repository is, which is not the other one, or how
/// to run.
const OURS: [&str; 10] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG_PARAMETERS",
    "GIT_NAMESPACE",
    "GIT_SHALLOW_FILE",
    "GIT_TRACE",
];

/// Settings of our repository that are about the way to another one.
const WAYS: [&str; 7] =
    ["core.sshcommand", "core.gitproxy", "ssh.", "http.", "url.", "credential.", "protocol."];

/// What counts in each fetch, whatever is set elsewhere.
const ALWAYS: [(&str, &str); 12] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.askPass", ""),
    ("credential.interactive", "false"),
    ("fetch.fsckObjects", "true"),
    ("fetch.recurseSubmodules", "false"),
    ("fetch.writeCommitGraph", "false"),
    ("fetch.bundleURI", ""),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("protocol.ext.allow", "never"),
    ("transfer.bundleURI", "false"),
];

/// The longest time between two looks at what has come, and whether anybody still wants it.
const TICK: Duration = Duration::from_millis(100);
/// Bytes that are read of what it says at once.
const CHUNK: usize = 8192;
/// Memory of each of its programs beside what it may fetch, of which this is also the most that
/// counts.
const MEMORY: u64 = 1 << 30;

/// How a fetch ended that did not fail.
pub(super) enum Ended {
    Well,
    NoSuchBranch,
}

/// Has `git` fetch into the repository `dir`, in the ways that `ours` has.
pub(super) fn fetch(
    dir: &Path,
    ours: &Repository,
    url: &str,
    branch: &BranchName,
    limits: Limits,
    stop: &Stop,
) -> Result<Ended, FetchError> {
    Scheme::of(url).map_err(|why| FetchError::Failed(said::address(&why)))?;
    let mut git = command(dir, ours, url, branch, limits);
    let started = Group::start(&mut git).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => FetchError::Failed(
            "there is no shell on this machine, by which git is started".to_owned(),
        ),
        _ => FetchError::Failed(format!("git cannot be started: {error}")),
    });
    let mut fetch =
        Fetch { dir, limits, stop, words: said::Words::default(), heard: 0, running: started? };
    fetch.listen()?;
    let Fetch { running, mut words, heard, .. } = fetch;
    let status =
        running.wait().map_err(|error| FetchError::Failed(format!("git fetch: {error}")))?;
    let reasons = words.reasons();
    // The system may have noticed before.
    if let Some(limit) =
        limits.bytes.filter(|limit| !status.success() && size(dir) + heard >= *limit)
    {
        return Err(FetchError::TooMuch(limit));
    }
    match status.code() {
        Some(0) => Ok(Ended::Well),
        Some(127) => {
            Err(FetchError::Failed("the git program is not installed on this machine".to_owned()))
        }
        _ if reasons.contains("couldn't find remote ref refs/heads/") => Ok(Ended::NoSuchBranch),
        _ if reasons.is_empty() => Err(FetchError::Failed(format!("git fetch: {status}"))),
        _ => Err(FetchError::Failed(reasons)),
    }
}

/// By a shell, which sets limits that all have that `git` starts.
fn command(
    dir: &Path,
    ours: &Repository,
    url: &str,
    branch: &BranchName,
    limits: Limits,
) -> Command {
    let mut git = Command::new("sh");
    git.args([
        "-c",
        "[ -z \"$1\" ] || ulimit -d \"$1\"; [ -z \"$2\" ] || ulimit -f \"$2\"; shift 2; exec git \"$@\"",
        "sh",
    ]);
    let kib = limits.bytes.map(|bytes| (MEMORY + bytes.min(MEMORY)) / 1024);
    git.arg(kib.map(|kib| kib.to_string()).unwrap_or_default());
    git.arg(limits.bytes.map(|bytes| (bytes / 512 + 1).to_string()).unwrap_or_default());
    git.arg("--git-dir").arg(dir).args([
        "fetch",
        "--progress",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-show-forced-updates",
    ]);
    git.args(["--", url, &format!("+refs/heads/{branch}:refs/heads/{branch}")]);
    for variable in OURS {
        git.env_remove(variable);
    }
    let mut settings = ways(ours);
    let ssh = settings.iter_mut().rev().find(|(key, _)| key == "core.sshcommand");
    let unset = |key: &str| std::env::var_os(key).is_none();
    match ssh {
        // One that is another program may not know the option.
        Some((_, command)) if is_ssh(command) => command.push_str(" -o BatchMode=yes"),
        None if unset("GIT_SSH") && unset("GIT_SSH_COMMAND") => {
            settings.push(("core.sshcommand".to_owned(), "ssh -o BatchMode=yes".to_owned()));
        }
        _ => {}
    }
    settings.extend(ALWAYS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    git.env("GIT_CONFIG_COUNT", settings.len().to_string());
    for (number, (key, value)) in settings.iter().enumerate() {
        git.env(format!("GIT_CONFIG_KEY_{number}"), key)
            .env(format!("GIT_CONFIG_VALUE_{number}"), value);
    }
    // libcurl does not ask for these two, by which all else on the machine is told whom to trust.
    for (from, to) in [("SSL_CERT_FILE", "GIT_SSL_CAINFO"), ("SSL_CERT_DIR", "GIT_SSL_CAPATH")] {
        if let Some(value) = std::env::var_os(from).filter(|value| !value.is_empty()) {
            git.env(to, value);
        }
    }
    // Each packet is a sign of life. In English, to know which words are the reason; nobody is
    // there to be asked for a password.
    git.env("LC_ALL", "C")
        .env("GIT_TRACE_PACKET", "2")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("SSH_ASKPASS_REQUIRE", "never");
    git.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    git
}

/// The settings of our own repository for the way to others.
fn ways(ours: &Repository) -> Vec<(String, String)> {
    let config = ours.config_snapshot();
    let mut ways = Vec::new();
    for section in config.plumbing().sections() {
        let name = section.header().name().to_str_lossy().to_ascii_lowercase();
        let sub = section
            .header()
            .subsection_name()
            .map(|sub| format!("{}.", sub.to_str_lossy()))
            .unwrap_or_default();
        for key in section.body().value_names() {
            let full = format!("{name}.{sub}{}", key.to_ascii_lowercase());
            if WAYS.iter().any(|way| full == *way || way.ends_with('.') && full.starts_with(way)) {
                ways.extend(
                    section
                        .body()
                        .values(key.as_ref())
                        .last()
                        .map(|value| (full, value.to_str_lossy().into_owned())),
                );
            }
        }
    }
    ways
}

/// Whether a command is OpenSSH, as its name says.
fn is_ssh(command: &str) -> bool {
    let program =
        command.trim_start_matches(['\'', '"']).split(['\'', '"', ' ']).next().unwrap_or_default();
    Path::new(program).file_name().is_some_and(|name| name == "ssh")
}

struct Fetch<'f> {
    dir: &'f Path,
    limits: Limits,
    stop: &'f Stop,
    words: said::Words,
    /// Bytes of what it said.
    heard: u64,
    running: Group,
}

impl Fetch<'_> {
    /// Until it has ended. What it says is heard.
    fn listen(&mut self) -> Result<(), FetchError> {
        let Some(mut stderr) = self.running.stderr.take() else { return Ok(()) };
        let (mut alive, mut had) = (Instant::now(), 0);
        let mut looked = Instant::now();
        loop {
            if self.hear(&mut stderr, &mut alive)? {
                return Ok(());
            }
            if self.stop.is_set() {
                return Err(FetchError::Failed("nobody waits for it any more".to_owned()));
            }
            if looked.elapsed() < TICK {
                continue;
            }
            looked = Instant::now();
            let has = size(self.dir) + self.heard;
            if has != had {
                (alive, had) = (Instant::now(), has);
            }
            if self.limits.bytes.is_some_and(|limit| has > limit) {
                return Err(FetchError::TooMuch(self.limits.bytes.unwrap_or_default()));
            }
            if let Some(patience) =
                self.limits.patience.filter(|patience| alive.elapsed() >= *patience)
            {
                return Err(FetchError::Silent(patience));
            }
        }
    }

    /// Waits a little for what it says. True: it says no more, or has ended.
    fn hear(&mut self, stderr: &mut ChildStderr, alive: &mut Instant) -> Result<bool, FetchError> {
        let tick = self
            .limits
            .patience
            .map_or(TICK, |patience| (patience / 4).clamp(Duration::from_millis(5), TICK));
        match wait(&mut [PollFd::new(&*stderr, PollFlags::IN)], Some(tick)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                // What it left running may still have its output.
                return Ok(matches!(self.running.try_wait(), Ok(Some(_))));
            }
            Err(error) => return Err(FetchError::Failed(format!("git fetch: {error}"))),
        }
        let mut chunk = [0; CHUNK];
        let count = stderr
            .read(&mut chunk)
            .map_err(|error| FetchError::Failed(format!("git fetch: {error}")))?;
        self.words.hear(chunk.get(..count).unwrap_or_default());
        self.heard += count as u64;
        *alive = Instant::now();
        Ok(count == 0)
    }
}

/// Bytes in a directory and all below it, as far as they can be seen.
fn size(dir: &Path) -> u64 {
    let (mut size, mut left) = (0, vec![dir.to_owned()]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => left.push(entry.path()),
                Ok(found) => size += found.len(),
                Err(_) => {}
            }
        }
    }
    size
}
