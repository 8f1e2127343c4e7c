//! A running command and its output.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// The maximum number of processes that receive SIGTERM. Any others receive only SIGKILL.
const DESCENDANTS_MAX: usize = 10_000;

/// Receives the output of a process.
pub(crate) trait Sink {
    /// Receives the next chunk of the output.
    fn write(&mut self, bytes: &[u8]);

    /// Returns how long to wait before reading the next chunk.
    fn delay(&self) -> Duration {
        Duration::ZERO
    }
}

/// A subprocess in its own process group. Dropping the value kills the whole group. In a sandbox,
/// killing the first process also kills processes that have left the group.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// The id of the process group, which is the process id of its leader.
    group: Option<Pid>,
}

impl Process {
    /// Starts a command. The caller must have set the command's standard input.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Process> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        Ok(Process { child, stdout, stderr, group })
    }

    /// Writes data to the standard input of the process in the background.
    pub(super) fn write_input(&mut self, data: Vec<u8>) {
        if let Some(mut stdin) = self.child.stdin.take() {
            // Writing fails if the process has exited.
            tokio::spawn(async move { stdin.write_all(&data).await });
        }
    }

    /// Copies the output to the sinks and waits until the process exits. Output written by
    /// background processes after the process has exited is lost.
    ///
    /// # Cancel safety
    /// If the future is dropped, no output is lost, and the method can be called again.
    pub(crate) async fn wait(
        &mut self,
        out: &mut (impl Sink + ?Sized),
        err: &mut (impl Sink + ?Sized),
    ) -> io::Result<ExitStatus> {
        let group = self.group;
        let Process { child, stdout, stderr, .. } = self;
        let output = async {
            tokio::join!(copy(stdout.as_mut(), out), copy(stderr.as_mut(), err));
        };
        let mut output = std::pin::pin!(output);
        let mut copied = false;
        let status = loop {
            tokio::select! {
                () = &mut output, if !copied => copied = true,
                status = child.wait() => break status?,
            }
        };
        signal_group(group, Signal::KILL);
        if !copied {
            // The processes in the group have been killed, so the output ends soon. Without a
            // sandbox, a process that has left the group can keep the pipe open for longer.
            let _ = tokio::time::timeout(super::GRACE, output).await;
        }
        Ok(status)
    }

    /// Sends SIGTERM to the group and keeps copying the output. Sends SIGKILL if the process is
    /// still running after `grace`.
    pub(crate) async fn terminate(
        mut self,
        grace: Duration,
        out: &mut (impl Sink + ?Sized),
        err: &mut (impl Sink + ?Sized),
    ) {
        signal_group(self.group, Signal::TERM);
        // The group is killed when `self` is dropped.
        let _ = tokio::time::timeout(grace, self.wait(out, err)).await;
    }

    /// Same as [`terminate`](Process::terminate), but sends SIGTERM to all descendants of the
    /// process. If `bwrap` itself received the signal, it would exit immediately, which would kill
    /// the sandbox.
    pub(super) async fn terminate_sandbox(
        mut self,
        grace: Duration,
        out: &mut (impl Sink + ?Sized),
        err: &mut (impl Sink + ?Sized),
    ) {
        let processes = self.group.map(descendants).unwrap_or_default();
        if processes.is_empty() {
            signal_group(self.group, Signal::TERM);
        }
        for process in processes {
            // The call fails if the process has ended.
            let _ = kill_process(process, Signal::TERM);
        }
        let _ = tokio::time::timeout(grace, self.wait(out, err)).await;
    }
}

fn signal_group(group: Option<Pid>, signal: Signal) {
    // The call fails if the group is empty. The kernel does not reuse the id while the group
    // contains a process.
    let _ = group.map(|group| kill_process_group(group, signal));
}

/// Returns the descendants of a process, except for those whose parent has ended.
fn descendants(process: Pid) -> Vec<Pid> {
    let (mut found, mut rest) = (Vec::new(), vec![process]);
    while let Some(parent) = rest.pop() {
        let threads = std::fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero()));
        let mut new = Vec::new();
        for thread in threads.into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(thread.path().join("children"));
            let children = children.unwrap_or_default();
            let ids = children.split_whitespace().filter_map(|id| id.parse().ok());
            new.extend(ids.filter_map(Pid::from_raw));
        }
        found.extend_from_slice(&new);
        rest.extend(new);
        if found.len() > DESCENDANTS_MAX {
            break;
        }
    }
    found
}

impl Drop for Process {
    fn drop(&mut self) {
        signal_group(self.group, Signal::KILL);
    }
}

/// Copies a stream to a sink.
async fn copy(from: Option<impl AsyncRead + Unpin>, sink: &mut (impl Sink + ?Sized)) {
    let Some(mut from) = from else { return };
    let mut buf = vec![0; 8192];
    while let Ok(count @ 1..) = from.read(&mut buf).await {
        sink.write(buf.get(..count).unwrap_or_default());
        let delay = sink.delay();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }
}
