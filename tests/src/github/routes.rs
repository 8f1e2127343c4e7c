//! The routes, and the checks that apply to every call: authentication, limits, renames and access.

use percent_encoding::percent_decode_str;
use serde_json::json;

use super::auth;
use super::call::Call;
use super::reply::{Answer, Reply};
use super::state::World;
use super::{apps, checks, comments, commits, hooks, oauth, pulls, refs, repos, statuses};

type Handler = fn(&mut World, &Call) -> Answer;

/// A route: a method, a path template in the format of GitHub's API description, the permission
/// that an app needs, and a handler.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) permission: &'static str,
    pub(crate) handler: Handler,
}

const fn route(
    method: &'static str,
    path: &'static str,
    permission: &'static str,
    handler: Handler,
) -> Route {
    Route { method, path, permission, handler }
}

/// All routes. The first matching route is used.
#[rustfmt::skip]
pub(crate) static ROUTES: &[Route] = &[
    route("GET", "/rate_limit", "", repos::rate_limit),
    route("GET", "/user", "", repos::user),
    route("GET", "/login/oauth/authorize", "", oauth::authorize),
    route("POST", "/login/oauth/access_token", "", oauth::access_token),
    route("GET", "/orgs/{org}/public_members/{username}", "", oauth::public_member),
    route("GET", "/app", "", apps::get),
    route("GET", "/app/installations", "", apps::installations),
    route("GET", "/app/installations/{installation_id}", "", apps::installation),
    route("POST", "/app/installations/{installation_id}/access_tokens", "", apps::access_token),
    route("GET", "/installation/repositories", "", apps::repositories),
    route("GET", "/repos/{owner}/{repo}", "metadata", repos::get),
    route("PATCH", "/repos/{owner}/{repo}", "administration", repos::update),
    route("DELETE", "/repos/{owner}/{repo}", "administration", repos::delete),
    route("GET", "/repos/{owner}/{repo}/pulls", "pull_requests", pulls::list),
    route("POST", "/repos/{owner}/{repo}/pulls", "pull_requests", pulls::create),
    route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}", "pull_requests", pulls::get),
    route("PATCH", "/repos/{owner}/{repo}/pulls/{pull_number}", "pull_requests", pulls::update),
    route("GET", "/repos/{owner}/{repo}/issues/comments/{comment_id}", "issues", comments::get),
    route("PATCH", "/repos/{owner}/{repo}/issues/comments/{comment_id}", "issues", comments::update),
    route("DELETE", "/repos/{owner}/{repo}/issues/comments/{comment_id}", "issues", comments::delete),
    route("GET", "/repos/{owner}/{repo}/issues/{issue_number}/comments", "issues", comments::list),
    route("POST", "/repos/{owner}/{repo}/issues/{issue_number}/comments", "issues", comments::create),
    route("GET", "/repos/{owner}/{repo}/git/matching-refs/{ref}", "contents", refs::matching),
    route("GET", "/repos/{owner}/{repo}/git/ref/{ref}", "contents", refs::get),
    route("POST", "/repos/{owner}/{repo}/git/refs", "contents", refs::create),
    route("PATCH", "/repos/{owner}/{repo}/git/refs/{ref}", "contents", refs::update),
    route("DELETE", "/repos/{owner}/{repo}/git/refs/{ref}", "contents", refs::delete),
    route("GET", "/repos/{owner}/{repo}/git/tags/{tag_sha}", "contents", commits::tag),
    route("POST", "/repos/{owner}/{repo}/git/tags", "contents", commits::create_tag),
    route("GET", "/repos/{owner}/{repo}/git/commits/{commit_sha}", "contents", commits::git_commit),
    route("POST", "/repos/{owner}/{repo}/git/commits", "contents", commits::create),
    route("GET", "/repos/{owner}/{repo}/commits/{ref}/status", "statuses", statuses::combined),
    route("GET", "/repos/{owner}/{repo}/commits/{ref}/statuses", "statuses", statuses::list),
    route("POST", "/repos/{owner}/{repo}/statuses/{sha}", "statuses", statuses::create),
    route("GET", "/repos/{owner}/{repo}/commits/{ref}/check-runs", "checks", checks::of_commit),
    route("GET", "/repos/{owner}/{repo}/commits/{ref}/check-suites", "checks", checks::suites),
    route("GET", "/repos/{owner}/{repo}/commits/{ref}", "contents", commits::get),
    route("POST", "/repos/{owner}/{repo}/check-runs", "checks", checks::create),
    route("GET", "/repos/{owner}/{repo}/check-runs/{check_run_id}", "checks", checks::get),
    route("PATCH", "/repos/{owner}/{repo}/check-runs/{check_run_id}", "checks", checks::update),
    route("POST", "/repos/{owner}/{repo}/check-runs/{check_run_id}/rerequest", "checks", checks::rerequest),
    route("POST", "/repos/{owner}/{repo}/check-suites", "checks", checks::create_suite),
    route("GET", "/repos/{owner}/{repo}/check-suites/{check_suite_id}", "checks", checks::suite),
    route("GET", "/repos/{owner}/{repo}/check-suites/{check_suite_id}/check-runs", "checks", checks::of_suite),
    route("GET", "/repos/{owner}/{repo}/hooks", "repository_hooks", hooks::list),
    route("POST", "/repos/{owner}/{repo}/hooks", "repository_hooks", hooks::create),
    route("GET", "/repos/{owner}/{repo}/hooks/{hook_id}", "repository_hooks", hooks::get),
    route("PATCH", "/repos/{owner}/{repo}/hooks/{hook_id}", "repository_hooks", hooks::update),
    route("DELETE", "/repos/{owner}/{repo}/hooks/{hook_id}", "repository_hooks", hooks::delete),
    route("POST", "/repos/{owner}/{repo}/hooks/{hook_id}/pings", "repository_hooks", hooks::ping),
];

/// Finds the route of a call and sets the call's parameters. A path can identify a repository
/// either by id or by name.
pub(crate) fn find(world: &World, call: &mut Call) -> Option<&'static Route> {
    let mut segments: Vec<String> = call
        .path
        .split('/')
        .skip(1)
        .map(|part| percent_decode_str(part).decode_utf8_lossy().into())
        .collect();
    if segments.first().is_some_and(|first| first == "repositories") {
        let repo = segments.get(1).and_then(|id| world.repos.get(&id.parse().ok()?))?;
        segments.splice(0..2, ["repos".into(), repo.owner.clone(), repo.name.clone()]);
        call.path = format!("/{}", segments.join("/"));
    }
    // If the path contains no ref, the call lists all refs, whether or not the path ends with a
    // slash.
    if segments.len() == 5 && segments.ends_with(&["git".into(), "matching-refs".into()]) {
        segments.push(String::new());
    }
    ROUTES.iter().find(|route| {
        let template: Vec<&'static str> = route.path.split('/').skip(1).collect();
        let found = (route.method == call.method).then(|| matched(&template, &segments)).flatten();
        found.map(|params| call.params = params).is_some()
    })
}

/// Returns the parameters if the path matches the template. The `{ref}` parameter matches one or
/// more segments.
fn matched(template: &[&'static str], path: &[String]) -> Option<Vec<(&'static str, String)>> {
    let Some((first, rest)) = template.split_first() else {
        return path.is_empty().then(Vec::new);
    };
    let name = first.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
    let most = if name == Some("ref") { path.len() } else { 1 };
    (1..=most).rev().find_map(|count| {
        let taken = path.get(..count)?;
        let mut params = matched(rest, path.get(count..)?)?;
        match name {
            Some(name) if name == "ref" || !taken.concat().is_empty() => {
                params.push((name, taken.join("/")));
                Some(params)
            }
            Some(_) => None,
            None => (taken == [*first]).then_some(params),
        }
    })
}

/// Responds to a call whose route is known. Checks the client's identity, the limits, the
/// repository and the permission, and then runs the handler.
pub(crate) fn answer(world: &mut World, call: &mut Call, route: Option<&Route>) -> Reply {
    let reply = identified(world, call, route)
        .unwrap_or_else(|reply| reply)
        .tagged(&call.method, &call.headers);
    let free = reply.status == 304 || route.is_some_and(|route| !is_limited(route));
    let now = world.now();
    world.limits.charged(&call.actor, now, if free { 0 } else { 1 }, reply)
}

/// Returns whether calls to a route count against the rate limits. Calls to the website's pages do
/// not.
fn is_limited(route: &Route) -> bool {
    route.path != "/rate_limit" && !route.path.starts_with("/login/")
}

fn identified(world: &mut World, call: &mut Call, route: Option<&Route>) -> Answer {
    if !call.headers.contains_key(hyper::header::USER_AGENT) {
        return Err(Reply::error(
            403,
            "Request forbidden by administrative rules. Please make sure your request has a User-Agent header",
        ));
    }
    call.actor = auth::actor(world, &call.headers)?;
    let now = world.now();
    if route.is_none_or(is_limited) {
        world.limits.admit(&call.actor, &call.method, now)?;
    }
    let route = route.ok_or_else(Reply::not_found)?;
    if route.path.starts_with("/repos/") {
        enter(world, call, route)?;
    }
    (route.handler)(world, call)
}

/// Finds the repository of a call, following renames, and checks access.
fn enter(world: &World, call: &mut Call, route: &Route) -> Result<(), Reply> {
    let (owner, name) = (call.param("owner"), call.param("repo"));
    let repo = world.find(owner, name).ok_or_else(Reply::not_found)?;
    if !auth::sees(world, &call.actor, repo) {
        return Err(Reply::not_found());
    }
    if !repo.full_name().eq_ignore_ascii_case(&format!("{owner}/{name}")) {
        return Err(moved(call, repo.id));
    }
    auth::allows(world, &call.actor, repo, route.permission, call.method != "GET")?;
    call.repo = repo.id;
    Ok(())
}

/// Returns a redirect to the URL that identifies the repository by its id. The redirect is
/// permanent for reads. For writes, its status code tells the client to repeat the request with the
/// same method.
fn moved(call: &Call, id: u64) -> Reply {
    let rest: String = call.path.split('/').skip(4).map(|part| format!("/{part}")).collect();
    let query: Vec<_> =
        call.queries.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    let url = format!("{}/repositories/{id}{rest}{mark}{}", call.urls.api, query.join("&"));
    let (status, message) =
        if call.method == "GET" { (301, "Moved Permanently") } else { (307, "Temporary Redirect") };
    let body = json!({ "message": message, "url": url, "documentation_url": "https://docs.github.com/rest" });
    Reply::new(status, Some(body)).with("location", url)
}
