//! Tests for the `ports` example. A port forward stops when its `ctl` file is closed.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use datakit_client::{Client, File, OpenMode, Options};
use datakit_core::wire::Dialect;
use datakit_server::Limits;
use datakit_tests::{Served, TIMEOUT, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

#[allow(dead_code)]
#[path = "../../std-adapter/server/examples/ports.rs"]
mod ports;

const ALL: [Dialect; 3] = [Dialect::Legacy, Dialect::Unix, Dialect::Linux];

fn served() -> Served {
    let tree = ports::tree();
    serve(Limits::default(), move |_| tree.clone())
}

async fn connect(served: &Served, dialect: Dialect) -> Client {
    let stream = TcpStream::connect(served.addr).await.unwrap();
    Client::from_stream(stream, Options::default().dialect(dialect)).await.unwrap()
}

/// Starts an echo server that runs until the test returns.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await
            });
        }
    });
    addr
}

/// Returns an unused address and the name of a forward from this address to `to`.
async fn unused(to: SocketAddr) -> (SocketAddr, String) {
    let from = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    (from, format!("tcp:{from}:tcp:{to}"))
}

/// Opens the `ctl` file of the forward called `name` and writes `text` to it. Returns the open file
/// and the reply.
async fn control(client: &Client, name: &str, text: &str) -> (File, String) {
    let ctl = client.open(format!("{name}/ctl"), OpenMode::READ_WRITE).await.unwrap();
    let reply = write(&ctl, text).await;
    (ctl, reply)
}

async fn write(ctl: &File, text: &str) -> String {
    ctl.write_all_at(0, text.as_bytes()).await.unwrap();
    let mut buf = [0; 100];
    let count = ctl.read_at(0, &mut buf).await.unwrap();
    String::from_utf8_lossy(&buf[..count]).into_owned()
}

async fn names(client: &Client) -> Vec<String> {
    let entries = client.list("/").await.unwrap();
    let mut names: Vec<_> = entries.iter().map(|entry| entry.name.to_string()).collect();
    names.sort();
    names
}

async fn ping(stream: &mut TcpStream) -> String {
    stream.write_all(b"ping").await.unwrap();
    let mut buf = [0; 4];
    timeout(TIMEOUT, stream.read_exact(&mut buf)).await.unwrap().unwrap();
    String::from_utf8_lossy(&buf).into_owned()
}

/// Waits until connections to `addr` are refused.
async fn closed(addr: SocketAddr) {
    let refused = async {
        while TcpStream::connect(addr).await.is_ok() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(TIMEOUT, refused).await.unwrap();
}

#[tokio::test]
async fn forwards_tcp_while_ctl_is_open() {
    let (served, echo) = (served(), echo().await);
    for dialect in ALL {
        let client = connect(&served, dialect).await;
        let (from, name) = unused(echo).await;
        client.mkdir(&name, 0o755).await.unwrap();
        assert_eq!(names(&client).await, ["README", &name], "{dialect:?}");
        assert!(TcpStream::connect(from).await.is_err(), "nothing listens before the write");

        let (ctl, reply) = control(&client, &name, &name).await;
        assert_eq!(reply, format!("OK {name}\n"), "{dialect:?}");
        let mut one = TcpStream::connect(from).await.unwrap();
        let mut two = TcpStream::connect(from).await.unwrap();
        assert_eq!((ping(&mut one).await, ping(&mut two).await), ("ping".into(), "ping".into()));
        assert!(write(&ctl, &name).await.starts_with("ERROR write the name"), "{dialect:?}");
        assert_eq!(ping(&mut one).await, "ping");

        ctl.close().await.unwrap();
        closed(from).await;
        assert_eq!(names(&client).await, ["README"], "{dialect:?}");
        let end = timeout(TIMEOUT, one.read(&mut [0; 1])).await.unwrap();
        assert!(matches!(end, Ok(0) | Err(_)), "open connections end with the forward");
    }
}

#[tokio::test]
async fn a_client_that_vanishes_ends_all_of_its_forwards() {
    let (served, echo) = (served(), echo().await);
    for dialect in ALL {
        let stream = std::net::TcpStream::connect(served.addr).unwrap();
        let socket = stream.try_clone().unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = TcpStream::from_std(stream).unwrap();
        let client =
            Client::from_stream(stream, Options::default().dialect(dialect)).await.unwrap();
        let (mut addresses, mut files) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (from, name) = unused(echo).await;
            client.mkdir(&name, 0o755).await.unwrap();
            files.push(control(&client, &name, &name).await);
            addresses.push(from);
        }
        let other = connect(&served, dialect).await;
        assert_eq!(names(&other).await.len(), 4, "{dialect:?}");
        socket.shutdown(std::net::Shutdown::Both).unwrap();
        for address in addresses {
            closed(address).await;
        }
        assert_eq!(names(&other).await, ["README"], "{dialect:?}");
    }
}

#[tokio::test]
async fn the_last_of_several_clients_ends_a_forward() {
    let (served, echo) = (served(), echo().await);
    let [one, two] =
        [connect(&served, Dialect::Unix).await, connect(&served, Dialect::Linux).await];
    let (from, name) = unused(echo).await;
    one.mkdir(&name, 0o755).await.unwrap();
    let (ctl, _) = control(&one, &name, &name).await;
    let second = two.open(format!("{name}/ctl"), OpenMode::READ).await.unwrap();
    ctl.close().await.unwrap();
    assert_eq!(ping(&mut TcpStream::connect(from).await.unwrap()).await, "ping");
    second.close().await.unwrap();
    closed(from).await;
}

#[tokio::test]
async fn refuses_bad_requests_with_a_reason() {
    let (served, echo) = (served(), echo().await);
    for dialect in ALL {
        let client = connect(&served, dialect).await;
        let (from, name) = unused(echo).await;
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap().into_std().unwrap();
        let in_use = format!("tcp:{}:tcp:{echo}", taken.local_addr().unwrap());
        for (name, text, reason) in [
            ("udp:1.2.3.4:5:udp:6.7.8.9:10", "udp:1.2.3.4:5:udp:6.7.8.9:10", "the form is tcp:"),
            ("tcp:127.0.0.1:tcp:6.7.8.9:10", "tcp:127.0.0.1:tcp:6.7.8.9:10", "the form is tcp:"),
            ("other", name.as_str(), "write the name of the directory"),
            (name.as_str(), "", "the form is tcp:"),
            (&in_use, &in_use, "cannot listen on"),
        ] {
            client.mkdir(name, 0o755).await.unwrap();
            let (ctl, reply) = control(&client, name, &format!("{text}\n")).await;
            assert!(reply.starts_with(&format!("ERROR {reason}")), "{dialect:?} {name}: {reply}");
            ctl.close().await.unwrap();
            assert_eq!(names(&client).await, ["README"], "{dialect:?} {name}");
        }
        assert!(TcpStream::connect(from).await.is_err());
        assert!(client.create("file", 0o644, OpenMode::WRITE).await.is_err());
        client.mkdir("same", 0o755).await.unwrap();
        assert_eq!(client.mkdir("same", 0o755).await.unwrap_err().errno(), Some(17));
        let ctl = client.open("same/ctl", OpenMode::READ).await.unwrap();
        ctl.close().await.unwrap();
    }
}

#[tokio::test]
async fn limits_the_number_of_forwards() {
    let served = served();
    let client = connect(&served, Dialect::Unix).await;
    for number in 0..256 {
        client.mkdir(format!("{number}"), 0o755).await.unwrap();
    }
    let error = client.mkdir("256", 0o755).await.unwrap_err();
    assert_eq!((error.errno(), error.to_string()), (Some(28), "256 forwards exist".into()));
}

#[test]
fn the_example_has_at_most_100_lines() {
    let lines = include_str!("../../std-adapter/server/examples/ports.rs").lines().count();
    assert!(lines <= 100, "{lines} lines");
}
