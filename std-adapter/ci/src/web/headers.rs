//! The headers that restrict what a browser does with a page.

use axum::http::header::{HeaderName, HeaderValue};
use axum::response::Response;

/// Pages load scripts and style sheets only from this server, and never use inline ones.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Adds the headers to a response, unless the handler has already set them.
pub(super) async fn add(mut response: Response) -> Response {
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cache-control", "private, no-cache"),
    ] {
        let entry = response.headers_mut().entry(HeaderName::from_static(name));
        entry.or_insert(HeaderValue::from_static(value));
    }
    response
}
