//! Protection against cross-site request forgery (CSRF).
//!
//! A request that changes something must contain a token that other sites do not know, either in
//! the `csrf` form field or in the `X-CSRF-Token` header. In addition, the request's headers must
//! not indicate that the request came from another site.

use std::fmt;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Request};
use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};

use super::Auth;
use super::session::Session;
use super::session_id::is_same_secret;
use crate::web::server::is_too_large;

/// The name of the form field that contains the token.
pub const CSRF_FIELD: &str = "csrf";

/// The name of the header in which scripts send the token.
const HEADER: &str = "x-csrf-token";

/// The maximum size of a form, in bytes.
const MAX_FORM: usize = 64 << 10;

/// The token that each form must contain in its `csrf` field. Scripts send it in the `X-CSRF-Token`
/// header.
///
/// The token is the same for all pages in a session and changes on every login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsrfToken(String);

impl CsrfToken {
    /// Returns the token, which does not need to be escaped in HTML.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CsrfToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for CsrfToken {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<CsrfToken, StatusCode> {
        let session = Session::from_request_parts(parts, state).await?;
        let id = session.id_or_new().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        Ok(CsrfToken(id.derive("csrf", "")))
    }
}

/// Checks a request that changes something.
///
/// # Errors
/// Returns a 403 or 413 response if the request is rejected.
pub(super) async fn check(request: Request, session: &Session) -> Result<Request, Response> {
    if !is_same_origin(session.auth(), request.headers()) {
        return Err(forbidden("This form was sent by another web site."));
    }
    let stale = || forbidden("The form is too old. Go back, reload the page and try again.");
    let expected = session.id().ok_or_else(stale)?.derive("csrf", "");
    if let Some(token) = request.headers().get(HEADER) {
        let is_valid = token.to_str().is_ok_and(|token| is_same_secret(token, &expected));
        return if is_valid { Ok(request) } else { Err(stale()) };
    }
    if !is_form(request.headers()) {
        return Err(stale());
    }
    let (parts, body) = request.into_parts();
    let body = read_form(body).await?;
    let mut fields = form_urlencoded::parse(&body);
    let token = fields.find(|(name, _)| name == CSRF_FIELD).map(|(_, value)| value);
    if token.is_some_and(|token| is_same_secret(&token, &expected)) {
        Ok(Request::from_parts(parts, Body::from(body)))
    } else {
        Err(stale())
    }
}

async fn read_form(body: Body) -> Result<Bytes, Response> {
    match Limited::new(body, MAX_FORM).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if is_too_large(&*error) => {
            let text = format!("The form is larger than {MAX_FORM} bytes.\n");
            Err((StatusCode::PAYLOAD_TOO_LARGE, text).into_response())
        }
        Err(_) => Err((StatusCode::BAD_REQUEST, "The form is incomplete.\n").into_response()),
    }
}

fn forbidden(message: &'static str) -> Response {
    (StatusCode::FORBIDDEN, format!("{message}\n")).into_response()
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Returns `false` if the headers show that the request was sent by a page from another origin. Old
/// browsers and other programs send neither header.
fn is_same_origin(auth: &Auth, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let site = text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    let origin = text(ORIGIN.as_str()).is_none_or(|origin| {
        // Visitors can access the server under a name other than its public one.
        let host = host_of(origin, auth.is_secure());
        origin == auth.origin() || host.is_some() && host == text(HOST.as_str())
    });
    site && origin
}

/// Returns the host and port of an origin, or `None` if the server uses TLS but the origin does
/// not.
fn host_of(origin: &str, is_secure: bool) -> Option<&str> {
    let host = origin.strip_prefix("https://");
    host.or_else(|| origin.strip_prefix("http://").filter(|_| !is_secure))
}
