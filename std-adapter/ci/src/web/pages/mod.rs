//! The pages.

pub(super) mod error;
pub(super) mod history;
pub(super) mod home;
pub(super) mod list;
pub(super) mod log;
pub(super) mod target;
pub(super) mod waiting;

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

/// Renders a template.
fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
