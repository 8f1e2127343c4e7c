//! Formats comments, and the issues that contain them, as JSON.

use serde_json::{Value, json};

use super::{node, roots, time, user};
use crate::github::repo::{Comment, Repo};
use crate::github::state::World;
use crate::github::urls::Urls;

/// Returns a comment.
pub(crate) fn json(world: &World, urls: &Urls, repo: &Repo, comment: &Comment) -> Value {
    let (api, web) = roots(urls, repo);
    let url = format!("{api}/issues/comments/{}", comment.id);
    json!({
        "id": comment.id,
        "node_id": node("IC", comment.id),
        "url": url,
        "html_url": format!("{web}/pull/{}#issuecomment-{}", comment.number, comment.id),
        "issue_url": format!("{api}/issues/{}", comment.number),
        "user": user(world, urls, &comment.user),
        "body": comment.body,
        "created_at": time(comment.created),
        "updated_at": time(comment.updated),
        "author_association": if comment.user == repo.owner { "OWNER" } else { "NONE" },
        "performed_via_github_app": null,
        "reactions": reactions(&url),
    })
}

fn reactions(url: &str) -> Value {
    json!({
        "url": format!("{url}/reactions"), "total_count": 0, "+1": 0, "-1": 0, "laugh": 0,
        "confused": 0, "heart": 0, "hooray": 0, "eyes": 0, "rocket": 0,
    })
}

/// Returns the issue that GitHub associates with a pull request.
pub(crate) fn issue(world: &World, urls: &Urls, repo: &Repo, number: u64) -> Value {
    let Some(pull) = repo.pulls.get(&number) else { return Value::Null };
    let (api, web) = roots(urls, repo);
    let (url, html) = (format!("{api}/issues/{number}"), format!("{web}/pull/{number}"));
    json!({
        "url": url,
        "repository_url": api,
        "labels_url": format!("{url}/labels{{/name}}"),
        "comments_url": format!("{url}/comments"),
        "events_url": format!("{url}/events"),
        "html_url": html,
        "id": pull.id,
        "node_id": node("I", pull.id),
        "number": number,
        "title": pull.title,
        "user": user(world, urls, &pull.user),
        "labels": [], "assignees": [],
        "state": if pull.open { "open" } else { "closed" },
        "locked": false, "assignee": null, "milestone": null, "active_lock_reason": null,
        "comments": repo.comments.values().filter(|comment| comment.number == number).count(),
        "created_at": time(pull.created),
        "updated_at": time(pull.updated),
        "closed_at": pull.closed.map(time),
        "author_association": "CONTRIBUTOR",
        "body": pull.body,
        "reactions": reactions(&url),
        "pull_request": {
            "url": format!("{api}/pulls/{number}"), "html_url": html,
            "diff_url": format!("{html}.diff"), "patch_url": format!("{html}.patch"), "merged_at": null,
        },
    })
}
