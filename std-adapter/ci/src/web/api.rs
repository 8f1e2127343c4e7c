//! The HTTP API, which is documented in `docs/api.md`.

use axum::extract::{OriginalUri, Query, Request, State};
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use datakit_client::db::Error;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::auth::Reader;
use super::log::saved::ReadableLog;
use super::log::whole_chars;
use super::model::{kind_name, overall};
use super::pages::target::repo_page;
use super::waits::{WaitReason, reasons};
use super::{WebState, time, urls};
use crate::pool::PoolStatus;
use crate::state::JobStatus;
use crate::term::{Logs, explain};
use crate::{JobView, Target, TargetView};

/// The maximum number of log bytes in one response.
const LOG_MAX: usize = 1 << 20;

/// The maximum number of history commits in one response.
const HISTORY_MAX: usize = 200;

pub(super) fn router() -> Router<WebState> {
    Router::new()
        .route("/targets", get(targets))
        .route("/targets/{*target}", get(target))
        .route("/history/{*target}", get(history))
        .route("/logs/live/{*branch}", get(live_log))
        .route("/logs/saved/{*log}", get(saved_log))
        .route("/pools", get(pools))
        .route("/waiting", get(waiting))
        .fallback(unknown)
}

/// Handles paths that do not name an API resource. `/api/v1/pr/N` is a page of the repository
/// `api/v1`.
async fn unknown(
    State(state): State<WebState>,
    OriginalUri(uri): OriginalUri,
    mut request: Request,
) -> Response {
    if urls::RepoPage::parse(uri.path()).is_none() {
        return failure(StatusCode::NOT_FOUND, "no such resource");
    }
    *request.uri_mut() = uri;
    repo_page.call(request, state).await
}

fn failure(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "error": text }))).into_response()
}

fn database_failure(error: &Error) -> Response {
    match error {
        Error::NotFound | Error::InvalidHash(_) => failure(StatusCode::NOT_FOUND, "not found"),
        error => failure(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

#[derive(Serialize)]
struct TargetJson {
    target: String,
    kind: &'static str,
    repo: String,
    head: String,
    title: Option<String>,
    /// The overall status, or `None` if the target has no tests.
    status: Option<JobStatus>,
    url: String,
    jobs: Vec<JobJson>,
}

#[derive(Serialize)]
struct JobJson {
    test: String,
    status: JobStatus,
    text: String,
    since: String,
    logs: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waiting: Vec<ReasonJson>,
}

#[derive(Serialize)]
struct ReasonJson {
    #[serde(flatten)]
    reason: WaitReason,
    since: Option<String>,
}

impl ReasonJson {
    fn all(job: &JobView) -> Vec<ReasonJson> {
        let reasons = match job.result.status {
            JobStatus::Pending => reasons(&explain(&job.node)),
            _ => Vec::new(),
        };
        let json =
            |reason: WaitReason| ReasonJson { since: reason.since.map(time::machine), reason };
        reasons.into_iter().map(json).collect()
    }
}

impl TargetJson {
    fn new(view: &TargetView) -> TargetJson {
        TargetJson {
            target: view.target.to_string(),
            kind: kind_name(&view.target),
            repo: view.target.repo().to_string(),
            head: view.head.hash.to_string(),
            title: view.title.clone(),
            status: overall(view.jobs.iter().map(|job| job.result.status)),
            url: urls::target(&view.target),
            jobs: view.jobs.iter().map(JobJson::new).collect(),
        }
    }
}

impl JobJson {
    fn new(job: &JobView) -> JobJson {
        JobJson {
            test: job.test.clone(),
            status: job.result.status,
            text: job.result.text.clone(),
            since: time::machine(job.since),
            logs: logs_json(&job.result.logs),
            waiting: ReasonJson::all(job),
        }
    }
}

fn logs_json(logs: &Logs) -> Vec<Value> {
    let logs = logs.leaves().into_iter().filter_map(|log| match log {
        Logs::Live { branch } => Some(json!({ "branch": **branch, "live": true })),
        Logs::Saved(log) => Some(json!({
            "branch": log.branch,
            "live": false,
            "title": log.title,
            "commit": log.commit,
            "failed": log.failed,
        })),
        _ => None,
    });
    logs.collect()
}

/// Selects targets.
#[derive(Debug, Deserialize)]
struct Selection {
    repo: Option<String>,
    status: Option<JobStatus>,
}

async fn targets(
    _: Reader,
    State(state): State<WebState>,
    Query(selection): Query<Selection>,
) -> Response {
    let targets = state.0.view.targets();
    let targets = targets.iter().map(|view| TargetJson::new(view)).filter(|target| {
        selection.repo.as_ref().is_none_or(|repo| *repo == target.repo)
            && selection.status.is_none_or(|status| target.status == Some(status))
    });
    Json(json!({ "targets": targets.collect::<Vec<_>>() })).into_response()
}

/// Returns the decoded part of the path after `prefix`.
fn rest(uri: &OriginalUri, prefix: &str) -> Option<String> {
    urls::decode_text(uri.path().strip_prefix(prefix)?)
}

fn parse_target(uri: &OriginalUri, prefix: &str) -> Result<Target, String> {
    let text = rest(uri, prefix).ok_or("the target is not valid UTF-8")?;
    text.parse::<Target>().map_err(|error| error.to_string())
}

async fn target(_: Reader, State(state): State<WebState>, uri: OriginalUri) -> Response {
    let target = match parse_target(&uri, "/api/v1/targets/") {
        Ok(target) => target,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &error),
    };
    match state.0.view.target(&target) {
        Some(view) => Json(TargetJson::new(&view)).into_response(),
        None => match state.0.view.problem(&target) {
            Some(problem) => failure(StatusCode::NOT_FOUND, &problem),
            None => failure(StatusCode::NOT_FOUND, "no such target"),
        },
    }
}

/// Selects part of a history.
#[derive(Debug, Deserialize)]
struct HistoryPart {
    from: Option<String>,
    count: Option<usize>,
}

async fn history(
    _: Reader,
    State(state): State<WebState>,
    uri: OriginalUri,
    Query(part): Query<HistoryPart>,
) -> Response {
    let target = match parse_target(&uri, "/api/v1/history/") {
        Ok(target) => target,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &error),
    };
    let count = part.count.unwrap_or(50).clamp(1, HISTORY_MAX);
    match state.0.store.history(&target, part.from.as_deref(), count).await {
        Ok(found) if found.entries.is_empty() => {
            failure(StatusCode::NOT_FOUND, "the target has no history")
        }
        Ok(found) => {
            let states = found.entries.iter().map(|entry| {
                let jobs = entry.record.jobs.iter().map(|(test, job)| {
                    json!({ "test": test, "status": job.status, "text": job.text,
                            "logs": logs_json(&job.logs) })
                });
                json!({
                    "commit": entry.id,
                    "time": entry.time.map(time::machine),
                    "message": entry.message,
                    "source": entry.record.source.map(|source| source.to_string()),
                    "jobs": jobs.collect::<Vec<_>>(),
                })
            });
            let states: Vec<Value> = states.collect();
            Json(json!({ "states": states, "older": found.older })).into_response()
        }
        Err(error) => database_failure(&error),
    }
}

/// Selects part of a log.
#[derive(Debug, Deserialize)]
struct LogPart {
    offset: Option<u64>,
    length: Option<usize>,
}

async fn live_log(
    _: Reader,
    State(state): State<WebState>,
    uri: OriginalUri,
    Query(part): Query<LogPart>,
) -> Response {
    let branch = rest(&uri, "/api/v1/logs/live/");
    match branch.and_then(|branch| state.0.tails.live(&branch)) {
        Some(log) => log_json(&ReadableLog::Live(log), &part, true).await,
        None => failure(StatusCode::NOT_FOUND, "no build is running on this branch"),
    }
}

async fn saved_log(
    _: Reader,
    State(state): State<WebState>,
    uri: OriginalUri,
    Query(part): Query<LogPart>,
) -> Response {
    let path = rest(&uri, "/api/v1/logs/saved/");
    match path.as_deref().and_then(|path| path.rsplit_once('/')) {
        Some((_, commit)) => log_json(&state.0.saved.source(commit), &part, false).await,
        None => failure(StatusCode::NOT_FOUND, "expected /logs/saved/BRANCH/COMMIT"),
    }
}

async fn log_json(source: &ReadableLog, part: &LogPart, is_live: bool) -> Response {
    let offset = part.offset.unwrap_or(0);
    let length = part.length.unwrap_or(LOG_MAX).clamp(4, LOG_MAX);
    let read = async {
        let len = source.len().await?;
        Ok((len, source.read(offset, length).await?))
    };
    match read.await {
        Ok((len, bytes)) => {
            // A part that ends before the end of the log must end at a character boundary.
            let at_end = offset.saturating_add(bytes.len() as u64) >= len;
            let end = if at_end { bytes.len() } else { whole_chars(&bytes) };
            let text = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
            let next = offset.saturating_add(end as u64);
            Json(json!({
                "offset": offset, "next": next, "length": len, "live": is_live, "text": text,
            }))
            .into_response()
        }
        Err(error) => database_failure(&error),
    }
}

async fn pools(_: Reader, State(state): State<WebState>) -> Response {
    let pools: Vec<Value> = state.0.pools.status().into_iter().map(pool_json).collect();
    Json(json!({ "pools": pools })).into_response()
}

fn pool_json(status: PoolStatus) -> Value {
    let jobs = |jobs: &[(String, std::time::SystemTime)]| -> Vec<Value> {
        jobs.iter()
            .map(|(name, since)| json!({ "name": name, "since": time::machine(*since) }))
            .collect()
    };
    json!({
        "name": status.name,
        "capacity": status.capacity,
        "holders": jobs(&status.holders),
        "queue": jobs(&status.queue),
    })
}

async fn waiting(_: Reader, State(state): State<WebState>) -> Response {
    let mut waiting = Vec::new();
    for view in state.0.view.targets() {
        let pending = view.jobs.iter().filter(|job| job.result.status == JobStatus::Pending);
        waiting.extend(pending.map(|job| {
            json!({
                "target": view.target.to_string(),
                "test": job.test,
                "since": time::machine(job.since),
                "reasons": ReasonJson::all(job),
            })
        }));
    }
    Json(json!({ "waiting": waiting })).into_response()
}
