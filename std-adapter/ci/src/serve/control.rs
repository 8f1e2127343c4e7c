//! A local socket that reports the states of targets.
//!
//! A client sends a target name followed by a newline. The server replies with an explanation and
//! closes the connection. Only the user that runs the server can connect.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use datakit_ci::term::explain as explain_node;
use datakit_ci::{Target, View};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::AnyError;
use crate::args::ExplainArgs;

/// The name of the socket in the work directory.
const SOCKET: &str = "control.sock";
/// The maximum number of connections.
const CONNECTIONS_MAX: usize = 16;
/// The maximum length of a target name.
const NAME_MAX: u64 = 4096;
/// The maximum duration of a connection.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A socket that is removed when this value is dropped.
pub(super) struct Control {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

/// Listens on the socket in the work directory.
pub(super) fn listen(work_dir: &Path, view: View) -> Result<Control, AnyError> {
    let path = work_dir.join(SOCKET);
    // A server that was killed leaves its socket behind. Two running servers must not share a work
    // directory, because they would use the same clones.
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        return Err(format!("another CI server uses {}", work_dir.display()).into());
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let task = tokio::spawn(accept(listener, view));
    Ok(Control { path, task })
}

async fn accept(listener: UnixListener, view: View) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Accepting a connection can fail if too many files are open.
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let view = view.clone();
        tokio::spawn(async move {
            // Ignore errors from clients that disconnect early.
            let _ = tokio::time::timeout(TIMEOUT, reply(stream, &view)).await;
            drop(permit);
        });
    }
}

async fn reply(mut stream: UnixStream, view: &View) -> io::Result<()> {
    let mut name = String::new();
    let (read, mut write) = stream.split();
    BufReader::new(read.take(NAME_MAX)).read_line(&mut name).await?;
    let text = match name.trim().parse::<Target>() {
        Ok(target) => explanation(&target, view),
        Err(error) => format!("{error}\n"),
    };
    write.write_all(text.as_bytes()).await?;
    write.shutdown().await
}

/// Returns the tests of a target, their states, and the states of the terms they depend on.
fn explanation(target: &Target, view: &View) -> String {
    let Some(shown) = view.target(target) else {
        let unknown = || "it does not exist, or its project is not configured".to_owned();
        let reason = view.problem(target).unwrap_or_else(unknown);
        return format!("{target} is not tested: {reason}\n");
    };
    let mut text = format!("{target} at {}\n", shown.head.hash);
    for job in &shown.jobs {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n{}: {}: {}", job.test, job.result.status.as_str(), job.text());
        for line in explain_node(&job.node).to_string().lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

/// Asks the server that is using the work directory for an explanation, and prints it.
///
/// # Errors
/// Returns an error if no server is using the directory.
pub(crate) async fn explain(args: &ExplainArgs) -> Result<ExitCode, AnyError> {
    let path = args.work_dir.join(SOCKET);
    let mut stream = UnixStream::connect(&path).await.map_err(|error| {
        format!("no CI server uses {} ({error}); set --work-dir", args.work_dir.display())
    })?;
    stream.write_all(format!("{}\n", args.target).as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    print!("{text}");
    let found = text.starts_with(&format!("{} at ", args.target));
    Ok(if found { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        // The socket may already have been removed together with the directory.
        let _ = std::fs::remove_file(&self.path);
    }
}
