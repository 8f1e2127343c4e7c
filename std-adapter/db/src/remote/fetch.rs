//! Fetches a branch from another repository with `git fetch`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bstr::ByteSlice;
use gix_config::File;

use super::subprocess::{self, GitError, TIMEOUT};
use super::url::{Scheme, UrlError};
use crate::{BranchName, Error};

/// The default limit on the number of bytes that a fetch may receive: 4 GiB.
pub const MAX_FETCH_BYTES: u64 = 4 << 30;

/// The settings that fetches inherit from the served repository. These settings determine how `git`
/// connects to other repositories.
const TRANSPORT_SETTINGS: [&str; 7] =
    ["core.sshcommand", "core.gitproxy", "ssh.", "http.", "url.", "credential.", "protocol."];

/// Settings that apply to every fetch and override the user's and the repository's settings.
const FIXED_SETTINGS: [(&str, &str); 12] = [
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

/// The base limit, in bytes, on the data segment of each `git` process. The actual limit is the sum
/// of this base limit and the number of bytes that the fetch may receive, but at most twice the
/// base limit.
const MEMORY: u64 = 1 << 30;

/// A shell script that sets `ulimit -d` to `$1` KiB and `ulimit -f` to `$2` blocks of 512 bytes,
/// and then runs `git` with the remaining arguments. If one of the first two arguments is empty,
/// the corresponding limit is not set. All processes that `git` starts inherit both limits.
const LIMITED_GIT: &str = "[ -z \"$1\" ] || ulimit -d \"$1\"; [ -z \"$2\" ] || ulimit -f \"$2\"; \
    shift 2; exec git \"$@\"";

/// The limits on a single fetch. `None` means that there is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchLimits {
    /// How long a fetch may make no progress before it fails. The default is [`TIMEOUT`].
    pub timeout: Option<Duration>,
    /// The maximum number of bytes that the remote may send, including both objects and messages.
    /// The default is [`MAX_FETCH_BYTES`].
    pub max_bytes: Option<u64>,
}

impl Default for FetchLimits {
    fn default() -> FetchLimits {
        FetchLimits { timeout: Some(TIMEOUT), max_bytes: Some(MAX_FETCH_BYTES) }
    }
}

impl FetchLimits {
    /// Sets how long a fetch may make no progress before it fails.
    #[must_use]
    pub fn with_timeout(self, timeout: Option<Duration>) -> FetchLimits {
        FetchLimits { timeout, ..self }
    }

    /// Sets the maximum number of bytes that the remote may send.
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: Option<u64>) -> FetchLimits {
        FetchLimits { max_bytes, ..self }
    }
}

/// An error that occurred during a fetch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The remote does not have the branch.
    #[error("no head to fetch")]
    NoSuchBranch,
    /// The URL was rejected.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The remote sent more than this number of bytes.
    #[error("more than {0} bytes (--remote-limit)")]
    TooLarge(u64),
    /// The `git` program failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The objects were received but could not be stored.
    #[error(transparent)]
    Store(#[from] Error),
}

/// A flag for cancelling a fetch that runs on another thread. Clones share one flag.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// Cancels the fetch. The fetch fails soon afterwards with [`GitError::Cancelled`].
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns whether [`cancel`](CancelFlag::cancel) has been called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A guard that cancels the fetch when dropped. The guard is dropped when the request is flushed or
/// when the future that waits for the fetch is dropped.
pub(crate) struct CancelOnDrop(pub(crate) CancelFlag);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Fetches `branch` from the repository at `url` into the branch with the same name in the
/// repository at `dir`. Uses the transport settings in `config`, the configuration of the served
/// repository.
pub(crate) fn fetch(
    dir: &Path,
    config: &File,
    url: &str,
    branch: &BranchName,
    limits: FetchLimits,
    cancel: &CancelFlag,
) -> Result<(), FetchError> {
    Scheme::of(url)?;
    let mut git = command(dir, config, url, branch, limits);
    let mut bytes = 0;
    let ran = subprocess::run(&mut git, limits.timeout, Duration::ZERO, |read| {
        if cancel.is_cancelled() {
            return Err(GitError::Cancelled.into());
        }
        bytes = directory_size(dir) + read;
        match limits.max_bytes.filter(|limit| bytes > *limit) {
            Some(limit) => Err(FetchError::TooLarge(limit)),
            None => Ok(bytes),
        }
    });
    let (status, stderr) = ran?;
    if status.success() {
        return Ok(());
    }
    // Check the size again. The last check may have been too early to detect that `git` exceeded
    // its file size limit.
    let bytes = bytes.max(directory_size(dir));
    if let Some(limit) = limits.max_bytes.filter(|limit| bytes >= *limit) {
        return Err(FetchError::TooLarge(limit));
    }
    let failure = stderr.failure();
    Err(match status.code() {
        // The shell exits with status 127 if it cannot find `git`.
        Some(127) => GitError::NotInstalled("git".to_owned()).into(),
        _ if failure.contains("couldn't find remote ref refs/heads/") => FetchError::NoSuchBranch,
        _ if failure.is_empty() => GitError::Failed(format!("git fetch: {status}")).into(),
        _ => GitError::Failed(failure).into(),
    })
}

/// Returns the command that runs a fetch. The command starts a shell, which sets resource limits
/// and then runs `git`.
fn command(
    dir: &Path,
    config: &File,
    url: &str,
    branch: &BranchName,
    limits: FetchLimits,
) -> Command {
    let mut git = Command::new("sh");
    subprocess::isolate(&mut git);
    let kibibytes = limits.max_bytes.map(|bytes| (MEMORY + bytes.min(MEMORY)) / 1024);
    let blocks = limits.max_bytes.map(|bytes| bytes / 512 + 1);
    git.args(["-c", LIMITED_GIT, "sh"]);
    git.args([kibibytes, blocks].map(|limit| limit.map(|n| n.to_string()).unwrap_or_default()));
    git.arg("--git-dir").arg(dir).args([
        "fetch",
        "--progress",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-show-forced-updates",
    ]);
    git.args(["--", url, &format!("+refs/heads/{branch}:refs/heads/{branch}")]);
    let settings = settings(config);
    git.env("GIT_CONFIG_COUNT", settings.len().to_string());
    for (number, (key, value)) in settings.iter().enumerate() {
        git.env(format!("GIT_CONFIG_KEY_{number}"), key)
            .env(format!("GIT_CONFIG_VALUE_{number}"), value);
    }
    // Make `git` write a trace of every packet to standard error, so that each packet counts as
    // progress.
    git.env("GIT_TRACE_PACKET", "2");
    git
}

/// Returns all settings for a fetch, including one that prevents `ssh` from prompting the user.
fn settings(config: &File) -> Vec<(String, String)> {
    let mut settings = transport_settings(config);
    let ssh = settings.iter_mut().rev().find(|(key, _)| key == "core.sshcommand");
    let is_unset = |variable: &str| std::env::var_os(variable).is_none();
    match ssh {
        // Add the option only for OpenSSH, because other programs may not support `-o`.
        Some((_, command)) if is_openssh(command) => command.push_str(" -o BatchMode=yes"),
        None if is_unset("GIT_SSH") && is_unset("GIT_SSH_COMMAND") => {
            settings.push(("core.sshcommand".to_owned(), "ssh -o BatchMode=yes".to_owned()));
        }
        _ => {}
    }
    let fixed = FIXED_SETTINGS.iter();
    settings.extend(fixed.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    settings
}

/// Returns the served repository's values for the settings in [`TRANSPORT_SETTINGS`].
fn transport_settings(config: &File) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    for section in config.sections() {
        let name = section.header().name().to_str_lossy().to_ascii_lowercase();
        let subsection = section
            .header()
            .subsection_name()
            .map(|name| format!("{}.", name.to_str_lossy()))
            .unwrap_or_default();
        for key in section.body().value_names() {
            let full = format!("{name}.{subsection}{}", key.to_ascii_lowercase());
            let is_transport = TRANSPORT_SETTINGS
                .iter()
                .any(|known| full == *known || known.ends_with('.') && full.starts_with(known));
            if let Some(value) = section.body().values(key.as_ref()).last()
                && is_transport
            {
                settings.push((full, value.to_str_lossy().into_owned()));
            }
        }
    }
    settings
}

/// Returns whether a shell command runs a program named `ssh`.
fn is_openssh(command: &str) -> bool {
    let program =
        command.trim_start_matches(['\'', '"']).split(['\'', '"', ' ']).next().unwrap_or_default();
    Path::new(program).file_name().is_some_and(|name| name == "ssh")
}

/// Returns the total size in bytes of all files below a directory. Files that are removed during
/// the call are not counted.
fn directory_size(dir: &Path) -> u64 {
    let (mut size, mut dirs) = (0, vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => dirs.push(entry.path()),
                Ok(found) => size += found.len(),
                Err(_) => {}
            }
        }
    }
    size
}
