//! A running command and its output.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use crate::build::BuildLog;

/// A subprocess in a process group of its own. Dropping the value kills the whole group. In a
/// sandbox, killing the first process also kills processes that have left the group.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    ended: bool,
}

impl Process {
    pub(super) fn spawn(command: &mut Command) -> io::Result<Process> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Process { child: command.process_group(0).kill_on_drop(true).spawn()?, ended: false })
    }

    /// Copies the output to the log and waits until the process exits. Output that background
    /// processes write after the process has exited is lost.
    ///
    /// # Cancel safety
    /// If the future is dropped, output that was read but not written to the log is lost.
    pub(super) async fn wait(&mut self, log: &BuildLog) -> io::Result<ExitStatus> {
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let output = async {
            tokio::join!(copy(stdout, log), copy(stderr, log));
        };
        let mut output = std::pin::pin!(output);
        let mut copied = false;
        let status = loop {
            tokio::select! {
                () = &mut output, if !copied => copied = true,
                status = self.child.wait() => break status?,
            }
        };
        self.ended = true;
        self.signal(Signal::KILL);
        if !copied {
            // The processes of the group have been killed, so the output ends soon. Without a
            // sandbox, a process that has left the group may keep the pipe open for longer.
            let _ = tokio::time::timeout(super::GRACE, output).await;
        }
        Ok(status)
    }

    /// Sends SIGTERM to the group. Sends SIGKILL if the process is still running after `grace`.
    pub(super) async fn terminate(mut self, grace: Duration) {
        self.signal(Signal::TERM);
        // The group is killed when `self` is dropped.
        let _ = tokio::time::timeout(grace, self.child.wait()).await;
    }

    fn signal(&self, signal: Signal) {
        let group = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        // The call fails if the group contains no process.
        let _ = group.map(|group| kill_process_group(group, signal));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended {
            self.signal(Signal::KILL);
        }
    }
}

/// Copies a stream to the log. Replaces invalid UTF-8 with U+FFFD.
async fn copy(from: Option<impl AsyncRead + Unpin>, log: &BuildLog) {
    let Some(mut from) = from else { return };
    let (mut buf, mut waiting) = (vec![0; 8192], Vec::new());
    while let Ok(count @ 1..) = from.read(&mut buf).await {
        waiting.extend_from_slice(buf.get(..count).unwrap_or_default());
        let end = complete_characters(&waiting);
        let rest = waiting.split_off(end);
        log.write(&String::from_utf8_lossy(&waiting));
        waiting = rest;
    }
    log.write(&String::from_utf8_lossy(&waiting));
}

/// Returns the length of `bytes` without an incomplete character at the end.
fn complete_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        // Invalid bytes before the end are replaced. An incomplete character has at most three bytes.
        Err(_) => {
            let tail = bytes.len().saturating_sub(3);
            let start =
                (tail..bytes.len()).rev().find(|at| bytes.get(*at).is_some_and(|b| *b >= 0xc0));
            let incomplete = start.filter(|at| {
                let end = bytes.get(*at..).unwrap_or_default();
                std::str::from_utf8(end).is_err_and(|error| error.error_len().is_none())
            });
            incomplete.unwrap_or(bytes.len())
        }
        Ok(_) => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_not_split() {
        for (bytes, length) in [
            (&b"abc"[..], 3),
            (b"ab\xc3", 2),
            (b"ab\xc3\xbc", 4),
            (b"\xff ab\xe2\x82", 4),
            (b"\xff", 1),
            (b"", 0),
        ] {
            assert_eq!(complete_characters(bytes), length, "{bytes:?}");
        }
    }
}
