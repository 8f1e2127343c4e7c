//! Check runs and check suites, which only GitHub Apps can create and change.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::actor::Actor;
use super::call::{Call, required, text};
use super::commits::resolve;
use super::events;
use super::json::check::{run as json, suite as suite_json};
use super::pages;
use super::reply::{Answer, Reply};
use super::repo::{Run, Suite};
use super::state::{World, most};

/// The maximum number of runs with the same name that GitHub keeps in a suite.
const KEPT: usize = 1000;

/// The maximum length of a summary or text in bytes.
const LONGEST: usize = 65_535;

const STATES: [&str; 3] = ["queued", "in_progress", "completed"];
const CONCLUSIONS: [&str; 8] = [
    "action_required",
    "cancelled",
    "failure",
    "neutral",
    "success",
    "skipped",
    "stale",
    "timed_out",
];

/// Returns the calling app.
fn app(world: &World, call: &Call) -> Result<u64, Reply> {
    match &call.actor {
        Actor::Installation(id) => {
            world.installations.get(id).map(|found| found.app).ok_or_else(Reply::not_found)
        }
        _ => Err(Reply::error(403, "You must authenticate via a GitHub App.")),
    }
}

/// `POST /repos/{owner}/{repo}/check-runs`.
pub(crate) fn create(world: &mut World, call: &Call) -> Answer {
    let app = app(world, call)?;
    let body = call.json()?;
    let (name, sha) = (required(&body, "name")?, required(&body, "head_sha")?);
    let repo = world.repo(call.repo);
    if !repo.commits.contains_key(&sha) {
        return Err(Reply::unprocessable(&format!("No commit found for SHA: {sha}")));
    }
    if repo.runs.len() >= most::RUNS {
        return Err(Reply::unprocessable("The repository has too many check runs"));
    }
    let mut run = Run {
        id: 0,
        suite: 0,
        app,
        name,
        sha,
        status: "queued".into(),
        conclusion: None,
        details_url: None,
        external_id: String::new(),
        output: [None, None, None],
        started: world.now(),
        completed: None,
    };
    change(&mut run, &body, world.now())?;
    run.suite = suite_of(world, call.repo, app, &run.sha).0;
    run.id = world.id();
    let runs = &mut world.repo_mut(call.repo).runs;
    runs.insert(run.id, run.clone());
    let same: Vec<u64> = runs
        .values()
        .filter(|old| old.suite == run.suite && old.name == run.name)
        .map(|old| old.id)
        .collect();
    if same.len() > KEPT {
        same.first().map(|id| runs.remove(id));
    }
    announce(world, call, &run, true);
    Reply::created(json(world, &call.urls, world.repo(call.repo), &run, false))
}

/// Emits the events for a run that was created or completed.
fn announce(world: &mut World, call: &Call, run: &Run, new: bool) {
    let sender = call.actor.login(world);
    if new {
        events::check_run(world, call.repo, run, "created", &sender);
    }
    if run.status == "completed" {
        events::check_run(world, call.repo, run, "completed", &sender);
    }
}

/// Updates a run with the values from a request body.
fn change(run: &mut Run, body: &Map<String, Value>, now: i64) -> Result<(), Reply> {
    run.name = text(body, "name")?.unwrap_or(run.name.clone());
    run.details_url = text(body, "details_url")?.or(run.details_url.take());
    run.external_id = text(body, "external_id")?.unwrap_or(run.external_id.clone());
    let conclusion = text(body, "conclusion")?;
    let status = text(body, "status")?;
    if let Some(status) = status.or(conclusion.is_some().then(|| "completed".into())) {
        possible("status", &status, &STATES)?;
        run.status = status;
    }
    if let Some(conclusion) = &conclusion {
        possible("conclusion", conclusion, &CONCLUSIONS)?;
    }
    run.conclusion = conclusion.or(run.conclusion.take()).filter(|_| run.status == "completed");
    if run.status == "completed" && run.conclusion.is_none() {
        return Err(Reply::unprocessable(
            "Invalid request.\n\nNo subschema in \"anyOf\" matched.\n\"conclusion\" wasn't supplied.",
        ));
    }
    run.completed = (run.status == "completed").then(|| run.completed.unwrap_or(now));
    if let Some(output) = body.get("output").and_then(Value::as_object) {
        let parts = [
            Some(required(output, "title")?),
            Some(required(output, "summary")?),
            text(output, "text")?,
        ];
        if parts[1..].iter().flatten().any(|part| part.len() > LONGEST) {
            return Err(Reply::unprocessable(
                "Invalid request.\n\nOnly 65535 characters are allowed; more were supplied.",
            ));
        }
        run.output = parts;
    }
    let actions = body.get("actions").and_then(Value::as_array);
    if actions.is_some_and(|actions| actions.len() > 3) {
        return Err(Reply::unprocessable(
            "Invalid request.\n\nNo more than 3 items are allowed in `actions`.",
        ));
    }
    Ok(())
}

fn possible(name: &str, value: &str, values: &[&str]) -> Result<(), Reply> {
    if values.contains(&value) {
        return Ok(());
    }
    Err(Reply::unprocessable(&format!(
        "Invalid request.\n\n{value} is not a member of {values:?} for `{name}`."
    )))
}

/// `GET /repos/{owner}/{repo}/check-runs/{check_run_id}`.
pub(crate) fn get(world: &mut World, call: &Call) -> Answer {
    let repo = world.repo(call.repo);
    let run = repo.runs.get(&call.number("check_run_id")?).ok_or_else(Reply::not_found)?;
    Reply::ok(json(world, &call.urls, repo, run, false))
}

/// `PATCH /repos/{owner}/{repo}/check-runs/{check_run_id}`. An app can change only its own runs.
pub(crate) fn update(world: &mut World, call: &Call) -> Answer {
    let (app, body, now) = (app(world, call)?, call.json()?, world.now());
    let id = call.number("check_run_id")?;
    let run = world.repo(call.repo).runs.get(&id).ok_or_else(Reply::not_found)?;
    if run.app != app {
        return Err(Reply::error(
            403,
            "Invalid app_id `app_id` - check run can only be modified by the GitHub App that created it.",
        ));
    }
    let before = run.status.clone();
    let mut run = run.clone();
    change(&mut run, &body, now)?;
    world.repo_mut(call.repo).runs.insert(id, run.clone());
    if before != "completed" {
        announce(world, call, &run, false);
    }
    Reply::ok(json(world, &call.urls, world.repo(call.repo), &run, false))
}

/// `POST /repos/{owner}/{repo}/check-runs/{check_run_id}/rerequest`.
pub(crate) fn rerequest(world: &mut World, call: &Call) -> Answer {
    let id = call.number("check_run_id")?;
    let run = world.repo(call.repo).runs.get(&id).cloned().ok_or_else(Reply::not_found)?;
    let sender = call.actor.login(world);
    events::check_run(world, call.repo, &run, "rerequested", &sender);
    Ok(Reply::new(201, Some(Value::Object(Map::new()))))
}

/// `GET /repos/{owner}/{repo}/commits/{ref}/check-runs`.
pub(crate) fn of_commit(world: &mut World, call: &Call) -> Answer {
    let repo = world.repo(call.repo);
    let name = call.param("ref");
    let commit = resolve(repo, name)
        .ok_or_else(|| Reply::unprocessable(&format!("No commit found for SHA: {name}")))?;
    runs(world, call, |run| run.sha == commit.sha)
}

/// `GET /repos/{owner}/{repo}/check-suites/{check_suite_id}/check-runs`.
pub(crate) fn of_suite(world: &mut World, call: &Call) -> Answer {
    let id = call.number("check_suite_id")?;
    world.repo(call.repo).suites.get(&id).ok_or_else(Reply::not_found)?;
    runs(world, call, |run| run.suite == id)
}

/// Returns the runs requested by a call, newest first. By default, returns only the newest run for
/// each app and name.
fn runs(world: &World, call: &Call, wanted: impl Fn(&Run) -> bool) -> Answer {
    let repo = world.repo(call.repo);
    let app = call.query("app_id").and_then(|id| id.parse::<u64>().ok());
    let asked = |run: &&Run| {
        wanted(run)
            && call.query("check_name").is_none_or(|name| run.name == name)
            && call.query("status").is_none_or(|status| run.status == status)
            && app.is_none_or(|app| run.app == app)
    };
    let all: Vec<&Run> = repo.runs.values().filter(asked).collect();
    let mut found: Vec<&Run> = match call.query("filter") {
        Some("all") => all,
        _ => all
            .iter()
            .map(|run| ((run.app, &run.name), *run))
            .collect::<BTreeMap<_, _>>()
            .into_values()
            .collect(),
    };
    found.sort_by_key(|run| std::cmp::Reverse(run.id));
    pages::counted(world, call, "check_runs", &found, |run| {
        json(world, &call.urls, repo, run, false)
    })
}

/// Finds or creates the suite for an app and a commit. Returns the suite's id and whether the suite
/// is new.
fn suite_of(world: &mut World, repo: u64, app: u64, sha: &str) -> (u64, bool) {
    let found = world.repo(repo).suites.values().find(|suite| suite.app == app && suite.sha == sha);
    if let Some(suite) = found {
        return (suite.id, false);
    }
    let (id, created) = (world.id(), world.now());
    let suite = Suite { id, app, sha: sha.into(), created };
    world.repo_mut(repo).suites.insert(id, suite);
    (id, true)
}

/// `POST /repos/{owner}/{repo}/check-suites`.
pub(crate) fn create_suite(world: &mut World, call: &Call) -> Answer {
    let app = app(world, call)?;
    let sha = required(&call.json()?, "head_sha")?;
    if !world.repo(call.repo).commits.contains_key(&sha) {
        return Err(Reply::unprocessable(&format!("No commit found for SHA: {sha}")));
    }
    let (id, new) = suite_of(world, call.repo, app, &sha);
    let repo = world.repo(call.repo);
    let value = suite_json(world, &call.urls, repo, &repo.suites[&id]);
    if new { Reply::created(value) } else { Reply::ok(value) }
}

/// `GET /repos/{owner}/{repo}/check-suites/{check_suite_id}`.
pub(crate) fn suite(world: &mut World, call: &Call) -> Answer {
    let repo = world.repo(call.repo);
    let suite = repo.suites.get(&call.number("check_suite_id")?).ok_or_else(Reply::not_found)?;
    Reply::ok(suite_json(world, &call.urls, repo, suite))
}

/// `GET /repos/{owner}/{repo}/commits/{ref}/check-suites`.
pub(crate) fn suites(world: &mut World, call: &Call) -> Answer {
    let repo = world.repo(call.repo);
    let commit = resolve(repo, call.param("ref")).ok_or_else(Reply::not_found)?;
    let found: Vec<_> = repo.suites.values().filter(|suite| suite.sha == commit.sha).collect();
    pages::counted(world, call, "check_suites", &found, |suite| {
        suite_json(world, &call.urls, repo, suite)
    })
}
