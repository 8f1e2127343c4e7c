//! Formats all objects as JSON. This module formats the objects that are embedded in other objects:
//! accounts, repositories and commits.

pub(crate) mod app;
pub(crate) mod check;
pub(crate) mod comment;
pub(crate) mod hook;
pub(crate) mod pull;

use serde_json::{Map, Value, json};

use super::repo::{Commit, Object, Repo, Status, Tag};
use super::state::{User, World};
use super::urls::Urls;

/// The links in an account, relative to the account's URL.
const USER_LINKS: [(&str, &str); 9] = [
    ("followers_url", "/followers"),
    ("following_url", "/following{/other_user}"),
    ("gists_url", "/gists{/gist_id}"),
    ("starred_url", "/starred{/owner}{/repo}"),
    ("subscriptions_url", "/subscriptions"),
    ("organizations_url", "/orgs"),
    ("repos_url", "/repos"),
    ("events_url", "/events{/privacy}"),
    ("received_events_url", "/received_events"),
];

/// The links in a repository, relative to the repository's URL.
const REPO_LINKS: [(&str, &str); 37] = [
    ("archive_url", "/{archive_format}{/ref}"),
    ("assignees_url", "/assignees{/user}"),
    ("blobs_url", "/git/blobs{/sha}"),
    ("branches_url", "/branches{/branch}"),
    ("collaborators_url", "/collaborators{/collaborator}"),
    ("comments_url", "/comments{/number}"),
    ("commits_url", "/commits{/sha}"),
    ("compare_url", "/compare/{base}...{head}"),
    ("contents_url", "/contents/{+path}"),
    ("contributors_url", "/contributors"),
    ("deployments_url", "/deployments"),
    ("downloads_url", "/downloads"),
    ("events_url", "/events"),
    ("forks_url", "/forks"),
    ("git_commits_url", "/git/commits{/sha}"),
    ("git_refs_url", "/git/refs{/sha}"),
    ("git_tags_url", "/git/tags{/sha}"),
    ("hooks_url", "/hooks"),
    ("issue_comment_url", "/issues/comments{/number}"),
    ("issue_events_url", "/issues/events{/number}"),
    ("issues_url", "/issues{/number}"),
    ("keys_url", "/keys{/key_id}"),
    ("labels_url", "/labels{/name}"),
    ("languages_url", "/languages"),
    ("merges_url", "/merges"),
    ("milestones_url", "/milestones{/number}"),
    ("notifications_url", "/notifications{?since,all,participating}"),
    ("pulls_url", "/pulls{/number}"),
    ("releases_url", "/releases{/id}"),
    ("stargazers_url", "/stargazers"),
    ("statuses_url", "/statuses/{sha}"),
    ("subscribers_url", "/subscribers"),
    ("subscription_url", "/subscription"),
    ("tags_url", "/tags"),
    ("teams_url", "/teams"),
    ("trees_url", "/git/trees{/sha}"),
    ("url", ""),
];

/// Formats a time in the same way as GitHub, for example `2026-11-29T04:15:22Z`.
pub(crate) fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// Returns the opaque identifier used by the GraphQL API.
pub(crate) fn node(kind: &str, id: impl std::fmt::Display) -> String {
    format!("{kind}_{id}")
}

/// Returns an account in the short form that is embedded in other objects. An unknown login has id
/// 0.
pub(crate) fn user(world: &World, urls: &Urls, login: &str) -> Value {
    let ghost = User { id: 0, login: login.into() };
    let user = world.users.get(&login.to_lowercase()).unwrap_or(&ghost);
    let url = format!("{}/users/{}", urls.api, user.login);
    let mut value = json!({
        "login": user.login,
        "id": user.id,
        "node_id": node("U", user.id),
        "avatar_url": format!("{}/avatars/{}", urls.web, user.id),
        "gravatar_id": "",
        "url": url,
        "html_url": format!("{}/{}", urls.web, user.login),
        "type": if user.login.ends_with("[bot]") { "Bot" } else { "User" },
        "site_admin": false,
    });
    links(&mut value, &url, &USER_LINKS);
    value
}

fn links(value: &mut Value, url: &str, links: &[(&str, &str)]) {
    let map: &mut Map<String, Value> = value.as_object_mut().unwrap();
    map.extend(links.iter().map(|(key, end)| ((*key).into(), format!("{url}{end}").into())));
}

/// Returns a repository in full detail.
pub(crate) fn repo(world: &World, urls: &Urls, repo: &Repo) -> Value {
    let name = repo.full_name();
    let open = repo.pulls.values().filter(|pull| pull.open).count();
    let html = format!("{}/{name}", urls.web);
    let mut value = json!({
        "id": repo.id,
        "node_id": node("R", repo.id),
        "name": repo.name,
        "full_name": name,
        "owner": user(world, urls, &repo.owner),
        "private": repo.private,
        "visibility": if repo.private { "private" } else { "public" },
        "html_url": html,
        "git_url": format!("git://{}/{name}.git", urls.web.trim_start_matches("http://")),
        "ssh_url": format!("git@github.test:{name}.git"),
        "clone_url": format!("{html}.git"),
        "svn_url": html,
        "description": null, "homepage": null, "language": null, "mirror_url": null,
        "license": null, "topics": [], "fork": false, "archived": false, "disabled": false,
        "is_template": false, "web_commit_signoff_required": false, "allow_forking": true,
        "default_branch": repo.default_branch,
        "open_issues": open, "open_issues_count": open,
        "created_at": time(repo.created), "updated_at": time(repo.pushed), "pushed_at": time(repo.pushed),
    });
    for count in ["forks", "forks_count", "stargazers_count", "watchers", "watchers_count", "size"]
    {
        value[count] = 0.into();
    }
    for has in ["issues", "projects", "wiki", "pages", "downloads", "discussions"] {
        value[format!("has_{has}")] = (has == "issues").into();
    }
    links(&mut value, &format!("{}/repos/{name}", urls.api), &REPO_LINKS);
    value
}

/// Returns the author or committer of a commit, or the author of a tag.
pub(crate) fn signature(login: &str, at: i64) -> Value {
    json!({ "name": login, "email": format!("{login}@users.noreply.github.test"), "date": time(at) })
}

fn unsigned() -> Value {
    json!({ "verified": false, "reason": "unsigned", "signature": null, "payload": null, "verified_at": null })
}

/// Returns a commit for the Git database API.
pub(crate) fn git_commit(urls: &Urls, repo: &Repo, commit: &Commit) -> Value {
    let (api, web) = roots(urls, repo);
    let parents = commit.parents.iter().map(|sha| {
        json!({ "sha": sha, "url": format!("{api}/git/commits/{sha}"), "html_url": format!("{web}/commit/{sha}") })
    });
    json!({
        "sha": commit.sha,
        "node_id": node("C", &commit.sha),
        "url": format!("{api}/git/commits/{}", commit.sha),
        "html_url": format!("{web}/commit/{}", commit.sha),
        "author": signature(&commit.author, commit.at),
        "committer": signature(&commit.author, commit.at),
        "tree": { "sha": commit.tree, "url": format!("{api}/git/trees/{}", commit.tree) },
        "message": commit.message,
        "parents": parents.collect::<Vec<_>>(),
        "verification": unsigned(),
    })
}

/// Returns a commit for the repository API.
pub(crate) fn commit(world: &World, urls: &Urls, repo: &Repo, commit: &Commit) -> Value {
    let (api, web) = roots(urls, repo);
    let url = format!("{api}/commits/{}", commit.sha);
    let parents = commit.parents.iter().map(|sha| {
        json!({ "sha": sha, "url": format!("{api}/commits/{sha}"), "html_url": format!("{web}/commit/{sha}") })
    });
    json!({
        "sha": commit.sha,
        "node_id": node("C", &commit.sha),
        "url": url,
        "html_url": format!("{web}/commit/{}", commit.sha),
        "comments_url": format!("{url}/comments"),
        "commit": {
            "url": format!("{api}/git/commits/{}", commit.sha),
            "author": signature(&commit.author, commit.at),
            "committer": signature(&commit.author, commit.at),
            "message": commit.message,
            "comment_count": 0,
            "tree": { "sha": commit.tree, "url": format!("{api}/git/trees/{}", commit.tree) },
            "verification": unsigned(),
        },
        "author": user(world, urls, &commit.author),
        "committer": user(world, urls, &commit.author),
        "parents": parents.collect::<Vec<_>>(),
    })
}

/// Returns a ref for the Git database API.
pub(crate) fn git_ref(urls: &Urls, repo: &Repo, name: &str, object: &Object) -> Value {
    let (api, _) = roots(urls, repo);
    json!({
        "ref": name,
        "node_id": node("REF", format!("{}_{name}", repo.id)),
        "url": format!("{api}/git/{name}"),
        "object": target(urls, repo, object),
    })
}

/// Returns an annotated tag for the Git database API.
pub(crate) fn git_tag(urls: &Urls, repo: &Repo, tag: &Tag) -> Value {
    let (api, _) = roots(urls, repo);
    json!({
        "node_id": node("TAG", &tag.sha),
        "tag": tag.name,
        "sha": tag.sha,
        "url": format!("{api}/git/tags/{}", tag.sha),
        "message": tag.message,
        "tagger": signature(&tag.tagger, tag.at),
        "object": target(urls, repo, &tag.object),
        "verification": unsigned(),
    })
}

fn target(urls: &Urls, repo: &Repo, object: &Object) -> Value {
    let (api, _) = roots(urls, repo);
    let url = format!("{api}/git/{}s/{}", object.kind, object.sha);
    json!({ "sha": object.sha, "type": object.kind, "url": url })
}

/// Returns a commit status.
pub(crate) fn status(urls: &Urls, repo: &Repo, sha: &str, status: &Status) -> Value {
    let (api, _) = roots(urls, repo);
    json!({
        "url": format!("{api}/statuses/{sha}"),
        "avatar_url": format!("{}/avatars/{}", urls.web, status.creator),
        "id": status.id,
        "node_id": node("SC", status.id),
        "state": status.state,
        "description": status.description,
        "target_url": status.target_url,
        "context": status.context,
        "created_at": time(status.at),
        "updated_at": time(status.at),
    })
}

/// Returns a repository's URLs in the API and on the website.
pub(crate) fn roots(urls: &Urls, repo: &Repo) -> (String, String) {
    let name = repo.full_name();
    (format!("{}/repos/{name}", urls.api), format!("{}/{name}", urls.web))
}
