//! Subprocesses that are killed along with their descendants.

use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// A subprocess in its own process group. The children of the subprocess, such as an `ssh` process
/// started by `git`, belong to the same group. Dropping the `ProcessGroup` kills the whole group.
///
/// The processes in the group do not receive signals from the terminal and cannot prompt the user.
#[derive(Debug)]
pub(super) struct ProcessGroup {
    leader: Child,
    ended: bool,
}

impl ProcessGroup {
    pub(super) fn spawn(command: &mut Command) -> io::Result<ProcessGroup> {
        Ok(ProcessGroup { leader: command.process_group(0).spawn()?, ended: false })
    }

    /// Waits until the subprocess exits, but does not kill its children.
    pub(super) fn wait(mut self) -> io::Result<ExitStatus> {
        let status = self.leader.wait()?;
        self.ended = true;
        Ok(status)
    }

    /// Sends SIGTERM to the group, and then SIGKILL if any process is still running after `grace`.
    pub(super) fn terminate(mut self, grace: Duration) {
        let Some(group) = self.id() else { return };
        let _ = kill_process_group(group, Signal::TERM);
        let deadline = Instant::now() + grace;
        while !self.ended && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
            // If the leader has exited, reap it, because a zombie process still counts as a member
            // of the group.
            let reaped = !matches!(self.leader.try_wait(), Ok(None));
            self.ended = reaped && test_kill_process_group(group).is_err();
        }
    }

    /// Returns the id of the group, which is the process id of its leader.
    fn id(&self) -> Option<Pid> {
        i32::try_from(self.leader.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if !self.ended {
            // Ignore the error returned if the group is empty.
            let _ = self.id().map(|group| kill_process_group(group, Signal::KILL));
            let _ = self.leader.wait();
        }
    }
}

impl Deref for ProcessGroup {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.leader
    }
}

impl DerefMut for ProcessGroup {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.leader
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::Stdio;

    use super::*;

    /// Starts a shell and waits for the first byte of its output. The returned stream reaches EOF
    /// when all processes that inherited the other end of the stream have exited.
    fn shell(script: &str) -> (ProcessGroup, impl Read) {
        let mut command = Command::new("sh");
        let mut group =
            ProcessGroup::spawn(command.args(["-c", script]).stdout(Stdio::piped())).unwrap();
        let mut output = group.stdout.take().unwrap();
        output.read_exact(&mut [0]).unwrap();
        (group, output)
    }

    fn read_rest(mut output: impl Read) -> String {
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        rest
    }

    #[test]
    fn drop_kills_children_of_the_subprocess() {
        let (group, output) = shell("sleep 1000 & printf x; wait");
        drop(group);
        assert_eq!(read_rest(output), "");
    }

    #[test]
    fn sigterm_leaves_time_to_clean_up() {
        let start = Instant::now();
        let (group, output) = shell(
            "(trap 'sleep 0.1; printf clear; exit' TERM; printf x; while :; do sleep 0.01; done) & wait",
        );
        group.terminate(Duration::from_secs(60));
        assert_eq!(read_rest(output), "clear");
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn kills_a_process_group_that_ignores_sigterm() {
        let (group, output) = shell("trap '' TERM; printf x; while :; do sleep 0.01; done");
        group.terminate(Duration::from_millis(50));
        assert_eq!(read_rest(output), "");
    }

    #[test]
    fn wait_leaves_background_children_running() {
        let (group, output) = shell("(sleep 0.1; printf late) & printf x");
        assert!(group.wait().unwrap().success());
        assert_eq!(read_rest(output), "late");
    }
}
