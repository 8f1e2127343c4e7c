//! Tests for the first-time setup, logins with a password, and the settings.

use axum::http::StatusCode;

use super::*;

#[tokio::test]
async fn the_first_start_sets_up_the_administrator() {
    let site = Site::new();
    let mut browser = site.admin().await;
    assert_eq!(browser.get("/settings").await.status, StatusCode::OK);
    assert_eq!(browser.get("/admin").await.body, "settings");
    let profile = browser.get("/user/profile").await;
    assert!(profile.body.contains("<h1>admin</h1>"), "{}", profile.body);
    // After a restart, the password is still valid, and there is no one-time URL.
    let again = Site::in_dir(site.dir, |_| {});
    assert_eq!(again.auth.intro_path(), None);
    let mut browser = again.browser();
    assert_eq!(browser.log_in("admin", PASSWORD).await.location(), "/");
}

#[tokio::test]
async fn the_one_time_url_works_in_one_browser_only() {
    let site = Site::new();
    let intro = site.auth.intro_path().unwrap().to_owned();
    let (mut first, mut second) = (site.browser(), site.browser());
    let wrong = first.get("/auth/intro/wrong").await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    assert_eq!(first.get("/auth/setup").await.status, StatusCode::FORBIDDEN);
    // A HEAD request, for example one sent for a link preview, does not use up the link.
    let head = second.send(Request::head(&intro), String::new()).await;
    assert_eq!(head.status, StatusCode::NO_CONTENT);
    assert_eq!(first.get(&intro).await.location(), "/auth/setup");
    assert_eq!(first.get(&intro).await.location(), "/auth/setup");
    assert_eq!(second.get(&intro).await.status, StatusCode::FORBIDDEN);
    assert_eq!(second.get("/auth/setup").await.status, StatusCode::FORBIDDEN);
    for (new, again, reason) in [
        ("short", "short", "Use at least 10"),
        ("long enough", "different!", "do not match"),
        (&"x".repeat(2000), &"x".repeat(2000), "Use at most 1024"),
    ] {
        let answer = first.submit("/auth/setup", &[("new", new), ("again", again)]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.body.contains(reason), "{}", answer.body);
    }
    let form = [("new", PASSWORD), ("again", PASSWORD)];
    assert_eq!(first.submit("/auth/setup", &form).await.location(), "/settings");
    for browser in [&mut first, &mut second] {
        assert_eq!(browser.get(&intro).await.status, StatusCode::FORBIDDEN);
        assert_eq!(browser.get("/auth/setup").await.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn a_user_logs_in_and_returns_to_the_page() {
    let site = Site::with_policies("user:alice", "user:alice");
    drop(site.user("alice").await);
    let mut browser = site.browser();
    let denied = browser.get("/?x=%3C&y=%22").await;
    let page = browser.get(denied.location()).await;
    let back = "name=\"back\" value=\"/?x=%3C&#38;y=%22\"";
    assert!(page.body.contains(back), "{}", page.body);
    let csrf = page.csrf();
    let form = [("user", "alice"), ("password", PASSWORD), ("back", "/?x=1"), ("csrf", &csrf[..])];
    assert_eq!(browser.post("/auth/login", &form).await.location(), "/?x=1");
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    // The login page redirects users who are already logged in.
    assert_eq!(browser.get("/auth/login?back=/admin").await.location(), "/admin");
    assert_eq!(browser.submit("/auth/logout", &[]).await.location(), "/");
    assert_eq!(browser.cookie, None);
    assert_eq!(browser.get("/").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_get_the_same_answer() {
    let site = Site::new();
    drop(site.user("alice").await);
    let mut texts = Vec::new();
    for user in ["alice", "nobody", "<script>"] {
        let answer = site.browser().log_in(user, "wrong password").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(!answer.body.contains("<script>"));
        texts.push(answer.body.replace(&answer.csrf(), "").replace("alice", "nobody"));
    }
    assert_eq!(texts[0], texts[1]);
    let counts = site.auth.login_counts();
    assert_eq!((counts.local_ok, counts.local_rejected), (1, 3));
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let site = Site::new();
    let mut here = site.user("alice").await;
    let mut there = site.browser();
    there.log_in("alice", PASSWORD).await;
    let form = |current, new| [("current", current), ("new", new), ("again", new)];
    let wrong = here.submit("/user/profile", &form("wrong", "new password")).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    let short = here.submit("/user/profile", &form(PASSWORD, "short")).await;
    assert_eq!(short.status, StatusCode::BAD_REQUEST);
    let old = here.cookie.clone();
    let changed = here.submit("/user/profile", &form(PASSWORD, "new password")).await;
    assert_eq!(changed.location(), "/user/profile");
    assert_ne!(here.cookie, old);
    assert_eq!(here.get("/user/profile").await.status, StatusCode::OK);
    assert_eq!(there.get("/user/profile").await.status, StatusCode::SEE_OTHER);
    assert_eq!(site.browser().log_in("alice", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(site.browser().log_in("alice", "new password").await.location(), "/");
}

#[tokio::test]
async fn the_administrator_adds_and_removes_users() {
    let site = Site::new();
    let mut admin = site.admin().await;
    let csrf = admin.get("/settings").await.csrf();
    let form = |user| [("user", user), ("new", PASSWORD), ("again", PASSWORD), ("csrf", &csrf[..])];
    assert_eq!(admin.post("/settings/users", &form("bob")).await.location(), "/settings");
    for user in ["bob", "admin", "a b", "github:bob", ""] {
        let answer = admin.post("/settings/users", &form(user)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{user}");
    }
    let mut bob = site.browser();
    assert_eq!(bob.log_in("bob", PASSWORD).await.location(), "/");
    assert_eq!(bob.get("/settings").await.location(), "/error/permission-denied");
    let remove = |user| [("user", user), ("csrf", &csrf[..])];
    let answer = admin.post("/settings/users/remove", &remove("admin")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let answer = admin.post("/settings/users/remove", &remove("bob")).await;
    assert_eq!(answer.location(), "/settings");
    assert_eq!(bob.get("/user/profile").await.status, StatusCode::SEE_OTHER);
    assert_eq!(site.browser().log_in("bob", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn pages_are_neither_stored_nor_framed() {
    let site = Site::new();
    let answer = site.browser().get("/auth/login").await;
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-frame-options"), "DENY");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(answer.header("content-security-policy").contains("default-src 'none'"));
    // Other services on this host might not use TLS.
    assert_eq!(answer.header("strict-transport-security"), "");
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-datakit-ci="), "{cookie}");
    for attribute in ["; HttpOnly", "; SameSite=Lax", "; Secure", "; Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let site = Site::with(|options| options.web_url = "http://ci.example.org".into());
    let answer = site.browser().get("/auth/login").await;
    assert!(answer.header("set-cookie").starts_with("datakit-ci="));
    assert!(!answer.header("set-cookie").contains("Secure"));
    // Error responses have the same headers.
    let refused = site.browser().post("/auth/logout", &[]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(refused.header("x-content-type-options"), "nosniff");
}

#[test]
fn an_invalid_public_url_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for url in ["", "ci.example.org", "ftp://ci", "https://", "/x"] {
        let error = Auth::open(Options::new(dir.path(), url)).unwrap_err();
        assert!(error.to_string().contains("expected http://HOST"), "{error}");
    }
}
