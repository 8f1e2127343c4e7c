//! First-time setup: the one-time URL and the form that sets the `admin` password.

use axum::Router;
use axum::extract::{Form, Path};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use serde::Deserialize;
use tracing::{info, warn};

use super::CsrfToken;
use super::forms::{check_new, set_password, too_many};
use super::peer::PeerAddr;
use super::session::Session;
use super::templates::{PageFrame, SetupPage, failure, message, page};
use super::user::{ADMIN, GithubRights, User};

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/auth/intro/{token}", get(open_intro))
        .route("/auth/setup", get(setup_page).post(setup))
}

async fn open_intro(
    session: Session,
    PeerAddr(address): PeerAddr,
    method: Method,
    Path(token): Path<String>,
) -> Response {
    let auth = session.auth();
    // A HEAD request, which a mail client or proxy can send to the URL, must not use up the token.
    if method != Method::GET {
        return StatusCode::NO_CONTENT.into_response();
    }
    let attempt = match auth.0.throttle.start(address, None) {
        Ok(attempt) => attempt,
        Err(wait) => return too_many(wait),
    };
    let id = match session.id_or_new() {
        Ok(id) => id,
        Err(error) => return failure("create a session", &error),
    };
    if !auth.0.intro.claim(&token, &id) {
        warn!(?address, "rejected the one-time URL");
        return refused();
    }
    attempt.succeeded(ADMIN);
    Redirect::to("/auth/setup").into_response()
}

fn refused() -> Response {
    let text = "This URL is invalid, has expired, or has already been used. If the user admin has no \
                password yet, restart the server and open the URL that it logs.";
    message(StatusCode::FORBIDDEN, "Setup refused", text)
}

async fn setup_page(session: Session, csrf: CsrfToken) -> Response {
    if session.id().is_some_and(|id| session.auth().0.intro.allows(&id)) {
        show_setup(&session, &csrf, StatusCode::OK, None)
    } else {
        refused()
    }
}

fn show_setup(
    session: &Session,
    csrf: &CsrfToken,
    status: StatusCode,
    error: Option<&str>,
) -> Response {
    page(status, &SetupPage { visit: PageFrame::new(session, "/"), csrf, error })
}

#[derive(Deserialize)]
struct Setup {
    new: String,
    again: String,
}

async fn setup(session: Session, csrf: CsrfToken, Form(form): Form<Setup>) -> Response {
    let auth = session.auth();
    let (Some(id), Some(admin)) = (session.id(), User::local(ADMIN)) else { return refused() };
    if !auth.0.intro.allows(&id) {
        return refused();
    }
    if let Err(error) = check_new(&form.new, &form.again) {
        return show_setup(&session, &csrf, StatusCode::BAD_REQUEST, Some(&error));
    }
    // If multiple requests arrive at the same time, only one of them can create the user.
    let version = match set_password(auth, &admin, form.new, true).await {
        Ok(version) => version,
        Err(response) => return response,
    };
    auth.0.intro.close();
    info!("the user admin was set up");
    match session.log_in(admin, Some(version), GithubRights::default()).await {
        Ok(()) => Redirect::to("/settings").into_response(),
        Err(error) => failure("store the session", &error),
    }
}
