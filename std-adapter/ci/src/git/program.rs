//! Runs the `git` program with time limits.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::process::Command;
use tokio::time::Instant;

use super::RepositoryError;
use super::url::RemoteUrl;
use crate::build::BuildLog;
use crate::command::{Cgroup, JOIN, Limits, Process, Sink, find_program, killed_with_parent};

/// The time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// The maximum length of an error message in bytes.
const MESSAGE_MAX: usize = 2000;

/// Environment variables that select another repository or configuration. Git sets these variables
/// when it runs hooks and aliases, and the CI could have been started by a hook.
pub(crate) const OUTER_GIT: [&str; 13] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_TRACE",
];

/// Settings that apply to every command and override the user's settings.
const SETTINGS: [(&str, &str); 18] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.askPass", ""),
    ("credential.interactive", "false"),
    ("fetch.fsckObjects", "true"),
    // Old repositories contain objects with these faults, which are harmless.
    ("fetch.fsck.badTimezone", "ignore"),
    ("fetch.fsck.missingSpaceBeforeDate", "ignore"),
    ("fetch.fsck.zeroPaddedFilemode", "ignore"),
    ("fetch.negotiationAlgorithm", "skipping"),
    ("fetch.recurseSubmodules", "false"),
    ("fetch.writeCommitGraph", "false"),
    ("fetch.bundleURI", ""),
    ("transfer.bundleURI", "false"),
    ("gc.autoDetach", "false"),
    ("gc.autoPackLimit", "50"),
    ("maintenance.auto", "false"),
    ("protocol.ext.allow", "never"),
    ("submodule.recurse", "false"),
];

/// Limits for a `git` command.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunLimits {
    /// The maximum time without output on standard error or standard output.
    pub(super) idle: Option<Duration>,
    /// The maximum total time.
    pub(super) total: Duration,
    /// The maximum size of standard output in bytes. Further output is discarded.
    pub(super) output: usize,
}

/// A `git` command.
pub(super) struct Git<'a> {
    /// The git directory.
    pub(super) dir: &'a Path,
    pub(super) limits: RunLimits,
    /// The remote repository.
    pub(super) url: &'a RemoteUrl,
    /// The log to which standard error is written.
    pub(super) log: Option<&'a BuildLog>,
    /// The maximum size of each file that the command writes, in bytes.
    pub(super) file_size: Option<u64>,
    /// The value of the `Authorization` header in requests to the remote repository.
    pub(super) authorization: Option<&'a str>,
}

/// The output of a command.
pub(super) struct GitOutput {
    pub(super) stdout: Vec<u8>,
    pub(super) truncated: bool,
    pub(super) code: Option<i32>,
    message: String,
}

impl Git<'_> {
    /// Runs the command and returns its standard output.
    pub(super) async fn run<A: AsRef<OsStr>>(
        &self,
        args: &[A],
    ) -> Result<GitOutput, RepositoryError> {
        let output = self.status(args).await?;
        if output.code == Some(0) {
            return Ok(output);
        }
        Err(RepositoryError::Failed { command: name(args), message: output.message })
    }

    /// Runs the command and returns its standard output even if the command fails.
    pub(super) async fn status<A: AsRef<OsStr>>(
        &self,
        args: &[A],
    ) -> Result<GitOutput, RepositoryError> {
        if find_program("git").is_none() {
            return Err(RepositoryError::NotInstalled);
        }
        // The control group of a network command also contains programs such as `ssh`. If the CI is
        // killed, these programs do not exit immediately; the next CI process kills them.
        let group = self.limits.idle.map(|_| Cgroup::create(&Limits::NONE));
        let mut command = self.command(args, group.as_ref());
        let mut process = Process::spawn(&mut command).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => RepositoryError::NotInstalled,
            _ => RepositoryError::Io { path: PathBuf::from("git"), source },
        })?;
        let activity = Mutex::new(Instant::now());
        let mut stdout = Bytes {
            bytes: Vec::new(),
            max: self.limits.output,
            truncated: false,
            activity: &activity,
        };
        let mut stderr =
            Messages { line: Vec::new(), tail: String::new(), git: self, activity: &activity };
        let timed_out =
            |limit, idle| RepositoryError::TimedOut { command: name(args), limit, idle };
        let ended = tokio::select! {
            ended = process.wait(&mut stdout, &mut stderr) => ended,
            limit = idle(&activity, self.limits.idle) => {
                process.terminate(GRACE, &mut stdout, &mut stderr).await;
                return Err(timed_out(limit, true));
            }
            () = tokio::time::sleep(self.limits.total) => {
                process.terminate(GRACE, &mut stdout, &mut stderr).await;
                return Err(timed_out(self.limits.total, false));
            }
        };
        let status = ended.map_err(RepositoryError::at("git"))?;
        if let Some(group) = group {
            group.end().await;
        }
        stderr.end_line();
        let message = match stderr.tail.trim() {
            "" => status.to_string(),
            text => text.to_owned(),
        };
        let (stdout, truncated) = (stdout.bytes, stdout.truncated);
        Ok(GitOutput { stdout, truncated, code: status.code(), message })
    }

    fn command<A: AsRef<OsStr>>(&self, args: &[A], group: Option<&Cgroup>) -> Command {
        let mut line = group.map_or_else(Vec::new, |group| {
            let script = ["sh", "-c", JOIN, "/dev/null"].into_iter().map(OsString::from);
            script
                .chain(group.join_files().map(PathBuf::into_os_string))
                .chain(["--".into()])
                .collect()
        });
        line.extend(wrappers(self.file_size));
        line.push("git".into());
        let mut line = line.into_iter();
        let mut command = Command::new(line.next().unwrap_or_default());
        command.args(line);
        for variable in OUTER_GIT {
            command.env_remove(variable);
        }
        command.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0");
        command.env("SSH_ASKPASS_REQUIRE", "never").env("GIT_LFS_SKIP_SMUDGE", "1");
        for (name, value) in SETTINGS {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        // Do not pass a password as an argument: other users can see the arguments of a process.
        let mut settings = vec![("remote.source.url".to_owned(), self.url.text.clone())];
        if let Some(value) = self.authorization {
            let key = format!("http.{}.extraHeader", self.url.shown());
            settings.push((key, format!("Authorization: {value}")));
            // Otherwise, `git` would also send the header to the target of a redirect.
            settings.push(("http.followRedirects".to_owned(), "false".to_owned()));
        }
        if let Some(idle) = self.limits.idle {
            // This makes git's HTTP helper program exit even if nothing kills it.
            let seconds = idle.as_secs().saturating_add(10);
            settings.push(("http.lowSpeedLimit".to_owned(), "1".to_owned()));
            settings.push(("http.lowSpeedTime".to_owned(), seconds.to_string()));
        }
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (at, (key, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{at}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{at}"), value);
        }
        command.arg("--git-dir").arg(self.dir).args(args).current_dir(self.dir);
        command.stdin(Stdio::null());
        command
    }
}

/// Returns the wrapper programs with which `git` is run: one makes the kernel kill `git` if the CI
/// is killed, and the other limits the file size.
fn wrappers(file_size: Option<u64>) -> Vec<OsString> {
    let mut line = killed_with_parent();
    if let (Some(prlimit), Some(size)) = (find_program("prlimit"), file_size) {
        line.extend([prlimit.into(), format!("--fsize={size}").into()]);
    }
    line
}

fn name<A: AsRef<OsStr>>(args: &[A]) -> String {
    args.first().map(|arg| arg.as_ref().to_string_lossy().into_owned()).unwrap_or_default()
}

/// Waits until there has been no activity for the duration `limit`, and returns this duration.
/// Without a limit, waits forever.
async fn idle(activity: &Mutex<Instant>, limit: Option<Duration>) -> Duration {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        let last = *activity.lock();
        tokio::time::sleep_until(last + limit).await;
        if *activity.lock() == last {
            return limit;
        }
    }
}

/// Collects standard output.
struct Bytes<'a> {
    bytes: Vec<u8>,
    max: usize,
    truncated: bool,
    activity: &'a Mutex<Instant>,
}

impl Sink for Bytes<'_> {
    fn write(&mut self, bytes: &[u8]) {
        *self.activity.lock() = Instant::now();
        let room = self.max.saturating_sub(self.bytes.len());
        self.truncated |= bytes.len() > room;
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}

/// Copies lines from standard error to the log and keeps the last few. Lines that end with a
/// carriage return are discarded, because they only report progress.
struct Messages<'a> {
    line: Vec<u8>,
    tail: String,
    git: &'a Git<'a>,
    activity: &'a Mutex<Instant>,
}

impl Sink for Messages<'_> {
    fn write(&mut self, bytes: &[u8]) {
        *self.activity.lock() = Instant::now();
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                b'\r' => self.line.clear(),
                other if self.line.len() < MESSAGE_MAX => self.line.push(*other),
                _ => {}
            }
        }
    }
}

impl Messages<'_> {
    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        // Progress reports end with a line such as `Receiving objects: 100% (3/3), done.`
        let text = self.git.url.mask(text.trim_end());
        if text.is_empty() || text.contains("% (") {
            return;
        }
        if let Some(log) = self.git.log {
            log.write(&format!("{text}\n"));
        }
        if self.tail.len() + text.len() < MESSAGE_MAX {
            let separator = if self.tail.is_empty() { "" } else { "; " };
            self.tail.push_str(separator);
            self.tail.push_str(&text);
        }
    }
}
