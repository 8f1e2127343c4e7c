//! Programs that end with all that they have started.

use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// A running program with what it has started and that has not left its process group, as `git`
/// starts `ssh`. All of it is killed when this is dropped.
///
/// Signals of a terminal do not reach it, and it cannot ask anything there.
#[derive(Debug)]
pub(crate) struct Group {
    child: Child,
    ended: bool,
}

impl Group {
    pub(crate) fn start(command: &mut Command) -> io::Result<Group> {
        Ok(Group { child: command.process_group(0).spawn()?, ended: false })
    }

    /// Waits for the end of the program. What it leaves running goes on: it may have meant to.
    pub(crate) fn wait(mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait()?;
        self.ended = true;
        Ok(status)
    }

    /// Tells all of it to end, and kills after `grace` what does not.
    pub(crate) fn end(mut self, grace: Duration) {
        let Some(group) = self.id() else { return };
        let _ = kill_process_group(group, Signal::TERM);
        let until = Instant::now() + grace;
        while !self.ended && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
            // While the program is not waited for, it counts as one of the group.
            let waited = !matches!(self.child.try_wait(), Ok(None));
            self.ended = waited && test_kill_process_group(group).is_err();
        }
    }

    /// The number of the group is that of the program.
    fn id(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended {
            // It fails when nothing is left.
            let _ = self.id().map(|group| kill_process_group(group, Signal::KILL));
            let _ = self.child.wait();
        }
    }
}

impl Deref for Group {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Group {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::Stdio;

    use super::*;

    /// A shell, once it has said that it is ready, and its output, which ends with the last that
    /// has it.
    fn shell(script: &str) -> (Group, impl Read) {
        let mut group =
            Group::start(Command::new("sh").args(["-c", script]).stdout(Stdio::piped())).unwrap();
        let mut output = group.stdout.take().unwrap();
        output.read_exact(&mut [0]).unwrap();
        (group, output)
    }

    fn rest(mut output: impl Read) -> String {
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        rest
    }

    #[test]
    fn what_a_program_started_ends_with_it() {
        let (group, output) = shell("sleep 1000 & printf x; wait");
        drop(group);
        assert_eq!(rest(output), "");
    }

    #[test]
    fn it_may_clear_up() {
        let begun = Instant::now();
        let (group, output) = shell(
            "(trap 'sleep 0.1; printf clear; exit' TERM; printf x; while :; do sleep 0.01; done) & wait",
        );
        group.end(Duration::from_secs(60));
        assert_eq!(rest(output), "clear");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn who_will_not_end_is_killed() {
        let (group, output) = shell("trap '' TERM; printf x; while :; do sleep 0.01; done");
        group.end(Duration::from_millis(50));
        assert_eq!(rest(output), "");
    }

    #[test]
    fn what_it_leaves_running_goes_on() {
        let (group, output) = shell("(sleep 0.1; printf late) & printf x");
        assert!(group.wait().unwrap().success());
        assert_eq!(rest(output), "late");
    }
}
