//! Lock files: `NAME.lock` is made by one program at a time, written, and renamed to `NAME`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::files::Files;

/// The longest pause between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// A lock. It goes when this is dropped, with the directories that have nothing else.
#[derive(Debug)]
pub(super) struct Lock {
    /// What is locked.
    target: PathBuf,
    path: PathBuf,
    /// This directory stays, and those above it.
    top: PathBuf,
    pub(super) file: File,
    placed: bool,
}

/// Why there is no lock.
#[derive(Debug)]
pub(super) enum NoLock {
    /// A file is where a directory would have to be.
    Blocked(PathBuf),
    /// Another program has it for too long.
    Held(PathBuf),
    /// The system refused.
    Io(io::Error),
}

/// Attempts until a moment, with pauses that grow.
pub(super) struct Attempts {
    until: Instant,
    pause: Duration,
}

impl Attempts {
    pub(super) fn until(until: Instant) -> Attempts {
        Attempts { until, pause: Duration::ZERO }
    }

    /// Pauses before the next one. False: it is too late.
    pub(super) fn again(&mut self) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).clamp(Duration::from_micros(200), PAUSE);
        true
    }
}

impl Lock {
    /// Locks `target`, a file in or below `top`. Directories that other programs make and remove
    /// meanwhile are no reason to give up: `git pack-refs` removes one as soon as it is empty.
    pub(super) fn take(
        target: &Path,
        top: &Path,
        files: &Files,
        until: Instant,
    ) -> Result<Lock, NoLock> {
        let path = with_suffix(target, ".lock");
        let mut attempts = Attempts::until(until);
        loop {
            let error =
                match OpenOptions::new().write(true).create_new(true).mode(0o666).open(&path) {
                    Ok(file) => {
                        let (target, top) = (target.to_owned(), top.to_owned());
                        let lock = Lock { target, path, top, file, placed: false };
                        return files.adopt(&lock.file).map(|()| lock).map_err(NoLock::Io);
                    }
                    Err(error) => error,
                };
            match error.kind() {
                ErrorKind::NotFound => {
                    let made = path.parent().map_or(Ok(()), |dir| files.make_dirs(top, dir));
                    match made {
                        Err(error) if !is_race(&error) => return Err(NoLock::Io(error)),
                        _ => {}
                    }
                }
                ErrorKind::NotADirectory => {
                    if let Some(file) = file_above(target, top) {
                        return Err(NoLock::Blocked(file));
                    }
                }
                ErrorKind::AlreadyExists => {}
                _ => return Err(NoLock::Io(error)),
            }
            if !attempts.again() {
                return Err(if error.kind() == ErrorKind::AlreadyExists {
                    NoLock::Held(path)
                } else {
                    NoLock::Io(error)
                });
            }
        }
    }

    /// Gives the lock file the name of what it locks, and so unlocks it. Empty directories of that
    /// name are removed.
    pub(super) fn place(&mut self, until: Instant) -> io::Result<()> {
        let mut attempts = Attempts::until(until);
        loop {
            match fs::rename(&self.path, &self.target) {
                Ok(()) => {
                    self.placed = true;
                    return Ok(());
                }
                // Another program is about to make a branch in there, and then it is in the way, or
                // to remove the directory.
                Err(error) if self.target.is_dir() => {
                    remove_empty(&self.target);
                    if self.target.is_dir() && !attempts.again() {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.placed {
            // It is there: only the holder removes it.
            let _ = fs::remove_file(&self.path);
            remove_empty_above(&self.path, &self.top);
        }
    }
}

/// `path` with something behind it.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Of directories that come and go.
fn is_race(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::AlreadyExists
    )
}

/// The file that is in the place of a directory above `path`.
fn file_above(path: &Path, top: &Path) -> Option<PathBuf> {
    let above = path.ancestors().skip(1).take_while(|dir| *dir != top && dir.starts_with(top));
    above
        .filter(|dir| fs::symlink_metadata(dir).is_ok_and(|found| !found.is_dir()))
        .last()
        .map(Path::to_owned)
}

/// Removes a directory with those in it, if there is nothing but directories.
pub(super) fn remove_empty(dir: &Path) {
    let below = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_empty(&entry.path());
    }
    // What has something in it stays.
    let _ = fs::remove_dir(dir);
}

/// Removes the directories above `path` that are empty, below `top`.
pub(super) fn remove_empty_above(path: &Path, top: &Path) {
    let above = path.ancestors().skip(1).take_while(|dir| *dir != top && dir.starts_with(top));
    for dir in above {
        if fs::remove_dir(dir).is_err() {
            return;
        }
    }
}
