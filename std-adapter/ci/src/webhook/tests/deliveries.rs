//! Tests for deliveries: order, retries, limits and TLS.

use super::*;

/// An event is dropped after this time. The time is long enough for the first attempt, even if the
/// machine is busy.
const SHORT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn an_event_is_delivered_with_its_signature() {
    let (fake, url) = Fake::default().start().await;
    let webhooks = start(vec![config(&url)]);
    webhooks.send(&event("it <failed>"));
    assert!(webhooks.finish(LIMIT).await);
    let (headers, body) = fake.0.requests.lock()[0].clone();
    let signature = headers["x-hub-signature-256"].to_str().unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let digits = signature.strip_prefix("sha256=").unwrap();
    let tag = hmac::sign(&key, &body);
    let expected: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digits, expected);
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["x-datakit-event"], "status");
    let mut body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(headers["x-datakit-delivery"].to_str().unwrap(), body["id"].as_str().unwrap());
    let time = body["time"].take();
    assert!(time.as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    body["id"].take();
    let expected = serde_json::json!({
        "event": "status",
        "id": null,
        "time": null,
        "project": "me/app",
        "commit": "c".repeat(40),
        "targets": ["me/app/heads/main"],
        "title": null,
        "test": "build",
        "context": "ci/datakit/build",
        "state": "failure",
        "previous": "pending",
        "description": "it <failed>",
        "url": "https://ci/me/app",
    });
    assert_eq!(body, expected);
    let status = &webhooks.status()[0];
    assert_eq!((status.delivered, status.queued, status.failing_since), (1, 0, None));
}

#[test]
fn the_signature_is_the_one_of_githubs_documentation() {
    let client = HttpsClient::new().unwrap();
    let receiver =
        Receiver::new(config("http://x/"), client, schedule(), Arc::new(Checkpoints::in_memory()));
    assert_eq!(
        receiver.signature(&Bytes::from_static(b"Hello, World!")),
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
}

#[tokio::test]
async fn failed_deliveries_are_repeated_in_order() {
    let (fake, url) = Fake::default().start().await;
    *fake.0.answers.lock() = [500, 503, 429, 204, 502, 200].into();
    let webhooks = start(vec![config(&url)]);
    for text in ["one", "two", "three"] {
        webhooks.send(&event(text));
    }
    assert!(webhooks.finish(LIMIT).await);
    assert_eq!(fake.descriptions(), ["one", "one", "one", "one", "two", "two", "three"]);
    let ids: BTreeSet<_> = fake.bodies().iter().map(|body| body["id"].to_string()).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(webhooks.status()[0].delivered, 3);
    assert_eq!(webhooks.status()[0].last_error, None);
}

#[tokio::test]
async fn refused_events_are_not_repeated_and_redirections_not_followed() {
    let (fake, url) = Fake::default().start().await;
    *fake.0.answers.lock() = [404, 410, 302, 307].into();
    let webhooks = start(vec![config(&url)]);
    for text in ["one", "two", "three", "four", "five"] {
        webhooks.send(&event(text));
    }
    assert!(webhooks.finish(LIMIT).await);
    assert_eq!(fake.descriptions(), ["one", "two", "three", "four", "five"]);
    let status = &webhooks.status()[0];
    assert_eq!((status.delivered, status.refused), (1, 4));
}

#[tokio::test]
async fn a_receiver_that_hangs_does_not_delay_the_others() {
    let hanging = Fake(Arc::new(FakeState { hangs: true, ..FakeState::default() }));
    let ((hanging, slow), (fake, fast)) = (hanging.start().await, Fake::default().start().await);
    let webhooks = start(vec![config(&slow), config("http://127.0.0.1:1/"), config(&fast)]);
    for number in 0..100 {
        webhooks.send(&event(&number.to_string()));
    }
    fake.wait_for(100).await;
    hanging.wait_for(1).await;
    assert_eq!(webhooks.status()[0].queued, 100);
    assert!(!webhooks.finish(Duration::from_millis(10)).await);
}

#[tokio::test]
async fn a_full_queue_drops_the_oldest_events() {
    let hanging = Fake(Arc::new(FakeState { hangs: true, ..FakeState::default() }));
    let (hanging, url) = hanging.start().await;
    let webhooks = start(vec![config(&url)]);
    for number in 0..MAX_QUEUED + 500 {
        webhooks.send(&event(&number.to_string()));
    }
    hanging.wait_for(1).await;
    let status = &webhooks.status()[0];
    assert_eq!((status.queued, status.dropped), (MAX_QUEUED, 500));
    let first = webhooks.0.receivers[0].queue().first().await;
    let first: Value = serde_json::from_slice(&first.body).unwrap();
    assert_eq!(first["description"], "500");
}

#[tokio::test]
async fn old_events_are_dropped() {
    let schedule = Schedule { max_age: SHORT, ..schedule() };
    let closed = vec![config("http://127.0.0.1:1/")];
    let webhooks =
        Webhooks::start(closed, &HttpsClient::new().unwrap(), schedule, Checkpoints::in_memory());
    webhooks.send(&event("one"));
    webhooks.send(&event("two"));
    assert!(webhooks.finish(LIMIT).await);
    let status = &webhooks.status()[0];
    assert_eq!((status.dropped, status.delivered), (2, 0));
    assert!(status.failing_since.is_some());
    let error = status.last_error.as_ref().unwrap();
    assert!(error.starts_with("127.0.0.1: ") && error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_receiver_gets_only_the_events_it_wants() {
    let (fake, url) = Fake::default().start().await;
    let webhooks = start(vec![ReceiverConfig {
        states: ["failure".to_owned()].into(),
        projects: ["me/app".to_owned()].into(),
        ..config(&url)
    }]);
    webhooks.send(&Event { state: StatusState::Success, ..event("success") });
    webhooks.send(&Event { project: "me/other".into(), ..event("other") });
    webhooks.send(&event("wanted"));
    assert!(webhooks.finish(LIMIT).await);
    assert_eq!(fake.descriptions(), ["wanted"]);
}

#[test]
fn the_pause_grows_up_to_its_limit() {
    let schedule = Schedule::default();
    let receiver = Receiver::new(
        config("http://x/"),
        HttpsClient::new().unwrap(),
        schedule,
        Arc::new(Checkpoints::in_memory()),
    );
    let seconds = |failures, wish: Option<u64>| {
        receiver.pause(failures, wish.map(Duration::from_secs)).as_secs()
    };
    let pauses: Vec<u64> = (0..11).map(|failures| seconds(failures, None)).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert_eq!(seconds(u32::MAX, None), 300);
    assert_eq!(seconds(0, Some(60)), 60);
    assert_eq!(seconds(7, Some(60)), 128);
    assert_eq!(seconds(0, Some(100_000)), 300);
}

#[tokio::test]
async fn events_are_delivered_over_tls() {
    use crate::web::server::{Limits, serve};
    use crate::web::tls::Tls;

    let dir = tempfile::tempdir().unwrap();
    let tls = Tls::open(dir.path(), "https://localhost").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let fake = Fake::default();
    let router = Router::new().route("/hook", post(Fake::receive)).with_state(fake.clone());
    let server = serve(listener, router, Some(tls), Limits::default(), std::future::pending());
    tokio::spawn(server);
    let client = HttpsClient::trusting(&dir.path().join("server.crt"));
    let hook = config(&format!("https://localhost:{port}/hook"));
    let webhooks =
        Webhooks::start(vec![hook.clone()], &client, schedule(), Checkpoints::in_memory());
    webhooks.send(&event("secret"));
    assert!(webhooks.finish(LIMIT).await);
    assert_eq!(fake.descriptions(), ["secret"]);
    // A client that does not trust the certificate sends nothing.
    let schedule = Schedule { max_age: SHORT, ..schedule() };
    let webhooks = Webhooks::start(
        vec![hook],
        &HttpsClient::new().unwrap(),
        schedule,
        Checkpoints::in_memory(),
    );
    webhooks.send(&event("not trusted"));
    assert!(webhooks.finish(LIMIT).await);
    let error = webhooks.status()[0].last_error.clone().unwrap();
    assert!(error.contains("certificate"), "{error}");
    assert_eq!(fake.descriptions(), ["secret"]);
}
