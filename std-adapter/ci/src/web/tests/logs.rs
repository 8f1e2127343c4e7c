//! Tests for the log pages.

use super::*;

/// Returns the URL of the complete log of the `unit` test.
fn saved_url(site: &Site) -> String {
    let view = site.view.target(&branch("master")).unwrap();
    match view.jobs[0].result.logs.leaves().first() {
        Some(crate::term::Logs::Saved(log)) => {
            super::super::urls::saved_log(&log.branch, &log.commit)
        }
        other => panic!("not saved: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn complete_log_is_shown_searched_and_downloaded() {
    let text = "\x1b[31mred\x1b[0m <b>\n[2026-11-28 09:30.06] $ make\nan Error here\n";
    let site = Site::new(vec![("unit", passing(text))]).await;
    site.set_head("master", 1, JobStatus::Success).await;
    let url = saved_url(&site);
    let page = site.page(&url).await;
    assert!(page.contains("<span class=\"fg-red\">red</span> &lt;b&gt;"), "{page}");
    assert!(page.contains("<summary><code>make</code>"), "{page}");
    assert!(page.contains("id=\"L1\"><a href=\"#L1\" tabindex=\"-1\">1</a>=== Run unit"), "{page}");
    let found = site.page(&format!("{url}?q=ERROR")).await;
    assert!(found.contains("?page=1#L5\">Line 5</a> <code>an Error here</code>"), "{found}");
    assert!(site.page(&format!("{url}?q=missing")).await.contains("No line contains"));
    let raw = site.get(&format!("{url}?raw")).await;
    assert_eq!(raw.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(raw.header("content-disposition"), "attachment; filename=\"run-of-unit.log\"");
    assert!(raw.body.starts_with("=== Run unit\n") && raw.body.contains(text));
    let request = Request::get(format!("{url}?raw")).header("range", "bytes=4-11");
    let part = site.browser().send(request, String::new()).await;
    assert_eq!((part.status, part.body.as_str()), (StatusCode::PARTIAL_CONTENT, "Run unit"));
    assert_eq!(part.header("content-range"), format!("bytes 4-11/{}", raw.body.len()));
    // The URL of a live log that has ended redirects to the complete log.
    let live = site.get("/log/live/run-of-unit").await;
    assert_eq!(
        (live.status, live.header("location")),
        (StatusCode::TEMPORARY_REDIRECT, url.as_str())
    );
    for path in ["/log/live/none", "/log/saved/x", "/log/saved/x/0123", "/log/live/%ff"] {
        assert_eq!(site.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let unknown = format!("/log/saved/run-of-unit/{}", hash(5));
    assert_eq!(site.get(&unknown).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_log_is_shown_in_parts() {
    let mut text = String::new();
    for line in 0..60_000 {
        text.push_str(&format!("line {line} {}\n", "x".repeat(100)));
    }
    let site = Site::new(vec![("unit", passing(&text))]).await;
    site.set_head("master", 1, JobStatus::Success).await;
    let url = saved_url(&site);
    let page = site.page(&url).await;
    assert!(page.contains("Part 1 of 52"), "{}", &page[..3000]);
    assert!(page.len() < 400_000, "{} bytes", page.len());
    assert!(page.contains("<a href=\"?page=1#L3\""));
    let middle = site.page(&format!("{url}?line=30000")).await;
    assert!(middle.contains("id=\"L30000\""), "the page contains the line");
    assert!(middle.contains(">line 29997 x"), "the numbers of the lines are right");
    let last = site.page(&format!("{url}?page=999")).await;
    assert!(last.contains("Part 52 of 52") && last.contains(">line 59999 x"));
    let found = site.page(&format!("{url}?q=LINE%204999")).await;
    assert_eq!(found.matches(">Line ").count(), 11, "4999 and 49990 to 49999");
    let many = site.page(&format!("{url}?q=line")).await;
    let more = attribute(&many, "<p><a href=\"", "");
    assert!(site.page(&more).await.contains(">Line 203<"), "{more}");
    // The target page shows the end of the log.
    let target = site.page("/me/app/ref/heads/master").await;
    assert!(target.contains(">line 59999 x") && target.len() < 400_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn live_log_is_shown_before_it_ends() {
    let site = Site::new(vec![("unit", waiting("begin\n\x1b[32mgree"))]).await;
    site.set_head("master", 1, JobStatus::Pending).await;
    site.wait_for(&branch("master"), |view| view.jobs[0].result.text == "Building").await;
    let page = site.page("/log/live/run-of-unit").await;
    assert!(page.contains(">begin\n<"), "{page}");
    let events = attribute(&page, "data-events=\"", "/log/live/run-of-unit?events=");
    assert!(page.contains("action=\"/cancel/run-of-unit?redirect="), "{page}");
    let target = site.page("/me/app/ref/heads/master").await;
    assert!(target.contains(&format!("data-events=\"{events}\"")), "{target}");
    // The stream begins after the last line on the page, and ends when the build ends.
    let request = Request::get(&events).body(Body::empty()).unwrap();
    let response = site.router.clone().oneshot(request).await.unwrap();
    let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap());
    assert_eq!(header("content-type"), Some("text/event-stream"));
    assert_eq!(header("x-accel-buffering"), Some("no"));
    let log = site.scripts.logs.lock().get("unit").cloned().unwrap();
    log.write("n\x1b[0m <x>\nlast");
    site.scripts.permits.add_permits(1);
    let body = tokio::time::timeout(LIMIT, response.into_body().collect()).await.unwrap();
    let body = String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap();
    let lines: Vec<&str> = body.lines().filter(|line| line.contains("id=\"L")).collect();
    assert!(lines[0].contains("id=\"L4\"") || lines[0].contains("id=\"L3\""), "{lines:?}");
    assert!(
        body.contains("<span class=\"fg-green\">green</span> &lt;x&gt;\ndata: </span>"),
        "{body}"
    );
    assert!(body.ends_with("event: end\ndata:\n\n"), "{body}");
    let live = site.get("/log/live/run-of-unit").await;
    assert_eq!(live.status, StatusCode::TEMPORARY_REDIRECT);
    // A page that was loaded before the log ended can request the events after the end.
    assert_eq!(site.page(&events).await, "event: end\ndata:\n\n");
}
