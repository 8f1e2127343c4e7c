//! Tests for the metrics and the `debug` directory.

use datakit_client::{Client, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::expected;
use crate::setup::{Setup, until};

#[tokio::test]
async fn the_limit_is_shown_in_metrics_and_in_a_file() {
    let setup = Setup::new();
    let repo = setup.fake.create("alice/hello");
    let bridge = setup.bridge(&[
        "-r",
        "alice/hello",
        "--listen-prometheus",
        "127.0.0.1:0",
        "--listen-9p",
        "tcp://127.0.0.1:0",
    ]);
    let expected = expected::files(&repo);
    until(&setup.branch().await, "the repository is read", |files| *files == expected).await;

    let url = bridge.printed("metrics on http://").await;
    let mut stream = TcpStream::connect(url.trim_end_matches("/metrics")).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).await.unwrap();
    for line in [
        "datakit_github_rate_limit 5000",
        "datakit_github_rate_remaining 4997",
        "datakit_github_calls_total{method=\"GET\"} 3",
        "datakit_github_repositories 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "no {line} in {metrics}");
    }

    let url = bridge.printed("listening on ").await;
    let client = Client::connect(&url.parse().unwrap(), Options::default()).await.unwrap();
    let budget = String::from_utf8(client.read("/debug/github/budget").await.unwrap()).unwrap();
    assert!(budget.starts_with("limit 5000\nremaining 4997\n"), "{budget}");
    // The log level can be changed while the bridge is running.
    client.write("/debug/src/bridge/level", b"debug\n").await.unwrap();
    setup.fake.forget_calls();
    drop(client);
}
