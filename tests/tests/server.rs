//! Tests for starting and stopping servers, and for the addresses on which they listen.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::future::{Future, pending};
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datakit_client::{Client, Options};
use datakit_core::vfs::{FileStat, OpenMode};
use datakit_core::wire::{Dialect, Fid, Tag, Tmessage as T};
use datakit_server::tree::{BoxFuture, Dir, Entry, Leaf, Live, OpenLeaf, Status, Tree, ready};
use datakit_server::{Limits, Scratch, Server, Url};
use datakit_tests::wire_client::WireClient;
use datakit_tests::{TIMEOUT, serve, within};
use tokio::io::AsyncWriteExt;

/// Runs a future to completion in a new runtime on the current thread.
fn block_on<X>(future: impl Future<Output = X>) -> X {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Returns whether the kernel has a keep-alive timer for the connection to `port`. In
/// `/proc/net/tcp`, timer 2 is the keep-alive timer.
fn has_keep_alive_timer(port: u16) -> bool {
    let remote = format!(":{port:04X}");
    let connections = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let mut timers = connections.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields
            .get(2)
            .is_some_and(|address| address.ends_with(&remote))
            .then(|| fields[5].starts_with("02:"))
    });
    timers.next().expect("the connection")
}

#[test]
fn a_client_enables_tcp_keep_alive() {
    let served = serve(Limits::default(), |_| Scratch::default());
    let url = format!("tcp://{}", served.addr).parse().unwrap();
    block_on(async {
        let _client = Client::connect(&url, Options::default()).await.unwrap();
        assert!(has_keep_alive_timer(served.addr.port()));
    });
}

#[test]
fn dropping_the_server_ends_its_connections() {
    block_on(async {
        let limits = Limits::default().threads(1);
        let server = Server::bind(&["tcp://127.0.0.1:0".parse().unwrap()], limits).await.unwrap();
        let addr = server.urls()[0].to_string().trim_start_matches("tcp://").parse().unwrap();
        let (tree, stats) = (Scratch::new(), server.stats());
        let client =
            tokio::task::spawn_blocking(move || WireClient::attached(addr, Dialect::Unix, 8192));
        let mut client = tokio::select! {
            client = client => client.unwrap(),
            _ = server.serve(move |_| tree.clone(), pending()) => panic!("the server stopped by itself"),
        };
        assert!(client.closed());
        within(TIMEOUT, "the connection ended", || stats.connections() == 0);
    });
}

#[test]
fn bind_replaces_a_stale_socket_file_but_not_one_in_use() {
    let path = std::env::temp_dir().join(format!("datakit-{}.sock", std::process::id()));
    let url = format!("unix://{}", path.display()).parse().unwrap();
    block_on(async {
        let first = Server::bind(std::slice::from_ref(&url), Limits::default()).await.unwrap();
        let error =
            Server::bind(std::slice::from_ref(&url), Limits::default()).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}");
        assert!(path.exists());
        drop(first);
        assert!(!path.exists());
        // Leave a socket file behind, as a killed server would.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        Server::bind(std::slice::from_ref(&url), Limits::default()).await.unwrap();
    });
    assert!(!path.exists());
}

/// A file whose removal never completes.
struct Unremovable(Live<u32>);

impl Leaf for Unremovable {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(Ok(FileStat::new(0)))
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        Box::pin(async move { self.0.file(|n| format!("{n}\n")).open(mode).await })
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        Box::pin(pending())
    }
}

#[test]
fn a_removal_that_hangs_does_not_keep_files_open() {
    let live = Live::new(0);
    let dir = Dir::new();
    dir.insert(Entry::file("unremovable", Unremovable(live.clone())));
    let tree = Tree::new(dir);
    let served = serve(Limits::default(), move |_| tree.clone());
    let mut client = WireClient::attached(served.addr, Dialect::Unix, 8192);
    (1..=20).for_each(|fid| client.open_path(fid, "unremovable", 0x40));
    assert_eq!(live.reader_count(), 20);
    drop(client);
    within(TIMEOUT, "all files are closed", || {
        live.reader_count() == 0 && served.stats.connections() == 0
    });
}

#[test]
fn replies_are_sent_before_the_server_stops() {
    let tree = Scratch::new();
    let served = serve(Limits::default(), move |_| tree.clone());
    let mut client = WireClient::attached(served.addr, Dialect::Unix, 131_072);
    client.walk(0, 1, "").unwrap();
    client.create(1, "file", 0o644, None).unwrap();
    client.write(1, 0, &[7; 60_000]).unwrap();
    const READS: u16 = 200;
    let (mut requests, mut frame) = (Vec::new(), [0; 64]);
    for tag in 0..READS {
        let read = T::Read { fid: Fid(1), offset: 0, count: 20_000 };
        let len = read.encode(Tag(tag), Dialect::Unix, &mut frame).unwrap();
        requests.extend_from_slice(&frame[..len]);
    }
    // Send all requests with a single write so that the server has received all of them before it
    // answers the first one.
    client.socket.write_all(&requests).unwrap();
    within(TIMEOUT, "the first is answered", || {
        served.stats.requests().any(|(kind, ..)| kind == 116)
    });
    let addr = served.addr;
    let stopping = std::thread::spawn(move || drop(served));
    within(TIMEOUT, "the server stops", || TcpStream::connect(addr).is_err());
    let mut replies = 0;
    while let Ok(frame) = client.receive() {
        assert_eq!(frame.len(), 20_011);
        replies += 1;
    }
    assert_eq!(replies, READS);
    stopping.join().unwrap();
}

/// Serves a scratch tree until `client` completes.
async fn serve_until<X>(server: Server, client: impl Future<Output = X>) -> X {
    let tree = Scratch::new();
    tokio::select! {
        result = client => result,
        result = server.serve(move |_| tree.clone(), pending()) => panic!("it stopped: {result:?}"),
    }
}

#[test]
fn listeners_of_std_and_tokio_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["std", "tokio"].map(|name| dir.path().join(name));
    block_on(async {
        let server = Server::new(Limits::default().threads(1))
            .with_listener(std::net::TcpListener::bind("127.0.0.1:0").unwrap())
            .unwrap()
            .with_listener(tokio::net::TcpListener::bind("[::1]:0").await.unwrap())
            .unwrap()
            .with_listener(std::os::unix::net::UnixListener::bind(&paths[0]).unwrap())
            .unwrap()
            .with_listener(tokio::net::UnixListener::bind(&paths[1]).unwrap())
            .unwrap();
        let urls = server.urls();
        assert_eq!(urls[2..], paths.clone().map(Url::Unix));
        serve_until(server, async {
            for url in &urls {
                let client = Client::connect(url, Options::default()).await.unwrap();
                client.stat("").await.unwrap();
            }
        })
        .await;
    });
    // The server does not remove the socket files, because they belong to the caller.
    assert!(paths.iter().all(|path| path.exists()));
}

#[test]
fn a_stream_is_served_on_the_callers_runtime() {
    block_on(async {
        let server = Server::new(Limits::default());
        let (ours, theirs) = tokio::io::duplex(100);
        let client = async {
            let client = Client::from_stream(theirs, Options::default()).await.unwrap();
            let data = vec![7; 100_000];
            client.write("file", &data).await.unwrap();
            assert_eq!(client.read("file").await.unwrap(), data);
            assert_eq!(server.stats().peers()[0].name, "duplex");
        };
        let tree = Scratch::new();
        let (result, ()) = tokio::join!(server.serve_stream(ours, "duplex", &tree), client);
        result.unwrap();
        assert_eq!(server.stats().connections(), 0);
    });
}

#[test]
fn a_stream_that_buffers_writes_is_flushed() {
    block_on(async {
        let server = Server::new(Limits::default());
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let tree = Scratch::new();
        let buffered = tokio::io::BufWriter::new(ours);
        tokio::select! {
            result = server.serve_stream(buffered, "buffered", &tree) => panic!("{result:?}"),
            client = Client::from_stream(theirs, Options::default()) => drop(client.unwrap()),
        }
    });
}

#[test]
fn errors_of_a_stream_tell_the_reason() {
    let limits = Limits::default().attach_timeout(Duration::from_millis(50));
    block_on(async {
        let (server, tree) = (Server::new(limits), Scratch::new());
        for (bytes, kind, text) in [
            (&[6, 0, 0, 0, 100, 0, 0][..], ErrorKind::InvalidData, "message size 6"),
            (&[19, 0, 0, 0, 100], ErrorKind::UnexpectedEof, "in the middle of a message"),
        ] {
            let (ours, mut theirs) = tokio::io::duplex(100);
            theirs.write_all(bytes).await.unwrap();
            drop(theirs);
            let error = server.serve_stream(ours, "x", &tree).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
        let (ours, _theirs) = tokio::io::duplex(100);
        let error = server.serve_stream(ours, "x", &tree).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::TimedOut, "did not attach in time")
        );
    });
}

/// A shared buffer that collects log lines.
#[derive(Clone, Default)]
struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl Write for LogBuffer {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn events_of_the_tree_are_in_the_span_of_their_connection() {
    let log = LogBuffer::default();
    let buffer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .without_time()
        .with_ansi(false)
        .with_writer(move || buffer.clone())
        .finish();
    // If only one subscriber exists, `tracing` disables an event in all threads when another thread is
    // the first to log it. A second subscriber prevents this.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _guard = tracing::subscriber::set_default(subscriber);
    let root: Dir = [Entry::file(
        "file",
        Status::new(|| {
            tracing::info!(target: "tree", "read");
            Ok("x")
        }),
    )]
    .into_iter()
    .collect();
    block_on(async {
        let (server, tree) = (Server::new(Limits::default()), Tree::new(root));
        let (ours, theirs) = tokio::io::duplex(1000);
        let client = async {
            let client = Client::from_stream(theirs, Options::default()).await.unwrap();
            assert_eq!(client.read("file").await.unwrap(), b"x");
        };
        let (result, ()) = tokio::join!(server.serve_stream(ours, "me", &tree), client);
        result.unwrap();
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = log.lines().map(str::trim).collect();
    let connection = "INFO datakit_server::server::connection:";
    assert_eq!(lines[0], format!("{connection} connected peer=\"me\""));
    assert_eq!(lines[1], "INFO connection{peer=\"me\" dialect=9P2000.u}: tree: read");
    let end = format!(
        "{connection} disconnected peer=\"me\" dialect=\"9P2000.u\" reason=closed by the peer"
    );
    assert_eq!(lines.last().unwrap(), &end);
}
