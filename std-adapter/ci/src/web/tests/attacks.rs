//! Tests for pages with hostile names, titles and logs.

use super::*;

const SCRIPT: &str = "<script>alert(1)</script>";
const EVIL_BRANCH: &str = "x<script>alert('1')</script>&\"onload=\"y";
const EVIL_TEST: &str = "t\"><script>alert(1)";

/// Returns the tags that pages must never contain.
fn check(path: &str, html: &str) {
    for forbidden in ["<script>", "<img", "<iframe", "onerror=alert(1)>", " style=", "javascript:"]
    {
        assert!(!html.contains(forbidden), "{path} contains {forbidden}: {html}");
    }
    // Attributes whose names start with `on` are event handlers.
    for tag in html.split('<').skip(1).filter_map(|rest| rest.split_once('>')) {
        let mut quoted = false;
        let outside: String = tag
            .0
            .chars()
            .filter(|c| {
                quoted ^= *c == '"';
                !quoted
            })
            .collect();
        assert!(!outside.contains(" on"), "{path}: <{}>", tag.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_are_escaped_on_all_pages() {
    let log = format!(
        "{SCRIPT}\n\x1b]0;{SCRIPT}\x07\x1b[31{SCRIPT}m\n[2026-11-28 09:30.06] $ {SCRIPT}\n\
                       <img src=x onerror=alert(1)>\n</pre></details>"
    );
    let failing = Script { log: log.clone(), failure: Some(SCRIPT.to_owned()), waits: false };
    let site = Site::new(vec![(EVIL_TEST, failing), ("live", waiting(&log))]).await;
    let Target::Ref(id) = branch(EVIL_BRANCH) else { panic!("a branch is a ref") };
    let target = Target::Ref(id.clone());
    let master = Ref {
        id: match branch("master") {
            Target::Ref(id) => id,
            _ => panic!(),
        },
        head: hash(1),
    };
    site.commit([Element::from(Ref { id, head: hash(1) }), master.into()]).await;
    site.open_pr(1, &format!("\"'{SCRIPT}"), 1).await;
    site.wait_for(&target, |view| {
        view.jobs.iter().any(|job| job.result.text == "Building")
            && view.jobs.iter().any(|job| job.result.text == SCRIPT)
    })
    .await;
    wait_for_history(&site, &target, "").await;
    let page = super::super::urls::target(&target);
    let saved = attribute(&site.page(&page).await, "href=\"", "/log/saved/");
    let query = "?test=%3Cscript%3Ealert(1)%3C/script%3E&log=%22%3E%3Cscript%3E";
    for path in [
        "/".to_owned(),
        "/wall".to_owned(),
        "/pr".to_owned(),
        "/branch".to_owned(),
        "/branch?q=%3Cscript%3Ealert(1)%3C/script%3E%22onload=%22".to_owned(),
        "/waiting".to_owned(),
        page.clone(),
        format!("{page}{query}"),
        format!("{page}?test=live"),
        format!("{page}?history"),
        "/me/app/pr/1".to_owned(),
        format!("/me/app/commit/{}", hash(1)),
        format!("{saved}?q=%3Cscript%3E"),
        saved,
        "/log/live/run-of-live".to_owned(),
        "/log/live/run-of-live?q=%22%3E%3Cscript%3Ealert(1)".to_owned(),
    ] {
        let html = site.page(&path).await;
        check(&path, &html);
    }
    for path in ["/%3Cscript%3Ealert(1)", "/error/%3Cscript%3E", "/log/live/%3Cscript%3E"] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        check(path, &answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_limit_what_browsers_do() {
    let site = Site::new(vec![]).await;
    for path in
        ["/", "/none", "/api/v1/pools", "/static/script.js", "/health", "/auth/login", "/metrics"]
    {
        let answer = site.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("unsafe"),
            "{path}: {policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirections_stay_on_this_server() {
    let site = Site::new(vec![("unit", passing(""))]).await;
    site.set_head("master", 1, JobStatus::Success).await;
    let mut browser = site.browser();
    let csrf = attribute(
        &browser.get("/me/app/ref/heads/master").await.body,
        "name=\"csrf\" value=\"",
        "",
    );
    for (redirect, location) in [
        ("/pr?q=x", "/pr?q=x"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/%5Cevil.example", "/"),
        ("/%0D%0ASet-Cookie:x=y", "/"),
        ("javascript:alert(1)", "/"),
    ] {
        let path = format!("/log/rebuild/run-of-unit?redirect={redirect}");
        let answer = browser.post(&path, &format!("csrf={csrf}")).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, location));
        assert_eq!(answer.header("x"), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_need_a_token_and_the_role() {
    let site = Site::with(vec![("unit", passing(""))], "everyone", "user:admin").await;
    site.set_head("master", 1, JobStatus::Success).await;
    let mut browser = site.browser();
    let page = browser.get("/me/app/ref/heads/master").await;
    assert!(!page.body.contains("<button"), "a reader sees no buttons: {}", page.body);
    for path in ["/log/rebuild/run-of-unit", "/cancel/run-of-unit"] {
        let answer = browser.post(path, "").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} without a token");
        let csrf = attribute(&browser.get("/auth/login").await.body, "name=\"csrf\" value=\"", "");
        let answer = browser.post(path, &format!("csrf={csrf}")).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path} without the role");
        assert!(answer.header("location").starts_with("/auth/login?back="));
        assert_eq!(site.get(path).await.status.as_u16() / 100, 4, "{path} needs POST");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_need_the_role_of_a_reader() {
    let site = Site::with(vec![("unit", passing("x\n"))], "user:admin", "user:admin").await;
    site.set_head("master", 1, JobStatus::Success).await;
    for path in [
        "/",
        "/wall",
        "/pr",
        "/branch",
        "/tag",
        "/waiting",
        "/me/app/ref/heads/master",
        "/none",
        "/me/app/commit/0000000000000000000000000000000000000001",
        "/log/live/run-of-unit",
        "/log/live/run-of-unit?events=0",
        "/log/saved/run-of-unit/0123",
        "/events",
    ] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
        assert!(answer.header("location").starts_with("/auth/login?back="), "{path}");
    }
    for path in [
        "targets",
        "targets/me/app/heads/master",
        "history/me/app/heads/master",
        "pools",
        "waiting",
        "logs/live/x",
        "logs/saved/x/y",
    ] {
        let answer = site.get(&format!("/api/v1/{path}")).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(answer.body.starts_with("{\"error\":"), "{path}: {}", answer.body);
    }
}
