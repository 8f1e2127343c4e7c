//! The login and settings pages.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use tracing::error;

use super::CsrfToken;
use super::session::Session;
use crate::web::assets;

/// The data shown by the common page layout, where it is named `visit`.
pub(super) struct PageFrame {
    user: Option<String>,
    is_admin: bool,
    here: String,
    style_url: String,
    script_url: String,
}

impl PageFrame {
    /// `here` is the page to return to after a login.
    pub(super) fn new(session: &Session, here: &str) -> PageFrame {
        let user = session.user();
        PageFrame {
            is_admin: user.as_ref().is_some_and(|user| user.is_admin()),
            user: user.map(|user| user.name().to_owned()),
            here: here.to_owned(),
            style_url: assets::style_url(),
            script_url: assets::script_url(),
        }
    }

    fn here_encoded(&self) -> String {
        form_urlencoded::byte_serialize(self.here.as_bytes()).collect()
    }
}

/// The page with the login form.
#[derive(Template)]
#[template(path = "auth/login.html")]
pub(super) struct LoginPage<'p> {
    pub(super) visit: PageFrame,
    pub(super) csrf: &'p CsrfToken,
    pub(super) error: Option<&'p str>,
    pub(super) name: &'p str,
    pub(super) back: &'p str,
    /// The link that starts a login through GitHub, or `None` if such logins are not configured.
    pub(super) github: Option<String>,
}

/// The page with the logout button.
#[derive(Template)]
#[template(path = "auth/logout.html")]
pub(super) struct LogoutPage<'p> {
    pub(super) visit: PageFrame,
    pub(super) csrf: &'p CsrfToken,
    pub(super) user: Option<&'p str>,
}

/// The page for setting the `admin` password.
#[derive(Template)]
#[template(path = "auth/setup.html")]
pub(super) struct SetupPage<'p> {
    pub(super) visit: PageFrame,
    pub(super) csrf: &'p CsrfToken,
    pub(super) error: Option<&'p str>,
}

/// A user's profile page, with a form for changing the password.
#[derive(Template)]
#[template(path = "auth/profile.html")]
pub(super) struct ProfilePage<'p> {
    pub(super) visit: PageFrame,
    pub(super) csrf: &'p CsrfToken,
    pub(super) error: Option<&'p str>,
    pub(super) user: &'p str,
    pub(super) has_password: bool,
}

/// The settings.
#[derive(Template)]
#[template(path = "auth/settings.html")]
pub(super) struct SettingsPage<'p> {
    pub(super) visit: PageFrame,
    pub(super) csrf: &'p CsrfToken,
    pub(super) error: Option<&'p str>,
    pub(super) users: &'p [String],
    pub(super) can_read: String,
    pub(super) can_build: String,
    pub(super) sessions: String,
    pub(super) github: bool,
}

/// The settings for logging in through GitHub.
#[derive(Template)]
#[template(path = "auth/github.html")]
pub(super) struct GithubPage<'p> {
    pub(super) visit: PageFrame,
    pub(super) csrf: &'p CsrfToken,
    pub(super) error: Option<&'p str>,
    pub(super) configured: bool,
    pub(super) client_id: &'p str,
    pub(super) callback: &'p str,
    pub(super) web_url: &'p str,
    pub(super) api_url: &'p str,
}

/// A page that shows only a message.
#[derive(Template)]
#[template(path = "message.html")]
pub(in crate::web) struct MessagePage<'p> {
    pub(in crate::web) title: &'p str,
    pub(in crate::web) text: &'p str,
    /// Whether to link to the profile, where the user can log out.
    pub(in crate::web) login: bool,
    pub(in crate::web) style_url: String,
}

/// Returns a page that browsers must not cache.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => (status, [("cache-control", "no-store")], Html(text)).into_response(),
        Err(error) => {
            error!(%error, "cannot render a page");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Returns a page with a message.
pub(super) fn message(status: StatusCode, title: &str, text: &str) -> Response {
    page(status, &MessagePage { title, text, login: false, style_url: assets::style_url() })
}

/// Logs a server error and returns an error page.
pub(super) fn failure(doing: &str, error: &dyn std::fmt::Display) -> Response {
    error!(%error, "cannot {doing}");
    let text = format!("The server could not {doing}. Its log contains the reason.");
    message(StatusCode::INTERNAL_SERVER_ERROR, "Server error", &text)
}
