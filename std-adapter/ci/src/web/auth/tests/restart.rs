//! Tests for sessions across server restarts.

use axum::http::StatusCode;

use super::super::store::tests::RedisServer;
use super::*;

#[tokio::test]
async fn sessions_in_redis_survive_a_restart() {
    let Some(redis) = RedisServer::start(&[]).await else { return };
    let site = Site::with(|options| options.sessions = redis.backend());
    let mut alice = site.user("alice").await;
    let mut bob = site.user("bob").await;
    let Site { dir, .. } = site;
    let site = Site::in_dir(dir, |options| options.sessions = redis.backend());
    (alice.router, bob.router) = (site.router.clone(), site.router.clone());
    assert_eq!(alice.get("/user/profile").await.status, StatusCode::OK);
    // The token of a form that was opened before the restart is still valid.
    assert_eq!(alice.submit("/auth/logout", &[]).await.location(), "/");
    assert_eq!(alice.get("/user/profile").await.status, StatusCode::SEE_OTHER);
    // A removed user no longer has a session.
    site.auth.0.passwords.remove("bob").unwrap();
    assert_eq!(bob.get("/user/profile").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn sessions_in_memory_end_at_a_restart() {
    let site = Site::new();
    let mut alice = site.user("alice").await;
    let site = Site::in_dir(site.dir, |_| {});
    alice.router = site.router.clone();
    assert_eq!(alice.get("/user/profile").await.status, StatusCode::SEE_OTHER);
    assert_eq!(alice.log_in("alice", PASSWORD).await.location(), "/");
}
