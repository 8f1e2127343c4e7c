//! Locks that a program left behind when it was killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// No program holds the lock of a branch for so long: it writes 41 bytes under it.
const BRANCH: Duration = Duration::from_secs(1);

/// All branches may be written under this one.
const PACKED: Duration = Duration::from_secs(5);

/// Removes locks that nobody gives up. Looks once, and waits only where there is one: a server that was killed may be started again
/// at once, and `git` may be at work meanwhile.
pub(super) fn remove_locks(dir: &Path) {
    let mut locks = Vec::new();
    find(&dir.join("refs").join("heads"), &mut locks);
    let packed = dir.join("packed-refs.lock");
    let begun = Instant::now();
    while begun.elapsed() < BRANCH && locks.iter().any(|lock| lock.exists()) {
        std::thread::sleep(Duration::from_millis(20));
    }
    locks.iter().for_each(|lock| remove(lock));
    while begun.elapsed() < PACKED && packed.exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    remove(&packed);
}

fn find(dir: &Path, locks: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&path, locks);
        } else if path.extension().is_some_and(|extension| extension == "lock") {
            locks.push(path);
        }
    }
}

fn remove(lock: &Path) {
    // Gone already, or in the way of the first commit, which then says so.
    if fs::remove_file(lock).is_ok() {
        tracing::warn!("{} was left behind by a program that died: removed", lock.display());
    }
}
