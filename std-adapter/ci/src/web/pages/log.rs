//! The pages of logs.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use datakit_client::db::Result;
use serde::Deserialize;

use super::error::{database_error, not_found};
use super::page;
use crate::state::JobStatus;
use crate::web::log::index::Index;
use crate::web::log::saved::ReadableLog;
use crate::web::log::search::{SearchResult, search};
use crate::web::model::{Badge, title};
use crate::web::visit::Visit;
use crate::web::{WebState, download, events, urls};

/// The maximum length of a search string, in bytes.
const SEARCH_MAX: usize = 200;

/// Which part of a log to show, and in what form.
#[derive(Debug, Default, Deserialize)]
pub(in crate::web) struct LogQuery {
    /// A page number.
    page: Option<usize>,
    /// The number of a line. The page that contains this line is shown.
    line: Option<u64>,
    /// A string to search for.
    q: Option<String>,
    /// The line after which the search starts.
    after: Option<u64>,
    /// If this is set, the log is downloaded.
    raw: Option<String>,
    /// If this is set, the lines after this offset are sent as events.
    events: Option<u64>,
}

/// A page of a log.
pub(in crate::web) struct LogView {
    pub(in crate::web) html: String,
    pub(in crate::web) number: usize,
    pub(in crate::web) count: usize,
    pub(in crate::web) lines: u64,
    pub(in crate::web) bytes: u64,
    /// The URL of the log without a query.
    pub(in crate::web) url: String,
    /// The URL of the event stream, if lines can still be added to this page.
    pub(in crate::web) events: Option<String>,
}

impl LogView {
    /// Reads a page of a complete log. `page` receives the index of the log and returns the number
    /// of the page.
    pub(in crate::web) async fn saved(
        state: &WebState,
        (branch, commit): (&str, &str),
        is_embedded: bool,
        page: impl FnOnce(&Index) -> usize,
    ) -> Result<LogView> {
        let index = state.0.saved.index(commit).await?;
        let source = state.0.saved.source(commit);
        let url = urls::saved_log(branch, commit);
        let number = page(&index).clamp(1, index.page_count());
        LogView::new(&source, &index, number, url, is_embedded, index.len()).await
    }

    /// Reads a page of a log that is still being written. Returns `None` if no build is running.
    pub(in crate::web) async fn live(
        state: &WebState,
        branch: &str,
        is_embedded: bool,
        page: impl FnOnce(&Index) -> usize,
    ) -> Option<Result<LogView>> {
        let tail = state.0.tails.get(branch)?;
        tail.catch_up().await;
        let index = tail.index();
        let source = ReadableLog::Live(tail.log().clone());
        let url = urls::live_log(branch);
        let number = page(&index).clamp(1, index.page_count());
        // The events start after the last complete line.
        let (end, _) = index.end();
        let view = LogView::new(&source, &index, number, url, is_embedded, end).await;
        Some(view.map(|mut view| {
            let is_last = number == index.page_count();
            view.events = is_last.then(|| format!("{}?events={end}", view.url));
            view
        }))
    }

    async fn new(
        source: &ReadableLog,
        index: &Index,
        number: usize,
        url: String,
        is_embedded: bool,
        limit: u64,
    ) -> Result<LogView> {
        let count = index.page_count();
        // The link to a line includes the page, so it works without JavaScript.
        let link = match (is_embedded, count) {
            (true, 1) => url.clone(),
            (true, _) => format!("{url}?page={number}"),
            (false, 1) => String::new(),
            (false, _) => format!("?page={number}"),
        };
        let html = source.page(index, number, limit, &link).await?;
        let (lines, bytes) = (index.lines(), index.len());
        Ok(LogView { html, number, count, lines, bytes, url, events: None })
    }
}

#[derive(Template)]
#[template(path = "log.html")]
struct LogPage {
    visit: Visit,
    title: String,
    branch: String,
    badge: Option<Badge>,
    log: LogView,
    query: String,
    found: Option<SearchResult>,
    /// The path of the button's request, which rebuilds the branch if the log is complete and
    /// cancels the build if the log is live.
    action: String,
    /// The page to show after the action.
    live_url: String,
    is_live: bool,
}

/// The page for a log that is still being written.
pub(in crate::web) async fn live(
    visit: Visit,
    State(state): State<WebState>,
    uri: Uri,
    headers: HeaderMap,
    Query(part): Query<LogQuery>,
) -> Response {
    let branch = uri.path().strip_prefix("/log/live/").and_then(urls::decode_text);
    let Some(branch) = branch else { return not_found("The branch name is not valid UTF-8.") };
    let Some(tail) = state.0.tails.get(&branch) else {
        return match part.events {
            // The build has ended since the page was sent.
            Some(_) => events::end(),
            None => finished(&state, &branch, &uri).await,
        };
    };
    if let Some(from) = part.events {
        return events::log(&state, &headers, tail, from);
    }
    let source = ReadableLog::Live(tail.log().clone());
    if part.raw.is_some() {
        return download::send(source, &branch, &headers).await;
    }
    let Some(view) = LogView::live(&state, &branch, false, |index| part.number(index, true)).await
    else {
        return finished(&state, &branch, &uri).await;
    };
    let action = urls::cancel(&branch);
    let log = ShownLog { source, index: &tail.index(), view, branch, action, is_live: true };
    render(visit, &state, log, part).await
}

/// Redirects the visitor to the complete log of a branch.
async fn finished(state: &WebState, branch: &str, uri: &Uri) -> Response {
    match state.0.store.head(branch).await {
        Ok(Some(commit)) => {
            let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            let url = format!("{}{query}", urls::saved_log(branch, &commit));
            Redirect::temporary(&url).into_response()
        }
        Ok(None) => not_found("There is no log for this branch."),
        Err(error) => database_error(&error),
    }
}

/// The page for a complete log.
pub(in crate::web) async fn saved(
    visit: Visit,
    State(state): State<WebState>,
    uri: Uri,
    headers: HeaderMap,
    Query(part): Query<LogQuery>,
) -> Response {
    let path = uri.path().strip_prefix("/log/saved/").and_then(urls::decode_text);
    let Some((branch, commit)) = path.as_deref().and_then(|path| path.rsplit_once('/')) else {
        return not_found("The path must have the form /log/saved/BRANCH/COMMIT.");
    };
    let source = state.0.saved.source(commit);
    if part.raw.is_some() {
        return download::send(source, branch, &headers).await;
    }
    let index = match state.0.saved.index(commit).await {
        Ok(index) => index,
        Err(error) => return database_error(&error),
    };
    let number = |index: &Index| part.number(index, false);
    let view = LogView::saved(&state, (branch, commit), false, number).await;
    let action = urls::rebuild(branch);
    let branch = branch.to_owned();
    let log = ShownLog { source, index: &index, view, branch, action, is_live: false };
    render(visit, &state, log, part).await
}

impl LogQuery {
    /// Returns the number of the page to show. For a live log, this is the last page.
    fn number(&self, index: &Index, is_live: bool) -> usize {
        let line = self.line.map(|line| index.page_of_line(line));
        self.page.or(line).unwrap_or(if is_live { index.page_count() } else { 1 })
    }
}

/// A log, and which page of it to show.
struct ShownLog<'i> {
    source: ReadableLog,
    index: &'i Index,
    view: Result<LogView>,
    branch: String,
    action: String,
    is_live: bool,
}

async fn render(visit: Visit, state: &WebState, log: ShownLog<'_>, part: LogQuery) -> Response {
    let ShownLog { source, index, view, branch, action, is_live } = log;
    let query = part.q.unwrap_or_default();
    let searched = async {
        let log = view?;
        let start = source.read(0, 1024).await?;
        let found = match query.as_str() {
            "" => None,
            text if text.len() > SEARCH_MAX => Some(SearchResult::default()),
            text => {
                let _permit = state.0.saved.permit().await;
                Some(search(&source, index, text, part.after.unwrap_or(0)).await?)
            }
        };
        Ok((log, title(&start), found))
    };
    match searched.await {
        Ok((log, title, found)) => page(&LogPage {
            visit,
            live_url: urls::live_log(&branch),
            title: title.unwrap_or_else(|| branch.clone()),
            branch,
            badge: is_live.then(|| Badge::of(JobStatus::Pending)),
            log,
            query,
            found,
            action,
            is_live,
        }),
        Err(error) => database_error(&error),
    }
}
