//! The style sheet and the script.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

const STYLE: &str = include_str!("../../static/style.css");
const SCRIPT: &str = include_str!("../../static/script.js");

/// The URL of the style sheet. The URL changes with the content, so browsers do not use an outdated
/// file.
pub(super) fn style_url() -> String {
    format!("/static/style.css?v={:x}", const { hash(STYLE) })
}

/// The URL of the script.
pub(super) fn script_url() -> String {
    format!("/static/script.js?v={:x}", const { hash(SCRIPT) })
}

/// The FNV-1a hash.
const fn hash(text: &str) -> u64 {
    let (mut hash, mut rest) = (0xcbf2_9ce4_8422_2325, text.as_bytes());
    while let [byte, after @ ..] = rest {
        hash = (hash ^ *byte as u64).wrapping_mul(0x0100_0000_01b3);
        rest = after;
    }
    hash
}

/// Returns a file.
pub(super) async fn file(Path(name): Path<String>) -> Response {
    let (kind, text) = match name.as_str() {
        "style.css" => ("text/css; charset=utf-8", STYLE),
        "script.js" => ("text/javascript; charset=utf-8", SCRIPT),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let headers = [("content-type", kind), ("cache-control", "max-age=300")];
    (headers, text).into_response()
}
