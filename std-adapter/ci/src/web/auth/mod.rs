//! Accounts: users, logins, sessions, roles and form protection.
//!
//! [`Auth`] holds the accounts. [`router`] serves the login and settings pages, and
//! [`with_sessions`] adds the session to the requests of a router. To require a role, a handler
//! takes it as a parameter:
//!
//! ```
//! # use datakit_ci::web::auth::{Auth, Builder, CsrfToken, Options, Reader, router, with_sessions};
//! # use axum::{Router, routing::{get, post}};
//! async fn page(_: Reader, may_build: Option<Builder>, csrf: CsrfToken) -> String {
//!     format!("{} {csrf}", may_build.is_some())
//! }
//! async fn rebuild(Builder { user }: Builder) -> String {
//!     format!("started by {user:?}")
//! }
//! # fn app(options: Options) -> std::io::Result<Router> {
//! let auth = Auth::open(options)?;
//! let pages = Router::new().route("/", get(page)).route("/rebuild", post(rebuild));
//! Ok(with_sessions(pages.merge(router(auth.clone())), auth))
//! # }
//! ```
//!
//! The session layer rejects every request that changes something and does not contain the
//! [`CsrfToken`], so a handler cannot forget the check.

mod counts;
mod csrf;
mod forms;
mod github;
mod hasher;
mod intro;
mod layer;
mod local_path;
mod passwords;
mod peer;
mod policy;
mod role;
pub(crate) mod secret_file;
mod session;
mod session_id;
mod settings;
mod setup;
mod store;
mod templates;
#[cfg(test)]
mod tests;
mod throttle;
mod user;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use axum::middleware::{Next, from_fn};
use tracing::warn;

use counts::LoginCounters;
use github::Github;
use hasher::{Cost, Hasher};
use intro::Intro;
use passwords::Passwords;
use session_id::random_token;
use store::Sessions;
use throttle::Throttle;
use user::SessionData;

pub use counts::LoginCounts;
pub use csrf::{CSRF_FIELD, CsrfToken};
pub use policy::{InvalidPolicy, Policy};
pub use role::{Admin, Builder, CurrentUser, Denied, Reader};
pub use store::{InvalidBackend, SessionsBackend};
pub use user::{ADMIN, User};

pub(super) use templates::MessagePage;

/// Options for the accounts.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The directory that contains `passwords.json` and `github.json`.
    pub secrets_dir: PathBuf,
    /// The public root URL of the web pages. If it starts with `http://`, browsers also send the
    /// session cookie without TLS.
    pub web_url: String,
    /// Where sessions are stored.
    pub sessions: SessionsBackend,
    /// The policy for reading the pages.
    pub can_read: Policy,
    /// The policy for cancelling and rebuilding. The local user `admin` can always do both.
    pub can_build: Policy,
    /// The addresses of proxies in front of the server. If a request comes from one of them, the
    /// client's address is read from `X-Forwarded-For`.
    pub trusted_proxies: Vec<IpAddr>,
    /// The cost of hashing a password.
    cost: Cost,
}

impl Options {
    /// Creates options that allow everyone to read, but only `admin` to build.
    #[must_use]
    pub fn new(secrets_dir: impl Into<PathBuf>, web_url: impl Into<String>) -> Options {
        Options {
            secrets_dir: secrets_dir.into(),
            web_url: web_url.into(),
            sessions: SessionsBackend::default(),
            can_read: Policy::Everyone,
            can_build: Policy::User(ADMIN.to_owned()),
            trusted_proxies: Vec::new(),
            cost: Cost::Recommended,
        }
    }
}

/// The accounts and sessions of a server. All clones share them.
#[derive(Debug, Clone)]
pub struct Auth(Arc<AuthInner>);

#[derive(Debug)]
struct AuthInner {
    options: Options,
    origin: Origin,
    sessions: Sessions,
    passwords: Passwords,
    hasher: Hasher,
    throttle: Throttle,
    intro: Intro,
    /// The path of the one-time URL. `None` if the user `admin` exists.
    intro_path: Option<String>,
    github: Github,
    counters: LoginCounters,
}

/// The scheme, host and port of the public URL.
#[derive(Debug)]
struct Origin {
    /// For example `https://ci.example.org`. Browsers omit the default port.
    text: String,
    is_secure: bool,
}

impl Auth {
    /// Reads the accounts. If the user `admin` does not exist, the one-time URL for setting up this
    /// user is logged.
    ///
    /// # Errors
    /// Returns an error if the public URL is invalid, or if a file in the secrets directory is
    /// malformed or can be read by other users of the system.
    pub fn open(options: Options) -> io::Result<Auth> {
        let origin = Origin::of(&options.web_url)?;
        let passwords = Passwords::open(&options.secrets_dir)?;
        let github = Github::open(&options.secrets_dir)?;
        let (intro, intro_path) = if passwords.has_admin() {
            (Intro::default(), None)
        } else {
            let token = random_token()?;
            let path = format!("/auth/intro/{token}");
            warn!(
                url = format!("{}{path}", options.web_url.trim_end_matches('/')),
                valid_minutes = intro::VALID.as_secs() / 60,
                "open this URL once to set the password of the user admin"
            );
            (Intro::new(token), Some(path))
        };
        let (sessions, hasher) = (Sessions::new(&options.sessions), Hasher::new(options.cost)?);
        Ok(Auth(Arc::new(AuthInner {
            options,
            origin,
            sessions,
            passwords,
            hasher,
            throttle: Throttle::default(),
            intro,
            intro_path,
            github,
            counters: LoginCounters::default(),
        })))
    }

    /// Returns the path of the one-time URL for setting up the user `admin`, or `None` if this user
    /// already existed when the accounts were opened. The path is a secret.
    #[must_use]
    pub fn intro_path(&self) -> Option<&str> {
        self.0.intro_path.as_deref()
    }

    /// Returns the number of logins so far, for use in metrics.
    #[must_use]
    pub fn login_counts(&self) -> LoginCounts {
        self.0.counters.get()
    }

    fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    fn can_read(&self) -> &Policy {
        &self.0.options.can_read
    }

    fn can_build(&self) -> &Policy {
        &self.0.options.can_build
    }

    /// Returns `true` if a local user's password has not changed since the login.
    fn is_current(&self, data: &SessionData) -> bool {
        if data.user.github_login().is_some() {
            return true;
        }
        let version = self.0.passwords.get(data.user.name()).map(|entry| entry.version);
        version.is_some() && version == data.password
    }

    fn origin(&self) -> &str {
        &self.0.origin.text
    }

    fn is_secure(&self) -> bool {
        self.0.origin.is_secure
    }

    /// Returns the name of the session cookie. Browsers accept the `__Host-` prefix only from this
    /// host over TLS, so other hosts in the same domain cannot set the cookie.
    fn cookie_name(&self) -> &'static str {
        if self.is_secure() { "__Host-datakit-ci" } else { "datakit-ci" }
    }

    fn secure_attribute(&self) -> &'static str {
        if self.is_secure() { "; Secure" } else { "" }
    }
}

impl Origin {
    fn of(url: &str) -> io::Result<Origin> {
        let invalid = || {
            let message = format!("invalid web URL {url:?}: expected http://HOST or https://HOST");
            io::Error::new(io::ErrorKind::InvalidInput, message)
        };
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let (scheme, host) = uri.scheme_str().zip(uri.host()).ok_or_else(invalid)?;
        let default_port = match scheme {
            "https" => 443,
            "http" => 80,
            _ => return Err(invalid()),
        };
        let port = uri.port_u16().filter(|port| *port != default_port);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let host = host.to_ascii_lowercase();
        Ok(Origin { text: format!("{scheme}://{host}{port}"), is_secure: scheme == "https" })
    }
}

/// Returns the routes for the login, profile and settings pages. The router requires the layer
/// added by [`with_sessions`].
pub fn router<S: Clone + Send + Sync + 'static>(auth: Auth) -> Router<S> {
    drop(auth);
    forms::routes().merge(setup::routes()).merge(settings::routes()).merge(github::routes())
}

/// Adds the session to a router's requests, and rejects requests that another web site could have
/// caused. Call this function once, on the router for all pages.
pub fn with_sessions<S: Clone + Send + Sync + 'static>(router: Router<S>, auth: Auth) -> Router<S> {
    router.layer(from_fn(move |request: Request, next: Next| {
        layer::layer(auth.clone(), request, next)
    }))
}
