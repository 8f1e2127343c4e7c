//! Attacks that must fail.

use axum::http::StatusCode;

use super::*;

#[tokio::test]
async fn session_fixation_gives_the_attacker_nothing() {
    let site = Site::with_policies("user:alice", "user:alice");
    drop(site.user("alice").await);
    // The attacker obtains an id and places it in the victim's browser.
    let mut attacker = site.browser();
    attacker.get("/auth/login").await;
    let planted = attacker.cookie.clone();
    assert!(planted.is_some());
    let mut victim = site.browser();
    victim.cookie = planted.clone();
    assert_eq!(victim.log_in("alice", PASSWORD).await.location(), "/");
    assert_ne!(victim.cookie, planted);
    assert_eq!(victim.get("/").await.status, StatusCode::OK);
    assert_eq!(attacker.get("/").await.status, StatusCode::SEE_OTHER);
    // A second login also changes the id and ends the old session.
    let old = victim.clone();
    let csrf = victim.get("/user/profile").await.csrf();
    let form = [("user", "alice"), ("password", PASSWORD), ("csrf", &csrf[..])];
    assert_eq!(victim.post("/auth/login", &form).await.location(), "/");
    assert_ne!(victim.cookie, old.cookie);
    let mut old = old;
    assert_eq!(old.get("/").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn an_old_cookie_is_useless_after_the_logout() {
    let site = Site::with_policies("user:alice", "user:alice");
    let mut alice = site.user("alice").await;
    let mut copy = alice.clone();
    assert_eq!(copy.get("/").await.status, StatusCode::OK);
    alice.submit("/auth/logout", &[]).await;
    assert_eq!(copy.get("/").await.status, StatusCode::SEE_OTHER);
    assert_eq!(site.auth.sessions().len(), 0);
}

#[tokio::test]
async fn requests_of_other_sites_are_refused() {
    let site = Site::with_policies("everyone", "everyone");
    let mut alice = site.user("alice").await;
    let csrf = alice.get("/").await.body;
    let other = site.user("bob").await.get("/").await.body;
    let truncated = &csrf[..csrf.len() - 1];
    for token in ["", "x", &other, truncated] {
        let answer = alice.post("/build", &[("csrf", token)]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{token}");
    }
    assert_eq!(alice.post("/build", &[]).await.status, StatusCode::FORBIDDEN);
    assert_eq!(alice.post("/auth/logout", &[]).await.status, StatusCode::FORBIDDEN);
    let visitor = site.browser().post("/build", &[("csrf", &csrf)]).await;
    assert_eq!(visitor.status, StatusCode::FORBIDDEN);
    // The token is not sufficient if the browser reports that the request came from another site.
    for (name, value, status) in [
        ("sec-fetch-site", "cross-site", StatusCode::FORBIDDEN),
        ("sec-fetch-site", "same-site", StatusCode::FORBIDDEN),
        ("sec-fetch-site", "same-origin", StatusCode::OK),
        ("origin", "https://evil.example", StatusCode::FORBIDDEN),
        ("origin", "https://ci.example.org.evil.example", StatusCode::FORBIDDEN),
        ("origin", "null", StatusCode::FORBIDDEN),
        ("origin", "", StatusCode::FORBIDDEN),
        ("origin", "https://ci.example.org", StatusCode::OK),
        ("origin", "https://10.0.0.1:8443", StatusCode::OK),
        ("origin", "http://10.0.0.1:8443", StatusCode::FORBIDDEN),
    ] {
        let request = Request::post("/build").header("x-csrf-token", &csrf).header(name, value);
        let answer = alice.send(request.header("host", "10.0.0.1:8443"), String::new()).await;
        assert_eq!(answer.status, status, "{name}: {value}");
    }
    // The token is not accepted in encodings that forms can send without a preflight request.
    let request = Request::post("/build").header("content-type", "text/plain");
    let answer = alice.send(request, format!("csrf={csrf}")).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    for method in ["PUT", "DELETE", "PATCH", "X-OTHER"] {
        let request = Request::builder().method(method).uri("/build");
        assert_eq!(alice.send(request, String::new()).await.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn the_token_of_a_visitor_is_useless_after_the_login() {
    let site = Site::with_policies("everyone", "everyone");
    drop(site.user("alice").await);
    let mut alice = site.browser();
    let before = alice.get("/").await.body;
    alice.log_in("alice", PASSWORD).await;
    assert_eq!(alice.post("/build", &[("csrf", &before)]).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_login_does_not_lead_to_another_site() {
    let site = Site::new();
    let alice = site.user("alice").await;
    for back in [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/%09/evil.example",
        "javascript:alert(1)",
        "/%0d%0aset-cookie:x=1",
    ] {
        let path = format!("/auth/login?back={back}");
        let location = alice.clone().get(&path).await.location().to_owned();
        assert_eq!(location, "/", "{back}");
        let mut browser = site.browser();
        let decoded =
            form_urlencoded::parse(format!("b={back}").as_bytes()).next().unwrap().1.into_owned();
        let form = [("user", "alice"), ("password", PASSWORD), ("back", &decoded[..])];
        assert_eq!(browser.submit("/auth/login", &form).await.location(), "/", "{back}");
    }
}

#[tokio::test]
async fn ten_thousand_guesses_cost_few_hashes() {
    let site = Site::new();
    drop(site.user("alice").await);
    let mut browser = site.browser();
    let csrf = browser.get("/auth/login").await.csrf();
    let before = site.auth.0.hasher.computed();
    let mut refused = 0;
    for number in 0..10_000 {
        let password = format!("guess number {number}");
        let form = [("user", "alice"), ("password", &password[..]), ("csrf", &csrf[..])];
        let answer = browser.post("/auth/login", &form).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert!(answer.header("retry-after").parse::<u64>().unwrap() <= 60);
            refused += 1;
        }
    }
    assert!(refused >= 9_980, "{refused}");
    assert!(site.auth.0.hasher.computed() - before <= 20);
    // Logins from another address still work, but even the correct password is rejected from this
    // address.
    let form = [("user", "alice"), ("password", PASSWORD), ("csrf", &csrf[..])];
    assert_eq!(browser.post("/auth/login", &form).await.status, StatusCode::TOO_MANY_REQUESTS);
    browser.address = "192.0.2.2:1".parse().unwrap();
    assert_eq!(browser.post("/auth/login", &form).await.location(), "/");
}

#[tokio::test]
async fn ten_thousand_logins_keep_few_sessions() {
    let site = Site::new();
    drop(site.user("alice").await);
    let mut bob = site.user("bob").await;
    let visitor = {
        let mut browser = site.browser();
        let csrf = browser.get("/auth/login").await.csrf();
        (browser, csrf)
    };
    let form = [("user", "alice"), ("password", PASSWORD), ("csrf", &visitor.1[..])];
    for _ in 0..10_000 {
        let mut browser = visitor.0.clone();
        assert_eq!(browser.post("/auth/login", &form).await.location(), "/");
    }
    assert_eq!(site.auth.sessions().len(), 51);
    assert_eq!(bob.get("/user/profile").await.status, StatusCode::OK);
}

#[tokio::test]
async fn visitors_leave_nothing_on_the_server() {
    let site = Site::new();
    for _ in 0..1000 {
        assert_eq!(site.browser().get("/auth/login").await.status, StatusCode::OK);
    }
    assert_eq!(site.auth.sessions().len(), 0);
}

#[tokio::test]
async fn a_form_that_is_too_large_is_refused() {
    let site = Site::new();
    let mut browser = site.browser();
    let large = "x".repeat(100_000);
    let answer = browser.submit("/auth/login", &[("user", &large), ("password", "x")]).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let long = "x".repeat(2000);
    let answer = browser.submit("/auth/login", &[("user", "alice"), ("password", &long)]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(site.auth.0.hasher.computed(), 0);
}

#[tokio::test]
async fn of_two_setups_at_the_same_time_only_one_succeeds() {
    let site = Site::new();
    let mut browser = site.browser();
    let intro = site.auth.intro_path().unwrap().to_owned();
    browser.get(&intro).await;
    let csrf = browser.get("/auth/setup").await.csrf();
    let form = [("new", PASSWORD), ("again", PASSWORD), ("csrf", &csrf[..])];
    let mut copies = [browser.clone(), browser.clone(), browser.clone()];
    let [one, two, three] = &mut copies;
    let answers = tokio::join!(
        one.post("/auth/setup", &form),
        two.post("/auth/setup", &form),
        three.post("/auth/setup", &form)
    );
    let mut statuses = [answers.0, answers.1, answers.2].map(|answer| answer.status.as_u16());
    statuses.sort_unstable();
    assert_eq!(statuses[0], 303);
    assert!(statuses[1..].iter().all(|status| matches!(status, 403 | 409)), "{statuses:?}");
    assert_eq!(site.auth.sessions().len(), 1);
}
