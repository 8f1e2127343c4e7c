//! Gives a server exclusive use of a repository and removes lock files left behind by a killed
//! server.
//!
//! A branch is locked while the `BRANCH.lock` file exists. If a server is killed or the power
//! fails, the lock file remains and prevents all later changes to the branch. A lock file does not
//! record which program created it. Therefore, every server holds an flock on the `datakit.lock`
//! file while it is running. The kernel releases the flock when the process exits. After
//! a server has acquired the flock, no other server can be running, so old lock files can be
//! removed. The `datakit.lock` file itself is never removed.
//!
//! `git` does not use `datakit.lock`, but it locks branches only very briefly. A lock file that has
//! not changed for [`GRACE`] is therefore considered abandoned. `git` waits just as long for
//! `packed-refs.lock`.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::file_policy::FilePolicy;
use crate::{Error, Result};

/// The time after which an unchanged lock file is considered abandoned.
const GRACE: Duration = Duration::from_secs(1);

/// The exclusive lock on a repository, which is released when the `ServerLock` is dropped.
pub(super) struct ServerLock(File);

impl Drop for ServerLock {
    fn drop(&mut self) {
        // Release the lock explicitly. Closing the file is not enough, because a child process
        // shares the open file until it calls `exec`.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl ServerLock {
    /// Locks the repository whose common Git directory is `dir` and removes abandoned lock files.
    /// Returns `None` if the file system is read-only, because a read-only repository need not be
    /// locked.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if another server holds the lock.
    pub(super) fn acquire(dir: &Path, policy: &FilePolicy) -> Result<Option<ServerLock>> {
        let path = dir.join("datakit.lock");
        // Open an existing file without write access, because the file system may have become
        // read-only.
        let file = match File::open(&path).or_else(|_| {
            let new = File::create(&path)?;
            policy.apply(&new)?;
            File::open(&path)
        }) {
            Ok(file) => file,
            Err(error) => {
                let error = Error::io(path.display(), error);
                return if error.is_read_only() { Ok(None) } else { Err(error) };
            }
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Error::store(format!(
                    "{}: another datakit serves this repository",
                    dir.display()
                )));
            }
            Err(error) => return Err(Error::io(path.display(), std::io::Error::from(error))),
        }
        match remove_abandoned(dir)
            .map_err(|error| Error::io(format_args!("old locks in {}", dir.display()), error))
        {
            Err(error) if !error.is_read_only() => Err(error),
            _ => Ok(Some(ServerLock(file))),
        }
    }
}

/// Removes abandoned lock files.
fn remove_abandoned(common: &Path) -> io::Result<()> {
    let mut locks = Vec::new();
    collect_locks(&common.join("refs"), &mut locks)?;
    let linked = fs::read_dir(common.join("worktrees")).into_iter().flatten().flatten();
    let heads = linked.map(|entry| entry.path().join("HEAD.lock"));
    // `packed-refs.new` exists only while a program holds `packed-refs.lock`. `index.lock` is not
    // listed, because `git commit` holds that lock while the user writes the commit message.
    let others = ["packed-refs.lock", "packed-refs.new", "HEAD.lock"].map(|name| common.join(name));
    for path in others.into_iter().chain(heads) {
        if let Some(found) = unless_missing(fs::symlink_metadata(&path))? {
            locks.push((path, found));
        }
    }
    if locks.iter().any(|(_, found)| !is_old(found)) {
        std::thread::sleep(GRACE);
    }
    for (path, found) in locks {
        let Some(now) = unless_missing(fs::symlink_metadata(&path))? else { continue };
        if identity(&found) == identity(&now) {
            tracing::warn!("removed {}, left by a program that was killed", path.display());
            unless_missing(fs::remove_file(&path))?;
        }
    }
    Ok(())
}

fn is_old(found: &Metadata) -> bool {
    found.modified().ok().and_then(|time| time.elapsed().ok()).is_some_and(|age| age >= GRACE)
}

/// Returns the metadata that changes when a file is replaced or modified.
fn identity(found: &Metadata) -> (u64, u64, i64, i64) {
    (found.dev(), found.ino(), found.mtime(), found.mtime_nsec())
}

fn collect_locks(dir: &Path, locks: &mut Vec<(PathBuf, Metadata)>) -> io::Result<()> {
    let Some(entries) = unless_missing(fs::read_dir(dir))? else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let Some(found) = unless_missing(entry.metadata())? else { continue };
        let path = entry.path();
        if found.is_dir() {
            collect_locks(&path, locks)?;
        } else if path.extension().is_some_and(|extension| extension == "lock") {
            locks.push((path, found));
        }
    }
    Ok(())
}

/// Converts a "not found" error to `None`. This error can occur at any time, because other programs
/// may remove files.
fn unless_missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::{TempRepository, set_branch, write_commit};
    use crate::store::GitStore;

    #[test]
    fn a_second_server_is_refused() {
        let repository = TempRepository::new("once");
        let first = GitStore::open(&repository.0).unwrap();
        assert!(
            matches!(GitStore::open(&repository.0), Err(error) if error.to_string().contains("another datakit"))
        );
        drop(first);
        GitStore::open(&repository.0).unwrap();
    }

    #[test]
    fn locks_of_a_killed_server_are_removed() {
        let repository = TempRepository::new("killed");
        let store = GitStore::open(&repository.0).unwrap();
        let (id, dir) = (write_commit(&store, "a"), store.dir());
        drop(store);
        std::fs::create_dir_all(dir.join("refs/heads/deep")).unwrap();
        std::fs::create_dir_all(dir.join("worktrees/w")).unwrap();
        let locks = [
            "refs/heads/master.lock",
            "index.lock",
            "refs/heads/deep/one.lock",
            "packed-refs.lock",
            "packed-refs.new",
            "HEAD.lock",
            "worktrees/w/HEAD.lock",
        ]
        .map(|lock| dir.join(lock));
        for lock in &locks {
            std::fs::write(lock, "").unwrap();
        }
        let store = GitStore::open(&repository.0).unwrap();
        let left: Vec<_> = locks.iter().filter(|lock| lock.exists()).collect();
        assert_eq!(left, [&dir.join("index.lock")]);
        for branch in ["master", "deep/one"] {
            assert!(set_branch(&store, branch, None, Some(id)));
            assert!(set_branch(&store, branch, Some(id), None));
        }
    }
}
