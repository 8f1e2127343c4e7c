//! Tests for remotes in `datakit serve`, including allowed URLs, errors, limits and cleanup.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Client, Scratch, Server, TIMEOUT, end, within};
use datakit_client::db::Db;

fn git(dir: &Path, arguments: &[&str]) -> String {
    let who = ["-c", "user.name=x", "-c", "user.email=x@x"];
    let output = Command::new("git").arg("-C").arg(dir).args(who).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Creates a repository with a commit on `master`, and returns the repository and the commit's
/// hash.
fn repository(name: &str) -> (Scratch, String) {
    let dir = Scratch::new(name);
    git(&dir.0, &["init", "-q", "-b", "master"]);
    git(&dir.0, &["commit", "-q", "--allow-empty", "-m", "far"]);
    let head = git(&dir.0, &["rev-parse", "master"]);
    (dir, head)
}

fn client(server: &Server) -> Client<'_> {
    Client { address: server.address(), dialect: "9p2000.u" }
}

#[test]
fn a_server_that_other_machines_can_reach_does_not_fetch_local_paths() {
    let (there, head) = repository("remotes-there");
    let path = there.path("");
    let local = Server::start("tcp://127.0.0.1:0", &[]);
    assert_eq!(client(&local).run(&["db", "fetch", &path, "master"]), format!("{head}\n"));
    for (listen, options) in
        [("tcp://0.0.0.0:0", &[][..]), ("tcp://127.0.0.1:0", &["--remote-schemes", "ssh,https"])]
    {
        let server = Server::start(listen, options);
        let address = server.address().replace("0.0.0.0", "127.0.0.1");
        let client = Client { address: &address, dialect: "9p2000.u" };
        for url in [path.clone(), format!("file://{path}")] {
            let error = client.fail(&["db", "fetch", &url, "master"]);
            assert!(error.contains("file is not allowed (--remote-schemes)"), "{error}");
        }
    }
    let server = Server::start("tcp://0.0.0.0:0", &["--remote-schemes", "file"]);
    let address = server.address().replace("0.0.0.0", "127.0.0.1");
    let client = Client { address: &address, dialect: "9p2000.u" };
    assert_eq!(client.run(&["db", "fetch", &path, "master"]), format!("{head}\n"));
    assert!(
        client.fail(&["db", "fetch", "https://x/y", "master"]).contains("https is not allowed")
    );
    assert!(client.fail(&["db", "fetch", "ext::sh -c x", "master"]).contains("transport helpers"));
}

#[test]
fn errors_contain_no_passwords_or_control_characters() {
    let (server, log) = Server::logging(&["-v"], &[]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://user:secret@127.0.0.1:{port}/\u{1b}[2J{}", "x".repeat(500));
    let error = client(&server).fail(&["db", "fetch", &url, "master"]);
    let line = std::iter::from_fn(|| log.recv_timeout(TIMEOUT).ok())
        .find(|line| line.contains("cannot fetch"))
        .unwrap();
    for text in [error, line] {
        assert!(text.contains("http://user@127.0.0.1"), "{text}");
        assert!(
            !text.contains("secret") && !text.contains('\u{1b}') && text.len() < 2000,
            "{text}"
        );
    }
}

#[test]
fn without_git_only_remotes_fail() {
    let missing = "the git program is not installed on this machine";
    let (bin, dir) = (Scratch::new("remotes-bin"), Scratch::new("remotes-no-git"));
    std::os::unix::fs::symlink("/bin/sh", bin.path("sh")).unwrap();
    let options = ["--git", &dir.path(""), "--auto-push", "/y"];
    let (server, log) = Server::logging(&options, &[("PATH", bin.0.to_str().unwrap())]);
    let next_line = |text: &str| {
        let mut lines = std::iter::from_fn(|| log.recv_timeout(TIMEOUT).ok());
        lines.find(|line| line.contains(text)).unwrap()
    };
    let error = client(&server).fail(&["db", "fetch", "/x", "master"]);
    assert_eq!(error, format!("datakit: cannot fetch /x: {missing}\n"));
    assert!(next_line("cannot fetch /x").contains(missing));
    assert_eq!(client(&server).run(&["db", "branches"]), "");
    let file = bin.path("file");
    std::fs::write(&file, "text").unwrap();
    client(&server).run(&["db", "commit", "master", "-m", "x", &format!("f={file}")]);
    assert_eq!(client(&server).run(&["cat", "branch/master/ro/f"]), "text");
    assert!(next_line("cannot push to /y").contains(missing));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_two_fetches_at_a_time() {
    let server = Server::start("tcp://127.0.0.1:0", &[]);
    let url: datakit_server::Url = server.address().parse().unwrap();
    // Connections to this listener succeed even though the test never calls `accept`.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("git://{}/x", listener.local_addr().unwrap());
    let greedy = Db::connect(&url).await.unwrap();
    let fetches: Vec<_> = (0..20)
        .map(|_| {
            let (db, url) = (greedy.clone(), silent.clone());
            tokio::spawn(async move { db.fetch(&url, "master").await })
        })
        .collect();
    let mut asked = Vec::new();
    for _ in 0..2 {
        asked.push(tokio::time::timeout(TIMEOUT, listener.accept()).await.unwrap().unwrap());
    }
    // While two fetches are in progress on the first connection, another connection can fetch, but
    // a third fetch on the first connection must wait.
    let (there, head) = repository("remotes-fair");
    let other = Db::connect(&url).await.unwrap();
    let fetched = tokio::time::timeout(TIMEOUT, other.fetch(&there.path(""), "master"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(fetched.id().to_string(), head);
    assert!(tokio::time::timeout(Duration::from_millis(200), listener.accept()).await.is_err());
    asked.clear();
    tokio::time::timeout(TIMEOUT, listener.accept()).await.unwrap().unwrap();
    fetches.iter().for_each(tokio::task::JoinHandle::abort);
}

#[test]
fn fetched_refs_are_removed_when_the_server_ends() {
    let (there, head) = repository("remotes-kept");
    let here = Scratch::new("remotes-here");
    let path = here.path("");
    for signal in ["TERM", "HUP", "KILL"] {
        let mut server = Server::start("tcp://127.0.0.1:0", &["--git", &path]);
        // The command removes its remote when it finishes.
        client(&server).run(&["db", "fetch", &there.path(""), "master"]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let url = server.address().parse().unwrap();
        let kept = runtime.block_on(async {
            let client = datakit_client::Client::connect(&url, datakit_client::Options::default())
                .await
                .unwrap();
            client.mkdir("remotes/r", 0o755).await.unwrap();
            client.write("remotes/r/url", there.path("").as_bytes()).await.unwrap();
            client.write("remotes/r/fetch", b"master").await.unwrap();
            client
        });
        assert_eq!(git(&here.0, &["for-each-ref", "--format=%(objectname)"]), head);
        if signal == "KILL" {
            drop(server);
            let mut next = Server::start("tcp://127.0.0.1:0", &["--git", &path]);
            next.end("TERM");
        } else {
            assert_eq!(server.end(signal).code(), Some(0), "{signal}");
        }
        assert_eq!(git(&here.0, &["for-each-ref"]), "", "{signal}");
        drop(kept);
    }
}

#[test]
fn sighup_removes_the_socket() {
    let dir = Scratch::new("remotes-socket");
    let socket = dir.path("s");
    let mut server = Server::start(&format!("unix://{socket}"), &[]);
    assert!(Path::new(&socket).exists());
    assert_eq!(server.end("HUP").code(), Some(0));
    assert!(!Path::new(&socket).exists());
    // `nohup` makes the server ignore SIGHUP.
    let mut command = Command::new("nohup");
    command.args([common::PROGRAM, "serve", "--url", &format!("unix://{socket}")]);
    let mut server = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    within("the socket", || Path::new(&socket).exists());
    assert!(
        Command::new("kill")
            .args(["-s", "HUP", &server.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let client = Client { address: &format!("unix://{socket}"), dialect: "9p2000.u" };
    assert_eq!(client.run(&["db", "branches"]), "");
    assert_eq!(end(&mut server, "TERM").code(), Some(0));
}
