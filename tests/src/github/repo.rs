//! A repository and the objects it contains.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The object to which a ref or an annotated tag points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The kind of object: `commit`, `tag`, `tree` or `blob`.
    pub kind: String,
    /// The object's hash.
    pub sha: String,
}

impl Object {
    /// Returns the object for the commit with the hash `sha`.
    pub fn commit(sha: &str) -> Self {
        Self { kind: "commit".into(), sha: sha.into() }
    }
}

/// A commit. Every commit has the empty tree.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The hash of the commit, computed as in Git.
    pub sha: String,
    /// The hash of the tree.
    pub tree: String,
    /// The parents' hashes.
    pub parents: Vec<String>,
    /// The message.
    pub message: String,
    /// The author, who is also the committer.
    pub author: String,
    /// The commit's timestamp, in seconds since the Unix epoch.
    pub at: i64,
}

/// An annotated tag.
#[derive(Clone, Debug)]
pub struct Tag {
    /// The hash of the tag object.
    pub sha: String,
    /// The name of the tag.
    pub name: String,
    /// The message.
    pub message: String,
    /// The author of the tag.
    pub tagger: String,
    /// The tagged object.
    pub object: Object,
    /// The tag's timestamp, in seconds since the Unix epoch.
    pub at: i64,
}

/// A pull request.
#[derive(Clone, Debug)]
pub struct Pull {
    /// The identifier, which is unique within the fake server.
    pub id: u64,
    /// The number, which is unique within the repository.
    pub number: u64,
    /// The author's login.
    pub user: String,
    /// The title.
    pub title: String,
    /// The description.
    pub body: Option<String>,
    /// Whether the pull request is open.
    pub open: bool,
    /// Whether the pull request has been merged. A merged pull request is closed.
    pub merged: bool,
    /// The owner of the repository that contains the branch to be merged.
    pub head_owner: String,
    /// The branch to be merged.
    pub head_ref: String,
    /// The hash of the commit at the head of the branch to be merged.
    pub head_sha: String,
    /// The base branch, into which the pull request is to be merged.
    pub base: String,
    /// The hash of the base branch's head at the time when the pull request was opened or its base
    /// was last changed.
    pub base_sha: String,
    /// The time at which the pull request was opened.
    pub created: i64,
    /// The time of the last change.
    pub updated: i64,
    /// The time at which the pull request was closed.
    pub closed: Option<i64>,
}

/// A comment on a pull request.
#[derive(Clone, Debug)]
pub struct Comment {
    /// The identifier, which is unique within the fake server.
    pub id: u64,
    /// The number of the pull request.
    pub number: u64,
    /// The author's login.
    pub user: String,
    /// The text.
    pub body: String,
    /// The time at which the comment was written.
    pub created: i64,
    /// The time of the last change.
    pub updated: i64,
}

/// A commit status.
#[derive(Clone, Debug)]
pub struct Status {
    /// The identifier, which is unique within the fake server.
    pub id: u64,
    /// The state: `error`, `failure`, `pending` or `success`.
    pub state: String,
    /// The context, such as `ci/build`.
    pub context: String,
    /// The description for users.
    pub description: Option<String>,
    /// The URL of a page with more details.
    pub target_url: Option<String>,
    /// The login of the person or app that created the status.
    pub creator: String,
    /// The time of creation.
    pub at: i64,
}

/// One app's check runs for one commit.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The identifier, which is unique within the fake server.
    pub id: u64,
    /// The app that created the suite.
    pub app: u64,
    /// The commit.
    pub sha: String,
    /// The time of creation.
    pub created: i64,
}

/// A check run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The identifier, which is unique within the fake server.
    pub id: u64,
    /// The check suite that contains the run.
    pub suite: u64,
    /// The app that created the run.
    pub app: u64,
    /// The name.
    pub name: String,
    /// The commit.
    pub sha: String,
    /// The status: `queued`, `in_progress` or `completed`.
    pub status: String,
    /// The conclusion of a completed run.
    pub conclusion: Option<String>,
    /// The URL of a page with more details.
    pub details_url: Option<String>,
    /// An identifier that the app chose for the run.
    pub external_id: String,
    /// The title, summary and text of the output.
    pub output: [Option<String>; 3],
    /// The time at which the run started.
    pub started: i64,
    /// The time at which the run was completed.
    pub completed: Option<i64>,
}

/// A webhook of a repository.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The identifier, which is unique within the fake server.
    pub id: u64,
    /// The URL to which events are sent.
    pub url: String,
    /// The key with which deliveries are signed.
    pub secret: Option<String>,
    /// Whether the body of a delivery is JSON rather than form data.
    pub json: bool,
    /// The configuration's `insecure_ssl` value.
    pub insecure: String,
    /// The names of the events.
    pub events: Vec<String>,
    /// Whether events are sent to the webhook.
    pub active: bool,
    /// The time of creation.
    pub created: i64,
    /// The time of the last change.
    pub updated: i64,
    /// The status of the last delivery.
    pub last: Option<u16>,
}

/// A repository.
#[derive(Clone, Debug)]
pub struct Repo {
    /// The id, which does not change when the repository is renamed.
    pub id: u64,
    /// The owner's login.
    pub owner: String,
    /// The name without the owner.
    pub name: String,
    /// Whether the repository is visible only to its members.
    pub private: bool,
    /// The logins with write access.
    pub members: BTreeSet<String>,
    /// The default branch.
    pub default_branch: String,
    /// The time of creation.
    pub created: i64,
    /// The time of the last push.
    pub pushed: i64,
    /// The commits, keyed by hash.
    pub commits: HashMap<String, Commit>,
    /// The annotated tags, keyed by hash.
    pub tags: HashMap<String, Tag>,
    /// The refs, keyed by full name, such as `refs/heads/master`.
    pub refs: BTreeMap<String, Object>,
    /// The pull requests, keyed by number.
    pub pulls: BTreeMap<u64, Pull>,
    /// The comments, keyed by identifier.
    pub comments: BTreeMap<u64, Comment>,
    /// The statuses of each commit, oldest first.
    pub statuses: HashMap<String, Vec<Status>>,
    /// The check suites, keyed by identifier.
    pub suites: BTreeMap<u64, Suite>,
    /// The check runs, keyed by identifier.
    pub runs: BTreeMap<u64, Run>,
    /// The webhooks, keyed by identifier.
    pub hooks: BTreeMap<u64, Hook>,
    /// The number that will be assigned to the next pull request.
    pub next_number: u64,
}

impl Repo {
    /// Returns the full name, which consists of the owner and the name.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// Returns the hash of the commit at the head of a branch.
    pub fn head(&self, branch: &str) -> Option<&str> {
        self.refs.get(&format!("refs/heads/{branch}")).map(|object| object.sha.as_str())
    }

    /// Returns whether `ancestor` is `sha` itself or an ancestor of it.
    pub fn is_ancestor(&self, ancestor: &str, sha: &str) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), vec![sha]);
        while let Some(sha) = next.pop() {
            if sha == ancestor {
                return true;
            }
            if seen.insert(sha) {
                next.extend(
                    self.commits.get(sha).iter().flat_map(|c| &c.parents).map(String::as_str),
                );
            }
        }
        false
    }
}
