//! Returns API errors as JSON.

use axum::Json;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// The maximum length of an error message in bytes.
const TEXT_MAX: usize = 4096;

/// Converts errors that are sent as text or as a page to JSON if the request is for the API. Errors
/// in these formats come from the router, invalid queries, the session layer, and the deadline.
pub(super) async fn convert(request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_api || !is_error || has_type(response.headers(), "application/json") {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = match has_type(&parts.headers, "text/plain") {
        true => to_bytes(body, TEXT_MAX).await.unwrap_or_default(),
        false => Default::default(),
    };
    let text = String::from_utf8_lossy(text.trim_ascii());
    let reason = status.canonical_reason().unwrap_or_default().to_lowercase();
    let text = if text.is_empty() { reason.as_str() } else { &text };
    parts.headers.remove(CONTENT_TYPE);
    parts.headers.remove(CONTENT_LENGTH);
    (status, parts.headers, Json(json!({ "error": text }))).into_response()
}

fn has_type(headers: &HeaderMap, name: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.starts_with(name))
}
