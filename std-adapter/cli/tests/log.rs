//! Tests for the `datakit serve` log.
// The Clippy configuration allows panics in tests, but not in helper functions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;

use common::{Client, PROGRAM, Scratch, Server, TIMEOUT, within};
use rustix::fs::{OFlags, fcntl_setfl};

const STARTING: &str = concat!("Starting datakit ", env!("CARGO_PKG_VERSION"), " ...");

fn next(log: &Receiver<String>) -> String {
    log.recv_timeout(TIMEOUT).unwrap()
}

/// Stops the server and returns the remainder of its log.
fn end_log(mut server: Server, log: &Receiver<String>) -> Vec<String> {
    assert!(server.end("TERM").success());
    log.iter().collect()
}

/// Returns the log level, which must be the same for all sources.
fn level(server: &Server) -> String {
    let client = server.client();
    let levels = ["db", "server", "program"]
        .map(|source| client.run(&["cat", &format!("/debug/src/{source}/level")]));
    assert!(levels.iter().all(|level| *level == levels[0]), "{levels:?}");
    levels[0].trim().to_owned()
}

#[test]
fn options_set_the_level_that_the_files_show_and_change() {
    for (options, environment, expected) in [
        (&[][..], &[][..], "warning"),
        (&["-v"], &[], "info"),
        (&["-v", "-v"], &[], "debug"),
        (&["-vvv"], &[], "debug"),
        (&["-q"], &[], "quiet"),
        (&["--verbosity", "error"], &[], "error"),
        (&["--verbosity=warning", "-v"], &[], "warning"),
        (&["-q", "-v", "--verbosity", "debug"], &[], "quiet"),
        (&[], &[("DATAKIT_VERBOSE", "debug")], "debug"),
        (&[], &[("DATAKIT_VERBOSE", "")], "warning"),
        (&["-v"], &[("DATAKIT_VERBOSE", "error")], "info"),
        (&["--verbosity", "app"], &[], "app"),
        (&["--verbosity", "off"], &[], "quiet"),
        (&[], &[("RUST_LOG", "debug")], "debug"),
        (&[], &[("RUST_LOG", "hyper=trace,warn")], "warning"),
        (&[], &[("RUST_LOG", "debug"), ("DATAKIT_VERBOSE", "error")], "error"),
        (&["-q"], &[("RUST_LOG", "debug")], "quiet"),
    ] {
        let (server, log) = Server::logging(options, environment);
        assert_eq!(level(&server), expected, "{options:?} {environment:?}");
        let log = end_log(server, &log);
        assert_eq!(log.iter().any(|line| line.ends_with(STARTING)), expected != "quiet", "{log:?}");
        assert_eq!(
            log.iter().any(|line| line.contains("connected")),
            ["info", "debug"].contains(&expected),
            "{log:?}"
        );
    }
}

#[test]
fn a_level_file_makes_a_quiet_server_log() {
    let (server, log) = Server::logging(&["-q"], &[]);
    let client = server.client();
    client.run(&["write", "/debug/src/server/level", "info"]);
    assert!(next(&log).contains("disconnected"));
    client.run(&["write", "/debug/src/server/level", "quiet"]);
    let log = end_log(server, &log);
    assert!(log.len() == 1 && log[0].contains(": connected"), "{log:?}");
}

/// Starts a server and returns the first line of its log, which is the startup message.
fn first_line(options: &[&str]) -> String {
    let (_server, log) = Server::logging(options, &[]);
    let line = next(&log);
    assert!(line.contains(STARTING), "{line}");
    line
}

#[test]
fn lines_have_the_requested_time() {
    assert_eq!(first_line(&[]), format!(" INFO datakit::serve: {STARTING}"));
    assert_eq!(
        first_line(&["--log-destination", "quiet", "--log-clock", "monotonic"]),
        first_line(&[])
    );
    let line = first_line(&["--log-destination", "timestamp"]);
    assert!(line.starts_with("20") && line[..line.find(' ').unwrap()].ends_with('Z'), "{line}");
    let line = first_line(&["--log-destination=timestamp", "--log-clock=monotonic"]);
    let seconds = line.trim_start().split_once("s ").unwrap().0;
    assert!(seconds.parse::<f64>().unwrap() < TIMEOUT.as_secs_f64(), "{line}");
}

#[test]
fn only_a_terminal_gets_colors_by_default() {
    for (options, colors) in
        [(&[][..], false), (&["--color", "always"], true), (&["--color=never"], false)]
    {
        let (_server, log) = Server::logging(options, &[]);
        assert_eq!(next(&log).contains('\x1b'), colors, "{options:?}");
    }
}

#[test]
fn unsupported_log_options_are_refused() {
    let refused = |options: &[&str], level: &str| {
        let mut command = Command::new(PROGRAM);
        command
            .args(["serve", "--url", "tcp://127.0.0.1:0"])
            .args(options)
            .env("DATAKIT_VERBOSE", level);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.stdout.len(), 0);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (name, system) in [("eventlog", "Windows"), ("asl", "macOS")] {
        let text = format!(
            "datakit: --log-destination {name} is available on {system}, not on this system\n"
        );
        assert_eq!(refused(&["--log-destination", name], ""), (Some(1), text));
    }
    let text = "datakit: DATAKIT_VERBOSE: unknown level \"loud\": use one of quiet, app, error, warning, info, debug\n";
    assert_eq!(refused(&[], "loud"), (Some(1), text.to_owned()));
    let (status, text) = refused(&["--verbosity", "loud"], "");
    assert!(text.starts_with("error: invalid value 'loud' for '--verbosity <LEVEL>'"), "{text}");
    assert_eq!(status, Some(2));
}

/// Sends a message with an invalid size on each of `times` connections.
fn send_malformed(server: &Server, times: usize) {
    for _ in 0..times {
        let mut socket =
            TcpStream::connect(server.address().strip_prefix("tcp://").unwrap()).unwrap();
        socket.write_all(&[0xff; 7]).unwrap();
        // Wait until the server closes the connection. By then, the server has rejected the
        // message and logged an error.
        let _ = socket.read(&mut [0]);
    }
}

/// Returns the value of the log counter `what`, which is `lost` or `left-out`.
fn log_counter(server: &Server, what: &str) -> u64 {
    let text = server.client().run(&["cat", "/debug/server/log"]);
    let line = text.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn an_unread_log_does_not_stop_the_server() {
    let (mut server, unread) = Server::with_unread_log(&["-v"]);
    // Each message produces two log lines. Together, the lines exceed the capacity of the pipe and
    // the queue.
    send_malformed(&server, 2500);
    assert!(log_counter(&server, "lost") > 0);
    assert!(server.client().run(&["ls", "/"]).contains("branch"));
    let log = common::lines(unread);
    let told = std::iter::from_fn(|| log.recv_timeout(TIMEOUT).ok())
        .find(|line| line.contains("lines lost"));
    assert!(told.unwrap().contains("WARN"));
    assert!(server.end("TERM").success());
}

#[test]
fn warnings_are_limited_to_one_a_second() {
    let (server, log) = Server::logging(&[], &[]);
    let begun = std::time::Instant::now();
    send_malformed(&server, 300);
    let seconds = begun.elapsed().as_secs() as usize;
    assert!(log_counter(&server, "left-out") >= 290 - seconds as u64);
    within("a summary of the suppressed lines", || {
        log.try_iter().any(|line| line.contains(" more like this one: "))
    });
    let written = end_log(server, &log).iter().filter(|line| line.contains("below 7")).count();
    assert!(written <= seconds + 2, "{written} lines in {seconds} s");
}

#[test]
fn an_unread_standard_output_does_not_stop_the_start() {
    let here = Scratch::new("unread-output");
    let (_reader, mut writer) = std::io::pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    let address = format!("unix://{}", here.path("socket"));
    let mut server = Command::new(PROGRAM);
    server
        .args(["serve", "--scratch", "--url", &address])
        .stdout(writer)
        .stderr(File::create(here.path("log")).unwrap());
    let mut server = server.spawn().unwrap();
    let client = Client { address: &address, dialect: "9p2000.L" };
    within("it serves", || client.command(&["ls", "/"]).output().unwrap().status.success());
    assert!(common::end(&mut server, "TERM").success());
}

#[test]
fn an_address_that_is_not_loopback_warns_that_there_is_no_authentication() {
    for (listen, expected) in [("tcp://0.0.0.0:0", true), ("tcp://127.0.0.1:0", false)] {
        let options = ["--scratch", "--listen-9p", listen];
        let mut server = Command::new(PROGRAM);
        server.arg("serve").args(options).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = server.spawn().unwrap();
        let address = common::lines(server.stdout.take().unwrap()).recv_timeout(TIMEOUT).unwrap();
        let log = common::lines(server.stderr.take().unwrap());
        assert!(next(&log).contains("Starting"));
        assert!(common::end(&mut server, "TERM").success());
        let warnings: Vec<String> =
            log.iter().filter(|line| line.contains("no authentication")).collect();
        assert_eq!(warnings.len(), usize::from(expected), "{address}: {warnings:?}");
    }
}
