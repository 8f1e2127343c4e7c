//! Formats pull requests as JSON.

use serde_json::{Value, json};

use super::{node, repo as repo_json, roots, time, user};
use crate::github::repo::{Pull, Repo};
use crate::github::state::World;
use crate::github::urls::Urls;

/// Returns a pull request in the short form used in lists.
pub(crate) fn simple(world: &World, urls: &Urls, repo: &Repo, pull: &Pull) -> Value {
    let (api, web) = roots(urls, repo);
    let (url, html) =
        (format!("{api}/pulls/{}", pull.number), format!("{web}/pull/{}", pull.number));
    let issue = format!("{api}/issues/{}", pull.number);
    let mut value = json!({
        "url": url,
        "id": pull.id,
        "node_id": node("PR", pull.id),
        "html_url": html,
        "diff_url": format!("{html}.diff"),
        "patch_url": format!("{html}.patch"),
        "number": pull.number,
        "state": if pull.open { "open" } else { "closed" },
        "locked": false,
        "title": pull.title,
        "user": user(world, urls, &pull.user),
        "body": pull.body,
        "created_at": time(pull.created),
        "updated_at": time(pull.updated),
        "closed_at": pull.closed.map(time),
        "merged_at": pull.closed.filter(|_| pull.merged).map(time),
        "merge_commit_sha": null, "assignee": null, "milestone": null, "auto_merge": null,
        "active_lock_reason": null, "draft": false,
        "labels": [], "assignees": [], "requested_reviewers": [], "requested_teams": [],
        "author_association": if pull.user == repo.owner { "OWNER" } else { "CONTRIBUTOR" },
        "head": end(world, urls, repo, &pull.head_owner, &pull.head_ref, &pull.head_sha),
        "base": end(world, urls, repo, &repo.owner, &pull.base, &pull.base_sha),
    });
    let links = [
        ("commits", format!("{url}/commits")),
        ("review_comments", format!("{url}/comments")),
        ("review_comment", format!("{api}/pulls/comments{{/number}}")),
        ("comments", format!("{issue}/comments")),
        ("statuses", format!("{api}/statuses/{}", pull.head_sha)),
        ("issue", issue),
        ("self", url),
        ("html", html),
    ];
    for (name, link) in links {
        if name != "self" && name != "html" {
            value[format!("{name}_url")] = link.clone().into();
        }
        value["_links"][name] = json!({ "href": link });
    }
    value
}

/// Returns a pull request in full detail.
pub(crate) fn full(world: &World, urls: &Urls, repo: &Repo, pull: &Pull) -> Value {
    let mut value = simple(world, urls, repo, pull);
    value["merged"] = pull.merged.into();
    value["merged_by"] = Value::Null;
    value["mergeable"] = if pull.open { true.into() } else { Value::Null };
    value["mergeable_state"] = if pull.open { "clean" } else { "unknown" }.into();
    value["rebaseable"] = Value::Null;
    value["maintainer_can_modify"] = false.into();
    value["comments"] =
        repo.comments.values().filter(|comment| comment.number == pull.number).count().into();
    value["commits"] = 1.into();
    for count in ["review_comments", "additions", "deletions", "changed_files"] {
        value[count] = 0.into();
    }
    value
}

/// Returns the head or base branch. If the branch belongs to another owner, it is in a fork. The
/// fake has no forks, so this function reports the fork as deleted.
fn end(world: &World, urls: &Urls, repo: &Repo, owner: &str, branch: &str, sha: &str) -> Value {
    let here = owner == repo.owner;
    json!({
        "label": format!("{owner}:{branch}"),
        "ref": branch,
        "sha": sha,
        "user": user(world, urls, owner),
        "repo": if here { repo_json(world, urls, repo) } else { Value::Null },
    })
}
