//! One server for a repository, and the end of the locks that a killed one left.
//!
//! A branch is locked by the file `BRANCH.lock`, which says nothing of who made it and which nobody
//! removes after a SIGKILL or a power failure: the branch could never be moved again. Hence
//! `datakit.lock`, which is held by the kernel's `flock` for as long as the process lives: who has
//! it knows that no other server is there, and may clear away after the last one. The file itself
//! stays.
//!
//! Plain `git` does not ask for `datakit.lock`. It holds a branch for an instant only, so a lock is
//! left alone unless it has been the same for [`GRACE`], which is also as long as git itself waits
//! for `packed-refs.lock`.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::files::Files;
use crate::{Error, Result};

/// How long the lock of a living program may stay as it is.
const GRACE: Duration = Duration::from_secs(1);

/// Held while the repository is in use.
pub(super) struct Owner(File);

impl Drop for Owner {
    fn drop(&mut self) {
        // A program that is being started has the file as well, for an instant, and would keep the
        // lock that long.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Owner {
    /// Of the repository `dir` with the branches of `common`. `None` where nothing can be written,
    /// and so nothing is in the way.
    pub(super) fn of(dir: &Path, common: &Path, files: &Files) -> Result<Option<Owner>> {
        let path = common.join("datakit.lock");
        // Not open to be written: a disk can become read-only meanwhile.
        let file = match File::open(&path).or_else(|_| {
            File::create(&path).and_then(|new| files.adopt(&new)).and_then(|()| File::open(&path))
        }) {
            Ok(file) => file,
            Err(error) => {
                return match Error::io(path.display(), &error) {
                    Error::ReadOnly(_) => Ok(None),
                    other => Err(other),
                };
            }
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Error::Store(format!(
                    "{}: another datakit serves this repository",
                    dir.display()
                )));
            }
            Err(error) => return Err(Error::io(path.display(), &error.into())),
        }
        match clear(common)
            .map_err(|error| Error::io(format_args!("old locks in {}", common.display()), &error))
        {
            Ok(()) | Err(Error::ReadOnly(_)) => Ok(Some(Owner(file))),
            Err(other) => Err(other),
        }
    }
}

/// Removes the locks that nobody holds any more.
fn clear(common: &Path) -> io::Result<()> {
    let mut locks = Vec::new();
    collect(&common.join("refs"), &mut locks)?;
    let linked = fs::read_dir(common.join("worktrees")).into_iter().flatten().flatten();
    let heads = linked.map(|entry| entry.path().join("HEAD.lock"));
    // Without its lock, nobody writes the new one. An index may be locked for as long as somebody
    // writes a message.
    let others = ["packed-refs.lock", "packed-refs.new", "HEAD.lock"].map(|name| common.join(name));
    for path in others.into_iter().chain(heads) {
        if let Some(found) = there(fs::symlink_metadata(&path))? {
            locks.push((path, found));
        }
    }
    if locks.iter().any(|(_, found)| !is_old(found)) {
        std::thread::sleep(GRACE);
    }
    for (path, found) in locks {
        let Some(now) = there(fs::symlink_metadata(&path))? else { continue };
        if same(&found) == same(&now) {
            tracing::warn!("{}: left by a program that was killed, removed", path.display());
            there(fs::remove_file(&path))?;
        }
    }
    Ok(())
}

fn is_old(found: &Metadata) -> bool {
    found.modified().ok().and_then(|time| time.elapsed().ok()).is_some_and(|age| age >= GRACE)
}

fn same(found: &Metadata) -> (u64, u64, i64, i64) {
    (found.dev(), found.ino(), found.mtime(), found.mtime_nsec())
}

fn collect(dir: &Path, locks: &mut Vec<(PathBuf, Metadata)>) -> io::Result<()> {
    let Some(entries) = there(fs::read_dir(dir))? else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let Some(found) = there(entry.metadata())? else { continue };
        let path = entry.path();
        if found.is_dir() {
            collect(&path, locks)?;
        } else if path.extension().is_some_and(|extension| extension == "lock") {
            locks.push((path, found));
        }
    }
    Ok(())
}

/// Others may remove what was just there.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::Place;
    use crate::store::{Git, RefUpdate, Store};
    use crate::{BranchName, Error};

    #[test]
    fn a_repository_is_served_once() {
        let place = Place::new("once");
        let first = Git::open(&place.0).unwrap();
        assert!(
            matches!(Git::open(&place.0), Err(Error::Store(text)) if text.contains("another datakit"))
        );
        drop(first);
        Git::open(&place.0).unwrap();
    }

    #[test]
    fn locks_that_a_killed_server_left_are_removed() {
        let place = Place::new("killed");
        let store = Git::open(&place.0).unwrap();
        let (id, dir) = (super::super::tests::commit(&store, "a"), store.dir());
        drop(store);
        std::fs::create_dir_all(dir.join("refs/heads/deep")).unwrap();
        std::fs::create_dir_all(dir.join("worktrees/w")).unwrap();
        let files = [
            "refs/heads/deep/one.lock",
            "packed-refs.lock",
            "packed-refs.new",
            "HEAD.lock",
            "worktrees/w/HEAD.lock",
        ];
        let locks = ["refs/heads/master.lock", "index.lock"]
            .into_iter()
            .chain(files)
            .map(|lock| dir.join(lock));
        for lock in locks.clone() {
            std::fs::write(lock, "").unwrap();
        }
        let store = Git::open(&place.0).unwrap();
        let left: Vec<_> = locks.filter(|lock| lock.exists()).collect();
        assert_eq!(left, [dir.join("index.lock")]);
        for branch in ["master", "deep/one"] {
            let branch = BranchName::new(branch).unwrap();
            assert!(
                store
                    .update(&[], &[RefUpdate { branch: &branch, from: None, to: Some(id) }])
                    .unwrap()
            );
            assert!(
                store
                    .update(&[], &[RefUpdate { branch: &branch, from: Some(id), to: None }])
                    .unwrap()
            );
        }
    }
}
