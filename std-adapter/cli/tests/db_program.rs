//! Tests for `datakit db`, run against `datakit serve`.
// The Clippy configuration allows panics in tests, but not in helper functions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use common::{Client, PROGRAM, Scratch, Server, TIMEOUT, end, lines};
use serde_json::Value;

/// A server with a database, and a local directory with files to commit.
struct Fixture {
    server: Server,
    dir: Scratch,
}

impl Fixture {
    fn new(name: &str) -> Fixture {
        Fixture { server: Server::start("tcp://127.0.0.1:0", &[]), dir: Scratch::new(name) }
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

    /// Writes a local file and returns the matching `FILE=PATH` operand.
    fn update(&self, file: &str, content: &str) -> String {
        let path = self.dir.path(&file.replace('/', "_"));
        std::fs::write(&path, content).unwrap();
        format!("{file}={path}")
    }

    /// Commits one file and returns the commit's hash.
    fn commit(&self, branch: &str, file: &str, content: &str) -> String {
        let update = self.update(file, content);
        self.run(&["commit", branch, "-m", &format!("Put {file}"), &update]).trim().to_owned()
    }

    fn watch(&self, arguments: &[&str]) -> (Child, Receiver<String>) {
        let mut command = self.client().command(&[&["db", "watch"], arguments].concat());
        let mut watch = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines(watch.stdout.take().unwrap());
        (watch, lines)
    }
}

#[test]
fn log_and_show_print_what_commit_committed() {
    let db = Fixture::new("db-commit");
    let run = db.update("bin/run", "#!/bin/sh\n");
    std::fs::set_permissions(db.dir.path("bin_run"), std::fs::Permissions::from_mode(0o755))
        .unwrap();
    let first = db.run(&["commit", "master", "-m", "First", &run, &db.update("etc/motd", "one\n")]);
    let mut writing = db.client().command(&[
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

    assert_eq!(db.client().run(&["cat", "branch/master/ro/etc/motd"]), "two\n");
    assert!(db.client().run(&["ls", "-l", "branch/master/ro/bin"]).starts_with("-rwx"));
    assert_eq!(
        db.run(&["log", "--oneline", "master"]),
        format!("{second} Second\n{first} First\n")
    );
    assert_eq!(db.run(&["log", "-n", "1", "--oneline", first]), format!("{first} First\n"));

    let log = db.run(&["log", "master"]);
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

    let json = db.json(&["log", "--json", "master"]);
    assert_eq!(
        (json[0]["hash"].as_str(), json[0]["parents"][0].as_str()),
        (Some(second), Some(first))
    );
    assert_eq!(json[0]["message"], "Second\n\nwith a body");
    assert_eq!(json[1]["parents"], Value::Array(Vec::new()));

    assert!(db.run(&["show", first]).ends_with("    First\n\n+ bin/run\n+ etc/motd\n"));
    assert_eq!(db.json(&["show", "--json", first])["changes"][1]["path"], "etc/motd");
}

#[test]
fn branches_lists_names_and_heads() {
    let db = Fixture::new("db-branches");
    assert_eq!(db.run(&["branches"]), "");
    assert_eq!(db.run(&["branches", "--json"]), "[]\n");
    let (one, two) = (db.commit("master", "f", "1"), db.commit("a/b", "f", "2"));
    assert_eq!(db.run(&["branches"]), "a/b\nmaster\n");
    assert_eq!(db.run(&["branches", "-v"]), format!("a/b    {two} Put f\nmaster {one} Put f\n"));
    assert_eq!(
        db.json(&["branches", "--json"])[1],
        serde_json::json!({ "name": "master", "head": one })
    );
}

#[test]
fn watch_follows_a_branch_and_a_path_until_an_interrupt() {
    let db = Fixture::new("db-watch");
    let (mut heads, head) = db.watch(&["master"]);
    let (mut states, state) = db.watch(&["master", "/d/f"]);
    assert_eq!(head.recv_timeout(TIMEOUT).unwrap(), "no commits");
    assert_eq!(state.recv_timeout(TIMEOUT).unwrap(), "nothing");
    let hash = db.commit("master", "d/f", "one\n");
    assert_eq!(head.recv_timeout(TIMEOUT).unwrap(), format!("{hash} Put d/f"));
    assert_eq!(state.recv_timeout(TIMEOUT).unwrap(), "file 4 bytes");
    let (mut contents, content) = db.watch(&["--print", "master", "d/f"]);
    let (mut names, name) = db.watch(&["-p", "master", "/"]);
    assert_eq!(content.recv_timeout(TIMEOUT).unwrap(), "one");
    assert_eq!(name.recv_timeout(TIMEOUT).unwrap(), "d");
    db.commit("master", "d/f", "two\n");
    assert_eq!(content.recv_timeout(TIMEOUT).unwrap(), "two");
    for watch in [&mut heads, &mut states, &mut contents, &mut names] {
        assert!(end(watch, "INT").success());
    }
}

#[test]
fn errors_give_the_reason() {
    let db = Fixture::new("db-errors");
    db.commit("master", "d/f", "x");
    db.commit("other", "d/f", "x");
    let update = db.update("x", "x");
    let file = update.strip_prefix("x=").unwrap();
    let none = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
    for (arguments, text) in [
        (&["log", "none"][..], "none: no such branch or commit"),
        (&["show", none], "4b825dc642cb6eb9a060e54bf8d69288fbee4904: no such commit"),
        (&["diff", "master", "none"], "none: no such branch or commit"),
        (&["merge", "master", "none"], "none: no such branch or commit"),
        (&["mv", "master", "other"], "other: a branch with this name already exists"),
        (
            &["commit", "master", "-m", "x", "f=/nonexistent"],
            "/nonexistent: No such file or directory",
        ),
        (&["commit", "master", "-m", "x", &format!("d={file}")], "d: Is a directory"),
        (&["commit", "master", "-m", "x", &format!("d/f/g={file}")], "d/f: Not a directory"),
        (
            &["commit", "master", "-m", "x", "a=-", "b=-"],
            "standard input can be the content of only one file",
        ),
    ] {
        assert_eq!(db.fail(arguments), format!("datakit: {text}\n"));
    }
    let missing = ["ls", "none", "master:d/none"];
    let head = db.client().run(&["cat", "branch/master/head"]);
    let path = format!("snapshots/{}/ro/d/none", head.trim());
    assert_eq!(
        db.fail(&missing),
        format!(
            "datakit: {path}: No such file or directory\ndatakit: none: no such branch or commit\n"
        )
    );
    assert!(db.fail(&["watch", "a b"]).starts_with("datakit: a b: invalid branch name \"a b\": "));
    assert!(db.fail(&["watch", "master", "a//b"]).starts_with("datakit: `a//b`: "));
    for (file, why) in [
        ("f", "there is no '='"),
        ("f=", "there is no path"),
        ("/f=x", "`/f`: the path must be relative"),
    ] {
        let error = db.client().fail_with(2, &["db", "commit", "master", "-m", "x", file]);
        assert!(error.starts_with("error: invalid value") && error.contains(why), "{error}");
    }
}

#[test]
fn a_failed_fetch_gives_the_reason_of_git() {
    let db = Fixture::new("db-dialect");
    db.commit("master", "f", "x");
    let mut command = Command::new(PROGRAM);
    command.env("DATAKIT_ADDRESS", db.server.address()).args([
        "db",
        "fetch",
        "/nonexistent",
        "master",
    ]);
    let error = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(error.starts_with("datakit: cannot fetch /nonexistent: "), "{error}");
    assert!(error.contains("not appear to be a git repository"), "{error}");
}

/// Creates two commits with a common parent, one on `feature` and one on `master`, and returns
/// their hashes.
fn fork(db: &Fixture, file: &str) -> (String, String) {
    let base = db.commit("master", "f", "base");
    db.run(&["merge", "feature", &base]);
    (db.commit("feature", file, "theirs"), db.commit("master", "f", "ours"))
}

#[test]
fn merge_commits_to_the_branch() {
    let db = Fixture::new("db-merge");
    let (theirs, ours) = fork(&db, "g");
    assert_eq!(db.run(&["diff", "feature", "master"]), "* f\n- g\n");
    assert_eq!(db.json(&["diff", "--json", "master", &theirs])[1]["change"], "added");
    let merged = db.run(&["merge", "master", "feature"]);
    assert!(db.run(&["log", "-n1", "master"]).contains(&format!("\nMerge: {ours} {theirs}\n")));
    assert!(db.run(&["show", merged.trim()]).ends_with("\n    Merge feature into master\n\n+ g\n"));
    // `master` already contains all commits of `feature`.
    let again = db.run(&["merge", "feature", "master", "-m", "Back"]);
    assert_eq!(db.run(&["merge", "feature", "feature"]), again);
}

/// Fetches a branch from another repository into an in-memory database and merges it.
#[test]
fn a_fetched_branch_can_be_merged() {
    let db = Fixture::new("db-fetch");
    let path = db.dir.path("there");
    let there = Fixture {
        server: Server::start("tcp://127.0.0.1:0", &["--git", &path]),
        dir: Scratch::new("db-fetch-there"),
    };
    let far = there.commit("master", "d/far", "away");
    let url = format!("file://{path}/.git");
    assert_eq!(db.run(&["fetch", &url, "master"]), format!("{far}\n"));
    assert_eq!(
        db.fail(&["fetch", &url, "none"]),
        format!("datakit: cannot fetch {url}: no such branch: none\n")
    );
    db.commit("master", "near", "here");
    db.run(&["merge", "master", &far]);
    assert_eq!(
        db.client().run(&["cat", "branch/master/ro/d/far", "branch/master/ro/near"]),
        "awayhere"
    );
}

/// Starts more fetches than the server runs concurrently, all from an address that never replies.
#[test]
fn silent_remotes_time_out_and_block_nobody() {
    let server = Server::start("tcp://127.0.0.1:0", &["--remote-timeout", "1"]);
    let db = Fixture { server, dir: Scratch::new("db-silent") };
    // The kernel accepts the connections, but no program ever replies.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("git://{}/x", listener.local_addr().unwrap());
    let error = format!("datakit: cannot fetch {url}: timed out: no data for 1 s\n");
    let fetch = || {
        db.client()
            .command(&["db", "fetch", &url, "master"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let fetches: Vec<_> = std::iter::repeat_with(fetch).take(20).collect();
    for fetch in fetches {
        assert_eq!(String::from_utf8(fetch.wait_with_output().unwrap().stderr).unwrap(), error);
    }
    let error = db.fail(&["fetch", "/nonexistent", "master"]);
    assert!(error.starts_with("datakit: cannot fetch /nonexistent"), "{error}");
}

#[test]
fn a_silent_push_times_out() {
    let (dir, listener) = (Scratch::new("db-push"), TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("git://{}/x", listener.local_addr().unwrap());
    let options = ["--git", &dir.path("here"), "--auto-push", &url, "--remote-timeout", "1"];
    let (server, log) = Server::logging(&options, &[]);
    let db = Fixture { server, dir };
    db.commit("master", "f", "1");
    let text = format!("cannot push to {url}, next try in 2 s: timed out: no data for 1 s");
    assert!(std::iter::from_fn(|| log.recv_timeout(TIMEOUT).ok()).any(|line| line.contains(&text)));
}

#[test]
fn merge_lists_conflicts() {
    let db = Fixture::new("db-conflict");
    let (_, ours) = fork(&db, "f");
    let output = db.client().command(&["db", "merge", "master", "feature"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "conflict f\n");
    let error = "datakit: master: conflicts with feature: nothing was committed\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), error);
    assert!(db.run(&["branches", "-v"]).contains(&format!("master  {ours} Put f\n")));
}

#[test]
fn branches_are_removed_renamed_and_fast_forwarded() {
    let db = Fixture::new("db-branch-commands");
    let first = db.commit("master", "f", "1");
    db.run(&["merge", "old/name", &first]);
    let second = db.commit("master", "f", "2");
    assert_eq!(db.run(&["mv", "old/name", "new"]), "");
    assert_eq!(db.run(&["fast-forward", "new", "master"]), format!("{second}\n"));
    assert_eq!(db.run(&["branches"]), "master\nnew\n");
    let error = db.fail(&["fast-forward", "new", &first]);
    assert!(error.contains(&format!("not a fast-forward: {first}")), "{error}");
    assert_eq!(db.run(&["rm", "new"]), "");
    assert_eq!(db.run(&["branches"]), "master\n");
    for arguments in [&["rm", "none"][..], &["mv", "none", "new"]] {
        assert_eq!(db.fail(arguments), "datakit: none: no such branch\n");
    }
}

#[test]
fn files_of_a_commit_are_listed_and_printed() {
    let db = Fixture::new("db-cat");
    let first = db.commit("master", "d/f", "one\n");
    db.commit("master", "d/f", "two\n");
    assert_eq!(db.run(&["ls", "master"]), "d\n");
    assert_eq!(db.run(&["ls", "master:d"]), "f\n");
    assert_eq!(db.run(&["cat", "master:d/f", &format!("{first}:/d/f")]), "two\none\n");
    assert!(db.run(&["ls", "-l", "master:d/f"]).starts_with("-rw"));
    assert!(db.fail(&["cat", "master"]).ends_with(": Is a directory\n"));
    assert!(db.fail(&["cat", "master:none"]).ends_with("/none: No such file or directory\n"));
}

#[test]
fn a_commit_is_named_by_a_prefix_of_its_hash() {
    let db = Fixture::new("db-prefix");
    let first = db.commit("master", "f", "1");
    let second = db.commit("master", "f", "2");
    for hash in [&first, &second] {
        assert!(db.run(&["show", &hash[..8]]).starts_with(&format!("commit {hash}\n")));
    }
    assert!(db.fail(&["show", &first[..3]]).contains("no such branch or commit"));
    let missing =
        if first.starts_with("dead") || second.starts_with("dead") { "beef" } else { "dead" };
    assert!(db.fail(&["show", missing]).contains("no commit of a branch has this prefix"));
}

#[test]
fn log_selects_by_path_and_count() {
    let db = Fixture::new("db-log-path");
    let base = db.commit("master", "a", "1");
    db.commit("master", "b", "1");
    db.run(&["merge", "side", &base]);
    let side = db.commit("side", "c", "1");
    db.run(&["merge", "master", "side"]);
    let a = db.commit("master", "a", "2");
    let hashes = |arguments: &[&str]| {
        let log = db.run(&[&["log", "--oneline"], arguments].concat());
        log.lines().map(|line| line[..40].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(hashes(&["master", "--", "a"]), [a.clone(), base]);
    assert_eq!(hashes(&["master", "--", "c"]), [side]);
    assert_eq!(hashes(&["master", "--max-count", "1"]), [a]);
    assert_eq!(hashes(&["master", "--", "none"]), [""; 0]);
}

#[test]
fn commit_removes_files_and_refuses_an_empty_commit() {
    let db = Fixture::new("db-commit-rm");
    db.commit("master", "d/f", "1");
    db.commit("master", "g", "1");
    let unchanged = db.update("g", "1");
    let error = "datakit: master: nothing to commit: use --allow-empty to commit anyway\n";
    assert_eq!(db.fail(&["commit", "master", "-m", "Nothing", &unchanged]), error);
    assert_eq!(db.fail(&["commit", "master", "-m", "Nothing"]), error);
    assert_eq!(db.fail(&["commit", "new", "-m", "Nothing"]), error.replace("master", "new"));
    let update = db.update("h", "1");
    let empty = db.fail(&["commit", "master", "-m", " ", &update]);
    assert_eq!(empty, "datakit: the commit message is empty: use --allow-empty to commit anyway\n");

    let author = ["--author", "Ada <ada@example.org>"];
    let options = ["commit", "master", "-m", "Remove", "--rm", "d", "--rm", "/g", &update];
    let removed = db.run(&[&options, &author[..]].concat());
    assert_eq!(db.run(&["ls", "master"]), "h\n");
    assert!(db.run(&["show", removed.trim()]).contains("\nAuthor: Ada <ada@example.org>\n"));
    db.run(&["commit", "master", "-m", "", "--allow-empty"]);
    assert!(
        db.fail(&["commit", "master", "-m", "x", "--rm", "none"]).starts_with("datakit: none: ")
    );
}
