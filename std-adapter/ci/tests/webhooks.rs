//! Tests webhooks from a server that runs in a separate process.
// The Clippy configuration allows panics in tests, but not in helper functions.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use common::{METADATA, Process, Repository, TIMEOUT, status, wait_for};
use datakit_client::db::Db;
use parking_lot::Mutex;
use ring::hmac;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;

const SECRET: &str = "a secret of the receiver";

const PIPELINE: &str = r#"
[step.build]
run = "test -f good"
"#;

/// A receiver that records events with a valid signature.
#[derive(Clone, Default)]
struct Receiver {
    events: Arc<Mutex<Vec<Value>>>,
    count: watch::Sender<usize>,
    /// Whether the receiver rejects all events without recording them.
    is_down: Arc<AtomicBool>,
    attempts: watch::Sender<usize>,
}

impl Receiver {
    async fn start() -> (Receiver, String) {
        let receiver = Receiver::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router =
            Router::new().route("/hook", post(Receiver::receive)).with_state(receiver.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        (receiver, url)
    }

    async fn receive(
        State(receiver): State<Receiver>,
        headers: HeaderMap,
        body: Bytes,
    ) -> StatusCode {
        receiver.attempts.send_modify(|count| *count += 1);
        if receiver.is_down.load(Ordering::Relaxed) {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let tag = hmac::sign(&key, &body);
        let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(headers["x-hub-signature-256"], format!("sha256={digits}"));
        receiver.events.lock().push(serde_json::from_slice(&body).unwrap());
        receiver.count.send_modify(|count| *count += 1);
        StatusCode::NO_CONTENT
    }

    /// Waits for the event that reports the given state for a commit's test, and returns the event.
    async fn wait_for(&self, commit: &str, test: &str, state: &str) -> Value {
        let mut counts = self.count.subscribe();
        let find = |event: &&Value| {
            event["commit"] == commit && event["test"] == test && event["state"] == state
        };
        let found = async {
            loop {
                let found = self.events.lock().iter().find(find).cloned();
                match found {
                    Some(event) => return event,
                    None => counts.changed().await.unwrap(),
                }
            }
        };
        let found = tokio::time::timeout(TIMEOUT, found).await;
        found.unwrap_or_else(|_| panic!("{test} is not {state}: {:?}", self.events.lock()))
    }
}

/// Creates a secrets directory that configures `url` as the only receiver of webhooks.
fn secrets_dir(url: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("webhooks.json");
    let config = serde_json::json!({ "receivers": [{ "url": url, "secret": SECRET }] });
    std::fs::write(&file, config.to_string()).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_statuses_are_received_once_and_also_after_a_restart() {
    let [state, work] = [(); 2].map(|()| TempDir::new().unwrap());
    let (receiver, url) = Receiver::start().await;
    let secrets = secrets_dir(&url);
    let app = Repository::new();
    let bad = app.commit(&[(".datakit-ci.toml", PIPELINE)]);
    let (_database, address) = common::database(state.path(), "tcp://127.0.0.1:0");
    let _bridge = common::bridge(&address, app.path());
    let db = Db::connect(&address.parse().unwrap()).await.unwrap();
    let start = || {
        let mut command = common::ci(&address, work.path());
        let ci = Process::start(command.arg("--secrets-dir").arg(secrets.path()));
        ci.line_after("listening on ");
        ci
    };
    let mut ci = start();
    let failed = receiver.wait_for(&bad, "build", "failure").await;
    assert_eq!(failed["targets"], serde_json::json!(["me/app/heads/master"]));
    assert!(failed["url"].as_str().unwrap().contains(&bad), "{failed}");
    assert_eq!(ci.terminate(), Some(0));
    let before = receiver.events.lock().len();

    // The restarted server reports only the new commit.
    let _ci = start();
    let good = app.commit(&[("good", "")]);
    receiver.wait_for(&good, "build", "success").await;
    wait_for(&db, METADATA, &status(&good, "build", "state"), "success").await;
    let events = receiver.events.lock().clone();
    let again = events[before..].iter().find(|event| event["commit"] == bad.as_str());
    assert_eq!(again, None);
    let mut ids: Vec<_> = events.iter().map(|event| event["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), events.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_were_not_delivered_are_received_after_a_kill() {
    let [state, work] = [(); 2].map(|()| TempDir::new().unwrap());
    let (receiver, url) = Receiver::start().await;
    let secrets = secrets_dir(&url);
    let app = Repository::new();
    let first = app.commit(&[(".datakit-ci.toml", PIPELINE), ("good", "")]);
    let (_database, address) = common::database(state.path(), "tcp://127.0.0.1:0");
    let _bridge = common::bridge(&address, app.path());
    let db = Db::connect(&address.parse().unwrap()).await.unwrap();
    let start = || {
        let mut command = common::ci(&address, work.path());
        Process::start(command.arg("--secrets-dir").arg(secrets.path()))
    };
    let mut ci = start();
    receiver.wait_for(&first, "build", "success").await;
    // From now on, no changes can be delivered until the server has been killed.
    receiver.is_down.store(true, Ordering::Relaxed);
    let second = app.commit(&[("more", "")]);
    wait_for(&db, METADATA, &status(&second, "build", "state"), "success").await;
    let mut attempts = receiver.attempts.subscribe();
    let seen = *attempts.borrow_and_update();
    tokio::time::timeout(TIMEOUT, attempts.wait_for(|count| *count > seen)).await.unwrap().unwrap();
    ci.kill();
    receiver.is_down.store(false, Ordering::Relaxed);
    let before = receiver.events.lock().len();
    let mut ci = start();
    let event = receiver.wait_for(&second, "build", "success").await;
    assert_eq!(event["targets"], serde_json::json!(["me/app/heads/master"]));
    assert_eq!(ci.terminate(), Some(0));
    // Events that have been delivered are not sent again.
    let events = receiver.events.lock().clone();
    let repeated = events[before..].iter().find(|event| event["commit"] == first.as_str());
    assert_eq!(repeated, None);
}
