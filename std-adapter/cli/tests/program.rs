//! Tests for the client commands, run against `datakit serve` in every dialect.
// The Clippy configuration allows panics in tests, but not in helper functions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::ffi::OsStr;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use common::{Client, PROGRAM, Scratch, Server, TIMEOUT, end, in_every_dialect, lines, within};

#[test]
fn cat_prints_what_write_wrote() {
    in_every_dialect(|client| {
        client.run(&["write", "/a", "hello\n"]);
        assert_eq!(client.run(&["cat", "/a", "a"]), "hello\nhello\n");
        client.run(&["write", "a", "hi"]);
        assert_eq!(client.run(&["cat", "a"]), "hi");
        client.run(&["write", "a", ""]);
        assert_eq!(client.run(&["cat", "a"]), "");

        let mut writing =
            client.command(&["write", "b", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        writing.stdin.take().unwrap().write_all(b"from standard input").unwrap();
        assert!(writing.wait().unwrap().success());
        assert_eq!(client.run(&["cat", "b"]), "from standard input");
    });
}

#[test]
fn errors_name_the_path_and_the_reason() {
    in_every_dialect(|client| {
        client.run(&["mkdir", "d"]);
        client.run(&["write", "f", "x"]);
        for (arguments, path, reason) in [
            (&["cat", "/none"][..], "/none", "No such file or directory"),
            (&["ls", "none"], "none", "No such file or directory"),
            (&["stat", "d/none"], "d/none", "No such file or directory"),
            (&["write", "none/f", "x"], "none/f", "No such file or directory"),
            (&["rm", "none"], "none", "No such file or directory"),
            (&["mv", "none", "f"], "none", "No such file or directory"),
            (&["cp", ":none", "x"], ":none", "No such file or directory"),
            (&["mkdir", "d"], "d", "Already exists"),
            (&["cat", "d"], "d", "Is a directory"),
            (&["write", "d", ""], "d", "Is a directory"),
            (&["rm", "d"], "d", "Is a directory"),
            (&["cat", "f/x"], "f/x", "Is not a directory"),
        ] {
            assert_eq!(
                client.fail(arguments),
                format!("datakit: {path}: {reason}\n"),
                "{}",
                client.dialect
            );
        }
        // In dialects whose errors contain text, the error names the file that is not a directory.
        let reason = if client.dialect == "9P2000.L" {
            "Is not a directory"
        } else {
            "\"f\" is not a directory"
        };
        assert_eq!(
            client.fail(&["mkdir", "f/new"]),
            format!("datakit: f/new: {reason}\n"),
            "{}",
            client.dialect
        );
    });
}

#[test]
fn directories_are_listed_moved_and_removed() {
    in_every_dialect(|client| {
        client.run(&["mkdir", "d", "d/e"]);
        client.run(&["write", "d/e/f", "12345"]);
        client.run(&["write", "d/g", ""]);
        assert_eq!(client.run(&["ls", "d"]), "e\ng\n");
        assert_eq!(client.run(&["tree", "d"]), "d\n├── e/\n│   └── f\n└── g\n");
        assert!(client.run(&["ls", "-l", "d"]).starts_with("drwx"));
        let stat: serde_json::Value =
            serde_json::from_str(&client.run(&["stat", "--json", "d/e/f"])).unwrap();
        assert_eq!(
            (&stat["name"], &stat["kind"], &stat["length"]),
            (&"f".into(), &"file".into(), &5.into())
        );
        let tree: serde_json::Value =
            serde_json::from_str(&client.run(&["tree", "--json"])).unwrap();
        assert_eq!(tree["entries"][0]["entries"][0]["entries"][0], stat);

        client.run(&["mv", "d/g", "d/h"]);
        client.run(&["mv", "d/h", "d/e"]);
        assert_eq!(client.run(&["ls", "d/e"]), "f\nh\n");
        client.run(&["rm", "-r", "d"]);
        assert_eq!(client.run(&["ls"]), "");
    });
}

#[test]
fn cp_copies_both_ways_but_not_a_file_onto_itself() {
    let dir = Scratch::new("cp");
    let content: Vec<u8> = (0..1_700_000u32).map(|n| (n / 7) as u8).collect();
    let (from, to) = (dir.path("from"), dir.path("to"));
    std::fs::write(&from, &content).unwrap();
    in_every_dialect(|client| {
        client.run(&["cp", &from, ":/"]);
        client.run(&["cp", ":from", ":copy"]);
        assert_eq!(
            client.fail(&["cp", ":from", ":/./from"]),
            "datakit: :from and :/./from are the same file\n"
        );
        client.run(&["cp", ":copy", &to]);
        assert!(std::fs::read(&to).unwrap() == content);
        assert!(client.bytes(&["cat", "copy"]) == content);
        assert_eq!(
            client.fail(&["cp", &from, &to]),
            "datakit: cp: neither path is on the server: write it as :PATH\n"
        );
    });
}

#[test]
fn cp_r_copies_directories_both_ways() {
    in_every_dialect(|client| {
        let dir = Scratch::new("cp-r");
        let from = dir.0.join("from");
        std::fs::create_dir_all(from.join("empty")).unwrap();
        std::fs::create_dir_all(from.join("deep/er")).unwrap();
        std::fs::write(from.join("deep/er/file"), "content").unwrap();
        std::fs::write(from.join("deep").join(OsStr::from_bytes(b"caf\xe9")), "bytes").unwrap();
        let links = client.dialect != "9P2000";
        if links {
            std::os::unix::fs::symlink("deep/er/file", from.join("link")).unwrap();
        }

        let typed = from.to_str().unwrap();
        assert_eq!(
            client.fail(&["cp", typed, ":/"]),
            format!("datakit: {typed}: Is a directory\n")
        );
        client.run(&["cp", "-r", typed, ":/"]);
        client.run(&["cp", "--recursive", ":from", ":copy"]);
        client.run(&["cp", "-r", ":copy", &dir.path("to")]);
        // The target is now an existing directory, so the copy is created inside it. Copying a
        // second time changes nothing.
        client.run(&["cp", "-r", ":copy", &dir.path("to")]);
        client.run(&["cp", "-r", ":copy", &dir.path("to")]);

        for to in [dir.0.join("to"), dir.0.join("to/copy")] {
            assert!(to.join("empty").is_dir());
            assert_eq!(std::fs::read(to.join("deep/er/file")).unwrap(), b"content");
            assert_eq!(
                std::fs::read(to.join("deep").join(OsStr::from_bytes(b"caf\xe9"))).unwrap(),
                b"bytes"
            );
            assert_eq!(std::fs::read_link(to.join("link")).is_ok(), links);
        }
        let inside = "datakit: :from: cannot copy a directory into itself\n";
        assert_eq!(client.fail(&["cp", "-r", ":from", ":from/deep"]), inside);
        assert_eq!(client.fail(&["cp", "-r", ":from", ":/"]), inside);
    });
}

/// A malicious server could report a link first and then a directory with the same name.
#[test]
fn cp_does_not_write_through_a_link() {
    let (server, dir) = (Server::scratch(), Scratch::new("cp-link"));
    let client = server.client();
    client.run(&["mkdir", "d", "d/sub"]);
    client.run(&["write", "d/sub/f", "x"]);
    std::fs::create_dir_all(dir.0.join("to/d")).unwrap();
    std::fs::create_dir(dir.0.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../../elsewhere", dir.0.join("to/d/sub")).unwrap();
    let text = client.fail(&["cp", "-r", ":d", &dir.path("to")]);
    assert_eq!(text, format!("datakit: {}: will not copy through a link\n", dir.path("to/d/sub")));
    assert_eq!(std::fs::read_dir(dir.0.join("elsewhere")).unwrap().count(), 0);
}

#[test]
fn names_may_contain_any_bytes() {
    in_every_dialect(|client| {
        let bytes = |path: &'static [u8]| OsStr::from_bytes(path);
        client.bytes(&[bytes(b"mkdir"), bytes(b"d\xff")]);
        client.bytes(&[bytes(b"write"), bytes(b"d\xff/caf\xe9"), bytes(b"\xe9\n")]);
        assert_eq!(client.bytes(&["ls"]), b"d\xff\n");
        assert_eq!(
            client.bytes(&["tree"]),
            b"/\n\xe2\x94\x94\xe2\x94\x80\xe2\x94\x80 d\xff/\n    \xe2\x94\x94\xe2\x94\x80\xe2\x94\x80 caf\xe9\n"
        );
        assert_eq!(client.bytes(&[bytes(b"cat"), bytes(b"d\xff/caf\xe9")]), b"\xe9\n");
        assert!(client.run(&["ls", "--json"]).contains("\"name\": \"d\u{fffd}\""));
        client.bytes(&[bytes(b"mv"), bytes(b"d\xff/caf\xe9"), bytes(b"d\xff/\xfe")]);
        assert_eq!(client.bytes(&[bytes(b"ls"), bytes(b"d\xff")]), b"\xfe\n");
        client.bytes(&[bytes(b"rm"), bytes(b"-r"), bytes(b"d\xff")]);
        assert_eq!(client.run(&["ls"]), "");
    });
}

/// Replaces each value that varies between runs with a fixed value.
fn normalize(json: &str) -> String {
    let varies = ["owner", "group", "accessed", "modified", "version", "path"];
    let normalize = |line: &str| match line.split_once("\": ") {
        Some((key, value)) if varies.contains(&key.trim().trim_matches('"')) => {
            format!("{key}\": _{}\n", if value.ends_with(',') { "," } else { "" })
        }
        _ => format!("{line}\n"),
    };
    json.lines().map(normalize).collect()
}

const FILE: &str = r#"{
  "name": "f",
  "kind": "file",
  "mode": 438,
  "length": 5,
  "owner": _,
  "group": _,
  "links": 1,
  "accessed": _,
  "modified": _,
  "qid": {
    "kind": 0,
    "version": _,
    "path": _
  }
}
"#;

const TREE: &str = r#"{
  "name": "d",
  "kind": "directory",
  "mode": 511,
  "length": 0,
  "owner": _,
  "group": _,
  "links": 2,
  "accessed": _,
  "modified": _,
  "qid": {
    "kind": 128,
    "version": _,
    "path": _
  },
  "entries": [
    {
      "name": "f",
      "kind": "file",
      "mode": 438,
      "length": 5,
      "owner": _,
      "group": _,
      "links": 1,
      "accessed": _,
      "modified": _,
      "qid": {
        "kind": 0,
        "version": _,
        "path": _
      }
    }
  ]
}
"#;

#[test]
fn json_output_has_a_fixed_form() {
    let server = Server::scratch();
    let client = server.client();
    client.run(&["mkdir", "d"]);
    client.run(&["write", "d/f", "12345"]);
    assert_eq!(normalize(&client.run(&["stat", "--json", "d/f"])), FILE);
    let indented: String = FILE.lines().map(|line| format!("  {line}\n")).collect();
    assert_eq!(normalize(&client.run(&["ls", "--json", "d"])), format!("[\n{indented}]\n"));
    assert_eq!(normalize(&client.run(&["tree", "--json", "d"])), TREE);
    client.run(&["mkdir", "empty"]);
    assert_eq!(client.run(&["ls", "--json", "empty"]), "[]\n");
}

#[test]
fn read_only_files_in_debug_have_no_write_bit() {
    let server = Server::start("tcp://127.0.0.1:0", &[]);
    let client = server.client();
    let expected = [
        ("/", 0o555),
        ("debug", 0o555),
        ("debug/server", 0o555),
        ("debug/server/pid", 0o444),
        ("debug/server/connections", 0o444),
        ("debug/server/events", 0o444),
        ("debug/src", 0o555),
        ("debug/src/server", 0o555),
        ("debug/src/server/doc", 0o444),
        ("debug/src/server/level", 0o664),
    ];
    for (path, mode) in expected {
        let stat: serde_json::Value =
            serde_json::from_str(&client.run(&["stat", "--json", path])).unwrap();
        assert_eq!(stat["mode"], mode, "{path}");
    }
}

fn flushes(client: &Client<'_>) -> u32 {
    let requests = client.run(&["cat", "/debug/server/requests"]);
    let line =
        requests.lines().find_map(|line| line.strip_prefix("Tflush ")).unwrap_or("0").to_owned();
    line.split(' ').next().unwrap().parse().unwrap()
}

/// If the interrupt arrives between two reads, there is nothing to flush. The test therefore
/// retries until a flush is counted.
#[test]
fn an_interrupt_ends_watch_and_flushes_the_read() {
    let server = Server::start("tcp://127.0.0.1:0", &[]);
    for dialect in ["9P2000", "9P2000.u", "9P2000.L"] {
        let client = Client { address: server.address(), dialect };
        let before = flushes(&client);
        within("a flush", || {
            let mut watch = client
                .command(&["watch", "/debug/server/events"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let events = lines(watch.stdout.take().unwrap());
            let mut event = None;
            within("an event", || {
                client.run(&["ls"]);
                event = events.try_recv().ok();
                event.is_some()
            });
            assert!(event.unwrap().contains("connected 127.0.0.1:"), "{dialect}");
            assert!(end(&mut watch, "INT").success(), "{dialect}");
            flushes(&client) > before
        });
    }
}

#[test]
fn watch_fails_when_the_server_ends() {
    let mut server = Server::start("tcp://127.0.0.1:0", &[]);
    let client = server.client();
    let mut command = client.command(&["watch", "/debug/server/events"]);
    let mut watch = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (events, errors) =
        (lines(watch.stdout.take().unwrap()), lines(watch.stderr.take().unwrap()));
    within("an event", || {
        client.run(&["ls"]);
        events.try_recv().is_ok()
    });
    assert!(server.end("TERM").success());
    let error = errors.recv_timeout(TIMEOUT).unwrap();
    assert!(error.starts_with("datakit: /debug/server/events: connection lost: "), "{error}");
    assert_eq!(watch.wait().unwrap().code(), Some(1));
}

#[test]
fn completions_contain_the_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = Command::new(PROGRAM).args(["completions", shell]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success()
                && ["datakit", "watch", "completions"].iter().all(|word| text.contains(word))
        );
    }
}

#[test]
fn a_refused_connection_names_the_address() {
    let output =
        Command::new(PROGRAM).args(["-a", "unix:///nonexistent/socket", "ls"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text, "datakit: unix:///nonexistent/socket: No such file or directory\n");
}

#[test]
fn a_silent_server_times_out() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", silent.local_addr().unwrap());
    let client = Client { address: &address, dialect: "9p2000.L" };
    assert_eq!(
        client.fail(&["ls", "--timeout", "1"]),
        format!("datakit: {address}: timed out: no connection within 1 s\n")
    );
}

#[test]
fn options_of_another_command_are_usage_errors() {
    for (arguments, text) in [
        (&["--scratch", "ls"][..], "unexpected argument 'ls' found"),
        (&["ls", "--scratch"], "unexpected argument '--scratch' found"),
        (&["serve", "-a", "tcp://127.0.0.1:0"], "unexpected argument '-a' found"),
        (&["-a", "tcp://127.0.0.1:0", "serve"], "`serve` does not connect to a server"),
        (&["--timeout", "3"], "'datakit' requires a subcommand"),
    ] {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(text), "{arguments:?}: {error}");
    }
}
