//! Tests for webhooks.

use std::net::{SocketAddr, TcpListener};

use datakit_client::db::Branch;
use datakit_tests::github::{DeliveryFault, Object, Repository, signature};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::expected;
use crate::setup::{Bridge, Setup, eventually, until};

const SECRET: &str = "datakit-secret";

/// Returns an address whose port is currently free.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Starts a bridge with a webhook and waits until the webhook is registered.
async fn start(setup: &Setup) -> (Repository, Branch, Bridge, SocketAddr) {
    let repo = setup.fake.create("alice/hello");
    let address = free_address();
    let bridge = restart(setup, address);
    let branch = setup.branch().await;
    let expected = expected::files(&repo);
    until(&branch, "the repository is read", |files| *files == expected).await;
    setup.until("the webhook is registered", |_| repo.hooks().len() == 1).await;
    (repo, branch, bridge, address)
}

fn restart(setup: &Setup, address: SocketAddr) -> Bridge {
    let secret = setup.secret("webhook", SECRET);
    setup.bridge(&[
        "-r",
        "alice/hello",
        "--no-resync",
        "-v",
        "--webhook",
        &format!("http://{address}/hook"),
        "--webhook-secret-file",
        &secret,
    ])
}

#[tokio::test]
async fn events_arrive_late_doubled_and_in_another_order() {
    let setup = Setup::new();
    let (repo, branch, _bridge, _) = start(&setup).await;
    for event in ["pull_request", "push", "status", "create"] {
        for fault in [DeliveryFault::Double, DeliveryFault::Swap] {
            setup.fake.fault_delivery(event, fault, 3);
        }
    }
    let head = repo.push("topic", "Add a greeting");
    let number = repo.open_pull("bob", "Say hello", "topic", "master");
    repo.set_status(&head, "other", "pending", None, None);
    repo.set_status(&head, "other", "success", Some("All good"), None);
    repo.set_title(number, "Say hello to all");
    repo.comment(number, "eve", "Looks good");
    repo.tag("v1", Object::commit(&head), "First");
    repo.push("topic", "Correct the greeting");
    repo.push("gone", "A branch that goes");
    repo.delete_ref("refs/heads/gone");
    setup.fake.settle().await;
    let open = expected::files(&repo);
    until(&branch, "the events are applied", |files| *files == open).await;
    repo.close_pull(number);
    setup.fake.settle().await;
    let closed = expected::files(&repo);
    until(&branch, "the pull request goes", |files| *files == closed).await;
    for delivery in setup.fake.deliveries() {
        assert_eq!(delivery.outcome, Ok(202), "{delivery:?}");
    }
}

#[tokio::test]
async fn the_webhook_is_registered_once() {
    let setup = Setup::new();
    let (repo, branch, bridge, address) = start(&setup).await;
    let hook = repo.hooks().remove(0);
    assert!(hook.json && hook.active && hook.secret.as_deref() == Some(SECRET));
    bridge.kill();
    setup.fake.forget_calls();
    let _bridge = restart(&setup, address);
    setup
        .until("the webhook is updated", |fake| {
            fake.counts().keys().any(|route| route.starts_with("PATCH "))
        })
        .await;
    assert_eq!(repo.hooks().len(), 1);
    repo.push("topic", "Add a greeting");
    let expected = expected::files(&repo);
    until(&branch, "events arrive", |files| *files == expected).await;
}

#[tokio::test]
async fn events_for_a_public_address_arrive_at_another_one() {
    let setup = Setup::new();
    let repo = setup.fake.create("alice/hello");
    let address = free_address().to_string();
    let _bridge = setup.bridge(&[
        "-r",
        "alice/hello",
        "--webhook",
        "https://ci.example.com/hook",
        "--webhook-listen",
        &address,
    ]);
    setup.until("the webhook is registered", |_| repo.hooks().len() == 1).await;
    let hook = repo.hooks().remove(0);
    assert_eq!(hook.url, "https://ci.example.com/hook");
    assert!(hook.secret.unwrap().starts_with("datakit"));
    let answer = post(&address, "push", "1", "sha256=00", "{}").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

/// Sends an event in the same way as GitHub, and returns the response.
async fn post(address: &str, event: &str, id: &str, signature: &str, body: &str) -> String {
    let head = format!(
        "POST /hook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         X-GitHub-Event: {event}\r\nX-GitHub-Delivery: {id}\r\nX-Hub-Signature-256: {signature}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    raw(address, &format!("{head}{body}")).await
}

async fn raw(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // The server may close the connection before it has read the entire request.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn only_signed_events_are_accepted_and_only_once() {
    let setup = Setup::new();
    let (_, branch, bridge, address) = start(&setup).await;
    let address = address.to_string();
    let body = r#"{"repository":{"full_name":"alice/hello"},"ref":"refs/heads/master"}"#;
    let signed = signature(SECRET, body.as_bytes());
    let wrong = signature("another secret", body.as_bytes());
    setup.fake.forget_calls();
    for (event, id, signature, body, status, text) in [
        ("push", "a", &*wrong, body, 401, "the signature is wrong"),
        ("push", "a", "", body, 401, "the signature is wrong"),
        ("push", "a", &signed, "{}", 401, "the signature is wrong"),
        ("star", "a", &signed, body, 202, "ignored"),
        ("star", "a", &signed, body, 202, "this delivery was already received"),
        ("push", "b", &signed, body, 202, "accepted"),
        ("push", "b", &signed, body, 202, "this delivery was already received"),
    ] {
        let answer = post(&address, event, id, signature, body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{event} {id}: {answer}");
        assert!(answer.trim_end().ends_with(text), "{event} {id}: {answer}");
    }
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nX-GitHub-Event: push\r\nX-GitHub-Delivery: c\r\nX-Hub-Signature-256: sha256=00\r\nContent-Length: 30000000\r\n\r\n",
            413,
        ),
    ] {
        let answer = raw(&address, request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
    }
    setup.until("the ref is read", |fake| fake.calls().len() == 1).await;
    eventually("it is logged", async || bridge.log().contains("received an event")).await;
    assert!(branch.head().await.unwrap().is_some());
}
