//! The program against itself: `datakit serve` in one process, the commands in others, in every dialect.
// Clippy's allowance for tests ends at the functions they share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_datakit");

/// A server that ends with the test.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn server() -> Server {
    let serve = ["serve", "--scratch", "--url", "tcp://127.0.0.1:0"];
    let mut child = Command::new(PROGRAM).args(serve).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().to_owned();
    Server { child, address }
}

/// One dialect at one server.
struct Client<'s>(&'s Server, &'static str);

impl Client<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.env("DATAKIT_ADDRESS", &self.0.address).args(["--dialect", self.1]).args(arguments);
        command
    }

    /// What it prints; it must succeed.
    fn run(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        assert!(status.success() && stderr.is_empty(), "{} {arguments:?}: {stderr}", self.1);
        stdout
    }

    /// What it complains; it must fail with 1.
    fn fail(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{} {arguments:?}", self.1);
        String::from_utf8(output.stderr).unwrap()
    }
}

fn in_every_dialect(test: impl Fn(Client<'_>)) {
    for dialect in ["9P2000", "9P2000.u", "9P2000.L"] {
        test(Client(&server(), dialect));
    }
}

#[test]
fn a_text_is_written_and_read_back() {
    in_every_dialect(|client| {
        client.run(&["write", "/a", "hello\n"]);
        assert_eq!(client.run(&["cat", "/a", "a"]), "hello\nhello\n");
        client.run(&["write", "a", "hi"]);
        assert_eq!(client.run(&["cat", "a"]), "hi");
        client.run(&["write", "a", ""]);
        assert_eq!(client.run(&["cat", "a"]), "");

        let mut writing = client.command(&["write", "b", "-"]).stdin(Stdio::piped()).spawn().unwrap();
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
            assert_eq!(client.fail(arguments), format!("datakit: {path}: {reason}\n"), "{}", client.1);
        }
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
        let stat: serde_json::Value = serde_json::from_str(&client.run(&["stat", "--json", "d/e/f"])).unwrap();
        assert_eq!((&stat["name"], &stat["kind"], &stat["length"]), (&"f".into(), &"file".into(), &5.into()));
        let tree: serde_json::Value = serde_json::from_str(&client.run(&["tree", "--json"])).unwrap();
        assert_eq!(tree["entries"][0]["entries"][0]["entries"][0], stat);

        client.run(&["mv", "d/g", "d/h"]);
        client.run(&["mv", "d/h", "d/e"]);
        assert_eq!(client.run(&["ls", "d/e"]), "f\nh\n");
        client.run(&["rm", "-r", "d"]);
        assert_eq!(client.run(&["ls"]), "");
    });
}

#[test]
fn files_are_copied_both_ways_but_not_onto_themselves() {
    let dir = std::env::temp_dir().join(format!("datakit-cp-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let content: Vec<u8> = (0..700_000u32).map(|n| (n / 7) as u8).collect();
    let (from, to) = (dir.join("from"), dir.join("to"));
    std::fs::write(&from, &content).unwrap();
    in_every_dialect(|client| {
        client.run(&["cp", from.to_str().unwrap(), ":/"]);
        client.run(&["cp", ":from", ":copy"]);
        assert_eq!(client.fail(&["cp", ":from", ":/./from"]), "datakit: :from and :/./from are the same file\n");
        client.run(&["cp", ":copy", to.to_str().unwrap()]);
        assert!(std::fs::read(&to).unwrap() == content);
    });
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn nobody_listens() {
    let output = Command::new(PROGRAM).args(["-a", "unix:///nonexistent/socket", "ls"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text, "datakit: unix:///nonexistent/socket: No such file or directory\n");
}
