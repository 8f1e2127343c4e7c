//! Error pages.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use datakit_client::db::Error;

use super::page;
use crate::web::assets;
use crate::web::auth::MessagePage;

/// Explains why a request was denied.
pub(in crate::web) async fn page_of(id: &str) -> Response {
    let (status, title, text, login) = match id {
        "permission-denied" => (
            StatusCode::FORBIDDEN,
            "Permission denied",
            "You are logged in, but you do not have permission to view this page.",
            true,
        ),
        "logout-needed" => (
            StatusCode::FORBIDDEN,
            "Log in again",
            "Your GitHub permissions are not known in this session. Log out and log in again.",
            true,
        ),
        _ => (StatusCode::NOT_FOUND, "Not found", "There is no such page.", false),
    };
    render(status, title, text, login)
}

/// The route `/error/ID`.
pub(in crate::web) async fn page_for(Path(id): Path<String>) -> Response {
    page_of(&id).await
}

/// Returns a page with a message.
pub(in crate::web) fn error_page(status: StatusCode, text: &str) -> Response {
    render(status, status.canonical_reason().unwrap_or("Error"), text, false)
}

pub(in crate::web) fn not_found(text: &str) -> Response {
    error_page(StatusCode::NOT_FOUND, text)
}

/// Returns an error page for a database error.
pub(in crate::web) fn database_error(error: &Error) -> Response {
    match error {
        Error::NotFound | Error::InvalidHash(_) => {
            not_found("The database does not contain this commit.")
        }
        error => {
            tracing::warn!(%error, "a page cannot be shown");
            let text = format!("The database returned an error: {error}");
            error_page(StatusCode::SERVICE_UNAVAILABLE, &text)
        }
    }
}

fn render(status: StatusCode, title: &str, text: &str, login: bool) -> Response {
    let style_url = assets::style_url();
    (status, page(&MessagePage { title, text, login, style_url })).into_response()
}
