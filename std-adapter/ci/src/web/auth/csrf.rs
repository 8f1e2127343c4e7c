//! Protection against requests that another web site makes a browser send (CSRF).
//!
//! A request that changes something must contain a token that other sites do not know, in the form
//! field `csrf` or in the header `X-CSRF-Token`. In addition, the browser must not report that
//! another site has caused the request.

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

/// The name of the header that scripts use for the token.
const HEADER: &str = "x-csrf-token";

/// The maximum size of a form, in bytes.
const MAX_FORM: usize = 64 << 10;

/// The token that each form must contain in the field `csrf`. A script sends it in the header
/// `X-CSRF-Token`.
///
/// The token is the same for all pages of a session. It changes at each login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsrfToken(String);

impl CsrfToken {
    /// Returns the token, which needs no escapes in HTML.
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
/// Returns the response with the status 403 or 413 if the request is refused.
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

/// Returns `false` if the browser reports that a page of another origin has sent the request. Old
/// browsers and programs send neither of the headers.
fn is_same_origin(auth: &Auth, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let site = text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    let origin = text(ORIGIN.as_str()).is_none_or(|origin| {
        // Visitors can use another name of the server than the public one.
        let host = host_of(origin, auth.is_secure());
        origin == auth.origin() || host.is_some() && host == text(HOST.as_str())
    });
    site && origin
}

/// Returns the host and the port of an origin, or `None` if it does not use TLS but the server does.
fn host_of(origin: &str, is_secure: bool) -> Option<&str> {
    let host = origin.strip_prefix("https://");
    host.or_else(|| origin.strip_prefix("http://").filter(|_| !is_secure))
}
