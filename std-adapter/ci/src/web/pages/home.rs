//! The home page and the page for a wall-mounted screen.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::page;
use crate::pool::PoolStatus;
use crate::state::JobStatus;
use crate::web::model::{Moment, TargetRow, overall};
use crate::web::visit::Visit;
use crate::web::{WebState, events};
use crate::{Target, TargetView};

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    visit: Visit,
    /// The URL of the event stream that reports changes.
    changes: String,
    dashboards: Vec<TargetRow>,
    summary: Summary,
    pools: Vec<PoolRow>,
}

#[derive(Template)]
#[template(path = "wall.html")]
struct WallPage {
    visit: Visit,
    /// The URL of the event stream that reports changes.
    changes: String,
    dashboards: Vec<TargetRow>,
    summary: Summary,
}

/// The number of targets for each overall status.
#[derive(Default)]
struct Summary {
    targets: usize,
    failed: usize,
    pending: usize,
    passed: usize,
}

impl Summary {
    fn new(targets: &[std::sync::Arc<TargetView>]) -> Summary {
        let mut summary = Summary { targets: targets.len(), ..Summary::default() };
        for target in targets {
            match overall(target.jobs.iter().map(|job| job.result.status)) {
                Some(JobStatus::Failure) => summary.failed += 1,
                Some(JobStatus::Pending) => summary.pending += 1,
                Some(JobStatus::Success) => summary.passed += 1,
                None => {}
            }
        }
        summary
    }
}

/// A pool with its holders and its queue.
pub(in crate::web) struct PoolRow {
    pub(in crate::web) name: String,
    pub(in crate::web) capacity: usize,
    pub(in crate::web) holders: Vec<(String, Moment)>,
    pub(in crate::web) queue: Vec<(String, Moment)>,
}

impl PoolRow {
    pub(in crate::web) fn new(status: PoolStatus) -> PoolRow {
        let jobs = |jobs: Vec<(String, _)>| {
            jobs.into_iter().map(|(name, since)| (name, Moment::new(since))).collect()
        };
        PoolRow {
            name: status.name,
            capacity: status.capacity,
            holders: jobs(status.holders),
            queue: jobs(status.queue),
        }
    }

    pub(in crate::web) fn all(state: &WebState) -> Vec<PoolRow> {
        state.0.pools.status().into_iter().map(PoolRow::new).collect()
    }
}

/// The first page.
pub(in crate::web) async fn home(visit: Visit, State(state): State<WebState>) -> Response {
    let changes = events::url(&state, None);
    let targets = state.0.view.targets();
    page(&HomePage {
        visit,
        changes,
        dashboards: dashboards(&state, &targets),
        summary: Summary::new(&targets),
        pools: PoolRow::all(&state),
    })
}

/// The page for a wall-mounted screen.
pub(in crate::web) async fn wall(visit: Visit, State(state): State<WebState>) -> Response {
    let changes = events::url(&state, None);
    let targets = state.0.view.targets();
    page(&WallPage {
        visit,
        changes,
        dashboards: dashboards(&state, &targets),
        summary: Summary::new(&targets),
    })
}

fn dashboards(state: &WebState, targets: &[std::sync::Arc<TargetView>]) -> Vec<TargetRow> {
    let configured = &state.0.dashboards;
    let is_shown = |target: &Target| match target {
        _ if !configured.is_empty() => configured.contains(target),
        Target::Ref(id) => matches!(id.name.to_bytes().as_slice(), b"heads/master" | b"heads/main"),
        Target::Pr(_) => false,
    };
    let shown = targets.iter().filter(|view| is_shown(&view.target));
    shown.map(|view| TargetRow::new(view)).collect()
}
