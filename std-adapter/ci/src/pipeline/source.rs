//! The files of the commit under test.

use std::fmt;
use std::future::Future;
use std::path::Path;

use datakit_github::{Commit, RefId, RefKind, RefName};

use crate::Target;
use crate::build::Build;
use crate::causes::with_causes;
use crate::command::Isolation;
use crate::git::{Repository, RepositoryError, Worktree};
use crate::pool::Holder;

/// The commit that a job tests.
#[derive(Debug, Clone)]
pub struct CheckoutRequest<'b> {
    /// The target whose head is the commit.
    pub target: &'b Target,
    /// The commit.
    pub commit: &'b Commit,
    /// The name of the job.
    pub job: &'b str,
    /// The build.
    pub build: &'b Build,
}

/// A directory that contains the files of a commit. Dropping the value removes the directory.
pub trait Checkout: Send + Sync {
    /// Returns the directory.
    fn path(&self) -> &Path;

    /// Adjusts the sandbox for a step that runs in the directory, for example to hide the
    /// directories of other steps. The directory itself is always visible.
    fn isolate(&self, isolation: Isolation) -> Isolation {
        isolation
    }
}

/// The error returned by a [`Source`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// The reason, on one line.
    pub message: String,
    /// Whether the operation might succeed later, for example after a network failure. If this is
    /// `false`, the error is caused by the commit itself.
    pub is_temporary: bool,
}

impl SourceError {
    /// Creates an error for an operation that might succeed later.
    #[must_use]
    pub fn temporary(message: impl Into<String>) -> SourceError {
        SourceError { message: message.into(), is_temporary: true }
    }

    /// Creates an error that is caused by the commit itself.
    #[must_use]
    pub fn permanent(message: impl Into<String>) -> SourceError {
        SourceError { message: message.into(), is_temporary: false }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SourceError {}

impl From<RepositoryError> for SourceError {
    fn from(error: RepositoryError) -> SourceError {
        let is_permanent = matches!(
            error,
            RepositoryError::Url(_)
                | RepositoryError::NotFile { .. }
                | RepositoryError::TooLarge { .. }
        );
        SourceError { message: with_causes(&error), is_temporary: !is_permanent }
    }
}

/// Provides the files of commits.
pub trait Source: Send + Sync + 'static {
    /// A directory that contains the files of a commit.
    type Checkout: Checkout;

    /// Reads a file in the commit. Returns `None` if the path does not exist in the commit.
    ///
    /// # Errors
    /// Returns an error if the commit cannot be read, if the path is not a file, or if the file is
    /// larger than `max` bytes.
    fn read_file(
        &self,
        request: &CheckoutRequest<'_>,
        path: &str,
        max: usize,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, SourceError>> + Send;

    /// Returns the paths that differ between the commit and its merge base with `base`. The commit
    /// `base` is the head of the branch named `branch`. Returns `None` if the paths are unknown or
    /// if there are more than `max` of them.
    ///
    /// # Errors
    /// Returns an error if one of the commits cannot be read.
    fn changed_paths(
        &self,
        request: &CheckoutRequest<'_>,
        branch: &str,
        base: &Commit,
        max: usize,
    ) -> impl Future<Output = Result<Option<Vec<String>>, SourceError>> + Send;

    /// Writes the files of the commit to a new directory.
    ///
    /// # Errors
    /// Returns an error if the commit cannot be read or the files cannot be written.
    fn checkout(
        &self,
        request: &CheckoutRequest<'_>,
    ) -> impl Future<Output = Result<Self::Checkout, SourceError>> + Send;
}

/// A clone provides the files of the commits that it fetches.
impl Source for Repository {
    type Checkout = GitCheckout;

    async fn read_file(
        &self,
        request: &CheckoutRequest<'_>,
        path: &str,
        max: usize,
    ) -> Result<Option<Vec<u8>>, SourceError> {
        fetch(self, request).await?;
        Ok(Repository::read_file(self, request.commit, path, max).await?)
    }

    async fn changed_paths(
        &self,
        request: &CheckoutRequest<'_>,
        branch: &str,
        base: &Commit,
        max: usize,
    ) -> Result<Option<Vec<String>>, SourceError> {
        fetch(self, request).await?;
        let name = RefName::new(RefKind::Heads, branch)
            .map_err(|error| SourceError::permanent(error.to_string()))?;
        let target = Target::Ref(RefId { repo: base.repo.clone(), name });
        fetch(self, &CheckoutRequest { target: &target, commit: base, ..request.clone() }).await?;
        let Some(base) = self.merge_base(base, request.commit).await? else {
            return Ok(None);
        };
        let changed = Repository::changed_paths(self, &base, request.commit, max).await?;
        Ok((!changed.truncated).then_some(changed.paths))
    }

    async fn checkout(&self, request: &CheckoutRequest<'_>) -> Result<GitCheckout, SourceError> {
        fetch(self, request).await?;
        let holder = Holder::new(request.commit.repo.to_string(), request.job);
        let progress = request.build.progress();
        Ok(GitCheckout(self.worktree(request.commit, &holder, progress).await?))
    }
}

async fn fetch(
    repository: &Repository,
    request: &CheckoutRequest<'_>,
) -> Result<(), RepositoryError> {
    let CheckoutRequest { target, commit, build, .. } = request;
    repository.fetch(target, commit, build.progress(), build.log()).await
}

/// A worktree of a clone.
#[derive(Debug)]
pub struct GitCheckout(Worktree);

impl Checkout for GitCheckout {
    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Hides the worktrees of other steps, and makes the history readable.
    fn isolate(&self, isolation: Isolation) -> Isolation {
        let git_dir = self.0.repository().git_dir();
        let dir = git_dir.parent().unwrap_or(&git_dir).to_owned();
        isolation.hide(dir).read_only(git_dir)
    }
}
