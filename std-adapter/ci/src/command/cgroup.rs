//! Control groups, which limit the resources of all processes of a command together.
//!
//! Each command runs in its own control group. When the command ends, the kernel kills all processes
//! in the group, including those that have left the process group of the command.
//!
//! The CI uses the version 2 hierarchy if it may create groups in it, for example because its systemd
//! unit contains `Delegate=yes`. Some systems attach the controller `pids` to a version 1 hierarchy.
//! The CI then uses this controller too, because nothing else limits the number of processes of
//! root.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Limits;

/// The prefix of the names of groups. The process id of the CI and a number follow.
const PREFIX: &str = "datakit-ci-";

/// The time for which the removal of a group is repeated. A group can be removed when all of its
/// processes have ended.
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

    /// Returns whether the group enforces limits on a resource.
    pub(super) fn limits(&self, controller: Controller) -> bool {
        self.controllers.contains(&controller)
    }

    /// Returns the files to which a process writes its id to join the groups.
    pub(crate) fn join_files(&self) -> impl Iterator<Item = PathBuf> {
        self.dirs.iter().map(|dir| dir.join("cgroup.procs"))
    }

    /// Returns the limits that the command has reached.
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
            // A process may have been forked after the last attempt.
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

/// Finds the groups in which this process can create groups, and removes the groups of processes
/// that have crashed.
fn find_parents() -> Vec<Parent> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let found = own_groups(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
    let mut parents = Vec::new();
    for (dir, version2) in found {
        remove_stale(&dir, true);
        // This directory only shows whether groups can be created.
        let probe = dir.join(format!("{PREFIX}{}-probe", std::process::id()));
        if let Err(error) = fs::create_dir(&probe) {
            tracing::info!(dir = %dir.display(), %error, "cannot create control groups");
            continue;
        }
        let _ = fs::remove_dir(&probe);
        let controllers =
            if version2 { enable_controllers(&dir) } else { BTreeSet::from([Controller::Pids]) };
        parents.push(Parent { dir, controllers });
    }
    parents
}

/// Returns the groups of this process in the version 2 hierarchy and in the version 1 hierarchy with
/// the controller `pids`. The second value is `true` for version 2.
fn own_groups(cgroup: &str, mountinfo: &str) -> Vec<(PathBuf, bool)> {
    let mut found = Vec::new();
    for line in cgroup.lines() {
        let mut fields = line.splitn(3, ':');
        let (_, Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let version2 = controllers.is_empty();
        if !version2 && !controllers.split(',').any(|name| name == "pids") {
            continue;
        }
        let mount = mountinfo.lines().find_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let (root, point) = mount.split(' ').skip(3).zip(mount.split(' ').skip(4)).next()?;
            let mut kind = kind.split(' ');
            let matches = match kind.next()? {
                "cgroup2" => version2,
                "cgroup" => !version2 && kind.nth(1)?.split(',').any(|option| option == "pids"),
                _ => false,
            };
            matches.then_some((root, point))
        });
        let Some((root, point)) = mount else { continue };
        let Ok(relative) = Path::new(path).strip_prefix(root) else { continue };
        found.push((Path::new(point).join(relative), version2));
    }
    found
}

/// Makes the controllers available to the groups in a version 2 group. Returns those that are
/// available.
fn enable_controllers(dir: &Path) -> BTreeSet<Controller> {
    let read = |file: &str| -> BTreeSet<Controller> {
        let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
        let has = |controller: &Controller| text.split_whitespace().any(|n| n == controller.name());
        Controller::ALL.into_iter().filter(has).collect()
    };
    let (available, enabled) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    // Only the root group can have processes and make controllers available to its groups. It does
    // not have this file. The CI therefore moves itself to another group.
    if enabled != available && dir.join("cgroup.type").exists() {
        let own = dir.join(format!("{PREFIX}main"));
        let _ = fs::create_dir(&own);
        let moved = fs::write(own.join("cgroup.procs"), std::process::id().to_string());
        if let Err(error) = moved {
            tracing::info!(dir = %own.display(), %error, "cannot move to a control group");
        }
    }
    // A single write either enables all controllers or fails because the group has processes. With
    // only some controllers, the group would become threaded, and processes could not join the groups
    // in it.
    let all: Vec<String> = available.iter().map(|found| format!("+{}", found.name())).collect();
    if let Err(error) = fs::write(dir.join("cgroup.subtree_control"), all.join(" ")) {
        tracing::info!(dir = %dir.display(), %error, "cannot enable the controllers of control groups");
    }
    read("cgroup.subtree_control")
}

/// Kills the processes that earlier processes of the CI have left in their control groups. A process
/// leaves some behind only if it was killed itself.
pub(crate) fn remove_stale_groups() {
    for parent in PARENTS.get_or_init(find_parents) {
        remove_stale(&parent.dir, false);
    }
}

/// Removes the groups of processes that no longer exist. `own` says whether a group with the id of
/// this process is left from an earlier process that had the same id.
fn remove_stale(dir: &Path, own: bool) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Some((id, _)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')) else {
            continue;
        };
        let is_stale = id.parse::<u32>().is_ok_and(|id| {
            let is_own = id == std::process::id();
            (own && is_own) || (!is_own && !Path::new("/proc").join(id.to_string()).exists())
        });
        if is_stale {
            remove(&[entry.path()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
25 1 0:23 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
26 25 0:24 / /sys/fs/cgroup/pids rw,relatime shared:3 - cgroup cgroup rw,pids
27 25 0:25 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
28 25 0:26 /system.slice /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate";

    #[test]
    fn own_groups_are_found_in_both_versions() {
        let groups = "8:pids:/a\n4:memory:/b\n0::/system.slice/ci.service";
        let expected = [
            (PathBuf::from("/sys/fs/cgroup/pids/a"), false),
            (PathBuf::from("/sys/fs/cgroup/unified/ci.service"), true),
        ];
        assert_eq!(own_groups(groups, MOUNTS), expected);
        // The group is not below the root of the mount.
        assert_eq!(own_groups("0::/user.slice", MOUNTS), []);
        assert_eq!(own_groups("", MOUNTS), []);
    }

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

    #[test]
    fn process_leaves_its_group_before_controllers_are_enabled_at_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "cpuset cpu memory pids\n").unwrap();
        enable_controllers(dir.path());
        let written = fs::read_to_string(dir.path().join("cgroup.subtree_control")).unwrap();
        assert_eq!(written, "+memory +cpu +pids");
        let own = dir.path().join("datakit-ci-main");
        assert!(!own.exists(), "the root group can keep its processes");
        fs::write(dir.path().join("cgroup.type"), "domain\n").unwrap();
        enable_controllers(dir.path());
        let moved = fs::read_to_string(own.join("cgroup.procs")).unwrap();
        assert_eq!(moved, std::process::id().to_string());
    }

    #[test]
    fn stale_groups_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["datakit-ci-999999999-3", "datakit-ci-main", "other", "datakit-ci-1-0"];
        for name in names {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        remove_stale(dir.path(), true);
        let left = names.map(|name| dir.path().join(name).exists());
        assert_eq!(left, [false, true, true, true]);
    }
}
