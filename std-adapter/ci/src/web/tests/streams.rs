//! Tests for server-sent events with many viewers.

use std::time::Instant;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_viewers_share_one_read() {
    const VIEWERS: usize = 500;
    const LINES: usize = 2000;
    let site = Site::new(vec![("unit", waiting("begin\n"))]).await;
    site.set_head("master", 1, JobStatus::Pending).await;
    site.wait_for(&branch("master"), |view| view.jobs[0].result.text == "Building").await;
    let page = site.page("/log/live/run-of-unit").await;
    let events = attribute(&page, "data-events=\"", "/log/live/");
    let tail = site.state.0.tails.get("run-of-unit").unwrap();
    let began = Instant::now();
    let viewers: Vec<_> = (0..VIEWERS)
        .map(|_| {
            let (router, events) = (site.router.clone(), events.clone());
            tokio::spawn(async move { Browser { router, cookie: None }.get(&events).await.body })
        })
        .collect();
    let log = site.scripts.logs.lock().get("unit").cloned().unwrap();
    for line in 0..LINES {
        log.write(&format!("line {line}\n"));
        if line % 500 == 0 {
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
    }
    site.scripts.permits.add_permits(1);
    let mut bytes = 0;
    for viewer in viewers {
        let body = tokio::time::timeout(LIMIT, viewer).await.unwrap().unwrap();
        assert_eq!(body.matches("id=\"L").count(), LINES + 1, "every line and `Success`");
        bytes += body.len();
    }
    // Each read returns new text. If every viewer read the log, there would be 500 times as many
    // reads.
    let reads = tail.reads();
    println!("{VIEWERS} viewers: {reads} reads, {bytes} bytes sent, {:?}", began.elapsed());
    assert!(reads <= 20, "{reads} reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_are_limited() {
    let site = Site::new(vec![("unit", waiting("begin\n"))]).await;
    let permits = site.state.0.streams.clone();
    let all = permits.available_permits();
    let _taken = permits.acquire_many(u32::try_from(all).unwrap()).await.unwrap();
    let answer = site.get("/events").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("retry-after"), "30");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_target_are_reported() {
    let site = Site::new(vec![("unit", waiting("begin\n"))]).await;
    site.set_head("master", 1, JobStatus::Pending).await;
    site.wait_for(&branch("master"), |view| view.jobs[0].result.text == "Building").await;
    let uri = "/events?target=me/app/heads/master";
    let request = Request::get(uri).body(Body::empty()).unwrap();
    let response = site.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    site.scripts.permits.add_permits(1);
    let frame = tokio::time::timeout(LIMIT, body.frame()).await.unwrap().unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "event: changed\ndata:\n\n");
    assert_eq!(site.get("/events?target=x").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn viewer_that_is_too_far_behind_is_told_to_load_the_page() {
    let site = Site::new(vec![("unit", waiting("begin\n"))]).await;
    site.set_head("master", 1, JobStatus::Pending).await;
    site.wait_for(&branch("master"), |view| view.jobs[0].result.text == "Building").await;
    let log = site.scripts.logs.lock().get("unit").cloned().unwrap();
    for _ in 0..50_000 {
        log.write("a line with a length of a hundred characters, which is about the usual length of a line in a log\n");
    }
    let page = site.page("/log/live/run-of-unit").await;
    assert!(page.contains("Part "), "the page shows the last part");
    for events in ["/log/live/run-of-unit?events=0", "/log/live/run-of-unit?events=100000"] {
        let answer = tokio::time::timeout(LIMIT, site.get(events)).await.unwrap();
        assert_eq!(answer.body, "event: end\ndata:\n\n", "{events}");
    }
    site.scripts.permits.add_permits(1);
}
