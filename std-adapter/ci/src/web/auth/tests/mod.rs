//! Tests for accounts over HTTP.
// The Clippy configuration allows panics in tests, but not in helper functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod attacks;
mod github;
mod github_rights;
mod listener;
mod local;
mod restart;
mod roles;

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use tempfile::TempDir;
use tower::ServiceExt;

use super::hasher::Cost;
use super::{Admin, Auth, Builder, CsrfToken, Options, Policy, Reader, router, with_sessions};

const PASSWORD: &str = "correct horse";

/// A server with accounts and with pages that require roles.
struct Site {
    auth: Auth,
    router: Router,
    dir: TempDir,
}

fn options(dir: &TempDir) -> Options {
    let mut options = Options::new(dir.path(), "https://ci.example.org/");
    options.cost = Cost::Minimal;
    options
}

impl Site {
    fn new() -> Site {
        Site::with(|_| {})
    }

    fn with(edit: impl FnOnce(&mut Options)) -> Site {
        Site::in_dir(tempfile::tempdir().unwrap(), edit)
    }

    fn with_policies(can_read: &str, can_build: &str) -> Site {
        let parse = |text: &str| -> Policy { text.parse().unwrap() };
        Site::with(|options| {
            (options.can_read, options.can_build) = (parse(can_read), parse(can_build));
        })
    }

    fn in_dir(dir: TempDir, edit: impl FnOnce(&mut Options)) -> Site {
        let mut options = options(&dir);
        edit(&mut options);
        let auth = Auth::open(options).unwrap();
        let pages = Router::new()
            .route("/", get(async |_: Reader, csrf: CsrfToken| csrf.to_string()))
            .route("/build", post(async |Builder { user }: Builder| format!("{user:?}")))
            .route("/buttons", get(async |may: Option<Builder>| may.is_some().to_string()))
            .route("/admin", get(async |_: Admin| "settings"))
            .route("/static/x", get(async || "static"))
            .route("/api/v1/x", get(async |_: Reader| "{}"));
        let router = with_sessions(pages.merge(router(auth.clone())), auth.clone());
        Site { auth, router, dir }
    }

    fn browser(&self) -> Browser {
        let router = self.router.clone();
        Browser { router, cookie: None, address: "192.0.2.1:1".parse().unwrap() }
    }

    /// Sets up the user `admin` and returns the user's browser.
    async fn admin(&self) -> Browser {
        let mut browser = self.browser();
        let intro = self.auth.intro_path().unwrap().to_owned();
        assert_eq!(browser.get(&intro).await.location(), "/auth/setup");
        let form = [("new", PASSWORD), ("again", PASSWORD)];
        assert_eq!(browser.submit("/auth/setup", &form).await.location(), "/settings");
        browser
    }

    /// Adds a local user and returns a browser in which this user is logged in.
    async fn user(&self, name: &str) -> Browser {
        let hash = self.auth.0.hasher.hash(PASSWORD.into()).await.unwrap();
        let user = super::User::local(name).unwrap();
        self.auth.0.passwords.set(&user, hash, true).unwrap();
        let mut browser = self.browser();
        assert_eq!(browser.log_in(name, PASSWORD).await.status, StatusCode::SEE_OTHER);
        browser
    }
}

/// A browser with one cookie.
#[derive(Clone)]
struct Browser {
    router: Router,
    cookie: Option<String>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn location(&self) -> &str {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.body);
        self.header("location")
    }

    /// Returns the value of the hidden `csrf` field.
    fn csrf(&self) -> String {
        let (_, rest) = self.body.split_once("name=\"csrf\" value=\"").expect(&self.body);
        rest.split_once('"').unwrap().0.to_owned()
    }
}

impl Browser {
    async fn send(&mut self, request: axum::http::request::Builder, body: String) -> Answer {
        let mut request = request;
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let mut request = request.body(Body::from(body)).unwrap();
        request.extensions_mut().insert(ConnectInfo(self.address));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        if let Some(set) = parts.headers.get("set-cookie") {
            let set = set.to_str().unwrap();
            let removed = set.contains("Max-Age=0");
            self.cookie = (!removed).then(|| set.split(';').next().unwrap().to_owned());
        }
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(Request::get(path), String::new()).await
    }

    /// Sends a form without opening its page first.
    async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = Request::builder().method(Method::POST).uri(path);
        self.send(request.header("content-type", "application/x-www-form-urlencoded"), body).await
    }

    /// Opens the page with a form and submits the form.
    async fn submit(&mut self, path: &str, form: &[(&str, &str)]) -> Answer {
        let page = self.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        let csrf = page.csrf();
        let form: Vec<_> = form.iter().copied().chain([("csrf", &csrf[..])]).collect();
        self.post(path, &form).await
    }

    async fn log_in(&mut self, user: &str, password: &str) -> Answer {
        self.submit("/auth/login", &[("user", user), ("password", password)]).await
    }

    async fn build(&mut self) -> Answer {
        let csrf = self.get("/auth/logout").await;
        let csrf = if csrf.body.contains("csrf") { csrf.csrf() } else { String::new() };
        self.post("/build", &[("csrf", &csrf)]).await
    }
}
