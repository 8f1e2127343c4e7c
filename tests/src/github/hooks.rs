//! Webhooks of repositories.

use serde_json::{Map, Value};

use super::call::{Call, text};
use super::events;
use super::json::hook::json;
use super::pages;
use super::reply::{Answer, Reply};
use super::repo::{Hook, Repo};
use super::state::World;

/// The maximum number of webhooks per event in a repository.
const MOST: usize = 20;

/// `GET /repos/{owner}/{repo}/hooks`.
pub(crate) fn list(world: &mut World, call: &Call) -> Answer {
    let repo = world.repo(call.repo);
    let hooks: Vec<_> = repo.hooks.values().collect();
    pages::list(world, call, &hooks, |hook| json(&call.urls, repo, hook))
}

/// `GET /repos/{owner}/{repo}/hooks/{hook_id}`.
pub(crate) fn get(world: &mut World, call: &Call) -> Answer {
    let repo = world.repo(call.repo);
    let hook = repo.hooks.get(&call.number("hook_id")?).ok_or_else(Reply::not_found)?;
    Reply::ok(json(&call.urls, repo, hook))
}

/// `POST /repos/{owner}/{repo}/hooks`. The new webhook receives a ping event.
pub(crate) fn create(world: &mut World, call: &Call) -> Answer {
    let body = call.json()?;
    if text(&body, "name")?.is_some_and(|name| name != "web") {
        return Err(Reply::invalid("Hook", "name", "custom", Some("name must be `web`")));
    }
    let now = world.now();
    let mut hook = Hook {
        id: world.id(),
        url: String::new(),
        secret: None,
        json: false,
        insecure: "0".into(),
        events: vec!["push".into()],
        active: true,
        created: now,
        updated: now,
        last: None,
    };
    change(&mut hook, &body)?;
    let repo = world.repo(call.repo);
    accept(repo, &hook)?;
    world.repo_mut(call.repo).hooks.insert(hook.id, hook.clone());
    let sender = call.actor.login(world);
    events::ping(world, call.repo, hook.id, &sender);
    Reply::created(json(&call.urls, world.repo(call.repo), &hook))
}

/// Rejects `hook` if an identical webhook exists, or if one of the events in `hook` already has the
/// maximum number of webhooks.
fn accept(repo: &Repo, hook: &Hook) -> Result<(), Reply> {
    let others = || repo.hooks.values().filter(|other| other.id != hook.id);
    let sorted = |hook: &Hook| {
        let mut events = hook.events.clone();
        events.sort();
        (hook.url.clone(), hook.json, events)
    };
    if others().any(|other| sorted(other) == sorted(hook)) {
        let message = "Hook already exists on this repository";
        return Err(Reply::invalid("Hook", "", "custom", Some(message)));
    }
    for event in &hook.events {
        if others().filter(|other| other.events.contains(event)).count() >= MOST {
            let message = format!("The \"{event}\" event cannot have more than {MOST} hooks");
            return Err(Reply::invalid("Hook", "", "custom", Some(&message)));
        }
    }
    Ok(())
}

/// Updates a webhook with the values from a request body.
fn change(hook: &mut Hook, body: &Map<String, Value>) -> Result<(), Reply> {
    if let Some(config) = body.get("config").and_then(Value::as_object) {
        hook.url = text(config, "url")?.unwrap_or_default();
        // A new configuration replaces the entire old configuration, including the secret.
        hook.secret = text(config, "secret")?.filter(|secret| !secret.is_empty());
        hook.json = match text(config, "content_type")?.as_deref() {
            None | Some("form") => false,
            Some("json") => true,
            Some(_) => return Err(Reply::invalid("Hook", "content_type", "invalid", None)),
        };
        hook.insecure = match config.get("insecure_ssl") {
            None | Some(Value::Null) => "0".into(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
    }
    if !hook.url.starts_with("http://") && !hook.url.starts_with("https://") {
        let code = if hook.url.is_empty() { "missing_field" } else { "invalid" };
        return Err(Reply::invalid("Hook", "url", code, None));
    }
    if let Some(events) = names(body, "events")? {
        hook.events = events;
    }
    if let Some(added) = names(body, "add_events")? {
        hook.events.extend(added);
    }
    if let Some(removed) = names(body, "remove_events")? {
        hook.events.retain(|event| !removed.contains(event));
    }
    let mut seen = std::collections::HashSet::new();
    hook.events.retain(|event| seen.insert(event.clone()));
    if let Some(unknown) = hook.events.iter().find(|event| !EVENTS.contains(&event.as_str())) {
        let message = format!("Invalid event name: {unknown}");
        return Err(Reply::invalid("Hook", "events", "custom", Some(&message)));
    }
    if let Some(active) = body.get("active") {
        hook.active = active.as_bool().ok_or_else(|| {
            Reply::unprocessable("Invalid request.\n\n`active` is not a boolean.")
        })?;
    }
    Ok(())
}

/// The events to which a repository's webhook can subscribe. Events that bridges do not need are
/// omitted.
const EVENTS: [&str; 17] = [
    "*",
    "check_run",
    "check_suite",
    "commit_comment",
    "create",
    "delete",
    "fork",
    "issue_comment",
    "issues",
    "member",
    "public",
    "pull_request",
    "pull_request_review",
    "pull_request_review_comment",
    "push",
    "repository",
    "status",
];

fn names(body: &Map<String, Value>, key: &str) -> Result<Option<Vec<String>>, Reply> {
    let Some(list) = body.get(key) else { return Ok(None) };
    let wrong =
        || Reply::unprocessable(&format!("Invalid request.\n\n`{key}` is not a list of strings."));
    let names = list.as_array().ok_or_else(wrong)?.iter();
    names
        .map(|name| name.as_str().map(String::from).ok_or_else(wrong))
        .collect::<Result<_, _>>()
        .map(Some)
}

/// `PATCH /repos/{owner}/{repo}/hooks/{hook_id}`.
pub(crate) fn update(world: &mut World, call: &Call) -> Answer {
    let (id, now) = (call.number("hook_id")?, world.now());
    let repo = world.repo(call.repo);
    let mut hook = repo.hooks.get(&id).cloned().ok_or_else(Reply::not_found)?;
    change(&mut hook, &call.json()?)?;
    accept(repo, &hook)?;
    hook.updated = now;
    world.repo_mut(call.repo).hooks.insert(id, hook.clone());
    Reply::ok(json(&call.urls, world.repo(call.repo), &hook))
}

/// `DELETE /repos/{owner}/{repo}/hooks/{hook_id}`.
pub(crate) fn delete(world: &mut World, call: &Call) -> Answer {
    let id = call.number("hook_id")?;
    world.repo_mut(call.repo).hooks.remove(&id).ok_or_else(Reply::not_found)?;
    Reply::empty()
}

/// `POST /repos/{owner}/{repo}/hooks/{hook_id}/pings`.
pub(crate) fn ping(world: &mut World, call: &Call) -> Answer {
    let id = call.number("hook_id")?;
    world.repo(call.repo).hooks.get(&id).ok_or_else(Reply::not_found)?;
    let sender = call.actor.login(world);
    events::ping(world, call.repo, id, &sender);
    Reply::empty()
}
