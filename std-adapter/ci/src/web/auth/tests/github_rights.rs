//! Tests for logins through the project's fake GitHub server.

use axum::body::Bytes;
use axum::http::StatusCode;
use datakit_tests::github::Fake;
use serde_json::json;

use super::*;
use crate::https_client::HttpsClient;

const CALLBACK: &str = "https://ci.example.org/auth/github-callback";

/// Returns a site with an OAuth app that is registered on the fake server.
fn site(github: &Fake, can_read: &str, can_build: &str) -> Site {
    let site = Site::with_policies(can_read, can_build);
    let (client_id, client_secret) = github.create_oauth_app(CALLBACK);
    let config = json!({
        "client_id": client_id,
        "client_secret": client_secret,
        "callback": CALLBACK,
        "web_url": github.url(),
        "api_url": github.enterprise_url(),
    });
    site.auth.0.github.set(Some(serde_json::from_value(config).unwrap())).unwrap();
    site
}

/// Logs in and returns the response to the callback.
async fn log_in(browser: &mut Browser) -> Answer {
    let start = browser.get("/auth/github").await;
    let request = Request::get(start.location()).header("user-agent", "browser");
    let request = request.body(Bytes::new()).unwrap();
    let client = HttpsClient::new().unwrap();
    let page = client.send(request, 10_000, datakit_tests::TIMEOUT).await.unwrap();
    assert_eq!(page.status(), StatusCode::FOUND);
    let location = page.headers()["location"].to_str().unwrap();
    browser.get(location.strip_prefix("https://ci.example.org").unwrap()).await
}

#[tokio::test]
async fn rights_on_github_decide_who_may_read_and_build() {
    let github = Fake::start();
    let repo = github.create("acme/app");
    repo.set_private(true);
    repo.set_member("alice", true);
    github.add_public_member("Acme", "bob");
    let policy = "can_read_github:acme/app,github_org:acme";
    let site = site(&github, policy, "can_read_github:acme/app");
    for (login, may_read, may_build) in
        [("alice", true, true), ("bob", true, false), ("carol", false, false)]
    {
        github.sign_in(Some(login));
        let mut browser = site.browser();
        assert_eq!(log_in(&mut browser).await.location(), "/");
        let read = browser.get("/").await.status;
        assert_eq!(read == StatusCode::OK, may_read, "{login}");
        assert_eq!(browser.build().await.status == StatusCode::OK, may_build, "{login}");
        let profile = browser.get("/user/profile").await.body;
        assert!(profile.contains(&format!("<h1>github:{login}</h1>")), "{profile}");
    }
    assert_eq!(site.auth.login_counts().github_ok, 3);
}

#[tokio::test]
async fn a_renamed_repository_is_another_one() {
    let github = Fake::start();
    let repo = github.create("acme/app");
    repo.rename("other");
    github.sign_in(Some("alice"));
    let site = site(&github, "can_read_github:acme/app", "everyone");
    let mut browser = site.browser();
    assert_eq!(log_in(&mut browser).await.location(), "/");
    assert_eq!(browser.get("/").await.location(), "/error/permission-denied");
}

#[tokio::test]
async fn a_person_who_does_not_allow_the_app_is_not_logged_in() {
    let github = Fake::start();
    let site = site(&github, "everyone", "everyone");
    let mut browser = site.browser();
    let answer = log_in(&mut browser).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.body.contains("you did not allow it"), "{}", answer.body);
    assert_eq!(site.auth.sessions().len(), 0);
}

#[tokio::test]
async fn a_wrong_client_secret_is_reported() {
    let github = Fake::start();
    github.sign_in(Some("alice"));
    let site = site(&github, "everyone", "everyone");
    let mut config = (*site.auth.0.github.config().unwrap()).clone();
    config.client_secret = "wrong".into();
    site.auth.0.github.set(Some(config)).unwrap();
    assert_eq!(log_in(&mut site.browser()).await.status, StatusCode::BAD_GATEWAY);
}
