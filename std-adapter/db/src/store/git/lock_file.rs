//! Lock files that are compatible with Git's lock files. To update `NAME`, a program creates the
//! `NAME.lock` file, writes the new content to it and renames it to `NAME`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::file_policy::FilePolicy;

/// The maximum delay between attempts to acquire a lock.
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// A lock file that this process holds. Dropping the `LockFile` removes the lock file and any
/// parent directories that are empty.
#[derive(Debug)]
pub(super) struct LockFile {
    /// The path of the locked file.
    target: PathBuf,
    path: PathBuf,
    /// The directory below which empty parent directories are removed.
    top: PathBuf,
    pub(super) file: File,
    committed: bool,
}

/// An error returned by [`LockFile::acquire`].
#[derive(Debug)]
pub(super) enum LockError {
    /// There is a file at this path, but a directory is required.
    NotADirectory(PathBuf),
    /// Another program still held the lock file at this path when the deadline passed.
    Timeout(PathBuf),
    /// A system call failed.
    Io(io::Error),
}

/// Schedules retries with increasing delays until a deadline.
pub(super) struct Backoff {
    deadline: Instant,
    pause: Duration,
}

impl Backoff {
    pub(super) fn until(deadline: Instant) -> Backoff {
        Backoff { deadline, pause: Duration::ZERO }
    }

    /// Sleeps until the next attempt. If the deadline has passed, returns `false` without sleeping.
    pub(super) fn wait(&mut self) -> bool {
        if Instant::now() >= self.deadline {
            return false;
        }
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).clamp(Duration::from_micros(200), MAX_PAUSE);
        true
    }
}

impl LockFile {
    /// Locks the `target` file, which is below the `top` directory, and creates missing parent
    /// directories.
    ///
    /// Retries if another program creates or removes a parent directory at the same time. For
    /// example, `git pack-refs` removes empty directories.
    pub(super) fn acquire(
        target: &Path,
        top: &Path,
        policy: &FilePolicy,
        deadline: Instant,
    ) -> Result<LockFile, LockError> {
        let path = with_suffix(target, ".lock");
        let mut backoff = Backoff::until(deadline);
        loop {
            let error =
                match OpenOptions::new().write(true).create_new(true).mode(0o666).open(&path) {
                    Ok(file) => {
                        let (target, top) = (target.to_owned(), top.to_owned());
                        let lock = LockFile { target, path, top, file, committed: false };
                        return policy.apply(&lock.file).map(|()| lock).map_err(LockError::Io);
                    }
                    Err(error) => error,
                };
            match error.kind() {
                ErrorKind::NotFound => {
                    let created = path.parent().map_or(Ok(()), |dir| policy.create_dirs(top, dir));
                    match created {
                        Err(error) if !is_race(&error) => return Err(LockError::Io(error)),
                        _ => {}
                    }
                }
                ErrorKind::NotADirectory => {
                    if let Some(file) = file_above(target, top) {
                        return Err(LockError::NotADirectory(file));
                    }
                }
                ErrorKind::AlreadyExists => {}
                _ => return Err(LockError::Io(error)),
            }
            if !backoff.wait() {
                return Err(if error.kind() == ErrorKind::AlreadyExists {
                    LockError::Timeout(path)
                } else {
                    LockError::Io(error)
                });
            }
        }
    }

    /// Releases the lock by renaming the lock file to its target. If the target's path is occupied
    /// by a directory that contains only empty directories, that directory is removed first.
    pub(super) fn commit(&mut self, deadline: Instant) -> io::Result<()> {
        let mut backoff = Backoff::until(deadline);
        loop {
            match fs::rename(&self.path, &self.target) {
                Ok(()) => {
                    self.committed = true;
                    return Ok(());
                }
                // Try again, because another program may be creating a branch in the target
                // directory or removing that directory.
                Err(error) if self.target.is_dir() => {
                    remove_empty_dirs(&self.target);
                    if self.target.is_dir() && !backoff.wait() {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if !self.committed {
            // The lock file still exists, because only the lock's holder removes it.
            let _ = fs::remove_file(&self.path);
            remove_empty_parents(&self.path, &self.top);
        }
    }
}

/// Appends a suffix to the last component of a path.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Returns whether the error may have occurred because another program created or removed a
/// directory.
fn is_race(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::AlreadyExists
    )
}

/// Returns the topmost ancestor of `path` that is below `top` and exists but is not a directory.
fn file_above(path: &Path, top: &Path) -> Option<PathBuf> {
    let parents = path.ancestors().skip(1).take_while(|dir| *dir != top && dir.starts_with(top));
    parents
        .filter(|dir| fs::symlink_metadata(dir).is_ok_and(|found| !found.is_dir()))
        .last()
        .map(Path::to_owned)
}

/// Removes a directory and its subdirectories, except for directories that contain files.
pub(super) fn remove_empty_dirs(dir: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_empty_dirs(&entry.path());
    }
    // Ignore the error returned if the directory is not empty.
    let _ = fs::remove_dir(dir);
}

/// Removes the parent directories of `path` that are empty and below `top`.
pub(super) fn remove_empty_parents(path: &Path, top: &Path) {
    let parents = path.ancestors().skip(1).take_while(|dir| *dir != top && dir.starts_with(top));
    for dir in parents {
        if fs::remove_dir(dir).is_err() {
            return;
        }
    }
}
