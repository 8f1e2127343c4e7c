//! The directory of a repository.
//!
//! The directory contains `repository.git` (the bare clone), `worktrees` (one directory per job),
//! `trash` (directories that are being removed), and the `lock` file.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::{Repository, RepositoryError};
use crate::command::{remove_stale_groups, remove_tree};

pub(super) const WORKTREES: &str = "worktrees";
pub(super) const TRASH: &str = "trash";

/// The maximum directory depth of the search for stale locks.
const DEPTH_MAX: usize = 16;

pub(super) fn git_dir(dir: &Path) -> PathBuf {
    dir.join("repository.git")
}

/// Creates the directory, locks it, and removes everything that a crashed process left behind.
pub(super) async fn prepare(dir: PathBuf) -> Result<File, RepositoryError> {
    let blocking = tokio::task::spawn_blocking(move || prepare_blocking(&dir));
    blocking.await.unwrap_or_else(|error| Err(RepositoryError::at("open")(io::Error::other(error))))
}

fn prepare_blocking(dir: &Path) -> Result<File, RepositoryError> {
    fs::create_dir_all(dir).map_err(RepositoryError::at(dir))?;
    let path = dir.join("lock");
    let lock = File::options().create(true).append(true).open(&path);
    let lock = lock.map_err(RepositoryError::at(&path))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(RepositoryError::InUse { dir: dir.to_owned() });
        }
        Err(error) => return Err(RepositoryError::at(path)(error.into())),
    }
    // Processes left behind by a killed CI could still write to the directory.
    remove_stale_groups();
    let git_dir = git_dir(dir);
    for name in [dir.join(WORKTREES), dir.join(TRASH), git_dir.join("worktrees")] {
        remove_tree(&name).map_err(RepositoryError::at(&name))?;
    }
    for name in [dir.join(WORKTREES), dir.join(TRASH)] {
        fs::create_dir_all(&name).map_err(RepositoryError::at(&name))?;
    }
    let is_left = |name: &str| name.ends_with(".lock") || name == "gc.pid" || is_temporary(name);
    // No `git` process is using the directory, because this process holds its lock.
    remove_files(&git_dir, DEPTH_MAX, &is_left).map_err(RepositoryError::at(&git_dir))?;
    Ok(lock)
}

/// Returns `true` if this is a name that `git` gives to an incomplete object or pack.
fn is_temporary(name: &str) -> bool {
    name.starts_with("tmp_")
}

/// Removes files left by `git` processes that were killed. `is_left` selects the files by name.
fn remove_files(dir: &Path, depth: usize, is_left: &dyn Fn(&str) -> bool) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if depth > 0 {
                remove_files(&entry.path(), depth - 1, is_left)?;
            }
        } else if is_left(&name) {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file if it still exists. A `git` process that receives a signal removes its own files,
/// possibly at the same time.
fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

impl Repository {
    /// Removes incomplete packs left by earlier fetches, which can be large. The caller must hold
    /// the fetch lock.
    pub(super) async fn remove_incomplete_packs(&self) -> Result<(), RepositoryError> {
        let dir = self.git_dir().join("objects/pack");
        let error = RepositoryError::at(dir.clone());
        let removed = tokio::task::spawn_blocking(move || remove_files(&dir, 0, &is_temporary));
        removed.await.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(error)
    }

    /// Creates the bare clone if it does not exist.
    pub(super) async fn init(&self) -> Result<(), RepositoryError> {
        let (git_dir, new) = (self.git_dir(), self.dir().join("repository.new"));
        if !git_dir.join("HEAD").exists() {
            remove_tree(&new).map_err(RepositoryError::at(&new))?;
            fs::create_dir_all(&new).map_err(RepositoryError::at(&new))?;
            let args = ["init", "--bare", "--quiet", "--template=", "--initial-branch=none"];
            self.local(&new, 0).run(&args).await?;
            remove_tree(&git_dir).map_err(RepositoryError::at(&git_dir))?;
            fs::rename(&new, &git_dir).map_err(RepositoryError::at(&git_dir))?;
        }
        self.forget_old_commits().await
    }
}
