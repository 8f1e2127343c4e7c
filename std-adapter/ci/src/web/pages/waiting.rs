//! The page that explains what each pending job is waiting for.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::home::PoolRow;
use super::page;
use crate::state::JobStatus;
use crate::term::explain;
use crate::web::model::{Moment, short_name};
use crate::web::urls;
use crate::web::visit::Visit;
use crate::web::waits::{WaitReason, reasons};
use crate::web::{WebState, events};

/// The maximum number of jobs on the page.
const JOBS_MAX: usize = 500;

#[derive(Template)]
#[template(path = "waiting.html")]
struct WaitingPage {
    visit: Visit,
    /// The URL of the event stream that reports changes.
    changes: String,
    jobs: Vec<WaitingJob>,
    /// The number of pending jobs.
    total: usize,
    pools: Vec<PoolRow>,
}

struct WaitingJob {
    repo: String,
    name: String,
    test: String,
    url: String,
    since: Moment,
    reasons: Vec<(WaitReason, Option<Moment>)>,
}

/// The page.
pub(in crate::web) async fn page_of(visit: Visit, State(state): State<WebState>) -> Response {
    let changes = events::url(&state, None);
    let (mut jobs, mut total) = (Vec::new(), 0);
    for target in state.0.view.targets() {
        let pending = target.jobs.iter().filter(|job| job.result.status == JobStatus::Pending);
        for job in pending {
            total += 1;
            if jobs.len() >= JOBS_MAX {
                continue;
            }
            let found = reasons(&explain(&job.node)).into_iter();
            jobs.push(WaitingJob {
                repo: target.target.repo().to_string(),
                name: short_name(&target.target),
                test: job.test.clone(),
                url: format!(
                    "{}?test={}",
                    urls::target(&target.target),
                    urls::encode_query(&job.test)
                ),
                since: Moment::new(job.since),
                reasons: found
                    .map(|reason| (reason.clone(), reason.since.map(Moment::new)))
                    .collect(),
            });
        }
    }
    let pools = PoolRow::all(&state);
    page(&WaitingPage { visit, changes, jobs, total, pools })
}
