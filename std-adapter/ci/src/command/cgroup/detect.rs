//! Finds the control groups of this process.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Controller, PREFIX, Parent, remove};

/// Finds the groups in which this process can create groups, and removes groups left by crashed
/// processes.
pub(super) fn find_parents() -> Vec<Parent> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let found = own_groups(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
    let mut parents = Vec::new();
    for (dir, version2) in found {
        remove_stale(&dir, true);
        // This directory is created only to find out whether groups can be created.
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

/// Returns this process's groups in the version 2 hierarchy and in the version 1 hierarchy that has
/// the `pids` controller. The second value is `true` for version 2.
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

/// Enables the controllers for the children of a version 2 group. Returns the controllers that are
/// available.
fn enable_controllers(dir: &Path) -> BTreeSet<Controller> {
    let read = |file: &str| -> BTreeSet<Controller> {
        let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
        let has = |controller: &Controller| text.split_whitespace().any(|n| n == controller.name());
        Controller::ALL.into_iter().filter(has).collect()
    };
    let (available, enabled) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    // Only the root group can both contain processes and enable controllers for its children. The
    // root group does not have this file. In any other group, the CI therefore moves itself to a
    // child group.
    if enabled != available && dir.join("cgroup.type").exists() {
        let own = dir.join(format!("{PREFIX}main"));
        let _ = fs::create_dir(&own);
        let moved = fs::write(own.join("cgroup.procs"), std::process::id().to_string());
        if let Err(error) = moved {
            tracing::info!(dir = %own.display(), %error, "cannot move to a control group");
        }
    }
    // A single write either enables all controllers or fails because the group has processes. If
    // only some of the controllers were enabled, the group would become threaded and processes
    // could not join its children.
    let all: Vec<String> = available.iter().map(|found| format!("+{}", found.name())).collect();
    if let Err(error) = fs::write(dir.join("cgroup.subtree_control"), all.join(" ")) {
        tracing::info!(dir = %dir.display(), %error, "cannot enable control group controllers");
    }
    read("cgroup.subtree_control")
}

/// Removes the groups left behind by processes that no longer exist. If `own` is `true`, groups
/// named after the id of this process are also removed, because an earlier process with the same id
/// has left them behind.
pub(super) fn remove_stale(dir: &Path, own: bool) {
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
        // The group is outside the root of the mount.
        assert_eq!(own_groups("0::/user.slice", MOUNTS), []);
        assert_eq!(own_groups("", MOUNTS), []);
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
