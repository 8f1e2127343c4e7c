//! The pages for targets and commits.

use askama::Template;
use axum::extract::{Query, Request, State};
use axum::handler::Handler;
use axum::http::Uri;
use axum::response::{IntoResponse, Redirect, Response};
use datakit_client::db::{Error, Result};
use datakit_github::Commit;
use serde::Deserialize;

use super::error::{database_error, not_found};
use super::log::LogView;
use super::{history, page};
use crate::state::{JobResult, history_branch};
use crate::term::explain;
use crate::web::model::{
    Badge, JobRow, LogRow, Moment, TargetRow, default_log, kind_name, short_hash, short_name,
};
use crate::web::store::HistoryEntry;
use crate::web::urls::RepoPage;
use crate::web::visit::Visit;
use crate::web::{WebState, events, picture, urls};
use crate::{JobView, Target, TargetView};

/// Which part of a target to show.
#[derive(Debug, Default, Deserialize)]
pub(in crate::web) struct TargetQuery {
    /// The selected test.
    pub(in crate::web) test: Option<String>,
    /// The branch of the selected log.
    pub(in crate::web) log: Option<String>,
    /// A history commit, or an empty string for the list of history commits.
    pub(in crate::web) history: Option<String>,
    /// The commit at which the list starts.
    pub(in crate::web) from: Option<String>,
}

#[derive(Template)]
#[template(path = "target.html")]
struct TargetPage {
    visit: Visit,
    /// The URL of the event stream that reports changes.
    changes: String,
    kind: &'static str,
    row: TargetRow,
    /// The time and the commit, if this is an older state.
    past: Option<(Option<Moment>, String)>,
    /// The name of the selected test.
    test: Option<String>,
    text: String,
    picture: String,
    outline: String,
    logs: Vec<LogRow>,
    /// The number of logs that are not listed.
    more_logs: usize,
    log: Option<LogView>,
    log_title: String,
}

#[derive(Template)]
#[template(path = "commit.html")]
struct CommitPage {
    visit: Visit,
    repo: String,
    hash: String,
    targets: Vec<TargetRow>,
    /// The name and URL of each target that has earlier results for the commit.
    earlier: Vec<(String, String)>,
}

/// Handles all paths below `/USER/REPO`.
pub(in crate::web) async fn repo_page(
    visit: Visit,
    State(state): State<WebState>,
    uri: Uri,
    Query(part): Query<TargetQuery>,
) -> Response {
    match RepoPage::parse(uri.path()) {
        Some(RepoPage::Commit(commit)) => commit_page(visit, &state, &commit, &uri).await,
        Some(RepoPage::Target(target)) => target_page(visit, &state, target, part).await,
        None => not_found("There is no such page."),
    }
}

/// Handles the paths `/log/saved/BRANCH/COMMIT` and `/log/saved/pr/N`: the latter is a page of the
/// repository `log/saved`.
pub(in crate::web) async fn repo_page_or_log(
    State(state): State<WebState>,
    request: Request,
) -> Response {
    match RepoPage::parse(request.uri().path()) {
        Some(_) => repo_page.call(request, state).await,
        None => super::log::saved.call(request, state).await,
    }
}

/// Redirects to the target of a commit if there is exactly one; otherwise, lists the targets.
async fn commit_page(visit: Visit, state: &WebState, commit: &Commit, uri: &Uri) -> Response {
    let mut targets = state.0.view.targets();
    targets.retain(|view| view.head == *commit);
    if let [only] = targets.as_slice() {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let url = format!("{}{query}", urls::target(&only.target));
        return Redirect::temporary(&url).into_response();
    }
    let earlier = match state.0.store.indexed(commit).await {
        Ok(earlier) => earlier,
        Err(error) => return database_error(&error),
    };
    if targets.is_empty() && earlier.is_empty() {
        return not_found("No target has tested this commit.");
    }
    let earlier = earlier.into_iter().map(|(target, history)| {
        let url = format!("{}?history={history}", urls::target(&target));
        (format!("{} {}", kind_name(&target), short_name(&target)), url)
    });
    page(&CommitPage {
        visit,
        repo: commit.repo.to_string(),
        hash: commit.hash.to_string(),
        targets: targets.iter().map(|view| TargetRow::new(view)).collect(),
        earlier: earlier.collect(),
    })
}

async fn target_page(
    visit: Visit,
    state: &WebState,
    target: Target,
    part: TargetQuery,
) -> Response {
    let changes = events::url(state, Some(&target));
    let view = state.0.view.target(&target);
    let shown = async {
        match (part.history.as_deref(), view) {
            (Some(""), _) => history::list(visit, state, &target, part.from.as_deref()).await,
            (Some(commit), _) => {
                let entry = state.0.store.record(&target, commit).await?;
                past(visit, state, &target, entry, &part).await
            }
            (None, Some(view)) => present(visit, state, (&view, changes), &part).await,
            // The target exists, but it cannot be read.
            (None, None) if state.0.view.problem(&target).is_some() => Err(Error::NotFound),
            // The target was closed or removed, but its last state is known.
            (None, None) => match state.0.store.head(&history_branch(&target)).await? {
                Some(head) => {
                    let entry = state.0.store.record(&target, &head).await?;
                    past(visit, state, &target, entry, &part).await
                }
                None => Err(Error::NotFound),
            },
        }
    };
    match shown.await {
        Ok(response) => response,
        Err(Error::NotFound) => match state.0.view.problem(&target) {
            Some(problem) => not_found(&format!("The target cannot be read: {problem}.")),
            None => not_found("There is no such target, or it has no such history."),
        },
        Err(error) => database_error(&error),
    }
}

/// Shows the current state of a target.
async fn present(
    visit: Visit,
    state: &WebState,
    (view, changes): (&TargetView, String),
    part: &TargetQuery,
) -> Result<Response> {
    let jobs: Vec<(&str, &JobResult)> =
        view.jobs.iter().map(|job| (job.test.as_str(), &job.result)).collect();
    let selected = select(&jobs, part.test.as_deref());
    let job = selected.and_then(|at| view.jobs.get(at));
    let (logs, log) = logs(state, job.map(|job| &job.result), part).await?;
    let more_logs = more(job.map(|job| &job.result), &logs);
    let durations = logs.iter().map(|log| (log.branch.clone(), log.duration.clone())).collect();
    let explained = job.map(|job| explain(&job.node));
    let draw = |job: &JobView| {
        explained.as_ref().map(|explained| picture::draw(&job.test, explained, &durations))
    };
    Ok(page(&TargetPage {
        visit,
        changes,
        kind: kind_name(&view.target),
        row: TargetRow::new(view),
        past: None,
        test: job.map(|job| job.test.clone()),
        text: job.map(JobView::text).unwrap_or_default(),
        picture: job.and_then(draw).unwrap_or_default(),
        outline: explained.map(|explained| explained.to_string()).unwrap_or_default(),
        log_title: logs
            .iter()
            .find(|log| log.selected)
            .map(|log| log.title.clone())
            .unwrap_or_default(),
        more_logs,
        logs,
        log,
    }))
}

/// Shows an older state of a target.
async fn past(
    visit: Visit,
    state: &WebState,
    target: &Target,
    entry: HistoryEntry,
    part: &TargetQuery,
) -> Result<Response> {
    let record = &entry.record;
    let jobs: Vec<(&str, &JobResult)> =
        record.jobs.iter().map(|(test, result)| (test.as_str(), result)).collect();
    let job = select(&jobs, part.test.as_deref()).and_then(|at| jobs.get(at)).copied();
    let (logs, log) = logs(state, job.map(|(_, result)| result), part).await?;
    let more_logs = more(job.map(|(_, result)| result), &logs);
    let source = record.source.map(|source| source.to_string()).unwrap_or_default();
    let url = format!("{}?history={}", urls::target(target), urls::encode_query(&entry.id));
    let row = TargetRow {
        repo: target.repo().to_string(),
        name: short_name(target),
        title: None,
        head: short_hash(&source),
        head_url: match record.source {
            Some(hash) => urls::commit(&Commit { repo: target.repo().clone(), hash }),
            None => urls::target(target),
        },
        badge: Badge::overall(record.jobs.values().map(|job| job.status)),
        jobs: jobs.iter().map(|(test, result)| JobRow::new(&url, test, result, None)).collect(),
        url: urls::target(target),
    };
    Ok(page(&TargetPage {
        visit,
        changes: String::new(),
        kind: kind_name(target),
        row,
        past: Some((entry.time.map(Moment::new), short_hash(&entry.id))),
        test: job.map(|(test, _)| test.to_owned()),
        text: job.map(|(_, result)| result.text.clone()).unwrap_or_default(),
        picture: String::new(),
        outline: String::new(),
        log_title: logs
            .iter()
            .find(|log| log.selected)
            .map(|log| log.title.clone())
            .unwrap_or_default(),
        more_logs,
        logs,
        log,
    }))
}

/// Returns the position of the selected test: the one with the given name, otherwise the first
/// failed test, otherwise the first pending one, otherwise the first one.
fn select(jobs: &[(&str, &JobResult)], name: Option<&str>) -> Option<usize> {
    let named = jobs.iter().position(|(test, _)| Some(*test) == name);
    let first = |status| jobs.iter().position(|(_, result)| result.status == status);
    named
        .or_else(|| first(crate::state::JobStatus::Failure))
        .or_else(|| first(crate::state::JobStatus::Pending))
        .or_else(|| (!jobs.is_empty()).then_some(0))
}

/// Returns the number of logs that are not listed.
fn more(result: Option<&JobResult>, listed: &[LogRow]) -> usize {
    result.map_or(0, |result| result.logs.leaves().len()).saturating_sub(listed.len())
}

/// Returns a job's logs and the end of the selected log.
async fn logs(
    state: &WebState,
    result: Option<&JobResult>,
    part: &TargetQuery,
) -> Result<(Vec<LogRow>, Option<LogView>)> {
    let Some(result) = result else { return Ok((Vec::new(), None)) };
    let mut rows = LogRow::all(state, &result.logs).await;
    let wanted = part.log.as_deref();
    let named = rows.iter().position(|row| Some(row.branch.as_str()) == wanted);
    let Some(row) = named.or_else(|| default_log(&rows)).and_then(|at| rows.get_mut(at)) else {
        return Ok((rows, None));
    };
    row.selected = true;
    let last = |index: &crate::web::log::index::Index| index.page_count();
    let view = match &row.commit {
        Some(commit) => Some(LogView::saved(state, (&row.branch, commit), true, last).await),
        None => LogView::live(state, &row.branch, true, last).await,
    };
    let view = match view {
        // The log may have been pruned.
        Some(Err(Error::NotFound)) | None => None,
        Some(view) => Some(view?),
    };
    Ok((rows, view))
}
