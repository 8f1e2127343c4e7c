//! Tests with real receivers.
// The Clippy configuration allows panics in tests, but not in helper functions.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod deliveries;
mod statuses;

use std::collections::{BTreeSet, VecDeque};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use datakit_github::StatusState;
use parking_lot::Mutex;
use ring::hmac;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::queue::MAX_QUEUED;
use super::*;

/// The time limit for every wait in these tests.
const LIMIT: Duration = Duration::from_secs(20);

const SECRET: &str = "It's a Secret to Everybody";

/// A receiver that records requests.
#[derive(Clone, Default)]
struct Fake(Arc<FakeState>);

#[derive(Default)]
struct FakeState {
    /// The response statuses for the next requests. Later requests get status 204.
    answers: Mutex<VecDeque<u16>>,
    requests: Mutex<Vec<(HeaderMap, Bytes)>>,
    count: watch::Sender<usize>,
    /// Whether the receiver never responds.
    hangs: bool,
}

impl Fake {
    async fn start(self) -> (Fake, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/hook", post(Fake::receive))
            .route("/elsewhere", get(Fake::receive).post(Fake::receive))
            .with_state(self.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        (self, url)
    }

    async fn receive(State(fake): State<Fake>, headers: HeaderMap, body: Bytes) -> Response {
        fake.0.requests.lock().push((headers, body));
        fake.0.count.send_modify(|count| *count += 1);
        if fake.0.hangs {
            std::future::pending::<()>().await;
        }
        let status = fake.0.answers.lock().pop_front().unwrap_or(204);
        let headers = [("location", "/elsewhere"), ("retry-after", "0")];
        (StatusCode::from_u16(status).unwrap(), headers).into_response()
    }

    async fn wait_for(&self, count: usize) {
        let mut counts = self.0.count.subscribe();
        let waited = tokio::time::timeout(LIMIT, counts.wait_for(|found| *found >= count)).await;
        assert!(waited.is_ok(), "{} of {count} requests", self.0.requests.lock().len());
    }

    /// Returns the bodies of the requests.
    fn bodies(&self) -> Vec<Value> {
        let requests = self.0.requests.lock();
        requests.iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect()
    }

    fn descriptions(&self) -> Vec<String> {
        let text = |body: Value| body["description"].as_str().unwrap_or_default().to_owned();
        self.bodies().into_iter().map(text).collect()
    }
}

fn schedule() -> Schedule {
    Schedule {
        first_pause: Duration::from_millis(5),
        max_pause: Duration::from_millis(40),
        attempt: LIMIT,
        max_age: LIMIT,
    }
}

fn config(url: &str) -> ReceiverConfig {
    let url: hyper::Uri = url.parse().unwrap();
    let host = url.authority().unwrap().to_string();
    let (states, projects) = (BTreeSet::new(), BTreeSet::new());
    ReceiverConfig { url, host, secret: SECRET.into(), states, projects }
}

fn start(configs: Vec<ReceiverConfig>) -> Webhooks {
    Webhooks::start(configs, &HttpsClient::new().unwrap(), schedule(), Checkpoints::in_memory())
}

fn event(description: &str) -> Event {
    Event {
        project: "me/app".into(),
        commit: "c".repeat(40),
        targets: vec!["me/app/heads/main".into()],
        title: None,
        test: Some("build".into()),
        context: "ci/datakit/build".into(),
        state: StatusState::Failure,
        previous: Some(StatusState::Pending),
        description: Some(description.into()),
        url: Some("https://ci/me/app".into()),
    }
}
