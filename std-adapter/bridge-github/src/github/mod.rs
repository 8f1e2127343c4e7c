//! An interface to GitHub's API.

mod check_runs;
mod credentials;
mod error;
mod gate;
mod http_cache;
mod json;
mod octocrab_api;
mod rate;

use datakit_github::{Commit, Hash, Pr, PrId, PrState, Ref, RefId, Repo, Status, Text};

pub(crate) use self::credentials::{App, AppKey, Credentials};
pub(crate) use self::error::{ApiError, Result};
pub(crate) use self::gate::Gate;
pub(crate) use self::octocrab_api::OctocrabApi;
pub(crate) use self::rate::Rate;

use crate::secret::Secret;

/// The fields to change in a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PrChange {
    /// The pull request.
    pub(crate) id: PrId,
    /// The new title.
    pub(crate) title: Option<Text>,
    /// The new state.
    pub(crate) state: Option<PrState>,
    /// The new base branch.
    pub(crate) base: Option<Text>,
}

/// A list that GitHub returns in pages.
#[derive(Debug)]
pub(crate) struct PagedList<T> {
    /// All items. If the list has multiple pages, items that existed throughout the read may be
    /// missing, because removing another item during the read moves later items to earlier pages.
    pub(crate) items: Vec<T>,
    /// The number of pages that were read.
    pub(crate) pages: usize,
}

/// The address to which GitHub delivers events, and the secret with which it signs them.
#[derive(Debug, Clone)]
pub(crate) struct Hook {
    /// The public URL.
    pub(crate) url: String,
    /// The secret.
    pub(crate) secret: Secret,
}

/// The calls that the bridge makes to GitHub.
///
/// A method that reads a list returns an error if any page of the list cannot be read.
#[allow(async_fn_in_trait, reason = "the bridge is one task")]
pub(crate) trait Api {
    /// Reads all open pull requests with their comments.
    async fn open_prs(&self, repo: &Repo) -> Result<PagedList<Pr>>;
    /// Reads a single pull request, whether open or closed. Returns `None` if the repository is
    /// visible but the pull request does not exist.
    async fn pr(&self, id: &PrId) -> Result<Option<Pr>>;
    /// Reads all branches and tags, except refs that point to files or directories.
    async fn refs(&self, repo: &Repo) -> Result<PagedList<Ref>>;
    /// Reads one ref. Returns `None` if the repository is visible but the ref does not exist.
    async fn reference(&self, id: &RefId) -> Result<Option<Ref>>;
    /// Reads the latest status of each context.
    async fn statuses(&self, commit: &Commit) -> Result<Vec<Status>>;
    /// Changes a pull request. Returns the pull request after the change.
    async fn set_pr(&self, change: &PrChange) -> Result<Pr>;
    /// Creates a ref.
    async fn create_ref(&self, reference: &Ref) -> Result<()>;
    /// Moves a ref to a commit, which does not have to be a descendant of the old commit.
    async fn move_ref(&self, id: &RefId, head: Hash) -> Result<()>;
    /// Deletes a ref.
    async fn delete_ref(&self, id: &RefId) -> Result<()>;
    /// Adds a status.
    async fn set_status(&self, status: &Status) -> Result<()>;
    /// Registers a webhook, or updates the existing webhook with the same URL.
    async fn ensure_hook(&self, repo: &Repo, hook: &Hook) -> Result<()>;
}
