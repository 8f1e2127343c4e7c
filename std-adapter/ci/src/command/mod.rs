//! Runs the commands of a build.
//!
//! By default, a command runs in a sandbox created by bubblewrap (`bwrap`). In the sandbox, the
//! host's files are read-only, `/tmp` is private, and there is no network access. All processes in
//! the sandbox are killed when the command ends, when it exceeds a limit, or when the future
//! returned by [`Command::run`] is dropped.
//!
//! | what the command does | what ends it |
//! |---|---|
//! | It runs for too long, or ignores SIGTERM. | [`Command::timeout`]: SIGTERM, then SIGKILL |
//! | It starts processes without end. | [`Limits::processes`] |
//! | It uses too much memory or processor time. | [`Limits::memory`], [`Limits::cpu_seconds`] |
//! | It fills the disk. | [`Limits::disk`], [`Limits::file_size`], [`Isolation::tmp_size`] |
//! | It writes output without end. | [`Limits::output`], [`Limits::output_rate`] |
//!
//! The sandbox hides the directories in [`Isolation::hidden`], but no other host files that the CI
//! itself can read. A CI that builds changes from strangers should hide the directory that contains
//! its own secrets, or use another [`Image`].

mod bubblewrap;
mod cgroup;
mod disk;
mod image;
#[cfg(target_os = "linux")]
pub mod landlock;
mod launch;
mod limits;
mod output;
mod process;
mod remove_tree;
mod sandbox;
#[cfg(target_os = "linux")]
mod seccomp;

#[cfg(test)]
mod abuse_tests;
#[cfg(test)]
mod isolation_tests;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::build::BuildLog;
use bubblewrap::Root;
use launch::Launch;
use output::{LogSink, OutputLimit};

pub(crate) use cgroup::{Cgroup, remove_stale_groups};
pub(crate) use launch::{JOIN, killed_with_parent};
pub use limits::Limits;
pub(crate) use process::{Process, Sink};
pub(crate) use remove_tree::remove_tree;
pub use sandbox::{Bind, Image, Isolation, Network, Sandbox};

/// The time between SIGTERM and SIGKILL for a command that exceeds its time limit.
const GRACE: Duration = Duration::from_secs(2);

/// A command to run.
#[derive(Debug, Clone)]
pub struct Command {
    args: Vec<OsString>,
    dir: PathBuf,
    env: Vec<(OsString, OsString)>,
    sandbox: Sandbox,
    limits: Limits,
    timeout: Option<Duration>,
    /// The text to show in the log instead of the command, if the command contains a secret.
    shown: Option<String>,
}

impl Command {
    /// Creates a command that runs in the `dir` directory, to which the command can write. The
    /// first argument is the program. The environment of the command contains only the variables
    /// `PATH` and `HOME`. `HOME` is set to `dir`.
    pub fn new<A: Into<OsString>>(
        args: impl IntoIterator<Item = A>,
        dir: impl Into<PathBuf>,
    ) -> Command {
        Command {
            args: args.into_iter().map(Into::into).collect(),
            dir: dir.into(),
            env: Vec::new(),
            sandbox: Sandbox::default(),
            limits: Limits::default(),
            timeout: None,
            shown: None,
        }
    }

    /// Creates a command that is interpreted by a shell. The shell exits at the first error.
    pub fn shell(script: &str, dir: impl Into<PathBuf>) -> Command {
        Command::new(["sh", "-e", "-c", script], dir)
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Command {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets the sandbox.
    #[must_use]
    pub fn sandbox(mut self, sandbox: Sandbox) -> Command {
        self.sandbox = sandbox;
        self
    }

    /// Sets the limits on the resources of the command.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Command {
        self.limits = limits;
        self
    }

    /// Limits the run time of the command. A command that exceeds the limit receives SIGTERM,
    /// followed by SIGKILL two seconds later.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Command {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the text to show in the log instead of the command. Use this method if the command
    /// contains a secret.
    #[must_use]
    pub fn shown_as(mut self, text: impl Into<String>) -> Command {
        self.shown = Some(text.into());
        self
    }

    /// Runs the command, and writes the command and its output to the log. Waits until the command
    /// and all processes in its sandbox have ended.
    ///
    /// If the future is dropped, all processes of the command are killed.
    ///
    /// # Errors
    /// Returns [`CommandError`] if the command cannot be started, fails, or exceeds a limit.
    pub async fn run(&self, log: &BuildLog) -> Result<(), CommandError> {
        let shown = self.shown.clone().unwrap_or_else(|| self.display_args());
        log.line(&format!("$ {shown}"));
        let root = match &self.sandbox {
            Sandbox::Isolated(isolation) => Root::of(&isolation.image, log).await?,
            Sandbox::Unsandboxed => Root::of(&Image::Host, log).await?,
        };
        let dir = std::fs::canonicalize(&self.dir);
        let dir =
            dir.map_err(|source| CommandError::Directory { dir: self.dir.clone(), source })?;
        let group = Cgroup::create(&self.limits);
        let (args, env, limits) = (&self.args, &self.env, &self.limits);
        let launch = launch::launch(&self.sandbox, &root, args, &dir, env, limits, &group)?;
        if !launch.not_enforced.is_empty() {
            log.line(&format!("Not limited here: {}", launch.not_enforced.join(", ")));
        }
        let ended = self.run_launch(launch, &shown, &dir, log).await;
        let reached = group.reached();
        group.end().await;
        if ended.is_err() && !reached.is_empty() {
            log.line(&format!("The command reached the limit on {}", reached.join(" and ")));
        }
        ended
    }

    /// Runs a command until it ends or exceeds a limit.
    async fn run_launch(
        &self,
        mut launch: Launch,
        shown: &str,
        dir: &Path,
        log: &BuildLog,
    ) -> Result<(), CommandError> {
        let start = |source| CommandError::Start { program: shown.to_owned(), source };
        let mut process = Process::spawn(&mut launch.command).map_err(start)?;
        if let Some(input) = launch.input {
            process.write_input(input);
        }
        let output = OutputLimit::new(&self.limits);
        let mut out = LogSink::new(log, Some(&output));
        let mut err = LogSink::new(log, Some(&output));
        let error = tokio::select! {
            ended = process.wait(&mut out, &mut err) => {
                let status = ended.map_err(start)?;
                if status.success() {
                    return Ok(());
                }
                if was_out_of_cpu_time(status) {
                    log.line("The command reached the limit on processor time");
                }
                return Err(CommandError::Failed { status: status.to_string() });
            }
            limit = output.exceeded() => CommandError::Output { limit },
            limit = elapsed(self.timeout) => CommandError::Timeout { limit },
            size = disk::exceeded(dir, self.limits.disk) => {
                CommandError::Disk { size, limit: self.limits.disk.unwrap_or_default() }
            }
        };
        match self.sandbox {
            Sandbox::Isolated(_) => process.terminate_sandbox(GRACE, &mut out, &mut err).await,
            Sandbox::Unsandboxed => process.terminate(GRACE, &mut out, &mut err).await,
        }
        Err(error)
    }

    fn display_args(&self) -> String {
        // For a shell script, the log shows only the script.
        let args = match self.args.as_slice() {
            [sh, e, c, script] if sh == "sh" && e == "-e" && c == "-c" => {
                std::slice::from_ref(script)
            }
            args => args,
        };
        args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }
}

/// The error returned if a command does not succeed.
#[derive(Debug)]
#[non_exhaustive]
pub enum CommandError {
    /// The sandbox cannot be created, because a required program is missing.
    NoSandbox {
        /// The missing program.
        program: &'static str,
        /// The Debian package that contains the program.
        package: &'static str,
    },
    /// The sandbox mounts cannot be determined, for example because the source of a bind does not
    /// exist.
    Sandbox {
        /// The cause.
        source: std::io::Error,
    },
    /// The command's directory cannot be used.
    Directory {
        /// The directory.
        dir: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The command cannot be started.
    Start {
        /// The command.
        program: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The command exited with a nonzero status or was killed by a signal.
    Failed {
        /// The exit status.
        status: String,
    },
    /// The command exceeded its time limit.
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// The command wrote too much output.
    Output {
        /// The limit in bytes.
        limit: u64,
    },
    /// The command's directory grew too large.
    Disk {
        /// The size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::NoSandbox { program, package } => write!(
                f,
                "the sandbox needs `{program}`; install the package {package}, or run without a sandbox"
            ),
            CommandError::Sandbox { .. } => f.write_str("the sandbox cannot be created"),
            CommandError::Directory { dir, .. } => {
                write!(f, "the directory {} cannot be used", dir.display())
            }
            CommandError::Start { program, .. } => write!(f, "`{program}` cannot be started"),
            CommandError::Failed { status } => f.write_str(status),
            CommandError::Timeout { limit } => write!(f, "timed out after {limit:?}"),
            CommandError::Output { limit } => write!(f, "the output exceeds {limit} bytes"),
            CommandError::Disk { size, limit } => {
                write!(f, "the directory has grown to {size} bytes; the limit is {limit}")
            }
        }
    }
}

impl std::error::Error for CommandError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CommandError::Sandbox { source }
            | CommandError::Directory { source, .. }
            | CommandError::Start { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Returns `true` if the command, or the last command of a shell, was killed by SIGXCPU.
fn was_out_of_cpu_time(status: std::process::ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let signal = rustix::process::Signal::XCPU.as_raw();
    status.signal() == Some(signal) || status.code() == Some(128 + signal)
}

/// Waits for the time limit to expire and returns the limit. Without a limit, waits forever.
async fn elapsed(limit: Option<Duration>) -> Duration {
    let Some(limit) = limit else { return std::future::pending().await };
    tokio::time::sleep(limit).await;
    limit
}

/// Searches the directories in `PATH` for a program.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
