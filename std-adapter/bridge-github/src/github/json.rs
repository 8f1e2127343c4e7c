//! The parts of GitHub's responses that the bridge uses.

use datakit_github::{
    Comment, Commit, Context, Description, Hash, Pr, PrId, PrState, Repo, Status, StatusId,
    StatusState, Text,
};
use serde::Deserialize;
use serde_json::Value;

/// Returns an object that contains only the fields whose values are not `None`.
pub(super) fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let present = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(present.collect())
}

/// The login that GitHub shows for deleted accounts.
const GHOST: &str = "ghost";

/// An account.
#[derive(Debug, Deserialize)]
pub(super) struct User {
    login: String,
}

/// A pull request.
#[derive(Debug, Deserialize)]
pub(super) struct Pull {
    pub(super) number: u64,
    state: String,
    title: String,
    body: Option<String>,
    user: Option<User>,
    head: Head,
    base: Base,
    created_at: String,
    updated_at: String,
    /// The number of comments. GitHub omits this number from lists of pull requests.
    comments: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Head {
    sha: String,
}

#[derive(Debug, Deserialize)]
struct Base {
    #[serde(rename = "ref")]
    name: String,
}

impl Pull {
    /// Returns `true` if the pull request may have comments. A pull request that has not been
    /// updated since it was opened has no comments.
    pub(super) fn may_have_comments(&self) -> bool {
        self.comments.map_or(self.created_at != self.updated_at, |comments| comments > 0)
    }

    /// Returns the pull request with its description and comments, or `None` if its head hash is
    /// invalid.
    pub(super) fn to_pr(&self, repo: &Repo, comments: Vec<IssueComment>) -> Option<Pr> {
        let owner = login(self.user.as_ref());
        let description =
            Comment { id: 0, user: owner.clone(), body: self.body.clone().unwrap_or_default() };
        let comments = comments.into_iter().map(|comment| Comment {
            id: comment.id,
            user: login(comment.user.as_ref()),
            body: comment.body.unwrap_or_default(),
        });
        Some(Pr {
            id: PrId { repo: repo.clone(), number: self.number },
            head: Hash::parse(&self.head.sha).ok()?,
            state: PrState::parse(&self.state),
            title: Text::from(&*self.title),
            owner,
            base: Text::from(&*self.base.name),
            comments: std::iter::once(description).chain(comments).collect(),
        })
    }
}

fn login(user: Option<&User>) -> Text {
    Text::from(user.map_or(GHOST, |user| &user.login))
}

/// A comment on a pull request.
#[derive(Debug, Deserialize)]
pub(super) struct IssueComment {
    id: u64,
    user: Option<User>,
    body: Option<String>,
}

/// A ref.
#[derive(Debug, Deserialize)]
pub(super) struct GitRef {
    #[serde(rename = "ref")]
    pub(super) name: String,
    pub(super) object: GitObject,
}

/// The object that a ref or an annotated tag points to.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct GitObject {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) sha: String,
}

/// An annotated tag.
#[derive(Debug, Deserialize)]
pub(super) struct GitTag {
    pub(super) object: GitObject,
}

/// The latest statuses of a commit.
#[derive(Debug, Deserialize)]
pub(super) struct Combined {
    pub(super) total_count: usize,
    pub(super) statuses: Vec<CommitStatus>,
}

/// A commit status.
#[derive(Debug, Deserialize)]
pub(super) struct CommitStatus {
    state: String,
    context: Option<String>,
    description: Option<String>,
    target_url: Option<String>,
}

impl CommitStatus {
    /// Returns the status, or `None` if its context is invalid.
    pub(super) fn to_status(&self, commit: &Commit) -> Option<Status> {
        let context = parse_context(commit, self.context.as_deref().unwrap_or_default())?;
        Some(Status {
            id: StatusId { commit: commit.clone(), context },
            state: StatusState::parse(&self.state),
            description: present(&self.description).map(Description::from),
            target_url: present(&self.target_url).map(Text::from),
        })
    }
}

fn parse_context(commit: &Commit, text: &str) -> Option<Context> {
    let parsed = Context::new(text);
    if let Err(error) = &parsed {
        tracing::warn!(%commit, %error, "left out a status");
    }
    parsed.ok()
}

fn present(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.trim().is_empty())
}

/// The check runs of a commit.
#[derive(Debug, Deserialize)]
pub(super) struct CheckRuns {
    pub(super) total_count: usize,
    pub(super) check_runs: Vec<CheckRun>,
}

/// A check run.
#[derive(Debug, Deserialize)]
pub(super) struct CheckRun {
    pub(super) id: u64,
    name: String,
    status: String,
    conclusion: Option<String>,
    details_url: Option<String>,
    external_id: Option<String>,
    output: Option<CheckOutput>,
}

#[derive(Debug, Deserialize)]
struct CheckOutput {
    title: Option<String>,
}

impl CheckRun {
    /// Marks a check run that the bridge created without a URL. For such a check run, GitHub shows
    /// the app's own URL.
    pub(super) const NO_URL: &str = "no-url";
    /// Marks a check run that the bridge created without a description. GitHub requires a title
    /// even for such a check run.
    pub(super) const NO_DESCRIPTION: &str = "no-description";

    /// Returns the check run as a status, or `None` if its name is not a valid context.
    pub(super) fn to_status(&self, commit: &Commit) -> Option<Status> {
        let context = parse_context(commit, &self.name)?;
        let state = match (self.status.as_str(), self.conclusion.as_deref()) {
            ("completed", Some("success" | "neutral" | "skipped")) => StatusState::Success,
            ("completed", Some("failure")) => StatusState::Failure,
            ("completed", _) => StatusState::Error,
            _ => StatusState::Pending,
        };
        let marks = self.external_id.as_deref().unwrap_or_default();
        let has = |mark| !marks.split(',').any(|found| found == mark);
        let (has_url, has_title) = (has(CheckRun::NO_URL), has(CheckRun::NO_DESCRIPTION));
        let title = self.output.as_ref().and_then(|output| present(&output.title));
        let title = title.filter(|_| has_title);
        Some(Status {
            id: StatusId { commit: commit.clone(), context },
            state,
            description: title.map(Description::from),
            target_url: present(&self.details_url).filter(|_| has_url).map(Text::from),
        })
    }
}

/// A webhook.
#[derive(Debug, Deserialize)]
pub(super) struct HookJson {
    pub(super) id: u64,
    pub(super) config: HookConfig,
}

#[derive(Debug, Deserialize)]
pub(super) struct HookConfig {
    pub(super) url: Option<String>,
}
