//! The lists of pull requests, branches and tags.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use datakit_github::RefKind;
use serde::Deserialize;

use super::page;
use crate::Target;
use crate::web::model::TargetRow;
use crate::web::urls;
use crate::web::visit::Visit;
use crate::web::{WebState, events};

/// The number of targets on a page.
const PAGE: usize = 100;

#[derive(Template)]
#[template(path = "list.html")]
struct ListPage {
    visit: Visit,
    /// The URL of the event stream that reports changes.
    changes: String,
    title: &'static str,
    path: &'static str,
    filter: String,
    targets: Vec<TargetRow>,
    /// The number of targets that match the filter.
    total: usize,
    /// The targets that cannot be read, each with the reason.
    unreadable: Vec<(String, String)>,
    previous: Option<String>,
    next: Option<String>,
}

/// Which part of a list to show.
#[derive(Debug, Deserialize)]
pub(in crate::web) struct ListQuery {
    /// The page number, starting at 1.
    page: Option<usize>,
    /// A string that the name or title must contain.
    q: Option<String>,
}

/// The pull requests.
pub(in crate::web) async fn prs(
    visit: Visit,
    State(state): State<WebState>,
    Query(part): Query<ListQuery>,
) -> Response {
    list(visit, &state, part, ("Pull requests", "/pr"), |target| matches!(target, Target::Pr(_)))
}

/// The branches.
pub(in crate::web) async fn branches(
    visit: Visit,
    State(state): State<WebState>,
    Query(part): Query<ListQuery>,
) -> Response {
    list(visit, &state, part, ("Branches", "/branch"), |target| is_ref(target, RefKind::Heads))
}

/// The tags.
pub(in crate::web) async fn tags(
    visit: Visit,
    State(state): State<WebState>,
    Query(part): Query<ListQuery>,
) -> Response {
    list(visit, &state, part, ("Tags", "/tag"), |target| is_ref(target, RefKind::Tags))
}

fn is_ref(target: &Target, kind: RefKind) -> bool {
    matches!(target, Target::Ref(id) if id.name.kind() == kind)
}

fn list(
    visit: Visit,
    state: &WebState,
    part: ListQuery,
    (title, path): (&'static str, &'static str),
    is_shown: impl Fn(&Target) -> bool,
) -> Response {
    let filter = part.q.unwrap_or_default().trim().to_owned();
    let wanted = filter.to_lowercase();
    let changes = events::url(state, None);
    let mut targets = state.0.view.targets();
    targets.retain(|view| {
        let contains = |text: &str| text.to_lowercase().contains(&wanted);
        is_shown(&view.target)
            && (contains(&view.target.to_string()) || view.title.as_deref().is_some_and(contains))
    });
    let mut unreadable = state.0.view.unreadable();
    unreadable.retain(|target, _| {
        is_shown(target) && target.to_string().to_lowercase().contains(&wanted)
    });
    let unreadable = unreadable.into_iter().take(PAGE);
    let total = targets.len();
    let number = part.page.unwrap_or(1).clamp(1, total.div_ceil(PAGE).max(1));
    let link = |number: usize| format!("{path}?page={number}&q={}", urls::encode_query(&filter));
    let shown = targets.iter().skip((number - 1) * PAGE).take(PAGE);
    page(&ListPage {
        visit,
        changes,
        title,
        path,
        targets: shown.map(|view| TargetRow::new(view)).collect(),
        total,
        unreadable: unreadable.map(|(target, reason)| (target.to_string(), reason)).collect(),
        previous: (number > 1).then(|| link(number - 1)),
        next: (number * PAGE < total).then(|| link(number + 1)),
        filter,
    })
}
