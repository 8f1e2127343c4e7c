//! Downloads commits.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

use datakit_github::Commit;

use super::{Repository, RepositoryError};
use crate::Target;
use crate::build::BuildLog;
use crate::pool::Holder;
use crate::term::Progress;

impl Repository {
    /// Downloads a target's commit and its history, unless the commit has already been fetched.
    /// Waits until other fetches of this repository have finished. During the wait, `progress`
    /// shows `Waiting for lock on DIR`.
    ///
    /// If the future is dropped, `git` is killed.
    ///
    /// # Errors
    /// Returns [`RepositoryError::NoCommit`] if the remote repository does not have the commit.
    /// Returns other errors if the download fails or exceeds its limits.
    pub async fn fetch(
        &self,
        target: &Target,
        commit: &Commit,
        progress: &Progress,
        log: &BuildLog,
    ) -> Result<(), RepositoryError> {
        self.fetch_with(target, commit, Some(progress), log).await
    }

    /// Same as [`fetch`](Repository::fetch), but without progress reports.
    pub(super) async fn fetch_quietly(
        &self,
        target: &Target,
        commit: &Commit,
        log: &BuildLog,
    ) -> Result<(), RepositoryError> {
        self.fetch_with(target, commit, None, log).await
    }

    async fn fetch_with(
        &self,
        target: &Target,
        commit: &Commit,
        progress: Option<&Progress>,
        log: &BuildLog,
    ) -> Result<(), RepositoryError> {
        if self.contains(commit).await? {
            return self.keep(commit).await;
        }
        let show = |text: String| {
            if let Some(progress) = progress {
                progress.text(text);
            }
        };
        let holder = Holder::new(commit.repo.to_string(), target.to_string());
        let _lock = self.0.fetching.acquire_with(&holder, progress).await?;
        if self.contains(commit).await? {
            return self.keep(commit).await;
        }
        show(format!("Fetching {target}"));
        self.remove_incomplete_packs().await?;
        let retry = self.0.options.retry;
        let (mut attempt, mut pause) = (1, retry.pause);
        while let Err(error) = self.download(target, commit, log).await {
            self.remove_incomplete_packs().await?;
            if attempt >= retry.attempts || !error.is_temporary() {
                return Err(error);
            }
            log.line(&format!("{error}; next attempt in {pause:?}"));
            show(format!("Attempt {attempt} failed: {error}; next in {pause:?}"));
            tokio::time::sleep(pause).await;
            (attempt, pause) = (attempt + 1, pause.saturating_mul(2).min(retry.pause_max));
        }
        self.keep(commit).await?;
        self.collect_garbage(log).await;
        Ok(())
    }

    async fn download(
        &self,
        target: &Target,
        commit: &Commit,
        log: &BuildLog,
    ) -> Result<(), RepositoryError> {
        self.fetch_ref(&reference(target), log).await?;
        if self.contains(commit).await? {
            return Ok(());
        }
        // The branch has moved away from the commit, for example after a force push. Servers such
        // as GitHub still provide the commit by its hash.
        let absent = || RepositoryError::NoCommit { commit: commit.clone(), url: self.url() };
        match self.fetch_ref(commit.hash.to_string().as_ref(), log).await {
            Ok(()) if self.contains(commit).await? => Ok(()),
            Ok(()) | Err(RepositoryError::Failed { .. }) => Err(absent()),
            Err(error) => Err(error),
        }
    }

    async fn fetch_ref(&self, reference: &OsStr, log: &BuildLog) -> Result<(), RepositoryError> {
        log.line(&format!("$ git fetch {} {}", self.url(), reference.display()));
        // Progress reports distinguish a slow download from one that makes no progress.
        let options = ["fetch", "--progress", "--no-tags", "--no-write-fetch-head", "source"];
        let args: Vec<&OsStr> = options.iter().map(OsStr::new).chain([reference]).collect();
        self.remote(&self.git_dir(), log).run(&args).await.map(drop)
    }

    /// Returns `true` if the commit has been downloaded.
    ///
    /// # Errors
    /// Returns an error if `git` cannot be run.
    pub async fn contains(&self, commit: &Commit) -> Result<bool, RepositoryError> {
        let object = format!("{}^{{commit}}", commit.hash);
        let found = self.local(&self.git_dir(), 0).status(&["cat-file", "-e", &object]).await?;
        Ok(found.code == Some(0))
    }

    /// Creates a ref that points to the commit, so that garbage collection does not remove the
    /// commit and the next fetch does not download it again.
    async fn keep(&self, commit: &Commit) -> Result<(), RepositoryError> {
        let hash = commit.hash.to_string();
        let name = format!("{KEPT}{hash}");
        self.local(&self.git_dir(), 0).run(&["update-ref", &name, &hash]).await.map(drop)
    }

    /// Repacks the objects if there are many packs.
    async fn collect_garbage(&self, log: &BuildLog) {
        let args = ["gc", "--auto", "--quiet"];
        if let Err(error) = self.local(&self.git_dir(), 0).run(&args).await {
            // The clone is still usable.
            log.line(&format!("{error}"));
        }
    }

    /// Removes the refs to the oldest commits.
    pub(super) async fn forget_old_commits(&self) -> Result<(), RepositoryError> {
        let dir = self.git_dir();
        let list = ["for-each-ref", "--sort=-creatordate", "--format=%(refname)", KEPT];
        let refs = self.local(&dir, 1 << 26).run(&list).await?;
        let refs = String::from_utf8_lossy(&refs.stdout);
        for name in refs.lines().skip(self.0.options.commits) {
            self.local(&dir, 0).run(&["update-ref", "-d", name]).await?;
        }
        Ok(())
    }
}

/// The prefix of the refs to downloaded commits.
const KEPT: &str = "refs/ci/";

/// Returns the name of a target's ref in the remote repository.
fn reference(target: &Target) -> OsString {
    match target {
        Target::Pr(id) => format!("refs/pull/{}/head", id.number).into(),
        Target::Ref(id) => OsString::from_vec([&b"refs/"[..], &id.name.to_bytes()].concat()),
    }
}
