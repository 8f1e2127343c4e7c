//! Tests for the addresses, limits and signals of `datakit serve`.
// The Clippy configuration allows panics in tests, but not in helper functions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Client, PROGRAM, Scratch, Server, TIMEOUT, within};
use datakit_client::{self, Dialect, OpenMode, Options};
use datakit_server::tree::{self, Dir, Entry, Tree};
use datakit_server::{self, Limits};

fn at(address: &str) -> Client<'_> {
    Client { address, dialect: "9p2000.L" }
}

/// Runs a server that fails to start and returns its standard error.
fn refused(url: &str) -> String {
    let output =
        Command::new(PROGRAM).args(["serve", "--url", url]).stdin(Stdio::null()).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_scratch_tree_is_limited_to_its_memory() {
    let server = Server::start("tcp://127.0.0.1:0", &["--scratch", "--scratch-memory", "1M"]);
    let (client, dir) = (at(&server.addresses[0]), Scratch::new("memory"));
    let (large, small) = (dir.path("large"), dir.path("small"));
    std::fs::write(&large, vec![1; 2 << 20]).unwrap();
    std::fs::write(&small, vec![1; 1 << 19]).unwrap();
    client.run(&["cp", &small, ":small"]);
    assert!(client.fail(&["cp", &large, ":large"]).contains("No space left on device"));
    // The `small` file must remain intact.
    assert_eq!(client.run(&["cat", "small"]).len(), 1 << 19);
    for args in [&["--scratch-memory", "1048576"][..], &["--scratch", "--scratch-memory", "0"]] {
        let output =
            Command::new(PROGRAM).arg("serve").args(args).stdin(Stdio::null()).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{args:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("--scratch"), "{args:?}");
    }
}

#[test]
fn several_listeners_serve_one_tree_and_remove_their_sockets() {
    for (signal, status) in [("TERM", 0), ("INT", 1)] {
        let dir = Scratch::new(&format!("listeners-{signal}"));
        let (one, two) = (dir.path("one.sock"), dir.path("two.sock"));
        let mut urls = format!("tcp://127.0.0.1:0,unix://{one},file://{two}");
        // Some containers do not support IPv6.
        if TcpListener::bind("[::1]:0").is_ok() {
            urls += ",tcp://[::1]:0";
        }
        let mut server = Server::start(&urls, &["--scratch"]);
        assert!(
            server.addresses[0].starts_with("tcp://127.0.0.1:")
                && !server.addresses[0].ends_with(":0")
        );
        assert_eq!(server.addresses[1..3], [format!("unix://{one}"), format!("file://{two}")]);
        assert!(server.addresses[3..].iter().all(|address| address.starts_with("tcp://[::1]:")));

        at(&server.addresses[0]).run(&["write", "f", "shared"]);
        for address in &server.addresses {
            assert_eq!(at(address).run(&["cat", "f"]), "shared");
        }
        assert_eq!(server.end(signal).code(), Some(status), "{signal}");
        assert_eq!(std::fs::read_dir(&dir.0).unwrap().count(), 0);
    }
}

#[test]
fn a_port_in_use_is_explained() {
    let server = Server::scratch();
    let url = server.address();
    let hint = "Address already in use; choose another port, or 0 for any free one";
    assert_eq!(refused(url), format!("datakit: cannot listen on {url}: {hint}\n"));
}

#[test]
fn a_live_socket_is_kept_and_a_stale_one_replaced() {
    let dir = Scratch::new("sockets");
    let (live, left, file) = (dir.path("live"), dir.path("left"), dir.path("file"));
    let _listener = UnixListener::bind(&live).unwrap();
    let hint =
        "Address already in use; stop the process that listens there, or choose another path";
    assert_eq!(
        refused(&format!("unix://{live}")),
        format!("datakit: cannot listen on unix://{live}: {hint}\n")
    );
    assert!(std::os::unix::net::UnixStream::connect(&live).is_ok());

    std::fs::write(&file, "precious").unwrap();
    assert!(refused(&format!("unix://{file}")).contains("Address already in use"));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");

    drop(UnixListener::bind(&left).unwrap());
    let server = Server::start(&format!("unix://{left}"), &["--scratch"]);
    assert_eq!(server.client().run(&["ls"]), "");
}

#[test]
fn an_unusable_address_is_explained() {
    for (url, text) in [
        (
            "unix:///nonexistent/socket",
            "cannot listen on unix:///nonexistent/socket: No such file or directory",
        ),
        ("hyperv-accept://vm", "hyperv-accept://vm is not supported on this system"),
        ("fd://0", "cannot listen on fd://0: it is not a listening socket"),
        ("fd://4294967295", "cannot listen on fd://4294967295: Bad file descriptor"),
    ] {
        assert_eq!(refused(url), format!("datakit: {text}\n"));
    }
    let output =
        Command::new(PROGRAM).args(["serve", "--url", "http://localhost"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// The server inherits a listening socket, as it would from inetd or systemd.
#[test]
fn an_inherited_socket_is_served_and_kept() {
    let dir = Scratch::new("inherited");
    let path = dir.path("socket");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, unix) = (tcp.local_addr().unwrap().port(), UnixListener::bind(&path).unwrap());
    for (socket, address) in [
        (OwnedFd::from(tcp), format!("tcp://127.0.0.1:{port}")),
        (OwnedFd::from(unix), format!("unix://{path}")),
    ] {
        for _ in 0..2 {
            let mut server = Server::inheriting(socket.try_clone().unwrap());
            assert_eq!(server.addresses, ["fd://0"]);
            at(&address).run(&["write", "f", "served"]);
            assert_eq!(at(&address).run(&["cat", "f"]), "served");
            assert_eq!(server.end("TERM").code(), Some(0));
        }
    }
    assert!(std::fs::symlink_metadata(&path).is_ok(), "its creator removes it");
}

/// Returns a connected client that runs in this process.
async fn connected(server: &Server) -> datakit_client::Client {
    let options = Options::default().dialect(Dialect::Unix).timeout(TIMEOUT);
    datakit_client::Client::connect(&server.address().parse().unwrap(), options).await.unwrap()
}

#[tokio::test]
async fn max_connections() {
    let server = Server::start("tcp://127.0.0.1:0", &["--scratch", "--max-connections", "1"]);
    let first = connected(&server).await;
    let text = server.client().fail(&["ls"]);
    assert!(text.starts_with(&format!("datakit: {}: ", server.address())), "{text}");
    first.write("f", b"still here").await.unwrap();
    drop(first);
    // The connection's writer task runs on this thread, so the thread must not block.
    tokio::task::spawn_blocking(move || {
        within("a free connection", || {
            server.client().command(&["ls"]).output().unwrap().status.success()
        });
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn max_fids() {
    let server = Server::start("tcp://127.0.0.1:0", &["--scratch", "--max-fids", "3"]);
    let client = connected(&server).await;
    let nodes = [client.walk("/").await.unwrap(), client.walk("/").await.unwrap()];
    let error = client.walk("/").await.map(drop).unwrap_err();
    assert!(error.to_string().contains("fids"), "{error}");
    drop(nodes);
    client.write("f", b"a free fid").await.unwrap();
}

#[tokio::test]
async fn max_requests() {
    let server = Server::start("tcp://127.0.0.1:0", &["--max-requests", "2"]);
    let client = connected(&server).await;
    let events = client.open("/debug/server/events", OpenMode::READ).await.unwrap();
    let mut waits = events.watch();
    // The timeout expires while the read from the stream is in progress.
    assert!(tokio::time::timeout(Duration::from_millis(1), waits.next()).await.is_err());
    assert_eq!(client.read("/debug/server/version").await.unwrap(), b"0.1.0\n");
    let mut more = client.open("/debug/server/events", OpenMode::READ).await.unwrap().watch();
    let error = tokio::time::timeout(TIMEOUT, more.next()).await.expect("an answer").unwrap_err();
    assert!(error.to_string().contains("requests"), "{error}");
    assert_eq!(client.read("/debug/server/version").await.unwrap(), b"0.1.0\n");
}

#[tokio::test]
async fn msize() {
    let server = Server::start("tcp://127.0.0.1:0", &["--scratch", "--msize", "4096"]);
    assert_eq!(connected(&server).await.msize(), 4096);
}

/// Tests both a client that sends nothing and a client that negotiates a version but never
/// attaches.
#[test]
fn attach_timeout() {
    let server = Server::start("tcp://127.0.0.1:0", &["--scratch", "--attach-timeout", "1"]);
    for hello in [&b""[..], b"\x13\0\0\0\x64\xff\xff\0\x20\0\0\x06\x009P2000"] {
        let mut silent = TcpStream::connect(server.address().trim_start_matches("tcp://")).unwrap();
        silent.set_read_timeout(Some(TIMEOUT)).unwrap();
        silent.write_all(hello).unwrap();
        let mut answers = Vec::new();
        silent.read_to_end(&mut answers).unwrap();
        assert_eq!(answers.len(), hello.len());
    }
    assert_eq!(server.client().run(&["ls"]), "");
}

/// The server still replies to a write that is in progress when the server stops listening.
#[tokio::test]
async fn requests_in_progress_are_answered_after_the_stop() {
    let (started, mut start) = tokio::sync::mpsc::unbounded_channel();
    let (release, released) = tokio::sync::watch::channel(false);
    let command = tree::Command::new_async(move |_| {
        let mut released = released.clone();
        started.send(()).unwrap();
        async move { Ok(released.wait_for(|released| *released).await.map(|_| "done\n").unwrap()) }
    });
    let tree = Tree::new([Entry::file("ctl", command)].into_iter().collect::<Dir>());
    let server =
        datakit_server::Server::bind(&["tcp://127.0.0.1:0".parse().unwrap()], Limits::default())
            .await
            .unwrap();
    let url = server.urls()[0].clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving =
        tokio::spawn(server.serve(move |_| tree.clone(), async { stopped.await.unwrap() }));

    let client = datakit_client::Client::connect(&url, Options::default()).await.unwrap();
    let file = client.open("ctl", OpenMode::WRITE).await.unwrap();
    let writing = tokio::spawn(async move { file.write_at(0, b"go").await });
    start.recv().await.unwrap();
    stop.send(()).unwrap();
    let refused =
        async { while datakit_client::Client::connect(&url, Options::default()).await.is_ok() {} };
    tokio::time::timeout(TIMEOUT, refused).await.unwrap();
    release.send(true).unwrap();
    assert_eq!(writing.await.unwrap(), Ok(2));
    serving.await.unwrap().unwrap();
}

/// A lock file keeps the commit waiting until the server has closed all connections.
#[tokio::test]
async fn the_server_waits_for_a_commit_in_progress() {
    let dir = Scratch::new("commit-under-way");
    let mut server = Server::start("tcp://127.0.0.1:0", &["--git", &dir.path("")]);
    let client = connected(&server).await;
    client.mkdir("branch/master", 0o777).await.unwrap();
    client.mkdir("branch/master/transactions/t", 0o777).await.unwrap();
    client.write("branch/master/transactions/t/rw/f", b"x").await.unwrap();
    let heads = dir.0.join(".git/refs/heads");
    std::fs::create_dir_all(&heads).unwrap();
    std::fs::write(heads.join("master.lock"), "").unwrap();
    let ctl = client.open("branch/master/transactions/t/ctl", OpenMode::WRITE).await.unwrap();
    let committing = tokio::spawn(async move { ctl.write_at(0, b"commit").await });
    // The server refuses changes after the commit has begun.
    let begun =
        async { while client.write("branch/master/transactions/t/rw/f", b"x").await.is_ok() {} };
    tokio::time::timeout(TIMEOUT, begun).await.unwrap();

    let ended = tokio::task::spawn_blocking(move || server.end("TERM"));
    assert!(matches!(committing.await.unwrap(), Err(datakit_client::Error::Lost(_))));
    std::fs::remove_file(heads.join("master.lock")).unwrap();
    assert_eq!(ended.await.unwrap().code(), Some(0));
    assert_eq!(std::fs::read_to_string(heads.join("master")).unwrap().len(), 41);
}

/// The server needs the `git` program to update the index and the work tree, so it refuses the
/// commit if `git` is missing.
#[tokio::test]
async fn a_checked_out_branch_does_not_move_without_git() {
    let dir = Scratch::new("without-git");
    assert!(
        std::process::Command::new("git")
            .args(["init", "-q", "-b", "master"])
            .arg(&dir.0)
            .status()
            .unwrap()
            .success()
    );
    let (server, _log) = Server::logging(&["--git", &dir.path("")], &[("PATH", "/nowhere")]);
    let client = connected(&server).await;
    for branch in ["branch/other", "branch/master"] {
        client.mkdir(branch, 0o777).await.unwrap();
        client.mkdir(&format!("{branch}/transactions/t"), 0o777).await.unwrap();
        client.write(&format!("{branch}/transactions/t/rw/f"), b"x").await.unwrap();
        let committed = client.write(&format!("{branch}/transactions/t/ctl"), b"commit").await;
        match branch {
            "branch/other" => committed.unwrap(),
            _ => {
                let text = committed.unwrap_err().to_string();
                assert!(
                    text.contains("work tree of \"master\": the git program that would update it is not installed"),
                    "{text}"
                );
            }
        }
    }
    assert!(!dir.0.join(".git/refs/heads/master").exists());
}

/// The server waits for blocked readers only until the grace period ends.
#[tokio::test]
async fn a_signal_ends_a_server_with_blocked_readers() {
    let mut server = Server::start("tcp://127.0.0.1:0", &[]);
    let client = connected(&server).await;
    let mut events = client.watch("/debug/server/events").await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(1), events.next()).await.is_err());
    let ended = tokio::task::spawn_blocking(move || server.end("TERM"));
    assert!(matches!(events.next().await, Err(datakit_client::Error::Lost(_))));
    assert_eq!(ended.await.unwrap().code(), Some(0));
}

#[test]
fn the_process_id_and_the_version_are_files() {
    let server = Server::start("tcp://127.0.0.1:0", &[]);
    let client = server.client();
    assert_eq!(client.run(&["cat", "/debug/server/pid"]), format!("{}\n", server.id()));
    assert_eq!(
        client.run(&["cat", "/debug/server/version"]),
        concat!(env!("CARGO_PKG_VERSION"), "\n")
    );
    let connections = client.run(&["cat", "/debug/server/connections"]);
    assert!(
        connections.starts_with("127.0.0.1:") && connections.contains(" 9P2000.L 131096 "),
        "{connections}"
    );
}

/// If the server exited before reading all received data, the connection would be reset.
#[tokio::test]
async fn a_command_closes_its_connection_without_a_reset() {
    let server = Server::start("tcp://127.0.0.1:0", &[]);
    let client = connected(&server).await;
    let mut events = client.watch("/debug/server/events").await.unwrap();
    // Poll once to send the first read, which opens the stream on the server.
    assert!(tokio::time::timeout(Duration::from_millis(1), events.next()).await.is_err());
    assert_eq!(client.read("/debug/server/version").await.unwrap(), b"0.1.0\n");
    let address = server.address().to_owned();
    let listing = tokio::task::spawn_blocking(move || at(&address).run(&["ls", "-l", "/debug"]));
    let end = loop {
        let event = tokio::time::timeout(TIMEOUT, events.next()).await.unwrap().unwrap().unwrap();
        let event = String::from_utf8(event).unwrap();
        if let Some(end) = event.lines().find(|line| line.starts_with("disconnected")) {
            break end.to_owned();
        }
    };
    assert!(end.ends_with(" closed by the peer"), "{end}");
    listing.await.unwrap();
}

#[test]
fn limits_out_of_range_are_refused_with_the_range() {
    for (option, range) in [
        ("--max-connections=0", "1..="),
        ("--max-connections-per-peer=0", "1..="),
        ("--max-fids=0", "1..="),
        ("--max-requests=0", "1..="),
        ("--max-buffered=1", "65536..="),
        ("--msize=1", "4096..="),
        ("--attach-timeout=0", "1..="),
        ("--idle-timeout=99999999999", "0..="),
        ("--threads=5000", "0..=256"),
        ("--remote-timeout=99999999999", "0..="),
        ("--scratch-memory=0", "4096"),
        ("--transaction-memory=1X", "64K"),
    ] {
        let output = Command::new(PROGRAM).args(["serve", "--scratch", option]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(range), "{option}: {text}");
    }
}

#[test]
fn connections_beyond_the_descriptor_limit_are_closed() {
    let server = Server::with_files(64, &["--scratch", "--threads", "1"]);
    let connect = |_| TcpStream::connect(server.address().strip_prefix("tcp://").unwrap()).unwrap();
    let mut sockets: Vec<_> = (0..80).map(connect).collect();
    // Connections beyond the limit are closed immediately.
    let last = sockets.last_mut().unwrap();
    last.set_read_timeout(Some(TIMEOUT)).unwrap();
    assert!(last.read_to_end(&mut Vec::new()).is_ok_and(|n| n == 0));
    drop(sockets.split_off(20));
    let client = server.client();
    within("others are served", || {
        client.command(&["write", "/file", "text"]).output().unwrap().status.success()
    });
    assert_eq!(client.run(&["cat", "/file"]), "text");
}

#[tokio::test]
async fn a_server_without_descriptors_recovers() {
    let server = Server::with_files(64, &["--threads", "1", "--listen-prometheus", "127.0.0.1:0"]);
    let metrics = server.line();
    let metrics =
        metrics.strip_prefix("metrics on http://").unwrap().strip_suffix("/metrics").unwrap();
    let mut holders = Vec::new();
    for source in ["127.0.0.1:0", "127.0.0.2:0"] {
        for _ in 0..8 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(source.parse().unwrap()).unwrap();
            holders.push(socket.connect(metrics.parse().unwrap()).await.unwrap());
        }
    }
    let connect = |_| TcpStream::connect(server.address().strip_prefix("tcp://").unwrap()).unwrap();
    let mut sockets: Vec<_> = (0..60).map(connect).collect();
    let last = sockets.last_mut().unwrap();
    last.set_read_timeout(Some(TIMEOUT)).unwrap();
    assert!(last.read_to_end(&mut Vec::new()).is_ok_and(|n| n == 0));
    drop((holders, sockets));
    let client = server.client();
    within("others are served", || client.command(&["ls", "/"]).output().unwrap().status.success());
}
