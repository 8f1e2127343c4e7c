//! Tests for the API.

use serde_json::Value;

use super::*;

async fn json(site: &Site, path: &str) -> Value {
    serde_json::from_str(&site.page(path).await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_and_logs_are_returned_as_json() {
    let site = Site::new(vec![("unit", passing("fine \u{fc}\n"))]).await;
    site.set_head("fix/c++", 2, JobStatus::Success).await;
    let list = json(&site, "/api/v1/targets?repo=me/app&status=success").await;
    let target = &list["targets"][0];
    assert_eq!(target["target"], "me/app/heads/fix/c++");
    assert_eq!(target["url"], "/me/app/ref/heads/fix/c%2B%2B");
    assert_eq!((&target["kind"], &target["status"]), (&"branch".into(), &"success".into()));
    assert_eq!(target["head"], hash(2).to_string());
    let none = json(&site, "/api/v1/targets?status=failure").await;
    assert_eq!(none["targets"].as_array().unwrap().len(), 0);
    let target = json(&site, "/api/v1/targets/me/app/heads/fix/c%2B%2B").await;
    let log = &target["jobs"][0]["logs"][0];
    assert_eq!((&log["branch"], &log["failed"]), (&"run-of-unit".into(), &false.into()));
    let path = format!("/api/v1/logs/saved/run-of-unit/{}", log["commit"].as_str().unwrap());
    let text = json(&site, &path).await;
    assert!(text["text"].as_str().unwrap().contains("fine \u{fc}\n"));
    assert_eq!(text["next"], text["length"]);
    // A part ends at a character boundary.
    let at = text["text"].as_str().unwrap().find('\u{fc}').unwrap();
    let part = json(&site, &format!("{path}?offset={}&length=4", at - 3)).await;
    assert_eq!((&part["text"], &part["next"]), (&"ne ".into(), &at.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn reasons_and_pools_are_returned_as_json() {
    let site = Site::new(vec![("unit", waiting("begin\n"))]).await;
    site.set_head("master", 1, JobStatus::Pending).await;
    site.wait_for(&branch("master"), |view| view.jobs[0].result.text == "Building").await;
    let waiting = json(&site, "/api/v1/waiting").await;
    assert_eq!(waiting["waiting"][0]["test"], "unit");
    assert_eq!(waiting["waiting"][0]["reasons"][0]["text"], "Building");
    assert_eq!(json(&site, "/api/v1/logs/live/run-of-unit").await["live"], true);
    assert_eq!(json(&site, "/api/v1/pools").await["pools"], Value::Array(Vec::new()));
    site.scripts.permits.add_permits(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_get_errors_as_json() {
    let site = Site::new(vec![]).await;
    for (path, status) in [
        ("targets/me/app/heads/none", StatusCode::NOT_FOUND),
        ("targets/me/app/7", StatusCode::BAD_REQUEST),
        ("targets/%ff", StatusCode::BAD_REQUEST),
        ("history/me/app/heads/none", StatusCode::NOT_FOUND),
        ("logs/live/none", StatusCode::NOT_FOUND),
        ("logs/saved/x/0123", StatusCode::NOT_FOUND),
        ("none", StatusCode::NOT_FOUND),
        ("targets?status=odd", StatusCode::BAD_REQUEST),
        ("history/me/app/heads/none?count=many", StatusCode::BAD_REQUEST),
        ("logs/saved/x/0123?offset=-1", StatusCode::BAD_REQUEST),
    ] {
        let answer = site.get(&format!("/api/v1/{path}")).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        let error: Value = serde_json::from_str(&answer.body).unwrap();
        assert!(error["error"].as_str().is_some_and(|text| !text.is_empty()), "{path}");
    }
    for (method, status) in
        [("OPTIONS", StatusCode::METHOD_NOT_ALLOWED), ("POST", StatusCode::FORBIDDEN)]
    {
        let request = Request::builder().method(method).uri("/api/v1/targets");
        let answer = site.browser().send(request, String::new()).await;
        assert_eq!(answer.status, status, "{method}");
        let error: Value = serde_json::from_str(&answer.body).unwrap();
        assert!(error["error"].as_str().is_some_and(|text| !text.is_empty()), "{method}");
    }
}
