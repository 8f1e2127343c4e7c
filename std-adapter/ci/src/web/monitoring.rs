//! Routes for monitoring.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::WebState;

/// Reports that the server is handling requests.
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// Returns the metrics to a client that sends the configured token.
pub(super) async fn metrics(State(state): State<WebState>, headers: HeaderMap) -> Response {
    let header = headers.get("authorization").and_then(|value| value.to_str().ok());
    let token = header.and_then(|header| header.strip_prefix("Bearer "));
    let metrics = state.0.metrics.as_ref();
    match (metrics, token.map(|token| sha256(token.trim().as_bytes()))) {
        // The hashes do not have to be compared in constant time, because a hash does not reveal
        // the token.
        (Some(metrics), Some(hash)) if hash == metrics.token_sha256 => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            ([("content-type", kind)], (metrics.text)()).into_response()
        }
        _ => (StatusCode::FORBIDDEN, "a valid bearer token is required\n").into_response(),
    }
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let mut hash = [0; 32];
    // A SHA-256 hash is 32 bytes long.
    hash.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    hash
}
