//! Commit statuses.

use std::collections::HashSet;

use serde_json::json;

use super::call::{Call, required, text};
use super::commits::resolve;
use super::json::{self, roots};
use super::pages::{self, Page};
use super::reply::{Answer, Reply};
use super::repo::Status;
use super::state::World;

/// The maximum number of statuses per commit and context, as on GitHub.
pub(crate) const MOST: usize = 1000;

/// The maximum number of statuses that the fake keeps per commit.
const MOST_OF_COMMIT: usize = 100_000;

/// The maximum length of a description in characters.
const LONGEST: usize = 140;

/// `GET /repos/{owner}/{repo}/commits/{ref}/status`. Returns the newest status for each context.
pub(crate) fn combined(world: &mut World, call: &Call) -> Answer {
    let repo = world.repo(call.repo);
    let commit = resolve(repo, call.param("ref")).ok_or_else(Reply::not_found)?;
    let all = repo.statuses.get(&commit.sha).map_or(&[][..], Vec::as_slice);
    let mut seen = HashSet::new();
    let newest: Vec<_> = all.iter().rev().filter(|status| seen.insert(&status.context)).collect();
    let any = |state: &str| newest.iter().any(|status| status.state == state);
    let state = match () {
        () if any("failure") || any("error") => "failure",
        () if any("pending") || newest.is_empty() => "pending",
        () => "success",
    };
    let (api, _) = roots(&call.urls, repo);
    let page = Page::of(call, newest.len());
    let statuses =
        page.cut(newest.iter().map(|status| json::status(&call.urls, repo, &commit.sha, status)));
    let body = json!({
        "state": state,
        "statuses": statuses,
        "sha": commit.sha,
        "total_count": newest.len(),
        "repository": json::repo(world, &call.urls, repo),
        "commit_url": format!("{api}/commits/{}", commit.sha),
        "url": format!("{api}/commits/{}/status", commit.sha),
    });
    Ok(page.link(world, call, Reply::new(200, Some(body))))
}

/// `GET /repos/{owner}/{repo}/commits/{ref}/statuses`. Returns all statuses, newest first.
pub(crate) fn list(world: &mut World, call: &Call) -> Answer {
    let repo = world.repo(call.repo);
    let commit = resolve(repo, call.param("ref")).ok_or_else(Reply::not_found)?;
    let statuses: Vec<_> = repo.statuses.get(&commit.sha).into_iter().flatten().rev().collect();
    pages::list(world, call, &statuses, |status| {
        let mut value = json::status(&call.urls, repo, &commit.sha, status);
        value["creator"] = json::user(world, &call.urls, &status.creator);
        value
    })
}

/// `POST /repos/{owner}/{repo}/statuses/{sha}`.
pub(crate) fn create(world: &mut World, call: &Call) -> Answer {
    let body = call.json()?;
    let state = required(&body, "state")?;
    let context = text(&body, "context")?.unwrap_or_else(|| "default".into());
    let description = text(&body, "description")?;
    let target_url = text(&body, "target_url")?;
    let sha = call.param("sha");
    let repo = world.repo(call.repo);
    if !repo.commits.contains_key(sha) {
        return Err(Reply::unprocessable(&format!("No commit found for SHA: {sha}")));
    }
    if !["error", "failure", "pending", "success"].contains(&state.as_str()) {
        return Err(Reply::invalid(
            "Status",
            "state",
            "custom",
            Some("state is not included in the list"),
        ));
    }
    if description.as_ref().is_some_and(|text| text.chars().count() > LONGEST) {
        let message = format!("description is too long (maximum is {LONGEST} characters)");
        return Err(Reply::invalid("Status", "description", "custom", Some(&message)));
    }
    let web =
        |url: &String| url.is_empty() || url.starts_with("http://") || url.starts_with("https://");
    if !target_url.as_ref().is_none_or(web) {
        let message = "target_url must use http(s) scheme";
        return Err(Reply::invalid("Status", "target_url", "custom", Some(message)));
    }
    let all = repo.statuses.get(sha).map_or(&[][..], Vec::as_slice);
    let same = all.iter().filter(|status| status.context == context).count();
    if same >= MOST || all.len() >= MOST_OF_COMMIT {
        let message = "This SHA and context has reached the maximum number of statuses.";
        return Err(Reply::invalid("Status", "", "custom", Some(message)));
    }
    let creator = call.actor.login(world);
    let status = Status { id: 0, state, context, description, target_url, creator, at: 0 };
    let status = world.add_status(call.repo, sha, status);
    let mut value = json::status(&call.urls, world.repo(call.repo), sha, &status);
    value["creator"] = json::user(world, &call.urls, &status.creator);
    Reply::created(value)
}
