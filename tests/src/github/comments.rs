//! Comments on pull requests.

use super::call::{Call, required};
use super::events;
use super::json::comment::json;
use super::pages;
use super::reply::{Answer, Reply};
use super::state::World;

/// The maximum length of a comment in characters.
const LONGEST: usize = 65_536;

/// `GET /repos/{owner}/{repo}/issues/{issue_number}/comments`. Lists the comments, oldest first.
pub(crate) fn list(world: &mut World, call: &Call) -> Answer {
    let repo = world.repo(call.repo);
    let number = call.number("issue_number")?;
    repo.pulls.get(&number).ok_or_else(Reply::not_found)?;
    let comments: Vec<_> =
        repo.comments.values().filter(|comment| comment.number == number).collect();
    pages::list(world, call, &comments, |comment| json(world, &call.urls, repo, comment))
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
