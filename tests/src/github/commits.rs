//! Commits and annotated tags.

use super::actions::EMPTY_TREE;
use super::call::{Call, required};
use super::json;
use super::reply::{Answer, Reply};
use super::repo::{Commit, Object, Repo};
use super::state::{World, most};

/// The minimum number of digits in an abbreviated hash.
const SHORTEST: usize = 7;

/// Finds a commit by its hash, an unambiguous prefix of its hash, a branch or a tag.
pub(crate) fn resolve<'a>(repo: &'a Repo, name: &str) -> Option<&'a Commit> {
    if let Some(commit) = repo.commits.get(name) {
        return Some(commit);
    }
    let full = ["refs/heads/", "refs/tags/", "refs/", ""];
    if let Some(object) = full.iter().find_map(|start| repo.refs.get(&format!("{start}{name}"))) {
        return peel(repo, object);
    }
    if name.len() < SHORTEST || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut found = repo.commits.values().filter(|commit| commit.sha.starts_with(name));
    found.next().filter(|_| found.next().is_none())
}

fn peel<'a>(repo: &'a Repo, object: &'a Object) -> Option<&'a Commit> {
    match repo.tags.get(&object.sha) {
        Some(tag) => peel(repo, &tag.object),
        None => repo.commits.get(&object.sha),
    }
}

/// `GET /repos/{owner}/{repo}/commits/{ref}`.
pub(crate) fn get(world: &mut World, call: &Call) -> Answer {
    let repo = world.repo(call.repo);
    let name = call.param("ref");
    let commit = resolve(repo, name)
        .ok_or_else(|| Reply::unprocessable(&format!("No commit found for SHA: {name}")))?;
    let mut value = json::commit(world, &call.urls, repo, commit);
    value["stats"] = serde_json::json!({ "total": 0, "additions": 0, "deletions": 0 });
    value["files"] = serde_json::json!([]);
    Reply::ok(value)
}

/// `GET /repos/{owner}/{repo}/git/commits/{commit_sha}`.
pub(crate) fn git_commit(world: &mut World, call: &Call) -> Answer {
    let repo = world.repo(call.repo);
    let commit = repo.commits.get(call.param("commit_sha")).ok_or_else(Reply::not_found)?;
    Reply::ok(json::git_commit(&call.urls, repo, commit))
}

/// `POST /repos/{owner}/{repo}/git/commits`. The tree must be the empty tree or the tree of an
/// existing commit.
pub(crate) fn create(world: &mut World, call: &Call) -> Answer {
    let body = call.json()?;
    let (message, tree) = (required(&body, "message")?, required(&body, "tree")?);
    let repo = world.repo(call.repo);
    if tree != EMPTY_TREE && !repo.commits.values().any(|commit| commit.tree == tree) {
        return Err(Reply::unprocessable("Tree SHA does not exist"));
    }
    if repo.commits.len() >= most::COMMITS {
        return Err(Reply::unprocessable("The repository is full"));
    }
    let parents =
        body.get("parents").and_then(|parents| parents.as_array()).cloned().unwrap_or_default();
    let parents: Vec<String> =
        parents.iter().filter_map(|sha| sha.as_str()).map(String::from).collect();
    if parents.iter().any(|sha| !repo.commits.contains_key(sha)) {
        return Err(Reply::unprocessable("Parent SHA does not exist or is not a commit object"));
    }
    let author = call.actor.login(world);
    let sha = world.add_commit(call.repo, parents, &message, &author, &tree);
    let repo = world.repo(call.repo);
    Reply::created(json::git_commit(&call.urls, repo, &repo.commits[&sha]))
}

/// `GET /repos/{owner}/{repo}/git/tags/{tag_sha}`.
pub(crate) fn tag(world: &mut World, call: &Call) -> Answer {
    let repo = world.repo(call.repo);
    let tag = repo.tags.get(call.param("tag_sha")).ok_or_else(Reply::not_found)?;
    Reply::ok(json::git_tag(&call.urls, repo, tag))
}

/// `POST /repos/{owner}/{repo}/git/tags`. As on GitHub, the call creates the tag object but no ref.
pub(crate) fn create_tag(world: &mut World, call: &Call) -> Answer {
    let body = call.json()?;
    let (name, message) = (required(&body, "tag")?, required(&body, "message")?);
    let (sha, kind) = (required(&body, "object")?, required(&body, "type")?);
    let repo = world.repo(call.repo);
    let exists = match kind.as_str() {
        "commit" => repo.commits.contains_key(&sha),
        "tree" => sha == EMPTY_TREE,
        "blob" => false,
        _ => {
            return Err(Reply::unprocessable(
                "Invalid request.\n\n`type` is not a possible value.",
            ));
        }
    };
    if !exists || repo.tags.len() >= most::REFS {
        return Err(Reply::unprocessable("Object does not exist"));
    }
    let tagger = call.actor.login(world);
    let tag = world.add_tag(call.repo, &name, Object { kind, sha }, &message, &tagger);
    Reply::created(json::git_tag(&call.urls, world.repo(call.repo), &tag))
}
