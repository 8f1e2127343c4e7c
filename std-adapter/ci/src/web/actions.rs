//! Repeats and cancels builds.
//!
//! The session layer checks the form's CSRF token before these functions run.

use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use tokio::sync::broadcast::{self, error::RecvError};

use super::auth::Builder;
use super::pages::error::error_page;
use super::{WebState, urls};
use crate::Target;
use crate::build::RebuildError;
use crate::term::Logs;

/// How long to wait for a build to start or end.
const LIMIT: Duration = Duration::from_secs(1);

/// The page to show after the action.
#[derive(Debug, Deserialize)]
pub(super) struct Then {
    redirect: Option<String>,
}

/// Marks the result in a branch as unusable and rebuilds the branch.
pub(super) async fn rebuild(
    builder: Builder,
    State(state): State<WebState>,
    uri: Uri,
    Query(then): Query<Then>,
) -> Response {
    let Some(branch) = branch(&uri, "/log/rebuild/") else { return no_branch() };
    let changes = state.0.view.changes();
    let result = state.0.builds.rebuild(&branch).await;
    if result.is_ok() {
        wait_until(changes, || state.0.tails.live(&branch).is_some()).await;
    }
    finish("rebuild", &builder, &branch, result, &then)
}

/// Cancels the build that is running on a branch.
pub(super) async fn cancel(
    builder: Builder,
    State(state): State<WebState>,
    uri: Uri,
    Query(then): Query<Then>,
) -> Response {
    let Some(branch) = branch(&uri, "/cancel/") else { return no_branch() };
    let changes = state.0.view.changes();
    let result = state.0.builds.cancel(&branch).map(drop);
    if result.is_ok() {
        wait_until(changes, || !is_live(&state, &branch)).await;
    }
    finish("cancel", &builder, &branch, result, &then)
}

/// Waits briefly until the build has started or ended, so that the next page shows the new state.
async fn wait_until(mut changes: broadcast::Receiver<Target>, reached: impl Fn() -> bool) {
    let wait = async {
        while !reached() {
            if let Err(RecvError::Closed) = changes.recv().await {
                return;
            }
        }
    };
    // The page is correct in any case, so a build that takes longer does no harm.
    let _ = tokio::time::timeout(LIMIT, wait).await;
}

/// Returns `true` if any job lists the branch's log as live.
fn is_live(state: &WebState, branch: &str) -> bool {
    let is_log = |logs: &&Logs| matches!(logs, Logs::Live { branch: live } if **live == *branch);
    let targets = state.0.view.targets();
    let mut jobs = targets.iter().flat_map(|target| &target.jobs);
    jobs.any(|job| job.result.logs.leaves().iter().any(is_log))
}

fn branch(uri: &Uri, prefix: &str) -> Option<String> {
    urls::decode_text(uri.path().strip_prefix(prefix)?)
}

fn no_branch() -> Response {
    error_page(StatusCode::BAD_REQUEST, "The branch name is not valid UTF-8.")
}

fn finish(
    action: &str,
    builder: &Builder,
    branch: &str,
    result: Result<(), RebuildError>,
    then: &Then,
) -> Response {
    match result {
        Ok(()) => {
            tracing::info!(action, branch, ?builder, "build changed by a user");
            let page = then.redirect.as_deref().map_or("/", urls::local_or_home);
            Redirect::to(page).into_response()
        }
        Err(error @ RebuildError::NoJob { .. }) => {
            error_page(StatusCode::NOT_FOUND, &error.to_string())
        }
        Err(error) => {
            tracing::warn!(action, branch, %error, "the build was not changed");
            error_page(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
        }
    }
}
