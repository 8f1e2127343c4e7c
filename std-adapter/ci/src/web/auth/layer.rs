//! The layer around all pages: it loads the session and protects the response.

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use super::session::{Session, cookie};
use super::{Auth, csrf};

/// The path of static files, which do not need a session.
const STATIC: &str = "/static/";

/// Loads the session of each request, checks requests that change something, and sets the cookie.
pub(super) async fn layer(auth: Auth, mut request: Request, next: Next) -> Response {
    // Static files are the same for everyone, so there is no need to query the session store.
    let id = cookie(request.headers(), auth.cookie_name())
        .filter(|_| !request.uri().path().starts_with(STATIC));
    let session = Session::load(&auth, id).await;
    request.extensions_mut().insert(session.clone());
    let checked =
        if request.method().is_safe() { Ok(request) } else { csrf::check(request, &session).await };
    let mut response = match checked {
        Ok(request) => next.run(request).await,
        Err(refusal) => refusal,
    };
    session.write_cookie(response.headers_mut());
    add_security_headers(response.headers_mut());
    response
}

/// Adds headers that restrict what a page can do, unless the handler has already set them.
fn add_security_headers(headers: &mut HeaderMap) {
    let mut add = |name: &'static str, value: &'static str| {
        let entry = headers.entry(HeaderName::from_static(name));
        entry.or_insert(HeaderValue::from_static(value));
    };
    add(
        "content-security-policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
         connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    );
    add("x-content-type-options", "nosniff");
    add("x-frame-options", "DENY");
    add("referrer-policy", "same-origin");
    add("cross-origin-opener-policy", "same-origin");
}
