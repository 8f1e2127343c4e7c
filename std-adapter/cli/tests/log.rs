//! What `datakit serve` logs, as its options say.
// Clippy's allowance for tests ends at the functions they share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;

use common::{Client, PATIENCE, PROGRAM, Scratch, Server, within};
use rustix::fs::{OFlags, fcntl_setfl};

const STARTING: &str = concat!("Starting datakit ", env!("CARGO_PKG_VERSION"), " ...");

fn next(log: &Receiver<String>) -> String {
    log.recv_timeout(PATIENCE).unwrap()
}

/// Everything that it logs to its end.
fn rest(mut server: Server, log: &Receiver<String>) -> Vec<String> {
    assert!(server.end("TERM").success());
    log.iter().collect()
}

/// The level that every source has.
fn level(server: &Server) -> String {
    let client = server.client();
    let levels = ["db", "server", "client", "program"]
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
    ] {
        let (server, log) = Server::logging(options, environment);
        assert_eq!(level(&server), expected, "{options:?} {environment:?}");
        let log = rest(server, &log);
        assert_eq!(log.iter().any(|line| line.ends_with(STARTING)), expected != "quiet", "{log:?}");
        assert_eq!(
            log.iter().any(|line| line.contains("connected")),
            ["info", "debug"].contains(&expected),
            "{log:?}"
        );
    }
}

#[test]
fn a_quiet_server_can_be_made_to_talk() {
    let (server, log) = Server::logging(&["-q"], &[]);
    let client = server.client();
    client.run(&["write", "/debug/src/server/level", "info"]);
    assert!(next(&log).contains("disconnected"));
    client.run(&["write", "/debug/src/server/level", "quiet"]);
    let log = rest(server, &log);
    assert!(log.len() == 1 && log[0].contains(": connected"), "{log:?}");
}

/// The first line of a log, which is about the start.
fn first(options: &[&str]) -> String {
    let (_server, log) = Server::logging(options, &[]);
    let line = next(&log);
    assert!(line.contains(STARTING), "{line}");
    line
}

#[test]
fn lines_have_the_time_that_was_asked_for() {
    assert_eq!(first(&[]), format!(" INFO datakit::serve: {STARTING}"));
    assert_eq!(first(&["--log-destination", "quiet", "--log-clock", "monotonic"]), first(&[]));
    let line = first(&["--log-destination", "timestamp"]);
    assert!(line.starts_with("20") && line[..line.find(' ').unwrap()].ends_with('Z'), "{line}");
    let line = first(&["--log-destination=timestamp", "--log-clock=monotonic"]);
    let seconds = line.trim_start().split_once("s ").unwrap().0;
    assert!(seconds.parse::<f64>().unwrap() < PATIENCE.as_secs_f64(), "{line}");
}

#[test]
fn colours_are_for_terminals_and_who_asks_for_them() {
    for (options, colours) in
        [(&[][..], false), (&["--color", "always"], true), (&["--color=never"], false)]
    {
        let (_server, log) = Server::logging(options, &[]);
        assert_eq!(next(&log).contains('\x1b'), colours, "{options:?}");
    }
}

#[test]
fn what_this_system_does_not_have_is_refused() {
    let refused = |options: &[&str], level: &str| {
        let mut command = Command::new(PROGRAM);
        command
            .args(["serve", "--url", "tcp://127.0.0.1:0"])
            .args(options)
            .env("DATAKIT_VERBOSE", level);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        String::from_utf8(output.stderr).unwrap()
    };
    for (name, system) in [("eventlog", "Windows"), ("asl", "macOS")] {
        let text =
            format!("datakit: --log-destination {name} is for {system}, not for this system\n");
        assert_eq!(refused(&["--log-destination", name], ""), text);
    }
    let text = "datakit: DATAKIT_VERBOSE: \"loud\" is none of quiet, error, warning, info, debug\n";
    assert_eq!(refused(&[], "loud"), text);
    assert!(
        refused(&["--verbosity", "loud"], "")
            .starts_with("error: invalid value 'loud' for '--verbosity <LEVEL>'")
    );
}

/// Connects so many times with a message of an impossible size.
fn provoke(server: &Server, times: usize) {
    for _ in 0..times {
        let mut socket =
            TcpStream::connect(server.address().strip_prefix("tcp://").unwrap()).unwrap();
        socket.write_all(&[0xff; 7]).unwrap();
        // Refused, and so logged.
        let _ = socket.read(&mut [0]);
    }
}

/// How many lines became so: `lost`, `left-out`.
fn counted(server: &Server, what: &str) -> u64 {
    let text = server.client().run(&["cat", "/debug/server/log"]);
    let line = text.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn a_log_that_nobody_reads_does_not_stop_the_server() {
    let (mut server, unread) = Server::with_unread_log(&["-v"]);
    // Two lines each: more than the pipe and the queue before it take.
    provoke(&server, 2500);
    assert!(counted(&server, "lost") > 0);
    assert!(server.client().run(&["ls", "/"]).contains("branch"));
    let log = common::lines(unread);
    let told = std::iter::from_fn(|| log.recv_timeout(PATIENCE).ok())
        .find(|line| line.contains("are lost"));
    assert!(told.unwrap().contains("WARN"));
    assert!(server.end("TERM").success());
}

#[test]
fn warnings_that_clients_provoke_are_one_a_second() {
    let (server, log) = Server::logging(&[], &[]);
    let begun = std::time::Instant::now();
    provoke(&server, 300);
    let seconds = begun.elapsed().as_secs() as usize;
    assert!(counted(&server, "left-out") >= 290 - seconds as u64);
    within("the rest is counted in the log", || {
        log.try_iter().any(|line| line.contains(" more like this one: "))
    });
    let written = rest(server, &log).iter().filter(|line| line.contains("below 7")).count();
    assert!(written <= seconds + 2, "{written} lines in {seconds} s");
}

#[test]
fn a_standard_output_that_nobody_reads_does_not_stop_the_start() {
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
