//! The elements of a snapshot (commits, pull requests, refs and statuses) and their ids.

use std::fmt;

use crate::{Context, Description, Hash, RefName, Repo, Text};

/// A commit in a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit {
    /// The repository.
    pub repo: Repo,
    /// The hash.
    pub hash: Hash,
}

/// Identifies a pull request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrId {
    /// The repository.
    pub repo: Repo,
    /// The number.
    pub number: u64,
}

/// Identifies a branch or a tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefId {
    /// The repository.
    pub repo: Repo,
    /// The name.
    pub name: RefName,
}

/// Identifies a status.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusId {
    /// The commit.
    pub commit: Commit,
    /// The context.
    pub context: Context,
}

/// A pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pr {
    /// The repository and the number of the pull request.
    pub id: PrId,
    /// The hash of the head.
    pub head: Hash,
    /// Whether the pull request is open.
    pub state: PrState,
    /// The title.
    pub title: Text,
    /// The author.
    pub owner: Text,
    /// The name of the branch into which the commits are to be merged.
    pub base: Text,
    /// The comments. The description of the pull request is included as the comment with id 0.
    pub comments: Vec<Comment>,
}

/// A comment on a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// The comment's id, or 0 for the description of the pull request.
    pub id: u64,
    /// The author.
    pub user: Text,
    /// The text, which is stored verbatim.
    pub body: String,
}

/// A branch or a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ref {
    /// The repository and the name.
    pub id: RefId,
    /// The hash of the commit to which the ref points.
    pub head: Hash,
}

/// The result of checking a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The commit and the context.
    pub id: StatusId,
    /// The state.
    pub state: StatusState,
    /// A description to show to users.
    pub description: Option<Description>,
    /// The URL of a page with more details.
    pub target_url: Option<Text>,
}

/// Whether a pull request is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrState {
    /// The pull request is open.
    Open,
    /// The pull request was merged or closed.
    Closed,
}

impl PrState {
    /// Returns `open` or `closed`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            PrState::Open => "open",
            PrState::Closed => "closed",
        }
    }

    /// Parses the state. Any text other than `open` is treated as `closed`.
    #[must_use]
    pub fn parse(text: &str) -> PrState {
        if text == PrState::Open.as_str() { PrState::Open } else { PrState::Closed }
    }
}

/// The state of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusState {
    /// The check has not finished.
    Pending,
    /// The check passed.
    Success,
    /// The check failed.
    Failure,
    /// The check could not be performed.
    Error,
}

impl StatusState {
    /// All states.
    pub const ALL: [StatusState; 4] =
        [StatusState::Pending, StatusState::Success, StatusState::Failure, StatusState::Error];

    /// Returns `pending`, `success`, `failure` or `error`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StatusState::Pending => "pending",
            StatusState::Success => "success",
            StatusState::Failure => "failure",
            StatusState::Error => "error",
        }
    }

    /// Parses the state. Any unknown text is treated as `failure`.
    #[must_use]
    pub fn parse(text: &str) -> StatusState {
        let known = StatusState::ALL.into_iter().find(|state| state.as_str() == text);
        known.unwrap_or(StatusState::Failure)
    }
}

impl Pr {
    /// The base branch assumed for a pull request that does not specify one.
    pub const DEFAULT_BASE: &str = "master";

    /// Returns the head commit as an [`Element`].
    #[must_use]
    pub fn commit(&self) -> Commit {
        Commit { repo: self.id.repo.clone(), hash: self.head }
    }
}

impl Ref {
    /// Returns the head commit as an [`Element`].
    #[must_use]
    pub fn commit(&self) -> Commit {
        Commit { repo: self.id.repo.clone(), hash: self.head }
    }
}

/// Identifies an element. The text form is the element's path in the branch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ElementId {
    /// A monitored repository.
    Repo(Repo),
    /// A commit.
    Commit(Commit),
    /// A pull request.
    Pr(PrId),
    /// A branch or a tag.
    Ref(RefId),
    /// A status.
    Status(StatusId),
}

/// An element of a snapshot: a repository, commit, pull request, ref or status.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Element {
    /// A monitored repository.
    Repo(Repo),
    /// A commit.
    Commit(Commit),
    /// A pull request.
    Pr(Pr),
    /// A branch or a tag.
    Ref(Ref),
    /// A status.
    Status(Status),
}

impl Element {
    /// Returns the id.
    #[must_use]
    pub fn id(&self) -> ElementId {
        match self {
            Element::Repo(repo) => ElementId::Repo(repo.clone()),
            Element::Commit(commit) => ElementId::Commit(commit.clone()),
            Element::Pr(pr) => ElementId::Pr(pr.id.clone()),
            Element::Ref(reference) => ElementId::Ref(reference.id.clone()),
            Element::Status(status) => ElementId::Status(status.id.clone()),
        }
    }
}

impl ElementId {
    /// Returns the repository to which the commit, pull request, ref or status belongs.
    #[must_use]
    pub fn repo(&self) -> &Repo {
        match self {
            ElementId::Repo(repo) => repo,
            ElementId::Commit(commit) => &commit.repo,
            ElementId::Pr(pr) => &pr.repo,
            ElementId::Ref(reference) => &reference.repo,
            ElementId::Status(status) => &status.commit.repo,
        }
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/commit/{}", self.repo, self.hash)
    }
}

impl fmt::Display for PrId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/pr/{}", self.repo, self.number)
    }
}

impl fmt::Display for RefId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/ref/{}", self.repo, self.name)
    }
}

impl fmt::Display for StatusId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/status/{}", self.commit, self.context)
    }
}

impl fmt::Display for ElementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ElementId::Repo(repo) => repo.fmt(f),
            ElementId::Commit(commit) => commit.fmt(f),
            ElementId::Pr(pr) => pr.fmt(f),
            ElementId::Ref(reference) => reference.fmt(f),
            ElementId::Status(status) => status.fmt(f),
        }
    }
}

/// Implements `From` for the variants of [`Element`] and [`ElementId`].
macro_rules! from_parts {
    ($($of:ident :: $variant:ident($part:ty)),* $(,)?) => {$(
        impl From<$part> for $of {
            fn from(part: $part) -> $of {
                $of::$variant(part)
            }
        }
    )*};
}

from_parts! {
    Element::Repo(Repo), Element::Commit(Commit), Element::Pr(Pr), Element::Ref(Ref),
    Element::Status(Status),
    ElementId::Repo(Repo), ElementId::Commit(Commit), ElementId::Pr(PrId), ElementId::Ref(RefId),
    ElementId::Status(StatusId),
}
