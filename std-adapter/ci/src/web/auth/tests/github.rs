//! Tests for logins through GitHub, using a small fake GitHub server.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::digest;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;

/// The parts of GitHub that a login needs.
#[derive(Default)]
struct Fake {
    /// The PKCE challenges, keyed by code.
    codes: Mutex<HashMap<String, String>>,
    /// The paths of calls that were made with a token.
    calls: Mutex<Vec<String>>,
    /// Responses that replace the default responses of the token endpoint and the API.
    broken: Mutex<Option<(StatusCode, String)>>,
}

type FakeState = State<Arc<Fake>>;

impl Fake {
    /// Starts the server and returns its URL.
    async fn start() -> (Arc<Fake>, String) {
        let fake = Arc::new(Fake::default());
        let router = Router::new()
            .route("/login/oauth/access_token", post(Fake::token))
            .route("/api/{*path}", get(Fake::api))
            .with_state(fake.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await });
        (fake, url)
    }

    /// Confirms the login in the browser, as a user would. Returns the path of the callback.
    fn authorize(&self, location: &str) -> String {
        let (_, query) = location.split_once('?').unwrap();
        let query: HashMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        assert_eq!(query["client_id"], "id");
        assert_eq!(query["code_challenge_method"], "S256");
        assert_eq!(query["redirect_uri"], "https://ci.example.org/auth/github-callback");
        let code = format!("code{}", self.codes.lock().len());
        self.codes.lock().insert(code.clone(), query["code_challenge"].clone());
        let state: String = form_urlencoded::byte_serialize(query["state"].as_bytes()).collect();
        format!("/auth/github-callback?code={code}&state={state}")
    }

    async fn token(
        State(fake): FakeState,
        Form(form): Form<HashMap<String, String>>,
    ) -> (StatusCode, [(&'static str, &'static str); 1], String) {
        let json_type = [("content-type", "application/json; charset=utf-8")];
        if let Some((status, text)) = fake.broken.lock().clone() {
            return (status, json_type, text);
        }
        let challenge = fake.codes.lock().remove(&form["code"]);
        let hash = digest::digest(&digest::SHA256, form["code_verifier"].as_bytes());
        let is_valid = form["client_id"] == "id"
            && form["client_secret"] == "secret"
            && challenge.is_some_and(|challenge| challenge == URL_SAFE_NO_PAD.encode(hash));
        let answer = if is_valid {
            json!({ "access_token": "gho_token", "token_type": "bearer", "scope": "" })
        } else {
            // GitHub reports errors with status 200.
            json!({ "error": "bad_verification_code", "error_description": "expired" })
        };
        (StatusCode::OK, json_type, answer.to_string())
    }

    async fn api(
        State(fake): FakeState,
        Path(path): Path<String>,
        headers: HeaderMap,
    ) -> (StatusCode, Json<Value>) {
        assert_eq!(headers["authorization"], "Bearer gho_token");
        fake.calls.lock().push(path.clone());
        match path.as_str() {
            "user" => (StatusCode::OK, Json(json!({ "login": "octocat", "id": 1 }))),
            "orgs/acme/public_members/octocat" => (StatusCode::NO_CONTENT, Json(Value::Null)),
            "repos/acme/app" => (StatusCode::OK, Json(json!({ "private": true }))),
            _ => (StatusCode::NOT_FOUND, Json(json!({ "message": "Not Found" }))),
        }
    }
}

/// Returns a site that uses a fake GitHub.
async fn site(can_read: &str, can_build: &str) -> (Arc<Fake>, Site) {
    let (fake, url) = Fake::start().await;
    let site = Site::with_policies(can_read, can_build);
    let config = json!({
        "client_id": "id",
        "client_secret": "secret",
        "callback": "https://ci.example.org/auth/github-callback",
        "web_url": url,
        "api_url": format!("{url}/api"),
    });
    let config = serde_json::from_value(config).unwrap();
    site.auth.0.github.set(Some(config)).unwrap();
    (fake, site)
}

/// Logs in through GitHub and returns the response to the callback.
async fn log_in(fake: &Fake, browser: &mut Browser, back: &str) -> Answer {
    let start = browser.get(&format!("/auth/github?back={back}")).await;
    browser.get(&fake.authorize(start.location())).await
}

#[tokio::test]
async fn a_user_logs_in_through_github() {
    let (fake, site) = site("github_org:acme", "can_read_github:Acme/App").await;
    let mut browser = site.browser();
    let page = browser.get("/auth/login?back=/x").await;
    assert!(page.body.contains("href=\"/auth/github?back=%2Fx\""), "{}", page.body);
    let before = browser.cookie.clone();
    assert_eq!(log_in(&fake, &mut browser, "/x").await.location(), "/x");
    assert_ne!(browser.cookie, before);
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    assert_eq!(browser.build().await.body, "Some(User(\"github:octocat\"))");
    assert_eq!(browser.get("/admin").await.location(), "/error/permission-denied");
    let calls = ["user", "orgs/acme/public_members/octocat", "repos/acme/app"];
    assert_eq!(*fake.calls.lock(), calls);
    let counts = site.auth.login_counts();
    assert_eq!((counts.github_ok, counts.github_rejected), (1, 0));
    // GitHub users do not have a password on this server.
    let profile = browser.get("/user/profile").await;
    assert!(!profile.body.contains("Change the password"));
}

#[tokio::test]
async fn users_without_rights_on_github_are_denied() {
    let (fake, site) = site("github_org:other", "can_read_github:other/secret").await;
    let mut browser = site.browser();
    assert_eq!(log_in(&fake, &mut browser, "/").await.location(), "/");
    assert_eq!(browser.get("/").await.location(), "/error/permission-denied");
    assert_eq!(browser.build().await.location(), "/error/permission-denied");
}

#[tokio::test]
async fn a_changed_policy_needs_a_new_login() {
    let (fake, old) = site("github_org:acme", "everyone").await;
    let mut browser = old.browser();
    log_in(&fake, &mut browser, "/").await;
    let id = browser.cookie.as_ref().unwrap().split_once('=').unwrap().1;
    let id = super::super::session_id::SessionId::parse(id).unwrap();
    let data = old.auth.sessions().get(&id).await.unwrap().unwrap();
    // The session is kept (for example in Redis) while the server is restarted with another policy.
    let new = Site::with_policies("can_read_github:acme/app", "github_org:acme");
    new.auth.sessions().insert(&id, data).await.unwrap();
    browser.router = new.router.clone();
    assert_eq!(browser.get("/").await.location(), "/error/logout-needed");
    assert_eq!(browser.build().await.status, StatusCode::OK);
    let api = browser.get("/api/v1/x").await;
    assert_eq!(api.status, StatusCode::FORBIDDEN);
    assert!(api.body.contains("log in again"));
}

#[tokio::test]
async fn the_callback_works_once_and_only_in_the_same_browser() {
    let (fake, site) = site("everyone", "everyone").await;
    let (mut victim, mut attacker) = (site.browser(), site.browser());
    // The attacker starts a login and lures the victim to the callback.
    let start = attacker.get("/auth/github").await.location().to_owned();
    let callback = fake.authorize(&start);
    victim.get("/auth/login").await;
    assert_eq!(victim.get(&callback).await.status, StatusCode::FORBIDDEN);
    let mut stranger = site.browser();
    assert_eq!(stranger.get(&callback).await.status, StatusCode::FORBIDDEN);
    assert_eq!(attacker.get(&callback).await.location(), "/");
    // The same callback does not work a second time, with either the new or the old cookie.
    assert_eq!(attacker.get(&callback).await.status, StatusCode::FORBIDDEN);
    assert_eq!(site.auth.sessions().len(), 1);
}

#[tokio::test]
async fn an_old_code_is_refused_by_github() {
    let (fake, site) = site("everyone", "everyone").await;
    let mut browser = site.browser();
    let start = browser.get("/auth/github").await.location().to_owned();
    let callback = fake.authorize(&start);
    let mut copy = browser.clone();
    assert_eq!(browser.get(&callback).await.location(), "/");
    assert_eq!(copy.get(&callback).await.status, StatusCode::BAD_GATEWAY);
    // A code for a different challenge does not work either.
    let mut other = site.browser();
    let second = fake.authorize(other.get("/auth/github").await.location());
    let state = callback.split_once("&state=").unwrap().1;
    let mixed = format!("{}&state={state}", second.split_once('&').unwrap().0);
    assert_eq!(copy.get(&mixed).await.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn faults_of_github_are_refused_logins() {
    let (fake, site) = site("everyone", "everyone").await;
    let large = "x".repeat(2 << 20);
    for (number, broken) in [
        (StatusCode::INTERNAL_SERVER_ERROR, "oops"),
        (StatusCode::OK, "<html>"),
        (StatusCode::OK, &large),
        (StatusCode::FOUND, ""),
    ]
    .into_iter()
    .enumerate()
    {
        *fake.broken.lock() = Some((broken.0, broken.1.to_owned()));
        let mut browser = site.browser();
        browser.address.set_ip([10, 0, 0, number as u8].into());
        let answer = log_in(&fake, &mut browser, "/").await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert!(!answer.body.contains("oops"));
    }
    *fake.broken.lock() = None;
    let mut browser = site.browser();
    let start = browser.get("/auth/github").await.location().to_owned();
    let callback = fake.authorize(&start).replace("code=code", "error=access_denied&x=");
    assert_eq!(browser.get(&callback).await.status, StatusCode::FORBIDDEN);
    assert_eq!(site.auth.sessions().len(), 0);
    assert_eq!(site.auth.login_counts().github_rejected, 5);
}

#[tokio::test]
async fn failed_callbacks_are_limited() {
    let (fake, site) = site("everyone", "everyone").await;
    let mut browser = site.browser();
    let start = browser.get("/auth/github").await.location().to_owned();
    let callback = fake.authorize(&start);
    fake.codes.lock().clear();
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(browser.get(&callback).await.status.as_u16());
    }
    assert_eq!(statuses[..10], [502; 10]);
    assert_eq!(statuses[10..], [429; 10]);
}

#[tokio::test]
async fn the_administrator_configures_the_login() {
    let site = Site::new();
    assert_eq!(site.browser().get("/auth/github").await.status, StatusCode::NOT_FOUND);
    let mut admin = site.admin().await;
    let page = admin.get("/settings/github-auth").await;
    assert!(page.body.contains("https://ci.example.org/auth/github-callback"), "{}", page.body);
    let form = |secret: &'static str, callback: &'static str| {
        [
            ("client_id", "id"),
            ("client_secret", secret),
            ("callback", callback),
            ("web_url", "https://github.com/"),
            ("api_url", "https://api.github.com"),
        ]
    };
    for (secret, callback) in [("", "https://ci/x"), ("s", "x"), ("s", "javascript:alert(1)")] {
        let answer = admin.submit("/settings/github-auth", &form(secret, callback)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    }
    let good = form("s3cret", "https://ci/x");
    assert_eq!(admin.submit("/settings/github-auth", &good).await.location(), "/settings");
    let page = admin.get("/settings/github-auth").await;
    assert!(!page.body.contains("s3cret"));
    let keep = form("", "https://ci/y");
    assert_eq!(admin.submit("/settings/github-auth", &keep).await.location(), "/settings");
    // The settings survive a restart.
    let again = Site::in_dir(site.dir, |_| {});
    let config = again.auth.0.github.config().unwrap();
    assert_eq!((&config.client_secret[..], &config.callback[..]), ("s3cret", "https://ci/y"));
    assert_eq!(config.web_url, "https://github.com");
    let start = again.browser().get("/auth/github").await;
    assert!(start.location().starts_with("https://github.com/login/oauth/authorize?"));
    let mut admin = again.browser();
    admin.log_in("admin", PASSWORD).await;
    let mut remove = keep.to_vec();
    remove.push(("remove", "1"));
    assert_eq!(admin.submit("/settings/github-auth", &remove).await.location(), "/settings");
    assert!(!again.auth.0.github.is_configured());
    assert!(!again.dir.path().join("github.json").exists());
}
