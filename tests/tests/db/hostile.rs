//! Tests for remote repositories that contain malicious objects.

use std::io::Write;
use std::process::{Command, Stdio};

use datakit_tests::db::{Repository, TestDb, refused};
use datakit_tests::on_both;

on_both! {
    a_tree_that_leads_out_of_the_directory_is_not_fetched,
}

/// Writes an object without the checks that Git would perform.
fn write(repository: &Repository, kind: &str, data: &[u8]) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(repository.path()).args([
        "hash-object",
        "-w",
        "--literally",
        "--stdin",
        "-t",
        kind,
    ]);
    let mut git = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    git.stdin.take().unwrap().write_all(data).unwrap();
    String::from_utf8(git.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}

fn a_tree_that_leads_out_of_the_directory_is_not_fetched(db: &TestDb) {
    let there = Repository::bare();
    let blob = write(&there, "blob", b"x");
    let raw: Vec<u8> =
        (0..20).map(|n| u8::from_str_radix(&blob[2 * n..2 * n + 2], 16).unwrap()).collect();
    let entry = |name: &str| [b"100644 ", name.as_bytes(), b"\0", &raw].concat();
    let connection = db.connect();
    connection.mkdir("remotes/r").unwrap();
    connection.put("remotes/r/url", there.path().to_str().unwrap()).unwrap();
    let doubled = [entry("a"), entry("a")].concat();
    for tree in [entry("a/b"), entry(""), entry("."), entry(".."), entry(".git"), doubled] {
        let tree = write(&there, "tree", &tree);
        let commit =
            format!("tree {tree}\nauthor a <a@b> 1 +0000\ncommitter a <a@b> 1 +0000\n\nx\n");
        let commit = write(&there, "commit", commit.as_bytes());
        there.git(&["update-ref", "refs/heads/master", &commit]);
        assert!(
            refused(connection.put("remotes/r/fetch", "master"))
                .starts_with("error: cannot fetch ")
        );
        assert!(connection.stat(&format!("snapshots/{commit}")).is_err(), "{tree}");
    }
    let good = there.commit(None, "f", "1");
    there.git(&["update-ref", "refs/heads/master", &good]);
    connection.put("remotes/r/fetch", "master").unwrap();
    assert_eq!(connection.read(&format!("snapshots/{good}/ro/f")), "1");
}
