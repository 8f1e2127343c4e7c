//! Formats check runs and check suites as JSON.

use serde_json::{Value, json};

use super::app::app;
use super::{node, repo as repo_json, roots, signature, time};
use crate::github::repo::{Repo, Run, Suite};
use crate::github::state::World;
use crate::github::urls::Urls;

/// Returns a check suite.
pub(crate) fn suite(world: &World, urls: &Urls, repo: &Repo, suite: &Suite) -> Value {
    let (api, _) = roots(urls, repo);
    let url = format!("{api}/check-suites/{}", suite.id);
    let runs: Vec<_> = repo.runs.values().filter(|run| run.suite == suite.id).collect();
    let done = runs.iter().all(|run| run.status == "completed");
    let bad = runs.iter().any(|run| run.conclusion.as_deref() != Some("success"));
    let (status, conclusion) = match (runs.is_empty(), done) {
        (true, _) => ("queued", Value::Null),
        (_, false) => ("in_progress", Value::Null),
        (_, true) => ("completed", if bad { "failure" } else { "success" }.into()),
    };
    let commit = &repo.commits[&suite.sha];
    let person = signature(&commit.author, commit.at);
    json!({
        "id": suite.id, "node_id": node("CS", suite.id), "url": url,
        "head_branch": branch(repo, &suite.sha), "head_sha": suite.sha,
        "status": status, "conclusion": conclusion, "before": null, "after": suite.sha,
        "pull_requests": [], "app": app(world, urls, suite.app),
        "repository": repo_json(world, urls, repo),
        "created_at": time(suite.created), "updated_at": time(suite.created),
        "head_commit": {
            "id": commit.sha, "tree_id": commit.tree, "message": commit.message,
            "timestamp": time(commit.at), "author": person, "committer": person,
        },
        "latest_check_runs_count": runs.len(), "check_runs_url": format!("{url}/check-runs"),
    })
}

/// Returns the name of a branch whose head is the commit `sha`.
fn branch(repo: &Repo, sha: &str) -> Option<String> {
    let mut heads = repo
        .refs
        .iter()
        .filter(|(name, object)| name.starts_with("refs/heads/") && object.sha == sha);
    heads.next().map(|(name, _)| name.trim_start_matches("refs/heads/").to_string())
}

/// Returns a check run. In events, a check run contains the entire check suite; in responses, it
/// contains only the suite's id.
pub(crate) fn run(world: &World, urls: &Urls, repo: &Repo, run: &Run, whole: bool) -> Value {
    let (api, web) = roots(urls, repo);
    let url = format!("{api}/check-runs/{}", run.id);
    let html = format!("{web}/runs/{}", run.id);
    let suite = match repo.suites.get(&run.suite).filter(|_| whole) {
        Some(found) => suite(world, urls, repo, found),
        None => json!({ "id": run.suite }),
    };
    let [title, summary, text] = &run.output;
    json!({
        "id": run.id, "node_id": node("CR", run.id), "name": run.name, "head_sha": run.sha,
        "external_id": run.external_id, "url": url, "html_url": html,
        "details_url": run.details_url.as_ref().unwrap_or(&html),
        "status": run.status, "conclusion": run.conclusion,
        "started_at": time(run.started), "completed_at": run.completed.map(time),
        "output": {
            "title": title, "summary": summary, "text": text, "annotations_count": 0,
            "annotations_url": format!("{url}/annotations"),
        },
        "check_suite": suite, "app": app(world, urls, run.app), "pull_requests": [],
    })
}
