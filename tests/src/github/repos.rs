//! The API for repositories, the caller's own account, and the rate limits.

use serde_json::{Value, json};

use super::actor::Actor;
use super::call::{Call, text};
use super::json;
use super::reply::{Answer, Reply};
use super::state::World;

/// `GET /rate_limit`. This call does not count against the limit.
pub(crate) fn rate_limit(world: &mut World, call: &Call) -> Answer {
    let now = world.now();
    Reply::ok(world.limits.overview(&call.actor, now))
}

/// `GET /user`.
pub(crate) fn user(world: &mut World, call: &Call) -> Answer {
    let login = match &call.actor {
        Actor::User(login, _) => login,
        Actor::Anonymous => return Err(Reply::error(401, "Requires authentication")),
        _ => return Err(Reply::error(403, "Resource not accessible by integration")),
    };
    let mut user = json::user(world, &call.urls, login);
    let repos = world.repos.values().filter(|repo| repo.owner == *login);
    user["public_repos"] = repos.clone().filter(|repo| !repo.private).count().into();
    user["owned_private_repos"] = repos.filter(|repo| repo.private).count().into();
    user["total_private_repos"] = user["owned_private_repos"].clone();
    for count in
        ["public_gists", "private_gists", "followers", "following", "disk_usage", "collaborators"]
    {
        user[count] = 0.into();
    }
    for unknown in ["name", "company", "blog", "location", "email", "hireable", "bio"] {
        user[unknown] = Value::Null;
    }
    for at in ["created_at", "updated_at"] {
        user[at] = json::time(0).into();
    }
    user["two_factor_authentication"] = true.into();
    Reply::ok(user)
}

/// `GET /repos/{owner}/{repo}`.
pub(crate) fn get(world: &mut World, call: &Call) -> Answer {
    Reply::ok(full(world, call))
}

fn full(world: &World, call: &Call) -> Value {
    let repo = world.repo(call.repo);
    let mut value = json::repo(world, &call.urls, repo);
    value["network_count"] = 0.into();
    value["subscribers_count"] = repo.members.len().into();
    if let Actor::User(login, read_only) = &call.actor {
        let push = repo.members.contains(login) && !read_only;
        value["permissions"] =
            json!({ "admin": push, "maintain": push, "push": push, "triage": push, "pull": true });
    }
    value
}

/// `PATCH /repos/{owner}/{repo}`. Changes the name, visibility or default branch.
pub(crate) fn update(world: &mut World, call: &Call) -> Answer {
    let body = call.json()?;
    if let Some(name) = text(&body, "name")? {
        rename(world, call.repo, &name)?;
    }
    if let Some(private) = body.get("private") {
        let private = private.as_bool();
        world.repo_mut(call.repo).private = private.ok_or_else(|| {
            Reply::unprocessable("Invalid request.\n\n`private` is not a boolean.")
        })?;
    }
    if let Some(branch) = text(&body, "default_branch")? {
        if world.repo(call.repo).head(&branch).is_none() {
            let message = "The branch was not found. Please push that ref first or create it via the Git Data API.";
            return Err(Reply::invalid("Repository", "default_branch", "invalid", Some(message)));
        }
        world.repo_mut(call.repo).default_branch = branch;
    }
    Reply::ok(full(world, call))
}

/// Renames a repository. Requests that use the old name are redirected until another repository
/// takes that name.
pub(crate) fn rename(world: &mut World, id: u64, name: &str) -> Result<(), Reply> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 100 || !name.chars().all(legal) {
        return Err(Reply::invalid("Repository", "name", "invalid", None));
    }
    let full = format!("{}/{name}", world.repo(id).owner);
    let taken = world
        .repos
        .values()
        .any(|repo| repo.id != id && repo.full_name().eq_ignore_ascii_case(&full));
    if taken {
        let message = "name already exists on this account";
        return Err(Reply::invalid("Repository", "name", "custom", Some(message)));
    }
    world.names.insert(full.to_lowercase(), id);
    world.repo_mut(id).name = name.into();
    Ok(())
}

/// `DELETE /repos/{owner}/{repo}`.
pub(crate) fn delete(world: &mut World, call: &Call) -> Answer {
    remove(world, call.repo);
    Reply::empty()
}

/// Removes a repository and all of its current and former names.
pub(crate) fn remove(world: &mut World, id: u64) {
    world.repos.remove(&id);
    world.names.retain(|_, named| *named != id);
    for installation in world.installations.values_mut() {
        if let Some(repos) = &mut installation.repos {
            repos.remove(&id);
        }
    }
}
