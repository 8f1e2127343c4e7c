//! Control groups, which limit the combined resources of all processes of a command.
//!
//! Each command runs in its own control group. When the command ends, the kernel kills all
//! processes in the group, including those that have left the command's process group.
//!
//! The CI uses the version 2 hierarchy if it can create groups there, for example because its
//! systemd unit contains `Delegate=yes`. Some systems attach the `pids` controller to a version 1
//! hierarchy. The CI then uses this controller as well, because nothing else limits the number of
//! processes of the root user.

mod detect;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Limits;
use detect::{find_parents, remove_stale};

/// The prefix of group names. It is followed by the process id of the CI and a number.
const PREFIX: &str = "datakit-ci-";

/// How long to keep trying to remove a group. A group can be removed once all of its processes have
/// ended.
const REMOVAL: Duration = Duration::from_secs(10);

/// A controller that limits a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Controller {
    Memory,
    Cpu,
    Pids,
}

impl Controller {
    const ALL: [Controller; 3] = [Controller::Memory, Controller::Cpu, Controller::Pids];

    fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Cpu => "cpu",
            Controller::Pids => "pids",
        }
    }
}

/// A group in which the CI can create groups.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parent {
    dir: PathBuf,
    controllers: BTreeSet<Controller>,
}

/// The groups of a command, one in each hierarchy. Dropping the value kills all processes in the
/// groups and removes the groups.
#[derive(Debug)]
pub(crate) struct Cgroup {
    dirs: Vec<PathBuf>,
    controllers: BTreeSet<Controller>,
}

static PARENTS: OnceLock<Vec<Parent>> = OnceLock::new();
static CREATED: AtomicU64 = AtomicU64::new(0);

impl Cgroup {
    /// Creates the groups of a command. If the CI cannot create groups, the result has no
    /// controllers.
    pub(crate) fn create(limits: &Limits) -> Cgroup {
        Cgroup::create_in(PARENTS.get_or_init(find_parents), limits)
    }

    fn create_in(parents: &[Parent], limits: &Limits) -> Cgroup {
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let mut group = Cgroup { dirs: Vec::new(), controllers: BTreeSet::new() };
        for parent in parents {
            let dir = parent.dir.join(&name);
            if let Err(error) = fs::create_dir(&dir) {
                tracing::warn!(dir = %dir.display(), %error, "cannot create a control group");
                continue;
            }
            let set = |controller: &Controller| match set_limit(&dir, *controller, limits) {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(dir = %dir.display(), ?controller, %error, "cannot set a limit");
                    false
                }
            };
            group.controllers.extend(parent.controllers.iter().filter(|found| set(found)));
            group.dirs.push(dir);
        }
        group
    }

    /// Returns `true` if the group enforces limits on a resource.
    pub(super) fn limits(&self, controller: Controller) -> bool {
        self.controllers.contains(&controller)
    }

    /// Returns the files to which a process must write its id in order to join the groups.
    pub(crate) fn join_files(&self) -> impl Iterator<Item = PathBuf> {
        self.dirs.iter().map(|dir| dir.join("cgroup.procs"))
    }

    /// Returns the limits that the command hit.
    pub(super) fn reached(&self) -> Vec<&'static str> {
        let files = [
            ("memory.events", "oom_kill ", "memory"),
            ("pids.events", "max ", "the number of processes"),
        ];
        let reached = |(file, key, limit): (&str, &str, &'static str)| {
            let count = |dir: &PathBuf| {
                let events = fs::read_to_string(dir.join(file)).ok()?;
                let count = events.lines().find_map(|line| line.strip_prefix(key))?;
                count.parse::<u64>().ok()
            };
            self.dirs.iter().filter_map(count).any(|count| count > 0).then_some(limit)
        };
        files.into_iter().filter_map(reached).collect()
    }

    /// Kills all processes in the groups, waits until they have ended, and removes the groups.
    pub(crate) async fn end(mut self) {
        let dirs = std::mem::take(&mut self.dirs);
        if !dirs.is_empty() {
            // If the future is dropped, the task still removes the groups.
            let _ = tokio::task::spawn_blocking(move || remove(&dirs)).await;
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let dirs = std::mem::take(&mut self.dirs);
        if dirs.is_empty() {
            return;
        }
        dirs.iter().for_each(|dir| kill(dir));
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || remove(&dirs))),
            Err(_) => remove(&dirs),
        }
    }
}

fn set_limit(dir: &Path, controller: Controller, limits: &Limits) -> io::Result<()> {
    let write = |file: &str, value: String| fs::write(dir.join(file), value);
    match controller {
        Controller::Pids => match limits.processes {
            Some(count) => write("pids.max", count.to_string()),
            None => Ok(()),
        },
        Controller::Memory => {
            let Some(bytes) = limits.memory else { return Ok(()) };
            write("memory.max", bytes.to_string())?;
            // Without swap accounting, the kernel does not have this file.
            let _ = write("memory.swap.max", "0".to_owned());
            write("memory.oom.group", "1".to_owned())
        }
        Controller::Cpu => match limits.cpu_percent {
            // The quota and the period are in microseconds.
            Some(percent) => write("cpu.max", format!("{} 100000", u64::from(percent) * 1000)),
            None => Ok(()),
        },
    }
}

/// Kills the processes in a group.
fn kill(dir: &Path) {
    // Version 1 and old kernels do not have this file.
    let file = fs::File::options().write(true).open(dir.join("cgroup.kill"));
    if file.is_ok_and(|mut file| io::Write::write_all(&mut file, b"1").is_ok()) {
        return;
    }
    let ids = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for id in ids.lines().filter_map(|id| Pid::from_raw(id.parse().ok()?)) {
        let _ = kill_process(id, Signal::KILL);
    }
}

/// Kills the processes in the groups and removes the groups.
fn remove(dirs: &[PathBuf]) {
    let deadline = Instant::now() + REMOVAL;
    for dir in dirs {
        loop {
            // A process could have forked after the last attempt.
            kill(dir);
            match fs::remove_dir(dir) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(dir = %dir.display(), %error, "cannot remove a control group");
                    break;
                }
                _ => break,
            }
            if Instant::now() > deadline {
                tracing::warn!(dir = %dir.display(), "the control group still has processes");
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Kills the processes that earlier CI processes left in their control groups. A CI process leaves
/// such processes behind only if it is killed.
pub(crate) fn remove_stale_groups() {
    for parent in PARENTS.get_or_init(find_parents) {
        remove_stale(&parent.dir, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_to_the_files_of_the_controllers() {
        let dir = tempfile::tempdir().unwrap();
        let parent = Parent {
            dir: dir.path().to_owned(),
            controllers: Controller::ALL.into_iter().collect(),
        };
        let limits = Limits {
            processes: Some(7),
            memory: Some(1 << 20),
            cpu_percent: Some(150),
            ..Limits::NONE
        };
        let group = Cgroup::create_in(&[parent], &limits);
        let read = |file: &str| fs::read_to_string(group.dirs[0].join(file)).unwrap();
        for (file, value) in [
            ("pids.max", "7"),
            ("memory.max", "1048576"),
            ("memory.swap.max", "0"),
            ("memory.oom.group", "1"),
            ("cpu.max", "150000 100000"),
        ] {
            assert_eq!(read(file), value, "{file}");
        }
        assert!(Controller::ALL.into_iter().all(|controller| group.limits(controller)));
        assert!(group.reached().is_empty());
        fs::write(group.dirs[0].join("memory.events"), "low 0\noom 1\noom_kill 1\n").unwrap();
        fs::write(group.dirs[0].join("pids.events"), "max 0\n").unwrap();
        assert_eq!(group.reached(), ["memory"]);
    }
}
