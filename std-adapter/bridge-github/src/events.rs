//! Converts webhook events to marks, which identify what must be read from GitHub again.
//!
//! The bridge never relies on the content of an event, because events may be late, duplicated or
//! reordered. An event only marks the pull request, ref or commit that may have changed.

use std::collections::BTreeSet;

use datakit_github::{Commit, DirtyId, Hash, PrId, RefId, RefName, Repo};
use serde::Deserialize;

/// The maximum number of marks. Beyond this number, whole repositories are marked instead of
/// individual pull requests, refs and commits.
const MAX_MARKS: usize = 10_000;

/// A mark, which identifies a repository, pull request, ref or commit that may have changed on
/// GitHub.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mark {
    /// Everything in a repository.
    Repo(Repo),
    /// A pull request.
    Pr(PrId),
    /// A branch or tag.
    Ref(RefId),
    /// A commit whose statuses may have changed.
    Statuses(Commit),
}

impl Mark {
    /// Returns the repository to which the mark applies.
    pub(crate) fn repo(&self) -> &Repo {
        match self {
            Mark::Repo(repo) => repo,
            Mark::Pr(id) => &id.repo,
            Mark::Ref(id) => &id.repo,
            Mark::Statuses(commit) => &commit.repo,
        }
    }
}

impl From<DirtyId> for Mark {
    fn from(id: DirtyId) -> Mark {
        match id {
            DirtyId::Repo(repo) => Mark::Repo(repo),
            DirtyId::Pr(id) => Mark::Pr(id),
            DirtyId::Ref(id) => Mark::Ref(id),
        }
    }
}

/// A set of marks with a limited size.
#[derive(Debug, Default)]
pub(crate) struct Marks(BTreeSet<Mark>);

impl Marks {
    /// Adds a mark.
    pub(crate) fn insert(&mut self, mark: Mark) {
        if self.0.len() >= MAX_MARKS {
            self.0 = self.0.iter().map(|mark| Mark::Repo(mark.repo().clone())).collect();
        }
        self.0.insert(mark);
    }

    /// Removes and returns all marks.
    pub(crate) fn take(&mut self) -> BTreeSet<Mark> {
        std::mem::take(&mut self.0)
    }
}

#[derive(Deserialize)]
struct Payload {
    repository: Option<RepositoryJson>,
    pull_request: Option<NumberJson>,
    issue: Option<IssueJson>,
    check_run: Option<CheckRunJson>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    ref_type: Option<String>,
    sha: Option<String>,
}

#[derive(Deserialize)]
struct RepositoryJson {
    full_name: String,
}

#[derive(Deserialize)]
struct NumberJson {
    number: u64,
}

#[derive(Deserialize)]
struct IssueJson {
    number: u64,
    pull_request: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct CheckRunJson {
    head_sha: String,
}

/// Returns the mark for an event, or `None` if the bridge ignores the event.
///
/// # Errors
/// Returns an error if the payload is not valid for an event of this kind.
pub(crate) fn mark_of(kind: &str, payload: &[u8]) -> Result<Option<Mark>, serde_json::Error> {
    if !matches!(
        kind,
        "create" | "delete" | "push" | "status" | "pull_request" | "issue_comment" | "check_run"
    ) {
        return Ok(None);
    }
    let payload: Payload = serde_json::from_slice(payload)?;
    let Some(repo) = payload.repository.as_ref().and_then(|r| r.full_name.parse().ok()) else {
        return Ok(None);
    };
    Ok(parts(kind, repo, payload))
}

fn parts(kind: &str, repo: Repo, payload: Payload) -> Option<Mark> {
    let statuses = |repo, sha: String| {
        let hash = Hash::parse(sha.to_ascii_lowercase()).ok()?;
        Some(Mark::Statuses(Commit { repo, hash }))
    };
    match kind {
        "pull_request" => {
            let number = payload.pull_request?.number;
            Some(Mark::Pr(PrId { repo, number }))
        }
        "issue_comment" => {
            let issue = payload.issue.filter(|issue| issue.pull_request.is_some())?;
            Some(Mark::Pr(PrId { repo, number: issue.number }))
        }
        "status" => statuses(repo, payload.sha?),
        "check_run" => statuses(repo, payload.check_run?.head_sha),
        _ => {
            let name = payload.reference?;
            let name = match payload.ref_type.as_deref() {
                Some("branch") => format!("heads/{name}"),
                Some("tag") => format!("tags/{name}"),
                _ => name.strip_prefix("refs/")?.to_owned(),
            };
            Some(Mark::Ref(RefId { repo, name: RefName::parse(name).ok()? }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(kind: &str, rest: &str) -> Option<String> {
        let payload = format!(r#"{{"repository":{{"full_name":"a/b"}},{rest}}}"#);
        mark_of(kind, payload.as_bytes()).unwrap().map(|mark| match mark {
            Mark::Repo(repo) => repo.to_string(),
            Mark::Pr(id) => id.to_string(),
            Mark::Ref(id) => id.to_string(),
            Mark::Statuses(commit) => commit.to_string(),
        })
    }

    #[test]
    fn events_mark_what_they_are_about() {
        let sha = "0123456789abcdef0123456789abcdef01234567";
        for (kind, rest, mark) in [
            ("pull_request", r#""pull_request":{"number":7}"#.to_owned(), Some("a/b/pr/7")),
            (
                "issue_comment",
                r#""issue":{"number":7,"pull_request":{}}"#.to_owned(),
                Some("a/b/pr/7"),
            ),
            ("issue_comment", r#""issue":{"number":7}"#.to_owned(), None),
            ("push", r#""ref":"refs/heads/x/y""#.to_owned(), Some("a/b/ref/heads/x/y")),
            ("push", r#""ref":"refs/notes/x""#.to_owned(), None),
            ("create", r#""ref":"v1","ref_type":"tag""#.to_owned(), Some("a/b/ref/tags/v1")),
            ("delete", r#""ref":"v1","ref_type":"branch""#.to_owned(), Some("a/b/ref/heads/v1")),
            ("create", r#""ref":null,"ref_type":"repository""#.to_owned(), None),
            ("status", format!(r#""sha":"{sha}""#), Some(&*format!("a/b/commit/{sha}"))),
            (
                "check_run",
                format!(r#""check_run":{{"head_sha":"{sha}"}}"#),
                Some(&*format!("a/b/commit/{sha}")),
            ),
            ("star", String::new(), None),
        ] {
            let rest = if rest.is_empty() { r#""x":1"#.to_owned() } else { rest };
            assert_eq!(marked(kind, &rest).as_deref(), mark, "{kind} {rest}");
        }
        assert!(mark_of("push", b"{").is_err());
        assert_eq!(mark_of("push", b"{}").unwrap(), None);
        assert_eq!(mark_of("star", b"{").unwrap(), None);
    }

    #[test]
    fn the_number_of_marks_is_limited() {
        let repo: Repo = "a/b".parse().unwrap();
        let mut marks = Marks::default();
        for number in 0..3 * MAX_MARKS as u64 {
            marks.insert(Mark::Pr(PrId { repo: repo.clone(), number }));
            assert!(marks.0.len() <= MAX_MARKS);
        }
        assert!(marks.take().contains(&Mark::Repo(repo)));
        assert!(marks.take().is_empty());
    }
}
