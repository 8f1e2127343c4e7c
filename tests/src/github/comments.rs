//! Comments on pull requests.

use serde_json::{Value, json};

use super::events;
use super::json::{self, Urls, node, roots, time};
use super::reply::{self, Answer, Reply};
use super::repo::{Comment, Repo};
use super::routes::{Call, required};
use super::state::World;

/// The longest text that GitHub stores, in characters.
const LONGEST: usize = 65_536;

/// `GET /repos/{owner}/{repo}/issues/{issue_number}/comments`, oldest first.
pub(crate) fn list(world: &mut World, call: &Call) -> Answer {
    let repo = world.repo(call.repo);
    let number = call.number("issue_number")?;
    repo.pulls.get(&number).ok_or_else(Reply::not_found)?;
    let comments: Vec<_> =
        repo.comments.values().filter(|comment| comment.number == number).collect();
    reply::list(world, call, &comments, |comment| json(world, &call.urls, repo, comment))
}

/// `POST /repos/{owner}/{repo}/issues/{issue_number}/comments`.
pub(crate) fn create(world: &mut World, call: &Call) -> Answer {
    let number = call.number("issue_number")?;
    world.repo(call.repo).pulls.get(&number).ok_or_else(Reply::not_found)?;
    let body = body(call)?;
    let id = world.comment(call.repo, number, &call.actor.login(world), &body);
    let repo = world.repo(call.repo);
    Reply::created(json(world, &call.urls, repo, &repo.comments[&id]))
}

fn body(call: &Call) -> Result<String, Reply> {
    let body = required(&call.json()?, "body")?;
    if body.trim().is_empty() {
        return Err(Reply::invalid("IssueComment", "body", "missing_field", None));
    }
    if body.chars().count() > LONGEST {
        let message = format!("body is too long (maximum is {LONGEST} characters)");
        return Err(Reply::invalid("IssueComment", "body", "custom", Some(&message)));
    }
    Ok(body)
}

/// `GET /repos/{owner}/{repo}/issues/comments/{comment_id}`.
pub(crate) fn get(world: &mut World, call: &Call) -> Answer {
    let repo = world.repo(call.repo);
    let comment = repo.comments.get(&call.number("comment_id")?).ok_or_else(Reply::not_found)?;
    Reply::ok(json(world, &call.urls, repo, comment))
}

/// `PATCH /repos/{owner}/{repo}/issues/comments/{comment_id}`.
pub(crate) fn update(world: &mut World, call: &Call) -> Answer {
    let (id, now) = (call.number("comment_id")?, world.now());
    let text = body(call)?;
    let comment = world.repo_mut(call.repo).comments.get_mut(&id).ok_or_else(Reply::not_found)?;
    (comment.body, comment.updated) = (text, now);
    let (comment, sender) = (comment.clone(), call.actor.login(world));
    events::comment(world, call.repo, &comment, "edited", &sender);
    Reply::ok(json(world, &call.urls, world.repo(call.repo), &comment))
}

/// `DELETE /repos/{owner}/{repo}/issues/comments/{comment_id}`.
pub(crate) fn delete(world: &mut World, call: &Call) -> Answer {
    let id = call.number("comment_id")?;
    let comment = world.repo_mut(call.repo).comments.remove(&id).ok_or_else(Reply::not_found)?;
    let sender = call.actor.login(world);
    events::comment(world, call.repo, &comment, "deleted", &sender);
    Reply::empty()
}

pub(crate) fn json(world: &World, urls: &Urls, repo: &Repo, comment: &Comment) -> Value {
    let (api, web) = roots(urls, repo);
    let url = format!("{api}/issues/comments/{}", comment.id);
    json!({
        "id": comment.id,
        "node_id": node("IC", comment.id),
        "url": url,
        "html_url": format!("{web}/pull/{}#issuecomment-{}", comment.number, comment.id),
        "issue_url": format!("{api}/issues/{}", comment.number),
        "user": json::user(world, urls, &comment.user),
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

/// The issue that GitHub keeps for every pull request.
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
        "user": json::user(world, urls, &pull.user),
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
