//! The settings page, which only `admin` can see.

use axum::Router;
use axum::extract::Form;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use tracing::info;

use super::forms::{check_new, set_password};
use super::github::GithubConfig;
use super::session::Session;
use super::templates::{GithubPage, PageFrame, SettingsPage, failure, page};
use super::user::{ADMIN, User};
use super::{Admin, CsrfToken};

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/settings", get(settings_page))
        .route("/settings/users", post(add_user))
        .route("/settings/users/remove", post(remove_user))
        .route("/settings/github-auth", get(github_page).post(set_github))
}

async fn settings_page(_: Admin, session: Session, csrf: CsrfToken) -> Response {
    show_settings(&session, &csrf, StatusCode::OK, None)
}

fn show_settings(
    session: &Session,
    csrf: &CsrfToken,
    status: StatusCode,
    error: Option<&str>,
) -> Response {
    let auth = session.auth();
    let options = &auth.0.options;
    let settings = SettingsPage {
        visit: PageFrame::new(session, "/settings"),
        csrf,
        error,
        users: &auth.0.passwords.names(),
        can_read: options.can_read.to_string(),
        can_build: options.can_build.to_string(),
        sessions: options.sessions.to_string(),
        github: auth.0.github.is_configured(),
    };
    page(status, &settings)
}

#[derive(Deserialize)]
struct NewUser {
    user: String,
    new: String,
    again: String,
}

async fn add_user(
    _: Admin,
    session: Session,
    csrf: CsrfToken,
    Form(form): Form<NewUser>,
) -> Response {
    let auth = session.auth();
    let refuse =
        |reason: &str| show_settings(&session, &csrf, StatusCode::BAD_REQUEST, Some(reason));
    let Some(user) = User::local(form.user.trim()) else {
        return refuse(
            "A username must consist of 1 to 39 letters, digits, dashes, underscores or dots.",
        );
    };
    if auth.0.passwords.get(user.name()).is_some() {
        return refuse("This user already exists.");
    }
    if let Err(reason) = check_new(&form.new, &form.again) {
        return refuse(&reason);
    }
    match set_password(auth, &user, form.new, true).await {
        Ok(_) => {
            info!(%user, "user added");
            Redirect::to("/settings").into_response()
        }
        Err(response) => response,
    }
}

#[derive(Deserialize)]
struct UserName {
    user: String,
}

async fn remove_user(
    _: Admin,
    session: Session,
    csrf: CsrfToken,
    Form(UserName { user }): Form<UserName>,
) -> Response {
    if user == ADMIN {
        let reason = Some("The user admin cannot be removed.");
        return show_settings(&session, &csrf, StatusCode::BAD_REQUEST, reason);
    }
    let auth = session.auth().clone();
    let name = user.clone();
    let remove = tokio::task::spawn_blocking(move || auth.0.passwords.remove(&name));
    match remove.await.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
        Ok(()) => {
            info!(user, "user removed");
            Redirect::to("/settings").into_response()
        }
        Err(error) => failure("remove the user", &error),
    }
}

async fn github_page(_: Admin, session: Session, csrf: CsrfToken) -> Response {
    let auth = session.auth();
    let config = auth.0.github.config();
    let config = config.as_deref().cloned().unwrap_or_else(|| GithubConfig::new(auth));
    show_github(&session, &csrf, StatusCode::OK, &config, None)
}

fn show_github(
    session: &Session,
    csrf: &CsrfToken,
    status: StatusCode,
    config: &GithubConfig,
    error: Option<&str>,
) -> Response {
    let github = GithubPage {
        visit: PageFrame::new(session, "/settings/github-auth"),
        csrf,
        error,
        configured: session.auth().0.github.is_configured(),
        client_id: &config.client_id,
        callback: &config.callback,
        web_url: &config.web_url,
        api_url: &config.api_url,
    };
    page(status, &github)
}

#[derive(Deserialize)]
struct GithubForm {
    client_id: String,
    /// If this is empty, the stored secret is kept.
    client_secret: String,
    callback: String,
    web_url: String,
    api_url: String,
    /// If this is set, logins through GitHub are turned off.
    remove: Option<String>,
}

async fn set_github(
    _: Admin,
    session: Session,
    csrf: CsrfToken,
    Form(form): Form<GithubForm>,
) -> Response {
    let auth = session.auth().clone();
    let mut config = None;
    if form.remove.is_none() {
        let old = auth.0.github.config();
        let secret = match (form.client_secret.trim(), &old) {
            ("", Some(old)) => old.client_secret.clone(),
            (new, _) => new.to_owned(),
        };
        let new = GithubConfig {
            client_id: form.client_id.trim().to_owned(),
            client_secret: secret,
            callback: form.callback.trim().to_owned(),
            web_url: form.web_url.trim().trim_end_matches('/').to_owned(),
            api_url: form.api_url.trim().trim_end_matches('/').to_owned(),
        };
        if let Err(reason) = new.check() {
            return show_github(&session, &csrf, StatusCode::BAD_REQUEST, &new, Some(&reason));
        }
        config = Some(new);
    }
    let set = tokio::task::spawn_blocking(move || auth.0.github.set(config));
    match set.await.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
        Ok(()) => {
            info!("the settings of the login through GitHub were changed");
            Redirect::to("/settings").into_response()
        }
        Err(error) => failure("store the settings", &error),
    }
}
