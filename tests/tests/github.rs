//! Tests for the fake GitHub server. The scripts in `tests/github` check the REST API and the
//! events with third-party client libraries.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)]

#[path = "github/http.rs"]
mod http;

use std::time::{Duration, Instant};

use datakit_tests::github::{BOT, DeliveryFault, Fake, Fault, Object, signature};
use http::{Client, Receiver};
use serde_json::json;

const PULLS: &str = "GET /repos/{owner}/{repo}/pulls";

#[tokio::test]
async fn counts_the_calls_of_each_route() {
    let fake = Fake::start();
    fake.create("octo/hello");
    let client = Client::new(&fake.url(), &fake.token());
    let enterprise = Client::new(&fake.enterprise_url(), &fake.token());
    client.get("/repos/octo/hello/pulls").await;
    enterprise.get("/repos/octo/hello/pulls?state=all").await;
    client.get("/repos/octo/none").await;
    client.get("/nonsense").await;
    let expected = [("?", 1), ("GET /repos/{owner}/{repo}", 1), (PULLS, 2)];
    assert_eq!(fake.counts(), expected.map(|(route, count)| (route.to_string(), count)).into());
    assert_eq!(fake.used(), 4);
    let calls = fake.calls();
    assert_eq!(calls[1].target, "/api/v3/repos/octo/hello/pulls?state=all");
    assert_eq!((calls[2].status, calls[2].login.as_str()), (Some(404), BOT));
    fake.forget_calls();
    assert!(fake.counts().is_empty());
}

#[tokio::test]
async fn an_unchanged_answer_is_304_and_does_not_count() {
    let fake = Fake::start();
    let repo = fake.create("octo/hello");
    let client = Client::new(&fake.url(), &fake.token());
    let first = client.get("/repos/octo/hello/pulls").await;
    let held = [("if-none-match", first.header("etag"))];
    let again = client.send("GET", "/repos/octo/hello/pulls", &held, None).await.unwrap();
    assert_eq!((again.status, again.text.as_str(), fake.used()), (304, "", 1));
    repo.push("topic", "Change");
    repo.open_pull("octocat", "Topic", "topic", "master");
    let changed = client.send("GET", "/repos/octo/hello/pulls", &held, None).await.unwrap();
    assert_eq!((changed.status, fake.used()), (200, 2));
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let fake = Fake::start();
    let repo = fake.create("octo/hello");
    let client = Client::new(&fake.url(), &fake.token());
    let status = format!("/repos/octo/hello/statuses/{}", repo.head("master").unwrap());
    let long = format!("{{\"state\":\"{}\"}}", "x".repeat(2 << 20));
    for (body, code, message) in [
        ("{", 400, "Problems parsing JSON"),
        ("[]", 400, "Body should be a JSON object"),
        ("{}", 422, "\"state\" wasn't supplied"),
        ("{\"state\":1}", 422, "is not a string"),
        (long.as_str(), 413, "Payload too big"),
    ] {
        let answer = client.send("POST", &status, &[], Some(body.into())).await.unwrap();
        assert_eq!(answer.status, code, "{}", answer.text);
        assert!(answer.json()["message"].as_str().unwrap().contains(message), "{}", answer.text);
    }
    let nameless = client.send("GET", "/user", &[("user-agent", "")], None).await.unwrap();
    assert_eq!(nameless.status, 403);
    assert!(repo.statuses(&repo.head("master").unwrap()).is_empty());
}

#[tokio::test]
async fn tokens_expire_and_can_be_revoked_and_read_only() {
    let fake = Fake::start();
    let repo = fake.create("octo/hello");
    let sha = repo.head("master").unwrap();
    let (short, read_only) =
        (fake.token_of("a", Some(Duration::from_secs(60)), false), fake.token_of(BOT, None, true));
    let user = async |token: &str| Client::new(&fake.url(), token).get("/user").await.status;
    assert_eq!((user(&short).await, user(&read_only).await), (200, 200));
    fake.advance(Duration::from_secs(61));
    assert_eq!(user(&short).await, 401);
    let reader = Client::new(&fake.url(), &read_only);
    let set = reader
        .post(&format!("/repos/octo/hello/statuses/{sha}"), json!({ "state": "success" }))
        .await;
    assert_eq!(set.status, 403);
    fake.revoke(&read_only);
    assert_eq!(user(&read_only).await, 401);
}

#[tokio::test]
async fn faults_hit_the_chosen_calls() {
    let fake = Fake::start();
    let repo = fake.create("octo/hello");
    let client = Client::new(&fake.url(), &fake.token());
    fake.fault_after(1, "GET /repos/*/pulls*", Fault::Status(502), 2);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(client.get("/repos/octo/hello/pulls").await.status);
    }
    assert_eq!(statuses, [200, 502, 502, 200]);

    let create = json!({ "ref": "refs/heads/a", "sha": repo.head("master").unwrap() }).to_string();
    for fault in [Fault::Close, Fault::Lost, Fault::Cut] {
        fake.fault("POST *", fault.clone(), 1);
        let sent =
            client.send("POST", "/repos/octo/hello/git/refs", &[], Some(create.clone())).await;
        assert!(sent.is_err(), "{fault:?}");
        assert_eq!(repo.head("a").is_some(), fault != Fault::Close, "{fault:?}");
    }
    fake.fault("GET *", Fault::HalfBody, 1);
    let half = client.get("/user").await;
    assert_eq!(half.status, 200);
    assert!(serde_json::from_str::<serde_json::Value>(&half.text).is_err());

    fake.fault("GET *", Fault::Slow(Duration::from_millis(200)), 1);
    let began = Instant::now();
    client.get("/user").await;
    assert!(began.elapsed() >= Duration::from_millis(200));

    fake.fault("GET *", Fault::Abuse { status: 429, retry_after: Some(3) }, 1);
    let abuse = client.get("/user").await;
    assert_eq!((abuse.status, abuse.header("retry-after")), (429, "3"));
    fake.fault("*", Fault::Close, 100);
    fake.heal();
    assert_eq!(client.get("/user").await.status, 200);
}

#[tokio::test]
async fn a_call_that_hangs_does_not_keep_the_fake_from_stopping() {
    let fake = Fake::start();
    fake.fault("GET *", Fault::Hang, 1);
    let client = Client::new(&fake.url(), &fake.token());
    let call = tokio::spawn(async move { client.send("GET", "/user", &[], None).await.is_err() });
    fake.until("the call arrived", |fake| fake.calls().len() == 1).await;
    drop(fake);
    assert!(call.await.unwrap());
}

#[tokio::test]
async fn writes_at_the_same_time_are_seen() {
    let fake = Fake::start();
    let repo = fake.create("octo/hello");
    let path = format!("/repos/octo/hello/statuses/{}", repo.head("master").unwrap());
    let client = Client::new(&fake.url(), &fake.token());
    let state = || json!({ "state": "success" });
    client.post(&path, state()).await;
    client.post(&path, state()).await;
    assert_eq!(fake.peaks(), (1, 1));
    fake.fault("POST *", Fault::Slow(Duration::from_millis(300)), 2);
    tokio::join!(client.post(&path, state()), client.post(&path, state()));
    assert_eq!(fake.peaks(), (2, 2));
}

#[tokio::test]
async fn pull_requests_follow_their_branches() {
    let fake = Fake::start();
    let repo = fake.create("octo/hello");
    repo.push("topic", "One");
    let number = repo.open_pull("octocat", "Topic", "topic", "master");
    let sha = repo.push("topic", "Two");
    assert_eq!(repo.pull(number).unwrap().head_sha, sha);
    repo.delete_ref("refs/heads/topic");
    assert!(!repo.pull(number).unwrap().open);

    repo.set_branch("topic", &sha);
    repo.reopen_pull(number);
    let merge = repo.merge_pull(number);
    let pull = repo.pull(number).unwrap();
    assert!(pull.merged && !pull.open);
    assert_eq!(repo.head("master").unwrap(), merge);

    let fork = repo.open_pull_from_fork("stranger", "Fork", "topic", &sha);
    let client = Client::new(&fake.url(), &fake.token());
    let pull = client.get(&format!("/repos/octo/hello/pulls/{fork}")).await.json();
    assert_eq!(
        (&pull["head"]["label"], &pull["head"]["repo"]),
        (&json!("stranger:topic"), &json!(null))
    );
}

#[tokio::test]
async fn refs_may_point_to_any_object() {
    let fake = Fake::start();
    let repo = fake.create("octo/hello");
    let blob = Object { kind: "blob".into(), sha: "b".repeat(40) };
    let tag = repo.tag("v1", Object::commit(&repo.head("master").unwrap()), "One");
    repo.set_ref_silently("refs/tags/blob", blob);
    let client = Client::new(&fake.url(), &fake.token());
    let refs = client.get("/repos/octo/hello/git/matching-refs/tags/").await.json();
    assert_eq!(
        (&refs[0]["object"]["type"], &refs[1]["object"]["type"]),
        (&json!("blob"), &json!("tag"))
    );
    assert_eq!(refs[1]["object"]["sha"], tag);
}

#[tokio::test]
async fn events_reach_the_webhook() {
    let fake = Fake::start();
    let repo = fake.create("octo/hello");
    let receiver = Receiver::start().await;
    let client = Client::new(&fake.url(), &fake.token());
    let config = json!({ "url": receiver.url(), "content_type": "json", "secret": "s" });
    let hook = json!({ "config": config, "events": ["push", "pull_request", "status"] });
    assert_eq!(client.post("/repos/octo/hello/hooks", hook).await.status, 201);
    let sha = repo.push("topic", "One");
    repo.open_pull("octocat", "Topic", "topic", "master");
    fake.fault_delivery("status", DeliveryFault::Double, 1);
    repo.set_status(&sha, "ci/x", "success", None, None);
    fake.settle().await;
    let received = receiver.received();
    let events: Vec<_> = received.iter().map(|request| request.header("x-github-event")).collect();
    assert_eq!(events, ["ping", "push", "pull_request", "status", "status"]);
    for request in &received {
        assert_eq!(request.header("x-hub-signature-256"), signature("s", request.text.as_bytes()));
    }
    assert_eq!(received[1].json()["after"], sha);
    assert!(fake.deliveries().iter().all(|one| one.outcome == Ok(200)), "{:?}", fake.deliveries());
}

#[test]
fn tests_without_a_runtime_can_wait() {
    let fake = Fake::start();
    let repo = fake.create("octo/hello");
    let other = repo.clone();
    let pusher = std::thread::spawn(move || other.push("topic", "One"));
    fake.until_blocking("the branch exists", |_| repo.head("topic").is_some());
    assert_eq!(repo.head("topic"), pusher.join().ok());
}
