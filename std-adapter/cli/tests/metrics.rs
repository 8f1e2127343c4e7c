//! Tests that read the metrics of `datakit serve --listen-prometheus` over plain HTTP.
// The Clippy configuration allows panics in tests, but not in helper functions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{PROGRAM, Server, TIMEOUT, within};
use datakit_client::{Client, OpenMode, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Starts a server that exports metrics and returns the server and the address of the metrics
/// endpoint.
fn start(options: &[&str]) -> (Server, String) {
    let options: Vec<&str> =
        ["--listen-prometheus", "127.0.0.1:0"].iter().chain(options).copied().collect();
    let server = Server::start("tcp://127.0.0.1:0", &options);
    let line = server.line();
    let at = line.strip_prefix("metrics on http://").and_then(|rest| rest.strip_suffix("/metrics"));
    let at = at.unwrap_or_else(|| panic!("{line}")).to_owned();
    (server, at)
}

/// Sends a request line and returns the whole response.
fn request(at: &str, line: &str) -> String {
    let mut socket = TcpStream::connect(at).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    write!(socket, "{line} HTTP/1.1\r\nHost: {at}\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// Scrapes the metrics once and returns the text.
fn scrape(at: &str) -> String {
    let answer = request(at, "GET /metrics");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.lines().any(|line| line == "content-type: text/plain; version=0.0.4"), "{head}");
    body.to_owned()
}

/// Returns the value of a sample, given its name and labels.
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in\n{text}")).parse().unwrap()
}

#[test]
fn only_get_metrics_is_served() {
    let (_server, at) = start(&[]);
    scrape(&at);
    for line in [
        "GET /",
        "GET /metrics/",
        "GET /favicon.ico",
        "POST /metrics",
        "HEAD /metrics",
        "DELETE /metrics",
    ] {
        let answer = request(&at, line);
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{line}: {answer}");
    }
    assert!(request(&at, "nonsense").starts_with("HTTP/1.1 400 Bad Request\r\n"));
    assert!(request(&at, "GET /").ends_with("\r\n\r\nonly GET /metrics\n"));
    assert!(request(&at, "HEAD /metrics").ends_with("\r\n\r\n"), "a HEAD response has a body");
    scrape(&at);
}

#[test]
fn requests_and_bytes_are_counted() {
    let (server, at) = start(&["--scratch"]);
    let before = scrape(&at);
    assert!(!before.contains("datakit_requests_total{"), "{before}");
    server.client().run(&["write", "f", "hello"]);
    server.client().run(&["cat", "f"]);
    server.client().fail(&["cat", "nothing"]);
    let text = scrape(&at);
    for kind in ["Tattach", "Twalk", "Tread", "Twrite", "Tclunk"] {
        let requests = value(&text, &format!("datakit_requests_total{{type=\"{kind}\"}}"));
        let timed =
            value(&text, &format!("datakit_request_duration_seconds_count{{type=\"{kind}\"}}"));
        assert!(requests > 0.0 && requests == timed, "{kind}: {requests} requests, {timed} timed");
        let bucket =
            format!("datakit_request_duration_seconds_bucket{{type=\"{kind}\",le=\"+Inf\"}}");
        assert_eq!(value(&text, &bucket), timed);
        assert!(
            value(&text, &format!("datakit_request_duration_seconds_sum{{type=\"{kind}\"}}")) > 0.0
        );
    }
    assert!(value(&text, "datakit_request_errors_total{type=\"Twalk\"}") > 0.0);
    assert_eq!(value(&text, "datakit_request_errors_total{type=\"Tread\"}"), 0.0);
    for bytes in ["datakit_received_bytes_total", "datakit_sent_bytes_total"] {
        assert!(value(&before, bytes) == 0.0 && value(&text, bytes) > 100.0);
    }
}

#[tokio::test]
async fn gauges_follow_connections_fids_and_blocked_requests() {
    let (server, at) = start(&[]);
    let options = Options::default().timeout(TIMEOUT);
    let client = Client::connect(&server.address().parse().unwrap(), options).await.unwrap();
    let text = scrape(&at);
    assert_eq!(
        (value(&text, "datakit_connections"), value(&text, "datakit_requests_waiting")),
        (1.0, 0.0)
    );
    let fids = value(&text, "datakit_fids");

    let mut events = client.open("/debug/server/events", OpenMode::READ).await.unwrap().watch();
    assert!(tokio::time::timeout(Duration::from_millis(1), events.next()).await.is_err());
    within("a blocked request", || {
        let text = scrape(&at);
        value(&text, "datakit_requests_waiting") == 1.0 && value(&text, "datakit_fids") > fids
    });
    drop((events, client));
    tokio::task::spawn_blocking(move || {
        within("no connection", || {
            let text = scrape(&at);
            ["datakit_connections", "datakit_fids", "datakit_requests_waiting"]
                .iter()
                .all(|name| value(&text, name) == 0.0)
        });
        drop(server);
    })
    .await
    .unwrap();
}

#[test]
fn logged_messages_are_counted() {
    let (server, at) = start(&[]);
    server.client().run(&["cat", "/debug/server/version"]);
    let text = scrape(&at);
    assert!(!text.contains("src=\"server\""), "{text}");
    // At this point, the server has logged only its startup message.
    assert_eq!(value(&text, "datakit_logs_messages_total{level=\"app\",src=\"program\"}"), 1.0);
    server.client().run(&["write", "/debug/src/server/level", "info"]);
    server.client().run(&["cat", "/debug/server/version"]);
    assert!(
        value(&scrape(&at), "datakit_logs_messages_total{level=\"info\",src=\"server\"}") > 0.0
    );
}

#[test]
fn process_metrics_and_zero_counters_are_shown() {
    let (_server, at) = start(&[]);
    let text = scrape(&at);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let started = value(&text, "process_start_time_seconds");
    assert!(started < now && now < started + 60.0, "{started}, {now}");
    within("processor time", || {
        value(&scrape(&at), "process_cpu_seconds_total") > value(&text, "process_cpu_seconds_total")
    });
    for (name, kind) in [
        ("DataKit_git_push_duration_seconds", "summary"),
        ("datakit_transactions", "gauge"),
        ("datakit_commits_total", "counter"),
        ("datakit_merge_conflicts_total", "counter"),
        ("datakit_commit_retries_total", "counter"),
        ("datakit_watches", "gauge"),
    ] {
        let line = format!("# TYPE {name} {kind}");
        assert!(text.lines().any(|found| found == line), "no {line}");
        let sample = if kind == "summary" { format!("{name}_count") } else { name.to_owned() };
        assert_eq!(value(&text, &sample), 0.0);
    }
}

#[test]
fn silent_connections_do_not_block_a_scrape() {
    let (_server, at) = start(&[]);
    let silent: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(&at).unwrap()).collect();
    scrape(&at);
    drop(silent);
}

#[test]
fn an_unusable_address_is_explained() {
    let (_server, at) = start(&[]);
    let refused = |address: &str| {
        let options = ["serve", "--url", "tcp://127.0.0.1:0", "--listen-prometheus", address];
        let output = Command::new(PROGRAM).args(options).stdin(Stdio::null()).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        String::from_utf8(output.stderr).unwrap()
    };
    let hint = "Address already in use; choose another port, or 0 for any free one";
    assert_eq!(refused(&at), format!("datakit: cannot listen on http://{at}/metrics: {hint}\n"));
    let options = ["serve", "--listen-prometheus", "localhost"];
    let output = Command::new(PROGRAM).args(options).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("use PORT or HOST:PORT"));
}

#[test]
fn a_port_alone_listens_on_all_interfaces() {
    let server = Server::start("tcp://127.0.0.1:0", &["--listen-prometheus", "0"]);
    let line = server.line();
    let port = line
        .strip_prefix("metrics on http://*:")
        .and_then(|rest| rest.strip_suffix("/metrics"))
        .unwrap();
    scrape(&format!("127.0.0.1:{port}"));
}

#[tokio::test]
async fn one_address_cannot_use_all_connections() {
    let (_server, at) = start(&["--scratch"]);
    let _silent: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(&at).unwrap()).collect();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut socket = socket.connect(at.parse().unwrap()).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    // The response must arrive before the silent connections time out.
    tokio::time::timeout(Duration::from_secs(5), socket.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}
