//! Runs `git` as a subprocess with a clean environment and a time limit.

use std::io::{self, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::process_group::ProcessGroup;
use super::sanitize::StderrTail;
use crate::io_error::IoError;

/// The default time without progress after which a fetch or push fails.
///
/// A busy Git server does not cause a timeout, because it sends a keep-alive packet every five
/// seconds.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Environment variables that select a different repository or configuration. Git sets these
/// variables when it runs hooks and aliases, and a hook or alias may have started the server.
const OUTER_GIT: [&str; 12] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_TRACE",
];

/// The maximum time between checks on a running subprocess.
const TICK: Duration = Duration::from_millis(100);
/// The size, in bytes, of the buffer for reading standard error.
const READ_SIZE: usize = 8192;

/// An error from the `git` subprocess.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// The named program, which is either `git` or the shell `sh`, is not in `PATH`.
    #[error("the {0} program is not installed on this machine")]
    NotInstalled(String),
    /// The subprocess could not be started, or waiting for it failed.
    #[error("cannot run git: {0}")]
    Io(#[from] IoError),
    /// The subprocess was killed because it made no progress for this long.
    #[error("timed out: no data for {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// The subprocess was killed because the caller cancelled the operation.
    #[error("cancelled")]
    Cancelled,
    /// The subprocess failed. The string is the error message that `git` printed, joined into a
    /// single line. Passwords and progress messages are removed.
    #[error("{0}")]
    Failed(String),
}

impl From<io::Error> for GitError {
    fn from(error: io::Error) -> GitError {
        GitError::Io(error.into())
    }
}

/// Returns a command that runs `git` without prompts and with English messages. The command does
/// not inherit environment variables that an outer `git` process has set.
pub(crate) fn git() -> Command {
    let mut git = Command::new("git");
    isolate(&mut git);
    git
}

/// Gives `command` the same environment as [`git`], and an empty standard input.
pub(super) fn isolate(command: &mut Command) {
    for variable in OUTER_GIT {
        command.env_remove(variable);
    }
    // Most programs look for trusted certificates in the locations given by `SSL_CERT_FILE` and
    // `SSL_CERT_DIR`. The library that `git` uses, libcurl, ignores both variables.
    for (from, to) in [("SSL_CERT_FILE", "GIT_SSL_CAINFO"), ("SSL_CERT_DIR", "GIT_SSL_CAPATH")] {
        if let Some(value) = std::env::var_os(from).filter(|value| !value.is_empty()) {
            command.env(to, value);
        }
    }
    command.env("LC_ALL", "C");
    command.env("GIT_TERMINAL_PROMPT", "0").env("SSH_ASKPASS_REQUIRE", "never");
    command.stdin(Stdio::null());
}

/// Runs `command` until it exits. Returns the exit status and the end of the text that was written
/// to standard error.
///
/// `check` is called at least once per [`TICK`]. It receives the number of bytes read from standard
/// error so far, and returns a measure of progress. The timeout is restarted whenever this measure
/// changes and whenever the subprocess writes to standard error.
///
/// # Errors
/// Returns [`GitError::NotInstalled`] if the program is not in `PATH`. Returns [`GitError::Io`] if
/// the subprocess cannot be started for any other reason, or if waiting for it fails. Returns
/// [`GitError::TimedOut`] if no progress is made for `timeout`. Returns any error from `check`.
/// After a timeout or an error from `check`, the subprocess and its children receive SIGTERM,
/// followed by SIGKILL after `grace`.
pub(super) fn run<E: From<GitError>>(
    command: &mut Command,
    timeout: Option<Duration>,
    grace: Duration,
    check: impl FnMut(u64) -> Result<u64, E>,
) -> Result<(ExitStatus, StderrTail), E> {
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut group = ProcessGroup::spawn(command).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            GitError::NotInstalled(command.get_program().to_string_lossy().into_owned())
        }
        _ => error.into(),
    })?;
    match read_stderr(&mut group, timeout, check) {
        Ok(tail) => Ok((group.wait().map_err(GitError::from)?, tail)),
        Err(error) => {
            group.terminate(grace);
            Err(error)
        }
    }
}

/// Reads standard error until EOF or until the leader of `group` exits.
fn read_stderr<E: From<GitError>>(
    group: &mut ProcessGroup,
    timeout: Option<Duration>,
    mut check: impl FnMut(u64) -> Result<u64, E>,
) -> Result<StderrTail, E> {
    let mut tail = StderrTail::default();
    let Some(mut stderr) = group.stderr.take() else { return Ok(tail) };
    let tick = timeout.map_or(TICK, |timeout| (timeout / 4).clamp(Duration::from_millis(5), TICK));
    let (mut last_check, mut last_progress) = (Instant::now(), Instant::now());
    let (mut bytes_read, mut progress) = (0, 0);
    let mut buffer = [0; READ_SIZE];
    loop {
        if is_readable(&stderr, tick).map_err(GitError::from)? {
            let count = stderr.read(&mut buffer).map_err(GitError::from)?;
            if count == 0 {
                return Ok(tail);
            }
            tail.push_bytes(buffer.get(..count).unwrap_or_default());
            bytes_read += count as u64;
            last_progress = Instant::now();
        } else if matches!(group.try_wait(), Ok(Some(_))) {
            // Do not wait for EOF, because a background process may still have standard error open.
            return Ok(tail);
        }
        if last_check.elapsed() < tick {
            continue;
        }
        last_check = Instant::now();
        let now = check(bytes_read)?;
        if now != progress {
            (progress, last_progress) = (now, Instant::now());
        }
        if let Some(timeout) = timeout.filter(|timeout| last_progress.elapsed() >= *timeout) {
            return Err(GitError::TimedOut(timeout).into());
        }
    }
}

/// Waits until `stream` is readable or at EOF. Returns `false` if `timeout` elapses first.
fn is_readable(stream: &impl std::os::fd::AsFd, timeout: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(timeout).ok();
    let mut streams = [PollFd::new(stream, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut streams, timeout.as_ref()))?;
    Ok(ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(1);

    fn run_shell(
        script: &str,
        check: impl FnMut(u64) -> Result<u64, GitError>,
    ) -> Result<(bool, String), GitError> {
        let mut command = Command::new("sh");
        let (status, tail) = run(command.args(["-c", script]), Some(SHORT), Duration::ZERO, check)?;
        Ok((status.success(), tail.failure()))
    }

    #[test]
    fn run_returns_status_and_stderr() {
        let failed = run_shell("echo why >&2; exit 3", Ok);
        assert_eq!(failed, Ok((false, "why".to_owned())));
    }

    #[test]
    fn run_times_out_without_progress() {
        assert_eq!(run_shell("sleep 1000", Ok), Err(GitError::TimedOut(SHORT)));
        let text = GitError::TimedOut(SHORT).to_string();
        assert_eq!(text, "timed out: no data for 1 s");
    }

    #[test]
    fn progress_postpones_the_timeout() {
        let mut calls = 0;
        let done = run_shell("sleep 1.5", |_| {
            calls += 1;
            Ok(calls)
        });
        assert_eq!(done, Ok((true, String::new())));
        let done = run_shell("for n in 1 2 3 4 5; do sleep 0.3; echo $n >&2; done", |_| Ok(0));
        assert!(done.is_ok(), "{done:?}");
    }

    #[test]
    fn run_does_not_wait_for_background_children() {
        let done = run_shell("sleep 3 & exit 0", Ok);
        assert_eq!(done, Ok((true, String::new())));
    }

    #[test]
    fn a_missing_program_is_named() {
        let missing = run::<GitError>(&mut Command::new("/nowhere/git"), None, Duration::ZERO, Ok);
        let Err(error) = missing else { panic!("it ran") };
        assert_eq!(error, GitError::NotInstalled("/nowhere/git".to_owned()));
    }
}
