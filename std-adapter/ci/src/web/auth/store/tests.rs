//! Tests of both backends.

use super::*;
use crate::web::auth::user::User;

fn data(name: &str, age: u64) -> SessionData {
    let user = User::local(name).or_else(|| User::github(name.strip_prefix("github:")?)).unwrap();
    SessionData {
        user,
        created: now() - age,
        password: Some("v".into()),
        rights: Default::default(),
    }
}

async fn behaves(sessions: &Sessions) {
    let (id, other) = (SessionId::random().unwrap(), SessionId::random().unwrap());
    assert_eq!(sessions.get(&id).await.unwrap(), None);
    let alice = data("alice", 0);
    sessions.insert(&id, alice.clone()).await.unwrap();
    assert_eq!(sessions.get(&id).await.unwrap(), Some(alice));
    assert_eq!(sessions.get(&other).await.unwrap(), None);
    let bob = data("bob", 0);
    sessions.insert(&id, bob.clone()).await.unwrap();
    assert_eq!(sessions.get(&id).await.unwrap(), Some(bob));
    sessions.remove(&id).await.unwrap();
    sessions.remove(&id).await.unwrap();
    assert_eq!(sessions.get(&id).await.unwrap(), None);
    // A session ends some time after the login, even if it is always in use.
    for (name, days, ended) in [
        ("alice", 6, false),
        ("alice", 7, true),
        ("github:alice", 0, false),
        ("github:alice", 1, true),
    ] {
        sessions.insert(&other, data(name, days * 24 * 3600)).await.unwrap();
        assert_eq!(sessions.get(&other).await.unwrap().is_none(), ended, "{name} {days}");
    }
}

#[tokio::test]
async fn sessions_in_memory() {
    behaves(&Sessions::new(&SessionsBackend::default())).await;
}

#[test]
fn invalid_backends_are_refused() {
    for text in [
        "",
        "memory",
        "redis://",
        "redis://host",
        "redis://:6379",
        "redis://host:x",
        "redis://host:99999",
        "redis://::1:6379",
        "redis://host:1/x",
        "redis://user:pw@host:1",
        "redis+unix://relative",
        "http://host:1",
    ] {
        assert_eq!(text.parse::<SessionsBackend>(), Err(InvalidBackend), "{text}");
    }
    let secret: SessionsBackend = "redis://:p@ss@host:1".parse().unwrap();
    assert_eq!(format!("{secret:?}"), "SessionsBackend(redis://:***@host:1)");
}
