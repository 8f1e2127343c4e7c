//! The part of the Git database API that accesses refs.

use super::call::{Call, required};
use super::json;
use super::pages::Page;
use super::reply::{Answer, Reply};
use super::repo::{Object, Repo};
use super::state::{World, most};

/// `GET /repos/{owner}/{repo}/git/matching-refs/{ref}`. Returns a sorted list of the refs that
/// start with the given text. The list is complete unless the client requests pages.
pub(crate) fn matching(world: &mut World, call: &Call) -> Answer {
    let repo = world.repo(call.repo);
    let start = format!("refs/{}", call.param("ref"));
    let found = repo.refs.range(start.clone()..).take_while(|(name, _)| name.starts_with(&start));
    let refs: Vec<_> =
        found.map(|(name, object)| json::git_ref(&call.urls, repo, name, object)).collect();
    if call.query("per_page").is_none() && call.query("page").is_none() {
        return Reply::ok(refs.into());
    }
    let page = Page::of(call, refs.len());
    let some = page.cut(refs.into_iter());
    Ok(page.link(world, call, Reply::new(200, Some(some.into()))))
}

/// `GET /repos/{owner}/{repo}/git/ref/{ref}`. Returns the ref with exactly this name.
pub(crate) fn get(world: &mut World, call: &Call) -> Answer {
    let repo = world.repo(call.repo);
    let name = format!("refs/{}", call.param("ref"));
    let object = repo.refs.get(&name).ok_or_else(Reply::not_found)?;
    Reply::ok(json::git_ref(&call.urls, repo, &name, object))
}

/// `POST /repos/{owner}/{repo}/git/refs`.
pub(crate) fn create(world: &mut World, call: &Call) -> Answer {
    let body = call.json()?;
    let (name, sha) = (required(&body, "ref")?, required(&body, "sha")?);
    let repo = world.repo(call.repo);
    if !name.starts_with("refs/") || name.split('/').count() < 3 {
        return Err(Reply::unprocessable(
            "Reference name must start with 'refs/' and contain at least two slashes",
        ));
    }
    if !legal(&name) {
        return Err(Reply::unprocessable(&format!("{name} is not a valid ref name.")));
    }
    if repo.refs.contains_key(&name) {
        return Err(Reply::unprocessable("Reference already exists"));
    }
    if conflicts(repo, &name) || repo.refs.len() >= most::REFS {
        return Err(Reply::unprocessable("Reference cannot be created"));
    }
    let object = object(repo, &name, &sha)?;
    world.set_ref(call.repo, &name, object.clone(), &call.actor.login(world));
    Reply::created(json::git_ref(&call.urls, world.repo(call.repo), &name, &object))
}

/// Returns whether Git accepts the name.
fn legal(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && !part.ends_with(".lock")
            && !part.ends_with('.')
    };
    let bad = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
    name.split('/').all(part) && !name.contains(bad) && !name.contains("..") && !name.contains("@{")
}

/// Returns whether `name` conflicts with an existing ref. For example, `refs/heads/a` conflicts
/// with `refs/heads/a/b`, because a path cannot be both a file and a directory.
fn conflicts(repo: &Repo, name: &str) -> bool {
    let inside = format!("{name}/");
    let below = repo
        .refs
        .range(inside.clone()..)
        .next()
        .is_some_and(|(other, _)| other.starts_with(&inside));
    let above = name.match_indices('/').any(|(at, _)| repo.refs.contains_key(&name[..at]));
    below || above
}

/// Returns the object with the given hash. Branches can point only to commits.
fn object(repo: &Repo, name: &str, sha: &str) -> Result<Object, Reply> {
    if sha.len() != 40 || !sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Reply::unprocessable(
            "The sha parameter must be exactly 40 characters and contain only [0-9a-f].",
        ));
    }
    if repo.commits.contains_key(sha) {
        return Ok(Object::commit(sha));
    }
    if !name.starts_with("refs/heads/") && repo.tags.contains_key(sha) {
        return Ok(Object { kind: "tag".into(), sha: sha.into() });
    }
    Err(Reply::unprocessable("Object does not exist"))
}

/// `PATCH /repos/{owner}/{repo}/git/refs/{ref}`. Without `force`, the new commit must be a
/// descendant of the old commit.
pub(crate) fn update(world: &mut World, call: &Call) -> Answer {
    let body = call.json()?;
    let sha = required(&body, "sha")?;
    let force = body.get("force").and_then(|force| force.as_bool()).unwrap_or(false);
    let name = format!("refs/{}", call.param("ref"));
    let repo = world.repo(call.repo);
    writable(&name)?;
    let old =
        repo.refs.get(&name).ok_or_else(|| Reply::unprocessable("Reference does not exist"))?;
    let object = object(repo, &name, &sha)?;
    if !force && !repo.is_ancestor(&old.sha, &object.sha) {
        return Err(Reply::unprocessable("Update is not a fast forward"));
    }
    world.set_ref(call.repo, &name, object.clone(), &call.actor.login(world));
    Reply::ok(json::git_ref(&call.urls, world.repo(call.repo), &name, &object))
}

/// `DELETE /repos/{owner}/{repo}/git/refs/{ref}`.
pub(crate) fn delete(world: &mut World, call: &Call) -> Answer {
    let name = format!("refs/{}", call.param("ref"));
    writable(&name)?;
    if name == format!("refs/heads/{}", world.repo(call.repo).default_branch) {
        return Err(Reply::unprocessable("Cannot delete the default branch"));
    }
    if !world.delete_ref(call.repo, &name, &call.actor.login(world)) {
        return Err(Reply::unprocessable("Reference does not exist"));
    }
    Reply::empty()
}

/// Only GitHub itself can write refs that belong to pull requests.
fn writable(name: &str) -> Result<(), Reply> {
    if name.starts_with("refs/pull/") {
        return Err(Reply::unprocessable("Reference update failed: it is a hidden ref"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::legal;

    #[test]
    fn names_follow_gits_rules() {
        for name in ["refs/heads/a", "refs/heads/a+b#c@d", "refs/tags/v1.0/x", "refs/heads/é"] {
            assert!(legal(name), "{name}");
        }
        for name in [
            "refs/heads/",
            "refs/heads/a..b",
            "refs/heads/.a",
            "refs/heads/a.lock",
            "refs/heads/a b",
        ] {
            assert!(!legal(name), "{name}");
        }
    }
}
