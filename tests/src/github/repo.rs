//! A repository and what it contains.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The object that a ref or an annotated tag points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// `commit`, `tag`, `tree` or `blob`.
    pub kind: String,
    /// The object's hash.
    pub sha: String,
}

impl Object {
    /// A commit.
    pub fn commit(sha: &str) -> Self {
        Self { kind: "commit".into(), sha: sha.into() }
    }
}

/// A commit. All commits have the empty tree.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The hash of the commit, as git computes it.
    pub sha: String,
    /// The hash of the tree.
    pub tree: String,
    /// The parents' hashes.
    pub parents: Vec<String>,
    /// The message.
    pub message: String,
    /// Author and committer.
    pub author: String,
    /// The time of the commit in seconds since 1970.
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
    /// The time of the tag in seconds since 1970.
    pub at: i64,
}

/// A pull request.
#[derive(Clone, Debug)]
pub struct Pull {
    /// The identifier, which is unique in the fake.
    pub id: u64,
    /// The number in the repository.
    pub number: u64,
    /// The author's login.
    pub user: String,
    /// The title.
    pub title: String,
    /// The description.
    pub body: Option<String>,
    /// Whether it is open.
    pub open: bool,
    /// Whether it was merged. A merged pull request is closed.
    pub merged: bool,
    /// The owner of the branch that is to be merged.
    pub head_owner: String,
    /// The branch that is to be merged.
    pub head_ref: String,
    /// The commit at its head.
    pub head_sha: String,
    /// The branch to merge into.
    pub base: String,
    /// The commit at the head of the base branch when the request was made or retargeted.
    pub base_sha: String,
    /// When it was opened.
    pub created: i64,
    /// When it was last changed.
    pub updated: i64,
    /// When it was closed.
    pub closed: Option<i64>,
}

/// A comment on a pull request.
#[derive(Clone, Debug)]
pub struct Comment {
    /// The identifier, which is unique in the fake.
    pub id: u64,
    /// The number of the pull request.
    pub number: u64,
    /// The author's login.
    pub user: String,
    /// The text.
    pub body: String,
    /// When it was written.
    pub created: i64,
    /// When it was last changed.
    pub updated: i64,
}

/// A commit status.
#[derive(Clone, Debug)]
pub struct Status {
    /// The identifier, which is unique in the fake.
    pub id: u64,
    /// `error`, `failure`, `pending` or `success`.
    pub state: String,
    /// The context, such as `ci/build`.
    pub context: String,
    /// The text for people.
    pub description: Option<String>,
    /// The page with details.
    pub target_url: Option<String>,
    /// The login of its creator.
    pub creator: String,
    /// When it was created.
    pub at: i64,
}

/// The check runs of one app for one commit.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The identifier, which is unique in the fake.
    pub id: u64,
    /// The app that creates the runs.
    pub app: u64,
    /// The commit.
    pub sha: String,
    /// When it was created.
    pub created: i64,
}

/// A check run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The identifier, which is unique in the fake.
    pub id: u64,
    /// The suite that contains it.
    pub suite: u64,
    /// The app that created it.
    pub app: u64,
    /// The name.
    pub name: String,
    /// The commit.
    pub sha: String,
    /// `queued`, `in_progress` or `completed`.
    pub status: String,
    /// The result of a completed run.
    pub conclusion: Option<String>,
    /// The page with details.
    pub details_url: Option<String>,
    /// The creator's own identifier.
    pub external_id: String,
    /// The title, the summary and the text of the output.
    pub output: [Option<String>; 3],
    /// When it started.
    pub started: i64,
    /// When it was completed.
    pub completed: Option<i64>,
}

/// A webhook of a repository.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The identifier, which is unique in the fake.
    pub id: u64,
    /// The address that events are sent to.
    pub url: String,
    /// The key of the signature.
    pub secret: Option<String>,
    /// Whether the body is JSON instead of a form.
    pub json: bool,
    /// `insecure_ssl` of the configuration.
    pub insecure: String,
    /// The names of the events.
    pub events: Vec<String>,
    /// Whether events are sent.
    pub active: bool,
    /// When it was created.
    pub created: i64,
    /// When it was last changed.
    pub updated: i64,
    /// The status of the last delivery.
    pub last: Option<u16>,
}

/// A repository.
#[derive(Clone, Debug)]
pub struct Repo {
    /// The number, which survives renames.
    pub id: u64,
    /// The owner's login.
    pub owner: String,
    /// The name without the owner.
    pub name: String,
    /// Whether it is hidden from everybody except its members.
    pub private: bool,
    /// The logins with write access.
    pub members: BTreeSet<String>,
    /// The default branch.
    pub default_branch: String,
    /// When it was created.
    pub created: i64,
    /// When it was last pushed to.
    pub pushed: i64,
    /// The commits by hash.
    pub commits: HashMap<String, Commit>,
    /// The annotated tags by hash.
    pub tags: HashMap<String, Tag>,
    /// The refs by full name, such as `refs/heads/master`.
    pub refs: BTreeMap<String, Object>,
    /// The pull requests by number.
    pub pulls: BTreeMap<u64, Pull>,
    /// The comments by identifier.
    pub comments: BTreeMap<u64, Comment>,
    /// The statuses of each commit, oldest first.
    pub statuses: HashMap<String, Vec<Status>>,
    /// The check suites by identifier.
    pub suites: BTreeMap<u64, Suite>,
    /// The check runs by identifier.
    pub runs: BTreeMap<u64, Run>,
    /// The webhooks by identifier.
    pub hooks: BTreeMap<u64, Hook>,
    /// The number of the next pull request.
    pub next_number: u64,
}

impl Repo {
    /// The owner and the name.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// The commit at the head of a branch.
    pub fn head(&self, branch: &str) -> Option<&str> {
        self.refs.get(&format!("refs/heads/{branch}")).map(|object| object.sha.as_str())
    }

    /// Whether `ancestor` is `sha` or one of its ancestors.
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
