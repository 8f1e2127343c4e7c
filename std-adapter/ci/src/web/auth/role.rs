//! Roles as extractors: a handler with a role parameter runs only for users who have this role.

use axum::Json;
use axum::extract::{FromRequestParts, OptionalFromRequestParts, OriginalUri};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};

use super::local_path::local_or_root;
use super::policy::{Decision, Policy};
use super::session::Session;
use super::user::User;

/// A visitor whom the `can_read` policy allows to read the pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// The user, or `None` if the visitor is not logged in.
    pub user: Option<User>,
}

/// A visitor whom the `can_build` policy allows to cancel builds and to start rebuilds.
///
/// A page can use `Option<Builder>` to decide whether to show the buttons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builder {
    /// The user, or `None` if the visitor is not logged in.
    pub user: Option<User>,
}

/// The local user `admin`, who can change the settings and has all other roles.
///
/// A page can use `Option<Admin>` to decide whether to show the link to the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The user.
    pub user: User,
}

/// The user who sent the request, or `None` if the visitor is not logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentUser(pub Option<User>);

/// The reason why a request is denied, and where to redirect the visitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    reason: DenialReason,
    /// Whether the client is a program. A program receives a status code instead of a redirect.
    program: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum DenialReason {
    /// The visitor must log in first. Contains the path of the page to return to.
    LoginNeeded(String),
    PermissionDenied,
    /// The user must log in again to refresh their GitHub permissions.
    LogoutNeeded,
    /// The session store is unavailable.
    Unavailable,
    /// The router is not wrapped with [`with_sessions`](super::with_sessions).
    NoSession,
}

impl Denied {
    fn new(parts: &Parts, reason: DenialReason) -> Denied {
        // In a nested router, the URI does not include the router's prefix.
        let original = parts.extensions.get::<OriginalUri>();
        let uri = original.map_or(&parts.uri, |OriginalUri(uri)| uri);
        Denied { reason, program: is_program(uri, &parts.headers) }
    }
}

/// Returns `true` if the client expects data instead of a page.
fn is_program(uri: &Uri, headers: &HeaderMap) -> bool {
    let accept = headers.get("accept").and_then(|value| value.to_str().ok()).unwrap_or_default();
    uri.path().starts_with("/api/") || accept.starts_with("text/event-stream")
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let (status, text, page) = match &self.reason {
            DenialReason::LoginNeeded(back) => {
                let back: String = form_urlencoded::byte_serialize(back.as_bytes()).collect();
                (StatusCode::UNAUTHORIZED, "login needed", format!("/auth/login?back={back}"))
            }
            DenialReason::PermissionDenied => {
                (StatusCode::FORBIDDEN, "permission denied", "/error/permission-denied".into())
            }
            DenialReason::LogoutNeeded => (
                StatusCode::FORBIDDEN,
                "log out and log in again to refresh your GitHub permissions",
                "/error/logout-needed".into(),
            ),
            DenialReason::Unavailable => {
                let text = "The session store is not responding. Try again later.\n";
                return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "5")], text)
                    .into_response();
            }
            DenialReason::NoSession => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        };
        if self.program {
            return (status, Json(serde_json::json!({ "error": text }))).into_response();
        }
        ([("cache-control", "no-store")], Redirect::to(&page)).into_response()
    }
}

/// Returns the page to show after the login. A POST request cannot be repeated after the login, so
/// the visitor is sent to the page to which such a request redirects.
fn page_after_login(parts: &Parts) -> String {
    let original = parts.extensions.get::<OriginalUri>();
    let uri = original.map_or(&parts.uri, |OriginalUri(uri)| uri);
    if parts.method == Method::GET || parts.method == Method::HEAD {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        return local_or_root(path).to_owned();
    }
    let mut queries = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let redirect = queries.find(|(name, _)| name == "redirect").map(|(_, value)| value);
    local_or_root(&redirect.unwrap_or_default()).to_owned()
}

fn session(parts: &Parts) -> Result<Session, Denied> {
    let session = parts.extensions.get().cloned();
    session.ok_or_else(|| Denied::new(parts, DenialReason::NoSession))
}

/// Returns the user if the policy allows the request.
fn check(parts: &Parts, policy: impl Fn(&Session) -> &Policy) -> Result<Option<User>, Denied> {
    let session = session(parts)?;
    let data = session.data();
    match policy(&session).decide(data.as_ref()) {
        Decision::Allowed => Ok(data.map(|data| data.user)),
        _ if data.is_none() => Err(log_in_first(parts, &session)),
        Decision::Denied => Err(Denied::new(parts, DenialReason::PermissionDenied)),
        Decision::Unknown => Err(Denied::new(parts, DenialReason::LogoutNeeded)),
    }
}

fn log_in_first(parts: &Parts, session: &Session) -> Denied {
    let reason = if session.is_unavailable() {
        DenialReason::Unavailable
    } else {
        DenialReason::LoginNeeded(page_after_login(parts))
    };
    Denied::new(parts, reason)
}

impl<S: Send + Sync> FromRequestParts<S> for Reader {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Reader, Denied> {
        check(parts, |session| session.auth().can_read()).map(|user| Reader { user })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Builder {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Builder, Denied> {
        check(parts, |session| session.auth().can_build()).map(|user| Builder { user })
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Builder {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Builder>, Denied> {
        optional(<Builder as FromRequestParts<S>>::from_request_parts(parts, state).await)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Admin, Denied> {
        let session = session(parts)?;
        match session.user() {
            Some(user) if user.is_admin() => Ok(Admin { user }),
            Some(_) => Err(Denied::new(parts, DenialReason::PermissionDenied)),
            None => Err(log_in_first(parts, &session)),
        }
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Admin {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Admin>, Denied> {
        optional(<Admin as FromRequestParts<S>>::from_request_parts(parts, state).await)
    }
}

fn optional<R>(role: Result<R, Denied>) -> Result<Option<R>, Denied> {
    match role {
        Ok(role) => Ok(Some(role)),
        Err(denied) if denied.reason == DenialReason::NoSession => Err(denied),
        Err(_) => Ok(None),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for CurrentUser {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<CurrentUser, Denied> {
        session(parts).map(|session| CurrentUser(session.user()))
    }
}
