//! Creates the events delivered to webhooks.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::auth;
use super::json::{self, node, time};
use super::outbox::Delivery;
use super::reply::hex;
use super::repo::{Comment, Commit, Hook, Object, Pull, Repo, Run, Status};
use super::state::World;

/// The hash that stands for a missing commit in an event.
const NONE: &str = "0000000000000000000000000000000000000000";

/// The maximum number of commits that a push event lists.
const PUSHED: usize = 20;

/// Queues an event for each webhook that subscribes to it, including the webhooks of apps that are
/// installed for the repository.
fn emit(world: &mut World, id: u64, event: &str, sender: &str, mut body: Value) {
    let sender = world.user(sender);
    let repo = world.repo(id);
    body["repository"] = json::repo(world, &world.urls, repo);
    body["sender"] = json::user(world, &world.urls, &sender);
    if event == "push" {
        body["repository"]["created_at"] = repo.created.into();
        body["repository"]["pushed_at"] = repo.pushed.into();
    }
    let wanted = |events: &[String]| events.iter().any(|name| name == event || name == "*");
    let hooks: Vec<Hook> =
        repo.hooks.values().filter(|hook| hook.active && wanted(&hook.events)).cloned().collect();
    let apps: Vec<_> = world
        .installations
        .values()
        .filter(|found| auth::covers(world, found.id, repo))
        .filter_map(|found| {
            Some((
                found.id,
                world.apps.get(&found.app).filter(|app| wanted(&app.events))?.hook.clone()?,
            ))
        })
        .collect();
    for hook in hooks {
        queue(world, id, &hook, event, &body);
    }
    for (installation, (url, secret)) in apps {
        body["installation"] = json!({ "id": installation, "node_id": node("I", installation) });
        let delivery = Delivery {
            repo: id,
            hook: 0,
            url,
            secret: Some(secret),
            json: true,
            event: event.into(),
            id: delivery_id(world),
            body: body.to_string(),
        };
        world.outbox.push(delivery);
    }
}

fn queue(world: &mut World, repo: u64, hook: &Hook, event: &str, body: &Value) {
    let delivery = Delivery {
        repo,
        hook: hook.id,
        url: hook.url.clone(),
        secret: hook.secret.clone(),
        json: hook.json,
        event: event.into(),
        id: delivery_id(world),
        body: body.to_string(),
    };
    world.outbox.push(delivery);
}

/// Formats a number as a UUID.
fn delivery_id(world: &mut World) -> String {
    let id = hex(&world.id().to_be_bytes());
    format!("{}-{}-4000-8000-0000{}", &id[8..], &id[4..8], &id[8..])
}

/// Emits the first event for a new webhook.
pub(crate) fn ping(world: &mut World, id: u64, hook: u64, sender: &str) {
    let repo = world.repo(id);
    let Some(hook) = repo.hooks.get(&hook).cloned() else { return };
    let body = json!({
        "zen": "Keep it logically awesome.",
        "hook_id": hook.id,
        "hook": json::hook::json(&world.urls, repo, &hook),
        "repository": json::repo(world, &world.urls, repo),
        "sender": json::user(world, &world.urls, sender),
    });
    queue(world, id, &hook, "ping", &body);
}

/// Returns a ref's kind and short name.
fn kind(name: &str) -> (&'static str, &str) {
    match name.strip_prefix("refs/tags/") {
        Some(tag) => ("tag", tag),
        None => ("branch", name.trim_start_matches("refs/heads/")),
    }
}

pub(crate) fn create(world: &mut World, id: u64, name: &str, sender: &str) {
    let (kind, short) = kind(name);
    let master = world.repo(id).default_branch.clone();
    let body = json!({
        "ref": short, "ref_type": kind, "master_branch": master, "description": null, "pusher_type": "user",
    });
    emit(world, id, "create", sender, body);
}

pub(crate) fn delete(world: &mut World, id: u64, name: &str, sender: &str) {
    let (kind, short) = kind(name);
    emit(
        world,
        id,
        "delete",
        sender,
        json!({ "ref": short, "ref_type": kind, "pusher_type": "user" }),
    );
}

pub(crate) fn push(
    world: &mut World,
    id: u64,
    name: &str,
    before: Option<&Object>,
    after: Option<&Object>,
    sender: &str,
) {
    let repo = world.repo(id);
    let sha =
        |object: Option<&Object>| object.map_or(NONE.to_string(), |object| object.sha.clone());
    // If an annotated tag is pushed, the event contains the tagged commit.
    let head = after.and_then(|object| match repo.tags.get(&object.sha) {
        Some(tag) => repo.commits.get(&tag.object.sha),
        None => repo.commits.get(&object.sha),
    });
    let forced = match (before, after) {
        (Some(before), Some(after)) => !repo.is_ancestor(&before.sha, &after.sha),
        _ => false,
    };
    let new = head.map_or(Vec::new(), |head| new_commits(repo, head, name, before));
    let commits: Vec<_> = new.iter().map(|commit| pushed(world, repo, commit)).collect();
    let (_, web) = json::roots(&world.urls, repo);
    let body = json!({
        "ref": name,
        "before": sha(before),
        "after": sha(after),
        "created": before.is_none(),
        "deleted": after.is_none(),
        "forced": forced,
        "base_ref": null,
        "compare": format!("{web}/compare/{}...{}", sha(before), sha(after)),
        "commits": commits,
        "head_commit": head.map(|commit| pushed(world, repo, commit)),
        "pusher": { "name": sender, "email": format!("{sender}@users.noreply.github.test") },
    });
    emit(world, id, "push", sender, body);
}

/// Returns the commits that a push adds, oldest first. A commit is added if it is reachable neither
/// from the previous head nor from the head of another branch. Pushing a tag adds no commits.
fn new_commits<'a>(
    repo: &'a Repo,
    head: &'a Commit,
    name: &str,
    before: Option<&Object>,
) -> Vec<&'a Commit> {
    if !name.starts_with("refs/heads/") {
        return Vec::new();
    }
    let others = repo
        .refs
        .iter()
        .filter(|(other, _)| other.as_str() != name && other.starts_with("refs/heads/"));
    let known: HashSet<&str> =
        others.map(|(_, object)| object).chain(before).map(|object| object.sha.as_str()).collect();
    let mut found = Vec::new();
    let mut next = Some(head);
    while let Some(commit) =
        next.filter(|commit| found.len() < PUSHED && !known.contains(commit.sha.as_str()))
    {
        found.push(commit);
        next = commit.parents.first().and_then(|sha| repo.commits.get(sha));
    }
    found.reverse();
    found
}

fn pushed(world: &World, repo: &Repo, commit: &Commit) -> Value {
    let (_, web) = json::roots(&world.urls, repo);
    let mut person = json::signature(&commit.author, commit.at);
    person["username"] = commit.author.clone().into();
    json!({
        "id": commit.sha, "tree_id": commit.tree, "distinct": true, "message": commit.message,
        "timestamp": time(commit.at), "url": format!("{web}/commit/{}", commit.sha),
        "author": person, "committer": person, "added": [], "removed": [], "modified": [],
    })
}

/// Emits an `opened`, `closed` or `reopened` event for a pull request.
pub(crate) fn pull(world: &mut World, id: u64, number: u64, action: &str, sender: &str) {
    let body = pull_body(world, id, number, action);
    emit(world, id, "pull_request", sender, body);
}

fn pull_body(world: &World, id: u64, number: u64, action: &str) -> Value {
    let repo = world.repo(id);
    let mut pull = json::pull::full(world, &world.urls, repo, &repo.pulls[&number]);
    // Events never show whether the pull request can be merged, because GitHub determines this
    // later.
    pull["mergeable"] = Value::Null;
    pull["mergeable_state"] = "unknown".into();
    json!({ "action": action, "number": number, "pull_request": pull })
}

pub(crate) fn synchronize(world: &mut World, id: u64, number: u64, before: &str, sender: &str) {
    let mut body = pull_body(world, id, number, "synchronize");
    body["before"] = before.into();
    body["after"] = body["pull_request"]["head"]["sha"].clone();
    emit(world, id, "pull_request", sender, body);
}

pub(crate) fn edited(world: &mut World, id: u64, before: &Pull, sender: &str) {
    let pull = world.repo(id).pulls[&before.number].clone();
    let mut body = pull_body(world, id, before.number, "edited");
    let mut changes = json!({});
    if pull.title != before.title {
        changes["title"] = json!({ "from": before.title });
    }
    if pull.body != before.body {
        changes["body"] = json!({ "from": before.body.clone().unwrap_or_default() });
    }
    if pull.base != before.base {
        changes["base"] =
            json!({ "ref": { "from": before.base }, "sha": { "from": before.base_sha } });
    }
    body["changes"] = changes;
    emit(world, id, "pull_request", sender, body);
}

/// Emits a `created`, `edited` or `deleted` event for a comment.
pub(crate) fn comment(world: &mut World, id: u64, comment: &Comment, action: &str, sender: &str) {
    let repo = world.repo(id);
    let body = json!({
        "action": action,
        "issue": json::comment::issue(world, &world.urls, repo, comment.number),
        "comment": json::comment::json(world, &world.urls, repo, comment),
    });
    emit(world, id, "issue_comment", sender, body);
}

pub(crate) fn status(world: &mut World, id: u64, sha: &str, status: &Status) {
    let repo = world.repo(id);
    let (api, _) = json::roots(&world.urls, repo);
    let branches: Vec<_> = repo
        .refs
        .iter()
        .filter(|(name, object)| object.sha == sha && name.starts_with("refs/heads/"))
        .map(|(name, _)| {
            let commit = json!({ "sha": sha, "url": format!("{api}/commits/{sha}") });
            json!({ "name": name.trim_start_matches("refs/heads/"), "commit": commit, "protected": false })
        })
        .collect();
    let body = json!({
        "id": status.id, "sha": sha, "name": repo.full_name(), "context": status.context,
        "state": status.state, "description": status.description, "target_url": status.target_url,
        "commit": repo.commits.get(sha).map(|commit| json::commit(world, &world.urls, repo, commit)),
        "branches": branches, "created_at": time(status.at), "updated_at": time(status.at),
    });
    emit(world, id, "status", &status.creator, body);
}

/// Emits a `created`, `completed` or `rerequested` event for a check run.
pub(crate) fn check_run(world: &mut World, id: u64, run: &Run, action: &str, sender: &str) {
    let repo = world.repo(id);
    let body = json!({ "action": action, "check_run": json::check::run(world, &world.urls, repo, run, true) });
    emit(world, id, "check_run", sender, body);
}
