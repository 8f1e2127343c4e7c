//! The jobs' working directories.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use datakit_github::Commit;

use super::open::{TRASH, WORKTREES};
use super::{Repository, RepositoryError};
use crate::command::remove_tree;
use crate::pool::{Holder, PoolGuard};
use crate::term::Progress;

/// A directory that contains the files of a commit. Dropping the value removes the directory.
///
/// The directory belongs to one job. The CI never runs `git` in it, because the job could have
/// changed the configuration that `git` would read.
pub struct Worktree {
    path: PathBuf,
    commit: Commit,
    repository: Repository,
    /// Releases the pool slot to the next job after the directory has been removed.
    place: Option<PoolGuard>,
}

impl Repository {
    /// Checks out a commit that has been fetched. Waits if there are too many worktrees.
    ///
    /// If the future is dropped, the worktree is removed.
    ///
    /// # Errors
    /// Returns an error if the commit has not been fetched or cannot be checked out.
    pub async fn worktree(
        &self,
        commit: &Commit,
        holder: &Holder,
        progress: &Progress,
    ) -> Result<Worktree, RepositoryError> {
        self.worktree_with(commit, holder, Some(progress)).await
    }

    /// Same as [`worktree`](Repository::worktree), but does not report the wait if `progress` is
    /// `None`.
    pub(super) async fn worktree_with(
        &self,
        commit: &Commit,
        holder: &Holder,
        progress: Option<&Progress>,
    ) -> Result<Worktree, RepositoryError> {
        let place = self.0.worktrees.acquire_with(holder, progress).await?;
        let number = self.0.created.fetch_add(1, Ordering::Relaxed);
        let hash = commit.hash.to_string();
        let name = format!("{}-{number}", hash.get(..12).unwrap_or(&hash));
        let worktree = Worktree {
            path: self.dir().join(WORKTREES).join(name),
            commit: commit.clone(),
            repository: self.clone(),
            place: Some(place),
        };
        self.add(&worktree.path, &hash).await?;
        // Several checkouts can run at the same time.
        let (option, path) = (OsStr::new("--work-tree"), worktree.path.as_os_str());
        let args = [option, path, "reset".as_ref(), "--hard".as_ref(), "--quiet".as_ref()];
        self.local(&worktree.entry(), 0).run(&args).await?;
        Ok(worktree)
    }

    /// Adds a worktree to the git directory without writing its files.
    async fn add(&self, path: &Path, hash: &str) -> Result<(), RepositoryError> {
        let options = ["worktree", "add", "--no-checkout", "--detach", "--quiet"];
        let args = options.iter().map(OsStr::new).chain([path.as_os_str(), hash.as_ref()]);
        let args: Vec<&OsStr> = args.collect();
        let _adding = self.0.adding.lock().await;
        self.local(&self.git_dir(), 0).run(&args).await.map(drop)
    }
}

impl Worktree {
    /// Returns the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the commit.
    #[must_use]
    pub fn commit(&self) -> &Commit {
        &self.commit
    }

    /// Returns the repository.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns the worktree's directory in the git directory.
    fn entry(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default();
        self.repository.git_dir().join("worktrees").join(name)
    }
}

impl Drop for Worktree {
    fn drop(&mut self) {
        let name = self.path.file_name().unwrap_or_default().to_owned();
        let trash = self.repository.dir().join(TRASH);
        let (trash, entry_trash) =
            (trash.join(&name), trash.join(format!("{}.git", name.display())));
        // Rename the directory first so that no other code sees it partly removed.
        let path = match fs::rename(&self.path, &trash) {
            Ok(()) => trash,
            Err(_) => self.path.clone(),
        };
        let entry = self.entry();
        let (place, repository) = (self.place.take(), self.repository.clone());
        let remove = move || {
            {
                let _adding = repository.0.adding.blocking_lock();
                // The directory does not exist if `git worktree add` failed.
                let _ = fs::rename(&entry, &entry_trash);
            }
            for dir in [path, entry_trash, entry] {
                if let Err(error) = remove_tree(&dir) {
                    tracing::warn!(dir = %dir.display(), %error, "cannot remove a worktree");
                }
            }
            drop((place, repository));
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

impl fmt::Debug for Worktree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worktree").field("path", &self.path).finish_non_exhaustive()
    }
}
