//! Tests for commit authors. The author can be set with `datakit serve --author`, in the Git
//! configuration or with `datakit db commit --author`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::process::{Command, Stdio};

use common::{Client, PROGRAM, Scratch, Server, lines};

/// Returns the author and the committer of the last commit.
fn last(dir: &Scratch) -> String {
    let output = Command::new("git")
        .args([
            "-C",
            &dir.path(""),
            "log",
            "-1",
            "--format=%an <%ae> %ad, %cn <%ce>",
            "--date=format:%z",
        ])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn commit(address: &str, user: &str, options: &[&str]) {
    let client = Client { address, dialect: "9p2000.u" };
    let mut command = client.command(
        &[&["db", "commit", "master", "-m", "x", "--allow-empty", "f=-"], options].concat(),
    );
    let status =
        command.env("USER", user).stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success());
}

#[test]
fn the_author_is_that_of_the_transaction_the_option_the_user_or_the_configuration() {
    let dir = Scratch::new("db-identity");
    for arguments in [
        &["init", "-q", "--bare"][..],
        &["config", "user.name", "Conf"],
        &["config", "user.email", "conf@x"],
    ] {
        assert!(
            Command::new("git")
                .args(["-C", &dir.path("")])
                .args(arguments)
                .status()
                .unwrap()
                .success()
        );
    }
    {
        let server = Server::start("tcp://127.0.0.1:0", &["--git", &dir.path("")]);
        commit(server.address(), "alice", &[]);
        assert!(last(&dir).starts_with("alice <alice@localhost> "));
        commit(server.address(), "nobody", &[]);
        assert!(last(&dir).starts_with("Conf <conf@x> "));
        commit(server.address(), "alice", &["--author", "Bob <b@c> 1700000000 +0530"]);
        assert_eq!(last(&dir), "Bob <b@c> +0530, alice <alice@localhost>");
    }
    let server =
        Server::start("tcp://127.0.0.1:0", &["--git", &dir.path(""), "--author", "CI <ci@x>"]);
    commit(server.address(), "alice", &[]);
    assert!(last(&dir).starts_with("CI <ci@x> "));
}

#[test]
fn commits_have_the_local_time_zone() {
    let dir = Scratch::new("db-zone");
    let mut server = Command::new(PROGRAM);
    server
        .args(["serve", "--url", "tcp://127.0.0.1:0", "--git", &dir.path("")])
        .env("TZ", "XXX-5:45");
    let mut server = server.stdout(Stdio::piped()).spawn().unwrap();
    let line = lines(server.stdout.take().unwrap()).recv_timeout(common::TIMEOUT).unwrap();
    commit(line.strip_prefix("listening on ").unwrap(), "alice", &[]);
    let last = last(&dir);
    common::end(&mut server, "TERM");
    assert_eq!(last, "alice <alice@localhost> +0545, alice <alice@localhost>");
}

#[test]
fn an_invalid_author_is_refused_at_start() {
    let output = Command::new(PROGRAM).args(["serve", "--author", "nonsense"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected NAME <MAIL>"));
}
