//! Tests that operands, options, pipes and exit statuses behave as shell users expect.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

use common::{Client, PROGRAM, Scratch, Server, TIMEOUT, end, in_every_dialect, lines};

/// Runs a command with `input` as its standard input.
fn pipe(client: &Client<'_>, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = client.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn datakit(arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.env_remove("DATAKIT_ADDRESS").args(arguments).output().unwrap()
}

#[test]
fn ls_takes_several_operands_and_the_usual_options() {
    let server = Server::scratch();
    let client = server.client();
    client.run(&["mkdir", "d", "e"]);
    client.run(&["write", "d/.hidden", "x"]);
    client.run(&["write", "d/large", &"x".repeat(2000)]);
    assert_eq!(client.run(&["ls", "d"]), "large\n");
    assert_eq!(client.run(&["ls", "-a", "d"]), ".hidden\nlarge\n");
    assert_eq!(client.run(&["ls", "-la", "d"]).lines().count(), 2);
    assert!(client.run(&["ls", "-lh", "d"]).contains(" 2.0K "));
    assert_eq!(client.run(&["ls", "-d", "d", "/"]), "d\n/\n");
    assert!(client.run(&["ls", "-ld", "d"]).starts_with("drwx"));
    assert_eq!(client.run(&["ls", "e", "d/large", "d"]), "d/large\n\ne:\n\nd:\nlarge\n");
    assert!(client.run(&["ls", "--json", "d"]).contains(".hidden"));

    let output = client.command(&["ls", "none", "d"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"d:\nlarge\n");
    assert_eq!(output.stderr, b"datakit: none: No such file or directory\n");
}

#[test]
fn the_address_may_precede_or_follow_the_command() {
    let server = Server::scratch();
    let address = server.address();
    server.client().run(&["write", "f", "x"]);
    for arguments in [
        &["-a", address, "cat", "f"][..],
        &["cat", "-a", address, "f"],
        &["cat", "f", "-a", address],
        &["cat", "f", &format!("--address={address}")],
        &["-a", "tcp://127.0.0.1:1", "cat", "f", "-a", address],
        &["-a", address, "ls", "-a", "f"],
    ] {
        let output = datakit(arguments);
        assert!(output.status.success() && !output.stdout.is_empty(), "{arguments:?}");
    }
    let mut command = Command::new(PROGRAM);
    let output = command.env("DATAKIT_ADDRESS", address).args(["cat", "f"]).output().unwrap();
    assert_eq!(output.stdout, b"x");
}

#[test]
fn an_address_may_be_a_host_and_port_or_the_path_of_a_socket() {
    let dir = Scratch::new("addresses");
    let socket = dir.path("socket");
    let server = Server::start(&format!("127.0.0.1:0,{socket}"), &["--scratch"]);
    let port = server.address().rsplit(':').next().unwrap().to_owned();
    for address in [
        &format!("localhost:{port}"),
        &format!("127.0.0.1:{port}"),
        &format!("tcp:127.0.0.1:{port}"),
        &format!("unix://{socket}"),
        &socket,
    ] {
        let output = datakit(&["-a", address, "stat", "/"]);
        assert!(output.status.success(), "{address}: {output:?}");
    }
}

#[test]
fn stat_prints_several_files() {
    let server = Server::scratch();
    let client = server.client();
    client.run(&["write", "a", "1"]);
    client.run(&["write", "b", "22"]);
    let text = client.run(&["stat", "a", "b"]);
    assert!(text.contains("name      a\n") && text.contains("\n\nname      b\n"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&client.run(&["stat", "--json", "a", "b"])).unwrap();
    assert_eq!(json[1]["length"], 2);
}

#[test]
fn mkdir_p_and_rm_f_accept_what_is_done_already() {
    in_every_dialect(|client| {
        client.run(&["mkdir", "-p", "a/b/c", "a/b"]);
        client.run(&["mkdir", "--parents", "/a/b/c"]);
        assert_eq!(client.run(&["ls", "a/b"]), "c\n");
        client.run(&["write", "f", ""]);
        assert_ne!(client.fail(&["mkdir", "-p", "f/x"]), "");
        client.run(&["rm", "-f", "f", "none"]);
        assert_eq!(client.fail(&["rm", "none"]), "datakit: none: No such file or directory\n");
        client.run(&["rm", "-rf", "a", "none"]);
        assert_eq!(client.run(&["ls"]), "");
    });
}

#[test]
fn append_adds_to_the_end() {
    in_every_dialect(|client| {
        client.run(&["append", "log", "one\n"]);
        client.run(&["append", "log", "two\n"]);
        assert!(pipe(&client, &["append", "log"], b"three\n").status.success());
        assert_eq!(client.run(&["cat", "log"]), "one\ntwo\nthree\n");
        client.run(&["mkdir", "d"]);
        assert_eq!(client.fail(&["append", "d", "x"]), "datakit: d: Is a directory\n");
    });
}

#[test]
fn the_refusal_to_create_a_file_says_that_it_does_not_exist() {
    let server = Server::start("tcp://127.0.0.1:0", &[]);
    let client = Client { dialect: "9p2000.u", ..server.client() };
    let refused = "the file does not exist and cannot be created: Directory is read-only";
    for command in ["write", "append"] {
        let missing = client.fail(&[command, "debug/missing", "x"]);
        assert_eq!(missing, format!("datakit: debug/missing: {refused}\n"));
        let existing = client.fail(&[command, "debug/server/pid", "x"]);
        assert_eq!(existing, "datakit: debug/server/pid: Read-only file\n");
        let parent = client.fail(&[command, "missing/file", "x"]);
        assert_eq!(parent, "datakit: missing/file: No such file or directory\n");
    }
}

#[test]
fn cp_copies_several_files_to_a_directory() {
    let (server, dir) = (Server::scratch(), Scratch::new("cp-several"));
    let client = server.client();
    for name in ["a", "b"] {
        std::fs::write(dir.path(name), name).unwrap();
    }
    client.run(&["mkdir", "d"]);
    client.run(&["cp", &dir.path("a"), &dir.path("b"), ":d"]);
    assert_eq!(client.run(&["cat", "d/a", "d/b"]), "ab");
    client.run(&["mv", "d/a", "d/b", "/"]);
    assert_eq!(client.run(&["ls"]), "a\nb\nd\n");
    let error = client.fail(&["cp", ":a", ":b", ":none"]);
    assert!(error.starts_with("datakit: :none: not a directory"), "{error}");
    let error = client.fail(&["cp", ":none", ":a", ":d"]);
    assert_eq!(error, "datakit: :none: No such file or directory\n");
    assert_eq!(client.run(&["ls", "d"]), "a\n");
}

#[test]
fn cp_copies_standard_input_and_output() {
    in_every_dialect(|client| {
        let content: Vec<u8> = (0..300_000u32).map(|n| (n / 7) as u8).collect();
        assert!(pipe(&client, &["cp", "-", ":x"], &content).status.success());
        assert_eq!(client.bytes(&["cp", ":x", "-"]), content);
        assert_eq!(client.run(&["ls", "-a"]), "x\n");
    });
}

#[test]
fn find_selects_by_name_type_and_depth() {
    let server = Server::scratch();
    let client = server.client();
    client.run(&["mkdir", "-p", "src/bin"]);
    for file in ["src/main.rs", "src/bin/a.rs", "src/notes"] {
        client.run(&["write", file, ""]);
    }
    // Only the `find` command accepts long options with a single dash.
    client.run(&["write", "find", "-name"]);
    assert_eq!(client.run(&["cat", "find"]), "-name");
    let all = "src\nsrc/bin\nsrc/bin/a.rs\nsrc/main.rs\nsrc/notes\n";
    assert_eq!(client.run(&["find", "src"]), all);
    assert_eq!(client.run(&["find", "/", "-name", "*.rs"]), "/src/bin/a.rs\n/src/main.rs\n");
    assert_eq!(client.run(&["find", "src", "--type", "d"]), "src\nsrc/bin\n");
    assert_eq!(
        client.run(&["find", "src", "-type", "f", "-maxdepth", "1"]),
        "src/main.rs\nsrc/notes\n"
    );
}

#[test]
fn du_sums_the_sizes_of_files() {
    let server = Server::scratch();
    let client = server.client();
    client.run(&["mkdir", "-p", "d/e"]);
    client.run(&["write", "d/a", &"x".repeat(1500)]);
    client.run(&["write", "d/e/b", &"x".repeat(600)]);
    assert_eq!(client.run(&["du", "d"]), "1\td/e\n3\td\n");
    assert_eq!(client.run(&["du", "-s", "d"]), "3\td\n");
    assert_eq!(client.run(&["du", "-sb", "d", "d/a"]), "2100\td\n1500\td/a\n");
    assert_eq!(client.run(&["du", "-sh", "d"]), "2.1K\td\n");
}

#[test]
fn watch_refuses_a_directory_and_follows_a_file() {
    in_every_dialect(|client| {
        client.run(&["write", "f", "one\n"]);
        let error = client.fail(&["watch", "/"]);
        assert!(error.starts_with("datakit: /: Is a directory: "), "{error}");

        let mut watch = client.command(&["watch", "f"]).stdout(Stdio::piped()).spawn().unwrap();
        let printed = lines(watch.stdout.take().unwrap());
        assert_eq!(printed.recv_timeout(TIMEOUT).unwrap(), "one");
        client.run(&["append", "f", "two\n"]);
        assert_eq!(printed.recv_timeout(TIMEOUT).unwrap(), "two");
        client.run(&["write", "f", "new\n"]);
        assert_eq!(printed.recv_timeout(TIMEOUT).unwrap(), "new");
        assert!(end(&mut watch, "INT").success());
    });
}

#[test]
fn a_closed_pipe_ends_a_command_by_sigpipe() {
    let server = Server::scratch();
    let client = server.client();
    assert!(pipe(&client, &["write", "f"], &vec![b'x'; 1 << 20]).status.success());
    for arguments in [&["cat", "f"][..], &["cp", ":f", "-"]] {
        let mut command = client.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0]).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.signal(), output.stderr), (Some(13), Vec::new()));
    }
}

#[test]
fn usage_errors_exit_with_2_and_help_with_0() {
    for arguments in [&["frob"][..], &["ls", "--frob"], &["cat"], &["-a", "http://x", "ls"]] {
        let output = datakit(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && output.stderr.starts_with(b"error: "));
    }
    for arguments in [
        &["-h"][..],
        &["--help"],
        &["db", "-h"],
        &["ls", "--help"],
        &["--version"],
        &["help"],
        &["help", "db", "log"],
    ] {
        let output = datakit(arguments);
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn short_help_fits_on_a_screen_and_names_every_command() {
    let text = String::from_utf8(datakit(&["-h"]).stdout).unwrap();
    assert!(text.lines().count() < 24, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for command in [
        "serve",
        "ls",
        "cat",
        "stat",
        "tree",
        "find",
        "du",
        "write",
        "append",
        "mkdir",
        "rm",
        "mv",
        "cp",
        "watch",
        "db",
        "params",
        "completions",
        "man",
        "bridge",
    ] {
        assert!(text.contains(command), "{command}: {text}");
    }
    // The server's options appear only in the help text for `serve`.
    for arguments in [&["--help"][..], &["ls", "--help"], &["db", "--help"]] {
        let text = String::from_utf8(datakit(arguments).stdout).unwrap();
        assert!(!text.contains("--scratch") && !text.contains("--max-fids"), "{text}");
    }
    let text = String::from_utf8(datakit(&["serve", "--help"]).stdout).unwrap();
    assert!(text.contains("--listen-prometheus <[HOST:]PORT>") && !text.contains("--dialect"));
}

#[test]
fn man_writes_a_page_for_each_command() {
    let dir = Scratch::new("man");
    let page = String::from_utf8(datakit(&["man"]).stdout).unwrap();
    assert!(page.contains(".TH datakit 1") && page.contains("Fail if connecting"), "{page}");
    assert!(datakit(&["man", &dir.path("pages")]).status.success());
    for name in
        ["datakit", "datakit-man", "datakit-ls", "datakit-serve", "datakit-db", "datakit-db-log"]
    {
        let page = std::fs::read_to_string(dir.path(&format!("pages/{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
    }
    let output = datakit(&["man", "/dev/null/pages"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn options_without_a_command_start_a_server() {
    let mut command = Command::new(PROGRAM);
    command.args(["--listen-9p=tcp://127.0.0.1:0", "--scratch", "-q"]).stdout(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let line = lines(server.stdout.take().unwrap()).recv_timeout(TIMEOUT).unwrap();
    assert!(line.starts_with("listening on tcp://127.0.0.1:"), "{line}");
    assert!(end(&mut server, "TERM").success());
}
