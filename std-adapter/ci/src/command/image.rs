//! The root directories of sandboxes.
//!
//! `podman` downloads a container image and writes its files to a directory, so commands run in the
//! same kind of sandbox regardless of their image.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::process::Command;

use super::bubblewrap::Root;
use super::output::LogSink;
use super::process::{Process, Sink};
use super::remove_tree::remove_tree;
use super::{CommandError, Image, find_program};
use crate::build::BuildLog;

/// The time limit for each `podman` command, such as a download.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// The maximum size of the output of `podman image inspect`, in bytes.
const OUTPUT_MAX: usize = 1 << 20;

/// The maximum number of lines and bytes of standard error in a failure message.
const STDERR_LINES: usize = 3;
const STDERR_MAX: usize = 1000;

/// An unpacked image is removed if it has not been used for this long.
const UNUSED_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// The value of `PATH` for images that do not set it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Unpacks the image `$2` into the directory `$3` with the program `$1`. No container is left
/// behind, even if the disk is full. The archive is first written to a file, because in a pipeline
/// the shell would report only the exit status of the last program.
const UNPACK: &str = "id=$(\"$1\" create \"$2\" /bin/sh)
trap '\"$1\" rm --force \"$id\" >/dev/null; rm -f \"$3.tar\"' EXIT
mkdir \"$3\"
\"$1\" export \"$id\" >\"$3.tar\"
tar -x -f \"$3.tar\" -C \"$3\" --no-same-owner --exclude='./dev/*' --exclude='dev/*'";

impl Root {
    /// Returns the root directory of an image. Downloads the image if necessary.
    pub(super) async fn of(image: &Image, log: &BuildLog) -> Result<Root, CommandError> {
        match image {
            Image::Host => {
                let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
                Ok(Root { dir: PathBuf::from("/"), path })
            }
            Image::Directory(dir) => {
                let dir = fs::canonicalize(dir).map_err(|source| io_error(dir, source))?;
                Ok(Root { dir, path: PATH.into() })
            }
            Image::Podman { name, cache } => {
                let podman = find_program("podman");
                let missing = CommandError::NoSandbox { program: "podman", package: "podman" };
                unpacked(&podman.ok_or(missing)?, name, cache, log).await
            }
        }
    }
}

/// Returns the directory of an unpacked image.
pub(super) async fn unpacked(
    podman: &Path,
    name: &str,
    cache: &Path,
    log: &BuildLog,
) -> Result<Root, CommandError> {
    if name.is_empty() || name.starts_with('-') {
        let source = std::io::Error::other("an image name cannot be empty or start with '-'");
        return Err(io_error(Path::new(name), source));
    }
    let inspect =
        ["image", "inspect", "--format", "{{.Id}} {{range .Config.Env}}{{.}} {{end}}", name];
    let found = match run_podman(podman, &inspect, None).await {
        Err(CommandError::Failed { .. }) => {
            log.line(&format!("$ podman pull {name}"));
            run_podman(podman, &["pull", "--quiet", name], Some(log)).await?;
            run_podman(podman, &inspect, Some(log)).await?
        }
        found => found?,
    };
    let mut fields = found.split_whitespace();
    let id: String = fields.next().unwrap_or_default().replace("sha256:", "");
    if id.is_empty() || !id.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(CommandError::Failed { status: format!("podman: {found:?} is not an image") });
    }
    let path: OsString =
        fields.find_map(|field| field.strip_prefix("PATH=")).unwrap_or(PATH).into();
    let dir = cache.join(&id);
    if !dir.exists() {
        remove_unused(cache, SystemTime::now());
        unpack(podman, name, cache, &id, log).await?;
    }
    // Record the time of this use. If this fails, the only effect is that the image is removed
    // earlier.
    let _ = fs::File::open(&dir).and_then(|dir| dir.set_modified(SystemTime::now()));
    Ok(Root { dir, path })
}

/// Removes images that have not been used for a long time, and files left behind by an unpacking
/// process that was killed.
pub(super) fn remove_unused(cache: &Path, now: SystemTime) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let used = entry.metadata().and_then(|metadata| metadata.modified());
        let unused = used.ok().and_then(|used| now.duration_since(used).ok());
        if unused.is_none_or(|unused| unused < UNUSED_MAX) {
            continue;
        }
        let path = entry.path();
        let removed = if path.is_dir() { remove_tree(&path) } else { fs::remove_file(&path) };
        if let Err(error) = removed {
            tracing::warn!(path = %path.display(), %error, "cannot remove an unused image");
        }
    }
}

/// Unpacks an image into a temporary directory and then renames the directory.
async fn unpack(
    podman: &Path,
    name: &str,
    cache: &Path,
    id: &str,
    log: &BuildLog,
) -> Result<(), CommandError> {
    log.line(&format!("Unpacking {name}"));
    fs::create_dir_all(cache).map_err(|source| io_error(cache, source))?;
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let new = RemoveOnDrop(cache.join(format!("new-{}-{number}", std::process::id())));
    let mut command = Command::new("sh");
    command.args(["-ec", UNPACK, "sh"]).arg(podman).arg(name).arg(&new.0);
    run(&mut command, Some(log)).await?;
    match fs::rename(&new.0, cache.join(id)) {
        // Another job has unpacked the same image.
        Err(_) if cache.join(id).exists() => Ok(()),
        moved => moved.map_err(|source| io_error(cache, source)),
    }
}

static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// A directory that is removed on drop, together with its archive, if they still exist.
struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        let _ = remove_tree(&self.0);
        let _ = fs::remove_file(self.0.with_extension("tar"));
    }
}

async fn run_podman(
    podman: &Path,
    args: &[&str],
    log: Option<&BuildLog>,
) -> Result<String, CommandError> {
    let mut command = Command::new(podman);
    run(command.args(args), log).await
}

/// Runs a command and returns its standard output.
async fn run(command: &mut Command, log: Option<&BuildLog>) -> Result<String, CommandError> {
    command.stdin(std::process::Stdio::null());
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let mut process = Process::spawn(command)
        .map_err(|source| CommandError::Start { program: program.clone(), source })?;
    let mut out = CappedOutput(Vec::new());
    let mut err = StderrTail { log: log.map(|log| LogSink::new(log, None)), tail: VecDeque::new() };
    let ended = tokio::time::timeout(TIMEOUT, process.wait(&mut out, &mut err)).await;
    let Ok(status) = ended else {
        process.terminate(super::GRACE, &mut out, &mut err).await;
        return Err(CommandError::Timeout { limit: TIMEOUT });
    };
    let status =
        status.map_err(|source| CommandError::Start { program: program.clone(), source })?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&out.0).trim().to_owned());
    }
    let status = match err.last_lines() {
        lines if lines.is_empty() => format!("{program}: {status}"),
        lines => format!("{program}: {status}: {lines}"),
    };
    Err(CommandError::Failed { status })
}

/// Writes messages to the log, if there is one, and keeps the last of them for the failure message.
struct StderrTail<'a> {
    log: Option<LogSink<'a>>,
    tail: VecDeque<u8>,
}

impl StderrTail<'_> {
    /// Returns the last lines as a single line.
    fn last_lines(&self) -> String {
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        let text = String::from_utf8_lossy(&tail);
        // Programs separate the updates of a progress bar with carriage returns.
        let lines = text.split(['\n', '\r']).map(|line| line.replace(char::is_control, " "));
        let lines: Vec<String> =
            lines.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
        let first = lines.len().saturating_sub(STDERR_LINES);
        lines.get(first..).unwrap_or_default().join("; ")
    }
}

impl Sink for StderrTail<'_> {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(log) = &mut self.log {
            log.write(bytes);
        }
        self.tail.extend(bytes);
        let surplus = self.tail.len().saturating_sub(STDERR_MAX);
        self.tail.drain(..surplus);
    }
}

struct CappedOutput(Vec<u8>);

impl Sink for CappedOutput {
    fn write(&mut self, bytes: &[u8]) {
        let room = OUTPUT_MAX.saturating_sub(self.0.len());
        self.0.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}

fn io_error(path: &Path, source: std::io::Error) -> CommandError {
    CommandError::Start { program: path.display().to_string(), source }
}
