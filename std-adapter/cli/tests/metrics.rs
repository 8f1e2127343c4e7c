//! What `datakit serve --listen-prometheus` shows, asked for in plain HTTP.
// Clippy's allowance for tests ends at the functions they share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{PATIENCE, PROGRAM, Server, within};
use datakit_client::{Client, OpenMode, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A server with metrics, and HOST:PORT of these.
fn start(options: &[&str]) -> (Server, String) {
    let options: Vec<&str> =
        ["--listen-prometheus", "127.0.0.1:0"].iter().chain(options).copied().collect();
    let server = Server::start("tcp://127.0.0.1:0", &options);
    let line = server.line();
    let at = line.strip_prefix("metrics on http://").and_then(|rest| rest.strip_suffix("/metrics"));
    let at = at.unwrap_or_else(|| panic!("{line}")).to_owned();
    (server, at)
}

/// The whole answer to this request line.
fn ask(at: &str, request: &str) -> String {
    let mut socket = TcpStream::connect(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(socket, "{request} HTTP/1.1\r\nHost: {at}\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// All metrics of one scrape.
fn scrape(at: &str) -> String {
    let answer = ask(at, "GET /metrics");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.lines().any(|line| line == "content-type: text/plain; version=0.0.4"), "{head}");
    body.to_owned()
}

/// The value of a sample, by its name and labels.
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in\n{text}")).parse().unwrap()
}

#[test]
fn only_a_get_of_metrics_is_answered() {
    let (_server, at) = start(&[]);
    scrape(&at);
    for request in [
        "GET /",
        "GET /metrics/",
        "GET /favicon.ico",
        "POST /metrics",
        "HEAD /metrics",
        "DELETE /metrics",
    ] {
        let answer = ask(&at, request);
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{request}: {answer}");
    }
    assert!(ask(&at, "nonsense").starts_with("HTTP/1.1 400 Bad Request\r\n"));
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
async fn connections_fids_and_waits_come_and_go() {
    let (server, at) = start(&[]);
    let options = Options::default().timeout(PATIENCE);
    let client = Client::connect(&server.address().parse().unwrap(), options).await.unwrap();
    let text = scrape(&at);
    assert_eq!(
        (value(&text, "datakit_connections"), value(&text, "datakit_requests_waiting")),
        (1.0, 0.0)
    );
    let fids = value(&text, "datakit_fids");

    let mut events = client.open("/debug/server/events", OpenMode::READ).await.unwrap().watch();
    assert!(tokio::time::timeout(Duration::from_millis(1), events.next()).await.is_err());
    within("a request that waits", || {
        let text = scrape(&at);
        value(&text, "datakit_requests_waiting") == 1.0 && value(&text, "datakit_fids") > fids
    });
    drop((events, client));
    tokio::task::spawn_blocking(move || {
        within("nobody", || {
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
fn the_log_is_counted_as_far_as_it_is_told() {
    let (server, at) = start(&[]);
    server.client().run(&["cat", "/debug/server/version"]);
    let text = scrape(&at);
    assert!(!text.contains("src=\"server\""), "{text}");
    // The line about the start.
    assert_eq!(value(&text, "datakit_logs_messages_total{level=\"app\",src=\"program\"}"), 1.0);
    server.client().run(&["write", "/debug/src/server/level", "info"]);
    server.client().run(&["cat", "/debug/server/version"]);
    assert!(
        value(&scrape(&at), "datakit_logs_messages_total{level=\"info\",src=\"server\"}") > 0.0
    );
}

#[test]
fn the_process_and_what_nobody_counts_yet() {
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
fn a_silent_connection_does_not_keep_others_out() {
    let (_server, at) = start(&[]);
    let silent: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(&at).unwrap()).collect();
    scrape(&at);
    drop(silent);
}

#[test]
fn an_address_that_cannot_be_had_says_why() {
    let (_server, at) = start(&[]);
    let refused = |address: &str| {
        let options = ["serve", "--url", "tcp://127.0.0.1:0", "--listen-prometheus", address];
        let output = Command::new(PROGRAM).args(options).stdin(Stdio::null()).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        String::from_utf8(output.stderr).unwrap()
    };
    let hint = "Address already in use; choose another port, or 0 for any free one";
    assert_eq!(refused(&at), format!("datakit: cannot listen on http://{at}/metrics: {hint}\n"));
    assert!(refused("localhost").contains("use port or host:port"));
}

#[test]
fn a_port_alone_is_that_of_all_interfaces() {
    let server = Server::start("tcp://127.0.0.1:0", &["--listen-prometheus", "0"]);
    let line = server.line();
    let port = line
        .strip_prefix("metrics on http://*:")
        .and_then(|rest| rest.strip_suffix("/metrics"))
        .unwrap();
    scrape(&format!("127.0.0.1:{port}"));
}

#[tokio::test]
async fn one_address_does_not_keep_others_from_the_metrics() {
    let (_server, at) = start(&["--scratch"]);
    let _silent: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(&at).unwrap()).collect();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut socket = socket.connect(at.parse().unwrap()).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    // Sooner than the silent ones are given up.
    tokio::time::timeout(Duration::from_secs(5), socket.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}
