//! Tests for policies and roles.

use axum::http::StatusCode;

use super::*;

#[tokio::test]
async fn visitors_are_sent_to_the_login_and_back() {
    let site = Site::with_policies("user:alice", "user:alice");
    let mut browser = site.browser();
    assert_eq!(browser.get("/?a=1&b=2").await.location(), "/auth/login?back=%2F%3Fa%3D1%26b%3D2");
    assert_eq!(browser.get("/admin").await.location(), "/auth/login?back=%2Fadmin");
    assert_eq!(browser.get("/buttons").await.body, "false");
}

#[tokio::test]
async fn users_without_the_role_see_that_the_permission_is_denied() {
    let site = Site::with_policies("user:alice", "user:bob");
    let (mut alice, mut bob) = (site.user("alice").await, site.user("bob").await);
    assert_eq!(alice.get("/").await.status, StatusCode::OK);
    assert_eq!(bob.get("/").await.location(), "/error/permission-denied");
    assert_eq!(alice.build().await.location(), "/error/permission-denied");
    assert_eq!(bob.build().await.body, "Some(User(\"bob\"))");
    assert_eq!(alice.get("/buttons").await.body, "false");
    assert_eq!(bob.get("/buttons").await.body, "true");
    assert_eq!(bob.get("/admin").await.location(), "/error/permission-denied");
}

#[tokio::test]
async fn the_administrator_has_all_roles() {
    let site = Site::with_policies("user:alice", "github_org:acme");
    let mut admin = site.admin().await;
    assert_eq!(admin.get("/").await.status, StatusCode::OK);
    assert_eq!(admin.get("/buttons").await.body, "true");
    assert_eq!(admin.build().await.status, StatusCode::OK);
}

#[tokio::test]
async fn everyone_includes_visitors() {
    let site = Site::with_policies("everyone", "everyone");
    let mut browser = site.browser();
    let csrf = browser.get("/").await.body;
    assert_eq!(browser.post("/build", &[("csrf", &csrf)]).await.body, "None");
}

#[tokio::test]
async fn programs_get_a_status_instead_of_a_redirection() {
    let site = Site::with_policies("user:alice", "user:alice");
    let answer = site.browser().get("/api/v1/x").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.body, r#"{"error":"login needed"}"#);
    let mut bob = site.user("bob").await;
    assert_eq!(bob.get("/api/v1/x").await.status, StatusCode::FORBIDDEN);
    let events = Request::get("/").header("accept", "text/event-stream");
    assert_eq!(bob.send(events, String::new()).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_denied_post_returns_to_the_page_that_it_names() {
    let site = Site::with_policies("everyone", "user:alice");
    let mut browser = site.browser();
    let csrf = browser.get("/").await.body;
    for (query, back) in
        [("?redirect=/x%3Fy", "%2Fx%3Fy"), ("?redirect=//evil.example", "%2F"), ("", "%2F")]
    {
        let answer = browser.post(&format!("/build{query}"), &[("csrf", &csrf)]).await;
        assert_eq!(answer.location(), format!("/auth/login?back={back}"));
    }
}

#[tokio::test]
async fn a_router_without_the_session_layer_refuses_everything() {
    let router = Router::new().route("/", get(async |_: Reader| "secret"));
    let mut browser = Browser { router, cookie: None, address: "192.0.2.1:1".parse().unwrap() };
    assert_eq!(browser.get("/").await.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn without_the_session_store_only_public_pages_work() {
    let gone = "redis+unix:///nonexistent/redis.sock";
    for (can_read, status) in [("everyone", 200), ("user:alice", 503)] {
        let site = Site::with(|options| {
            options.sessions = gone.parse().unwrap();
            options.can_read = can_read.parse().unwrap();
        });
        let mut browser = site.browser();
        browser.get("/auth/login").await;
        assert!(browser.cookie.is_some());
        assert_eq!(browser.get("/static/x").await.body, "static");
        assert_eq!(browser.get("/").await.status.as_u16(), status);
        let hash = site.auth.0.hasher.hash(PASSWORD.into()).await.unwrap();
        let alice = super::super::User::local("alice").unwrap();
        site.auth.0.passwords.set(&alice, hash, true).unwrap();
        let answer = browser.log_in("alice", PASSWORD).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
