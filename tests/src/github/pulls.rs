//! Pull requests.

use super::call::{Call, required, text};
use super::json::pull::{full, simple};
use super::pages;
use super::reply::{Answer, Reply};
use super::repo::{Pull, Repo};
use super::state::World;

/// `GET /repos/{owner}/{repo}/pulls`.
pub(crate) fn list(world: &mut World, call: &Call) -> Answer {
    let repo = world.repo(call.repo);
    let state = call.query("state").unwrap_or("open");
    if !["open", "closed", "all"].contains(&state) {
        return Err(Reply::invalid("PullRequest", "state", "invalid", None));
    }
    let wanted = |pull: &&Pull| {
        (state == "all" || pull.open == (state == "open"))
            && call.query("base").is_none_or(|base| pull.base == base)
            && call
                .query("head")
                .is_none_or(|head| format!("{}:{}", pull.head_owner, pull.head_ref) == head)
    };
    let mut pulls: Vec<&Pull> = repo.pulls.values().filter(wanted).collect();
    let updated = call.query("sort") == Some("updated");
    pulls.sort_by_key(|pull| (if updated { pull.updated } else { pull.created }, pull.number));
    // The default order is descending when sorting by creation time, and ascending when sorting by
    // update time.
    let ascending = call.query("direction").map_or(updated, |direction| direction == "asc");
    if !ascending {
        pulls.reverse();
    }
    pages::list(world, call, &pulls, |pull| simple(world, &call.urls, repo, pull))
}

/// `GET /repos/{owner}/{repo}/pulls/{pull_number}`.
pub(crate) fn get(world: &mut World, call: &Call) -> Answer {
    let repo = world.repo(call.repo);
    let pull = repo.pulls.get(&call.number("pull_number")?).ok_or_else(Reply::not_found)?;
    Reply::ok(full(world, &call.urls, repo, pull))
}

/// `POST /repos/{owner}/{repo}/pulls`.
pub(crate) fn create(world: &mut World, call: &Call) -> Answer {
    let body = call.json()?;
    let (head, base) = (required(&body, "head")?, required(&body, "base")?);
    let title = required(&body, "title")?;
    if title.trim().is_empty() {
        return Err(Reply::invalid("PullRequest", "title", "missing_field", None));
    }
    let repo = world.repo(call.repo);
    let (owner, branch) = head.split_once(':').unwrap_or((&repo.owner, &head));
    let base_sha =
        repo.head(&base).ok_or_else(|| Reply::invalid("PullRequest", "base", "invalid", None))?;
    let head_sha = repo
        .head(branch)
        .filter(|_| owner == repo.owner)
        .ok_or_else(|| Reply::invalid("PullRequest", "head", "invalid", None))?;
    if repo.is_ancestor(head_sha, base_sha) {
        let message = format!("No commits between {base} and {branch}");
        return Err(Reply::invalid("PullRequest", "", "custom", Some(&message)));
    }
    unique(repo, 0, owner, branch, &base)?;
    let pull =
        new(repo, &call.actor.login(world), &title, branch, &base, head_sha, base_sha, world.now());
    let pull = Pull { body: text(&body, "body")?, ..pull };
    let number = world.open_pull(call.repo, pull);
    let repo = world.repo(call.repo);
    Reply::created(full(world, &call.urls, repo, &repo.pulls[&number]))
}

/// Creates a pull request from a branch in the same repository. The pull request does not have a
/// number yet.
#[allow(clippy::too_many_arguments)]
pub(crate) fn new(
    repo: &Repo,
    user: &str,
    title: &str,
    branch: &str,
    base: &str,
    head_sha: &str,
    base_sha: &str,
    now: i64,
) -> Pull {
    Pull {
        id: 0,
        number: 0,
        user: user.into(),
        title: title.into(),
        body: None,
        open: true,
        merged: false,
        head_owner: repo.owner.clone(),
        head_ref: branch.into(),
        head_sha: head_sha.into(),
        base: base.into(),
        base_sha: base_sha.into(),
        created: now,
        updated: now,
        closed: None,
    }
}

/// Rejects a second open pull request between the same two branches.
fn unique(repo: &Repo, number: u64, owner: &str, branch: &str, base: &str) -> Result<(), Reply> {
    let same = |pull: &Pull| {
        pull.open
            && pull.number != number
            && (pull.head_owner.as_str(), pull.head_ref.as_str(), pull.base.as_str())
                == (owner, branch, base)
    };
    if repo.pulls.values().any(same) {
        let message = format!("A pull request already exists for {owner}:{branch}.");
        return Err(Reply::invalid("PullRequest", "", "custom", Some(&message)));
    }
    Ok(())
}

/// `PATCH /repos/{owner}/{repo}/pulls/{pull_number}`. Changes the title, description, base branch
/// or state.
pub(crate) fn update(world: &mut World, call: &Call) -> Answer {
    let body = call.json()?;
    let (title, text_body) = (text(&body, "title")?, text(&body, "body")?);
    let (base, state) = (text(&body, "base")?, text(&body, "state")?);
    let repo = world.repo(call.repo);
    let number = call.number("pull_number")?;
    let pull = repo.pulls.get(&number).ok_or_else(Reply::not_found)?;
    if title.as_ref().is_some_and(|title| title.trim().is_empty()) {
        return Err(Reply::invalid("PullRequest", "title", "missing_field", None));
    }
    if let Some(base) = base.as_ref().filter(|base| **base != pull.base) {
        if repo.head(base).is_none() {
            let message = format!("Proposed base branch '{base}' was not found");
            return Err(Reply::invalid("PullRequest", "base", "invalid", Some(&message)));
        }
        if !pull.open {
            let message = "Cannot change the base branch of a closed pull request.";
            return Err(Reply::invalid("PullRequest", "base", "custom", Some(message)));
        }
        unique(repo, number, &pull.head_owner, &pull.head_ref, base)?;
    }
    match state.as_deref() {
        None | Some("closed") => {}
        Some("open") if pull.open => {}
        Some("open") => reopenable(repo, pull)?,
        Some(_) => return Err(Reply::invalid("PullRequest", "state", "invalid", None)),
    }
    let sender = call.actor.login(world);
    world.edit_pull(call.repo, number, title, text_body, base, &sender);
    match state.as_deref() {
        Some("closed") => world.close(call.repo, number, false, &sender),
        Some("open") => world.reopen(call.repo, number, &sender),
        _ => {}
    }
    let repo = world.repo(call.repo);
    Reply::ok(full(world, &call.urls, repo, &repo.pulls[&number]))
}

fn reopenable(repo: &Repo, pull: &Pull) -> Result<(), Reply> {
    let refuse =
        |message: &str| Err(Reply::invalid("PullRequest", "state", "custom", Some(message)));
    if pull.merged {
        return refuse("state cannot be changed. The pull request was merged.");
    }
    if pull.head_owner == repo.owner && repo.head(&pull.head_ref).is_none() {
        return refuse(&format!(
            "state cannot be changed. The {} branch has been deleted.",
            pull.head_ref
        ));
    }
    unique(repo, pull.number, &pull.head_owner, &pull.head_ref, &pull.base)
}
