//! How a server starts and how it ends.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::future::{Future, pending};
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use datakit_client::{Client, Options};
use datakit_core::vfs::{FileStat, OpenMode};
use datakit_core::wire::{Dialect, Fid, Tag, Tmessage as T};
use datakit_server::scratch::Scratch;
use datakit_server::tree::{BoxFuture, Dir, Entry, Leaf, Live, OpenLeaf, Tree, ready};
use datakit_server::{Limits, Server};
use datakit_tests::wire_client::WireClient;
use datakit_tests::{serve, within};

const SECOND: Duration = Duration::from_secs(1);

/// Runs a future to its end on a thread of its own runtime.
fn block_on<X>(future: impl Future<Output = X>) -> X {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Whether the kernel asks after the peer of the connection to this port: the timer 2 in
/// `/proc/net/tcp`.
fn asks_after_its_peer(port: u16) -> bool {
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
fn a_client_finds_out_that_its_server_is_switched_off() {
    let served = serve(Limits::default(), |_| Scratch::default());
    let url = format!("tcp://{}", served.addr).parse().unwrap();
    block_on(async {
        let _client = Client::connect(&url, Options::default()).await.unwrap();
        assert!(asks_after_its_peer(served.addr.port()));
    });
}

#[test]
fn dropping_the_server_ends_its_connections() {
    block_on(async {
        let limits = Limits { threads: 1, ..Limits::default() };
        let server = Server::bind(&["tcp://127.0.0.1:0".parse().unwrap()], limits).await.unwrap();
        let addr = server.urls()[0].to_string().trim_start_matches("tcp://").parse().unwrap();
        let (tree, stats) = (Scratch::new(), server.stats());
        let client =
            tokio::task::spawn_blocking(move || WireClient::attached(addr, Dialect::Unix, 8192));
        let mut client = tokio::select! {
            client = client => client.unwrap(),
            _ = server.serve(move |_| tree.clone(), pending()) => panic!("nobody stops it"),
        };
        assert!(client.closed());
        within(SECOND, "the connection gone", || stats.connections() == 0);
    });
}

#[test]
fn a_socket_that_somebody_listens_on_is_left_alone() {
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
        // What a server that was killed leaves behind is in nobody's way.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        Server::bind(std::slice::from_ref(&url), Limits::default()).await.unwrap();
    });
    assert!(!path.exists());
}

/// A file that cannot be removed in any time.
struct Sticky(Live<u32>);

impl Leaf for Sticky {
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
fn a_removal_that_hangs_does_not_keep_what_a_client_had_open() {
    let live = Live::new(0);
    let dir = Dir::new();
    dir.insert(Entry::file("sticky", Sticky(live.clone())));
    let tree = Tree::new(dir);
    let served = serve(Limits::default(), move |_| tree.clone());
    let mut client = WireClient::attached(served.addr, Dialect::Unix, 8192);
    (1..=20).for_each(|fid| client.open_path(fid, "sticky", 0x40));
    assert_eq!(live.reader_count(), 20);
    drop(client);
    within(SECOND, "all is closed", || live.reader_count() == 0 && served.stats.connections() == 0);
}

#[test]
fn what_was_answered_is_sent_before_the_server_ends() {
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
    // In one piece: when the first is answered, all have arrived.
    client.socket.write_all(&requests).unwrap();
    within(SECOND, "the first is answered", || {
        served.stats.requests().any(|(kind, ..)| kind == 116)
    });
    let addr = served.addr;
    let stopping = std::thread::spawn(move || drop(served));
    within(SECOND, "the server stops", || TcpStream::connect(addr).is_err());
    let mut replies = 0;
    while let Ok(frame) = client.receive() {
        assert_eq!(frame.len(), 20_011);
        replies += 1;
    }
    assert_eq!(replies, READS);
    stopping.join().unwrap();
}
