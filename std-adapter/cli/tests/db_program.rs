//! `datakit db` against `datakit serve`: each command in a process of its own.
// Clippy's allowance for tests ends at the functions they share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use common::{Client, PATIENCE, PROGRAM, Scratch, Server, end, lines};
use serde_json::Value;

/// A server with a database, and files of this machine to put into it.
struct Here {
    server: Server,
    dir: Scratch,
}

impl Here {
    fn new(name: &str) -> Here {
        Here { server: Server::start("tcp://127.0.0.1:0", &[]), dir: Scratch::new(name) }
    }

    fn client(&self) -> Client<'_> {
        Client { address: self.server.address(), dialect: "9p2000.u" }
    }

    fn run(&self, arguments: &[&str]) -> String {
        self.client().run(&[&["db"], arguments].concat())
    }

    fn fail(&self, arguments: &[&str]) -> String {
        self.client().fail(&[&["db"], arguments].concat())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(arguments)).unwrap()
    }

    /// `FILE=PATH` of a file with this content.
    fn put(&self, file: &str, content: &str) -> String {
        let path = self.dir.path(&file.replace('/', "_"));
        std::fs::write(&path, content).unwrap();
        format!("{file}={path}")
    }

    /// Commits one file; the hash.
    fn commit(&self, branch: &str, file: &str, content: &str) -> String {
        let put = self.put(file, content);
        self.run(&["commit", branch, "-m", &format!("Put {file}"), &put]).trim().to_owned()
    }

    fn watch(&self, arguments: &[&str]) -> (Child, Receiver<String>) {
        let mut command = self.client().command(&[&["db", "watch"], arguments].concat());
        let mut watch = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines(watch.stdout.take().unwrap());
        (watch, lines)
    }
}

#[test]
fn files_are_committed_and_the_log_tells() {
    let here = Here::new("db-commit");
    let run = here.put("bin/run", "#!/bin/sh\n");
    std::fs::set_permissions(here.dir.path("bin_run"), std::fs::Permissions::from_mode(0o755))
        .unwrap();
    let first =
        here.run(&["commit", "master", "-m", "First", &run, &here.put("etc/motd", "one\n")]);
    let mut writing = here.client().command(&[
        "db",
        "commit",
        "master",
        "-m",
        "Second\n\nwith a body",
        "etc/motd=-",
    ]);
    let mut writing = writing.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    writing.stdin.take().unwrap().write_all(b"two\n").unwrap();
    let second = String::from_utf8(writing.wait_with_output().unwrap().stdout).unwrap();
    let (first, second) = (first.trim(), second.trim());

    assert_eq!(here.client().run(&["cat", "branch/master/ro/etc/motd"]), "two\n");
    assert!(here.client().run(&["ls", "-l", "branch/master/ro/bin"]).starts_with("-rwx"));
    assert_eq!(
        here.run(&["log", "--oneline", "master"]),
        format!("{second} Second\n{first} First\n")
    );
    assert_eq!(here.run(&["log", "-n", "1", "--oneline", first]), format!("{first} First\n"));

    let log = here.run(&["log", "master"]);
    let log: Vec<&str> = log.lines().filter(|line| !line.starts_with("Date:   20")).collect();
    let author = "Author: datakit <datakit@mobyproject.org>";
    let (commit, parent) = (format!("commit {second}"), format!("commit {first}"));
    let text = [
        &commit,
        author,
        "",
        "    Second",
        "",
        "    with a body",
        "",
        &parent,
        author,
        "",
        "    First",
    ];
    assert_eq!(log, text);

    let json = here.json(&["log", "--json", "master"]);
    assert_eq!(
        (json[0]["hash"].as_str(), json[0]["parents"][0].as_str()),
        (Some(second), Some(first))
    );
    assert_eq!(json[0]["message"], "Second\n\nwith a body");
    assert_eq!(json[1]["parents"], Value::Array(Vec::new()));

    assert!(here.run(&["show", first]).ends_with("    First\n\n+ bin/run\n+ etc/motd\n"));
    assert_eq!(here.json(&["show", "--json", first])["changes"][1]["path"], "etc/motd");
}

#[test]
fn branches_are_listed() {
    let here = Here::new("db-branches");
    assert_eq!(here.run(&["branches"]), "");
    assert_eq!(here.run(&["branches", "--json"]), "[]\n");
    let (one, two) = (here.commit("master", "f", "1"), here.commit("a/b", "f", "2"));
    assert_eq!(here.run(&["branches"]), "a/b\nmaster\n");
    assert_eq!(here.run(&["branches", "-l"]), format!("a/b    {two}\nmaster {one}\n"));
    assert_eq!(
        here.json(&["branches", "--json"])[1],
        serde_json::json!({ "name": "master", "head": one })
    );
}

#[test]
fn a_branch_and_a_path_are_watched_until_an_interrupt() {
    let here = Here::new("db-watch");
    let (mut heads, head) = here.watch(&["master"]);
    let (mut states, state) = here.watch(&["master", "/d/f"]);
    assert_eq!(head.recv_timeout(PATIENCE).unwrap(), "no commits");
    assert_eq!(state.recv_timeout(PATIENCE).unwrap(), "nothing");
    let hash = here.commit("master", "d/f", "one\n");
    assert_eq!(head.recv_timeout(PATIENCE).unwrap(), format!("{hash} Put d/f"));
    assert_eq!(state.recv_timeout(PATIENCE).unwrap(), "file 4 bytes");
    let (mut contents, content) = here.watch(&["--print", "master", "d/f"]);
    let (mut names, name) = here.watch(&["-p", "master", "/"]);
    assert_eq!(content.recv_timeout(PATIENCE).unwrap(), "one");
    assert_eq!(name.recv_timeout(PATIENCE).unwrap(), "d");
    here.commit("master", "d/f", "two\n");
    assert_eq!(content.recv_timeout(PATIENCE).unwrap(), "two");
    for watch in [&mut heads, &mut states, &mut contents, &mut names] {
        assert!(end(watch, "INT").success());
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let here = Here::new("db-errors");
    here.commit("master", "d/f", "x");
    let put = here.put("x", "x");
    let file = put.strip_prefix("x=").unwrap();
    let none = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
    for (arguments, text) in [
        (&["log", "none"][..], "none: no such branch, and no hash of a commit"),
        (&["show", none], "4b825dc642cb6eb9a060e54bf8d69288fbee4904: no such commit"),
        (&["diff", "master", "none"], "none: no such branch, and no hash of a commit"),
        (&["merge", "master", "none"], "none: no such branch, and no hash of a commit"),
        (
            &["commit", "master", "-m", "", "f=/nonexistent"],
            "/nonexistent: No such file or directory",
        ),
        (&["commit", "master", "-m", "", &format!("d={file}")], "d: Is a directory"),
        (&["commit", "master", "-m", "", &format!("d/f/g={file}")], "d/f: Not a directory"),
        (
            &["commit", "master", "-m", "", "a=-", "b=-"],
            "standard input can be only one of the files",
        ),
    ] {
        assert_eq!(here.fail(arguments), format!("datakit: {text}\n"));
    }
    let unreachable = "datakit: cannot fetch /nonexistent: fatal: '/nonexistent' does not appear";
    assert!(here.fail(&["fetch", "/nonexistent", "master"]).starts_with(unreachable));
    assert!(
        here.fail(&["watch", "a b"]).starts_with("datakit: a b: invalid branch name \"a b\": ")
    );
    assert!(here.fail(&["watch", "master", "a//b"]).starts_with("datakit: \"a//b\" is no path: "));
    for (file, why) in
        [("f", "there is no '='"), ("f=", "there is no file"), ("/f=x", "\"/f\" is no path: ")]
    {
        let error = here.fail(&["commit", "master", "-m", "", file]);
        assert!(error.starts_with("error: invalid value") && error.contains(why), "{error}");
    }
}

#[test]
fn the_reasons_arrive_without_naming_a_dialect() {
    let here = Here::new("db-dialect");
    here.commit("master", "f", "x");
    let mut command = Command::new(PROGRAM);
    command.env("DATAKIT_ADDRESS", here.server.address()).args([
        "db",
        "fetch",
        "/nonexistent",
        "master",
    ]);
    let error = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(error.starts_with("datakit: cannot fetch /nonexistent: fatal: "), "{error}");
}

/// A branch `feature` of the first commit of `master`, each with a commit of its own since.
fn forked(here: &Here, file: &str) -> (String, String) {
    let base = here.commit("master", "f", "base");
    here.run(&["merge", "feature", &base]);
    (here.commit("feature", file, "theirs"), here.commit("master", "f", "ours"))
}

#[test]
fn a_branch_is_merged() {
    let here = Here::new("db-merge");
    let (theirs, ours) = forked(&here, "g");
    assert_eq!(here.run(&["diff", "feature", "master"]), "* f\n- g\n");
    assert_eq!(here.json(&["diff", "--json", "master", &theirs])[1]["change"], "added");
    let merged = here.run(&["merge", "master", "feature"]);
    assert!(here.run(&["log", "-n1", "master"]).contains(&format!("\nMerge: {ours} {theirs}\n")));
    assert!(
        here.run(&["show", merged.trim()]).ends_with("\n    Merge feature into master\n\n+ g\n")
    );
    // All of `feature` is there already.
    let again = here.run(&["merge", "feature", "master", "-m", "Back"]);
    assert_eq!(here.run(&["merge", "feature", "feature"]), again);
}

/// Into a database that is in memory only.
#[test]
fn a_branch_of_another_repository_is_fetched_and_merged() {
    let here = Here::new("db-fetch");
    let path = here.dir.path("there");
    let there = Here {
        server: Server::start("tcp://127.0.0.1:0", &["--git", &path]),
        dir: Scratch::new("db-fetch-there"),
    };
    let far = there.commit("master", "d/far", "away");
    let url = format!("file://{path}/.git");
    assert_eq!(here.run(&["fetch", &url, "master"]), format!("{far}\n"));
    assert_eq!(
        here.fail(&["fetch", &url, "none"]),
        format!("datakit: {url}: no such branch: none\n")
    );
    here.commit("master", "near", "here");
    here.run(&["merge", "master", &far]);
    assert_eq!(
        here.client().run(&["cat", "branch/master/ro/d/far", "branch/master/ro/near"]),
        "awayhere"
    );
}

/// More of them than are fetched from at a time.
#[test]
fn silent_repositories_are_in_nobodys_way() {
    let server = Server::start("tcp://127.0.0.1:0", &["--remote-timeout", "1"]);
    let here = Here { server, dir: Scratch::new("db-silent") };
    // The system connects whoever comes.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("git://{}/x", listener.local_addr().unwrap());
    let error = format!("datakit: cannot fetch {url}: timed out: no data for 1 s\n");
    let fetch = || {
        here.client()
            .command(&["db", "fetch", &url, "master"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let fetches: Vec<_> = std::iter::repeat_with(fetch).take(20).collect();
    for fetch in fetches {
        assert_eq!(String::from_utf8(fetch.wait_with_output().unwrap().stderr).unwrap(), error);
    }
    let error = here.fail(&["fetch", "/nonexistent", "master"]);
    assert!(error.starts_with("datakit: cannot fetch /nonexistent: fatal: "), "{error}");
}

#[test]
fn a_push_that_hangs_is_given_up() {
    let (dir, listener) = (Scratch::new("db-push"), TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("git://{}/x", listener.local_addr().unwrap());
    let options = ["--git", &dir.path("here"), "--auto-push", &url, "--remote-timeout", "1"];
    let (server, log) = Server::logging(&options, &[]);
    let here = Here { server, dir };
    here.commit("master", "f", "1");
    let text = format!("cannot push to {url}, next try in 2 s: timed out: no data for 1 s");
    assert!(
        std::iter::from_fn(|| log.recv_timeout(PATIENCE).ok()).any(|line| line.contains(&text))
    );
}

#[test]
fn conflicts_are_listed() {
    let here = Here::new("db-conflict");
    let (_, ours) = forked(&here, "f");
    let output = here.client().command(&["db", "merge", "master", "feature"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "conflict f\n");
    let error = "datakit: master: feature is in conflict with it, nothing was committed\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), error);
    assert!(here.run(&["branches", "-l"]).contains(&format!("master  {ours}\n")));
}
