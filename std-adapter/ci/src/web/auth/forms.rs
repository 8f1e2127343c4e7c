//! Forms for logging in with a password, logging out, and changing the password.

use std::time::Duration;

use axum::Router;
use axum::extract::{Form, Query};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use serde::Deserialize;
use tracing::{info, warn};

use super::hasher::HashError;
use super::local_path::local_or_root;
use super::passwords::{MAX_LENGTH, MIN_LENGTH};
use super::peer::PeerAddr;
use super::session::Session;
use super::templates::{LoginPage, LogoutPage, PageFrame, ProfilePage, failure, message, page};
use super::throttle::Attempt;
use super::user::{GithubRights, User};
use super::{Auth, CsrfToken};

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/auth/login", get(login_page).post(login))
        .route("/auth/logout", get(logout_page).post(logout))
        .route("/user/profile", get(profile_page).post(change_password))
}

#[derive(Debug, Deserialize)]
struct Back {
    #[serde(default)]
    back: String,
}

async fn login_page(session: Session, csrf: CsrfToken, Query(query): Query<Back>) -> Response {
    let back = local_or_root(&query.back);
    if session.user().is_some() {
        return Redirect::to(back).into_response();
    }
    show_login(&session, &csrf, StatusCode::OK, None, "", back)
}

fn show_login(
    session: &Session,
    csrf: &CsrfToken,
    status: StatusCode,
    error: Option<&str>,
    name: &str,
    back: &str,
) -> Response {
    let github = session.auth().0.github.is_configured().then(|| {
        let back: String = form_urlencoded::byte_serialize(back.as_bytes()).collect();
        format!("/auth/github?back={back}")
    });
    let visit = PageFrame::new(session, back);
    page(status, &LoginPage { visit, csrf, error, name, back, github })
}

#[derive(Deserialize)]
struct Login {
    user: String,
    password: String,
    #[serde(default)]
    back: String,
}

async fn login(
    session: Session,
    csrf: CsrfToken,
    PeerAddr(address): PeerAddr,
    Form(form): Form<Login>,
) -> Response {
    let auth = session.auth();
    let back = local_or_root(&form.back);
    let user = User::local(form.user.trim());
    let name = user.as_ref().map_or("", User::name).to_owned();
    let attempt = match auth.0.throttle.start(address, Some(&name)) {
        Ok(attempt) => attempt,
        Err(wait) => {
            auth.0.counters.add_local(false);
            return too_many(wait);
        }
    };
    let entry = user.as_ref().and_then(|user| auth.0.passwords.get(user.name()));
    let (hash, version) = entry.map(|entry| (entry.hash, entry.version)).unzip();
    let verified = verify(auth, attempt, &name, form.password, hash).await;
    auth.0.counters.add_local(matches!(verified, Ok(true)));
    match (verified, user) {
        (Ok(true), Some(user)) => {
            info!(%user, ?address, "logged in");
            match session.log_in(user, version, GithubRights::default()).await {
                Ok(()) => Redirect::to(back).into_response(),
                Err(error) => failure("store the session", &error),
            }
        }
        (Err(refused), _) => refused,
        (Ok(_), user) => {
            // Do not log the name of a nonexistent user: it could be a password.
            let user = user.filter(|user| auth.0.passwords.get(user.name()).is_some());
            warn!(user = user.as_ref().map(User::name), ?address, "login refused");
            let error = Some("The username or password is incorrect.");
            show_login(&session, &csrf, StatusCode::UNAUTHORIZED, error, &name, back)
        }
    }
}

/// Verifies a password.
///
/// # Errors
/// Returns an error response if the server is currently unable to verify the password.
async fn verify(
    auth: &Auth,
    attempt: Attempt,
    name: &str,
    password: String,
    hash: Option<String>,
) -> Result<bool, Response> {
    if password.len() > MAX_LENGTH {
        return Ok(false);
    }
    match auth.0.hasher.verify(password, hash).await {
        Ok(true) => {
            attempt.succeeded(name);
            Ok(true)
        }
        Ok(false) => Ok(false),
        Err(error) => Err(hash_failure(&error)),
    }
}

pub(super) fn hash_failure(error: &HashError) -> Response {
    match error {
        HashError::Busy => {
            let text = "Too many logins at the same time. Try again in a few seconds.";
            let page = message(StatusCode::SERVICE_UNAVAILABLE, "Server busy", text);
            ([("retry-after", "5")], page).into_response()
        }
        HashError::Failed(error) => failure("hash the password", error),
    }
}

/// Returns the page for a client with too many failed logins.
pub(super) fn too_many(wait: Duration) -> Response {
    let seconds = wait.as_secs().max(1);
    let text = format!("There were too many failed logins. Try again in {seconds} s.");
    let page = message(StatusCode::TOO_MANY_REQUESTS, "Too many failed logins", &text);
    ([("retry-after", seconds.to_string())], page).into_response()
}

async fn logout_page(session: Session, csrf: CsrfToken) -> Response {
    let (user, visit) = (session.user(), PageFrame::new(&session, "/"));
    page(StatusCode::OK, &LogoutPage { visit, csrf: &csrf, user: user.as_ref().map(User::name) })
}

async fn logout(session: Session) -> Response {
    match session.log_out().await {
        Ok(()) => Redirect::to("/").into_response(),
        Err(error) => failure("end the session", &error),
    }
}

async fn profile_page(session: Session, csrf: CsrfToken) -> Response {
    let Some(user) = session.user() else { return log_in_first() };
    show_profile(&session, &csrf, &user, StatusCode::OK, None)
}

fn show_profile(
    session: &Session,
    csrf: &CsrfToken,
    user: &User,
    status: StatusCode,
    error: Option<&str>,
) -> Response {
    let has_password = user.github_login().is_none();
    let visit = PageFrame::new(session, "/");
    page(status, &ProfilePage { visit, csrf, error, user: user.name(), has_password })
}

fn log_in_first() -> Response {
    Redirect::to("/auth/login?back=%2Fuser%2Fprofile").into_response()
}

#[derive(Deserialize)]
struct NewPassword {
    current: String,
    new: String,
    again: String,
}

async fn change_password(
    session: Session,
    csrf: CsrfToken,
    PeerAddr(address): PeerAddr,
    Form(form): Form<NewPassword>,
) -> Response {
    let auth = session.auth();
    let Some(user) = session.user() else { return log_in_first() };
    let Some(entry) = auth.0.passwords.get(user.name()) else {
        let error = Some("Only local users have a password.");
        return show_profile(&session, &csrf, &user, StatusCode::BAD_REQUEST, error);
    };
    if let Err(error) = check_new(&form.new, &form.again) {
        return show_profile(&session, &csrf, &user, StatusCode::BAD_REQUEST, Some(&error));
    }
    let attempt = match auth.0.throttle.start(address, Some(user.name())) {
        Ok(attempt) => attempt,
        Err(wait) => return too_many(wait),
    };
    match verify(auth, attempt, user.name(), form.current, Some(entry.hash)).await {
        Err(refused) => return refused,
        Ok(false) => {
            let error = Some("The current password is incorrect.");
            return show_profile(&session, &csrf, &user, StatusCode::UNAUTHORIZED, error);
        }
        Ok(true) => {}
    }
    match set_password(auth, &user, form.new, false).await {
        Err(response) => response,
        // The user's other sessions have ended, and this one gets a new id.
        Ok(version) => {
            info!(%user, ?address, "password changed");
            match session.log_in(user, Some(version), GithubRights::default()).await {
                Ok(()) => Redirect::to("/user/profile").into_response(),
                Err(error) => failure("store the session", &error),
            }
        }
    }
}

/// Checks a new password.
///
/// # Errors
/// Returns the reason why the password is rejected.
pub(super) fn check_new(new: &str, again: &str) -> Result<(), String> {
    if new != again {
        return Err("The two new passwords do not match.".to_owned());
    }
    let length = new.chars().count();
    if length < MIN_LENGTH {
        return Err(format!("The password has {length} characters. Use at least {MIN_LENGTH}."));
    }
    if new.len() > MAX_LENGTH {
        return Err(format!("The password has {} bytes. Use at most {MAX_LENGTH}.", new.len()));
    }
    Ok(())
}

/// Hashes and stores a password. Returns its version.
///
/// # Errors
/// Returns an error response if the password cannot be hashed or stored.
pub(super) async fn set_password(
    auth: &Auth,
    user: &User,
    password: String,
    must_be_new: bool,
) -> Result<String, Response> {
    let hash = auth.0.hasher.hash(password).await.map_err(|error| hash_failure(&error))?;
    let (auth, user) = (auth.clone(), user.clone());
    let set = move || auth.0.passwords.set(&user, hash, must_be_new);
    let set =
        tokio::task::spawn_blocking(set).await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
    set.map_err(|error| match error.kind() {
        // Two requests arrived at the same time.
        std::io::ErrorKind::AlreadyExists => {
            message(StatusCode::CONFLICT, "User exists", "This user was created in the meantime.")
        }
        _ => failure("store the password", &error),
    })
}
