//! Tests the client against a peer whose replies are chosen by each test.

mod hostile;
mod io;
mod log;
mod transfer;

use std::task::{Context, Waker};
use std::time::Duration;

use datakit_core::wire::{
    Data, Dialect, Errno, Fid, List, Qid, Rmessage as R, Stat, Str, Tag, Tmessage as T,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{Client, Disconnect, Error, OpenMode, Options, ProtocolError};

const DIR: Qid = Qid { kind: Qid::DIR, version: 0, path: 1 };
const FILE: Qid = Qid { kind: Qid::FILE, version: 0, path: 2 };

/// The server end of a connection.
struct Peer {
    stream: DuplexStream,
    dialect: Dialect,
    frame: Vec<u8>,
    clunked: Vec<Fid>,
}

impl Peer {
    /// Receives the next request other than a Tclunk. Answers and records any Tclunk that arrives
    /// before it.
    async fn receive(&mut self) -> (Tag, T<'_>) {
        while let Some((tag, fid)) = self.next().await {
            self.clunked.push(fid);
            self.send(tag, R::Clunk {}).await;
        }
        T::decode(&self.frame, self.dialect).unwrap()
    }

    /// Receives a frame. Returns the tag and fid if the frame is a Tclunk.
    async fn next(&mut self) -> Option<(Tag, Fid)> {
        let size = tokio::time::timeout(Duration::from_secs(10), self.stream.read_u32_le())
            .await
            .unwrap()
            .unwrap();
        self.frame = size.to_le_bytes().to_vec();
        self.frame.resize(size as usize, 0);
        self.stream.read_exact(&mut self.frame[4..]).await.unwrap();
        match T::decode(&self.frame, self.dialect).unwrap() {
            (tag, T::Clunk { fid }) => Some((tag, fid)),
            _ => None,
        }
    }

    async fn send(&mut self, tag: Tag, message: R<'_>) {
        let mut frame = [0; 8192];
        let length = message.encode(tag, self.dialect, &mut frame).unwrap();
        self.stream.write_all(&frame[..length]).await.unwrap();
    }

    /// Answers a Twalk with a qid for each of its names.
    async fn answer_walk(&mut self, names: usize, qid: Qid) -> Fid {
        let (tag, message) = self.receive().await;
        let T::Walk { newfid, wnames, .. } = message else { panic!("{message:?}") };
        assert_eq!(wnames.len(), names);
        let qids = vec![qid; names];
        self.send(tag, R::Walk { wqids: List::from(qids.as_slice()) }).await;
        newfid
    }

    async fn answer_open(&mut self) {
        let (tag, message) = self.receive().await;
        assert!(matches!(message, T::Open { .. }), "{message:?}");
        self.send(tag, R::Open { qid: FILE, iounit: 0 }).await;
    }

    /// Answers a Tread at offset `at`.
    async fn answer_read(&mut self, at: u64, text: &str) {
        let (tag, message) = self.receive().await;
        assert!(matches!(message, T::Read { offset, .. } if offset == at), "{message:?}");
        self.send(tag, R::Read { data: Data(text.as_bytes()) }).await;
    }
}

/// The maximum number of data bytes in one message at an msize of 8192.
const UNIT: usize = 8168;

/// Returns a client and its peer. The peer has already answered Tversion with `version`.
async fn connected(version: &'static str, dialect: Dialect) -> (Client, Peer) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let mut peer = Peer { stream: far, dialect, frame: Vec::new(), clunked: Vec::new() };
    let answering = tokio::spawn(async move {
        let (tag, message) = peer.receive().await;
        assert!(matches!(message, T::Version { .. }) && tag == Tag::NONE);
        peer.send(tag, R::Version { msize: 8192, version: Str(version.as_bytes()) }).await;
        let (tag, message) = peer.receive().await;
        assert!(matches!(message, T::Attach { .. }), "{message:?}");
        peer.send(tag, R::Attach { qid: DIR }).await;
        peer
    });
    let client = Client::from_stream(near, Options::default()).await.unwrap();
    (client, answering.await.unwrap())
}

/// Opens a file.
async fn file(client: &Client, peer: &mut Peer, how: OpenMode) -> super::File {
    let other = client.clone();
    let opening = tokio::spawn(async move { other.open("long", how).await });
    peer.answer_walk(1, FILE).await;
    peer.answer_open().await;
    opening.await.unwrap().unwrap()
}

#[tokio::test]
async fn the_server_chooses_the_dialect() {
    for (version, dialect) in
        [("9P2000", Dialect::Legacy), ("9P2000.u", Dialect::Unix), ("9P2000.L", Dialect::Linux)]
    {
        let (client, _peer) = connected(version, dialect).await;
        assert_eq!((client.dialect(), client.msize()), (dialect, 8192));
    }
}

#[tokio::test]
async fn dialects_are_offered_in_order() {
    for (options, offers) in [
        (Options::default(), &["9P2000.u", "9P2000.L", "9P2000"][..]),
        (Options::default().prefer(Dialect::Linux), &["9P2000.L", "9P2000.u", "9P2000"]),
        (Options::default().dialect(Dialect::Legacy), &["9P2000"]),
    ] {
        let (near, far) = tokio::io::duplex(1 << 16);
        let mut peer =
            Peer { stream: far, dialect: Dialect::Legacy, frame: Vec::new(), clunked: Vec::new() };
        let connecting = tokio::spawn(Client::from_stream(near, options));
        for offer in offers {
            let (tag, message) = peer.receive().await;
            let T::Version { version, .. } = message else { panic!("{message:?}") };
            assert_eq!(version.as_bytes(), offer.as_bytes());
            peer.send(tag, R::Version { msize: 8192, version: Str(b"unknown") }).await;
        }
        assert!(matches!(connecting.await.unwrap(), Err(Error::Unsupported(_))));
    }
}

#[tokio::test]
async fn errors_have_a_number_and_a_text_in_every_dialect() {
    for (version, dialect) in
        [("9P2000", Dialect::Legacy), ("9P2000.u", Dialect::Unix), ("9P2000.L", Dialect::Linux)]
    {
        let (client, mut peer) = connected(version, dialect).await;
        let stat = tokio::spawn(async move { client.stat("missing").await });
        let (tag, _) = peer.receive().await;
        let reply = match dialect {
            Dialect::Linux => R::Lerror { ecode: 2 },
            _ => R::Error { ename: Str(b"No such file or directory"), errno: Errno(2) },
        };
        peer.send(tag, reply).await;
        let error = stat.await.unwrap().unwrap_err();
        assert_eq!(
            (error.errno(), error.to_string().as_str()),
            (Some(2), "No such file or directory")
        );
    }
}

#[tokio::test]
async fn replies_may_arrive_in_any_order() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let other = client.clone();
    let first = tokio::spawn(async move { client.walk("a").await.map(|node| node.qid()) });
    let (first_tag, _) = peer.receive().await;
    let second = tokio::spawn(async move { other.walk("b").await.map(|node| node.qid()) });
    let (second_tag, _) = peer.receive().await;
    peer.send(second_tag, R::Walk { wqids: List::from(&[FILE]) }).await;
    assert_eq!(second.await.unwrap().unwrap(), FILE);
    peer.send(first_tag, R::Walk { wqids: List::from(&[DIR]) }).await;
    assert_eq!(first.await.unwrap().unwrap(), DIR);
}

#[tokio::test]
async fn a_long_path_is_walked_in_steps_of_16_names() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let path = "/x".repeat(33);
    let other = client.clone();
    let walk = tokio::spawn(async move { other.walk(&path).await.map(drop) });
    for names in [16, 16, 1] {
        peer.answer_walk(names, DIR).await;
    }
    walk.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_partial_walk_reports_the_reason() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    for (qid, errno) in [(DIR, 2), (FILE, 20)] {
        let client = client.clone();
        let walk = tokio::spawn(async move { client.walk("a/b").await.map(drop) });
        let (tag, _) = peer.receive().await;
        peer.send(tag, R::Walk { wqids: List::from(&[qid]) }).await;
        assert_eq!(walk.await.unwrap().unwrap_err().errno(), Some(errno));
    }
}

#[tokio::test]
async fn a_dropped_request_is_flushed_and_frees_its_tag_after_rflush() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let waiting = client.clone();
    let walk = tokio::spawn(async move { waiting.walk("a").await.map(drop) });
    let (old, _) = peer.receive().await;
    walk.abort();
    let (flush, message) = peer.receive().await;
    assert_eq!(message, T::Flush { oldtag: old });

    let other = client.clone();
    let walk = tokio::spawn(async move { other.walk("b").await.map(drop) });
    let (tag, _) = peer.receive().await;
    assert!(tag != old && tag != flush, "{tag:?} is busy");
    peer.send(tag, R::Walk { wqids: List::from(&[FILE]) }).await;
    walk.await.unwrap().unwrap();

    peer.send(flush, R::Flush {}).await;
    let mut tags = Vec::new();
    for name in ["c", "d", "e", "f"] {
        let other = client.clone();
        let walk = tokio::spawn(async move { other.walk(name).await.map(drop) });
        tags.push(peer.receive().await.0);
        // When the first walk returns, the client has already read Rflush. The other walks remain
        // pending.
        if name == "c" {
            peer.send(tags[0], R::Walk { wqids: List::from(&[FILE]) }).await;
            walk.await.unwrap().unwrap();
        }
    }
    assert!(tags.contains(&old), "{old} is free again: {tags:?}");
}

#[tokio::test]
async fn a_fid_created_before_rflush_is_clunked() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let other = client.clone();
    let walk = tokio::spawn(async move { other.walk("a").await.map(drop) });
    let (old, message) = peer.receive().await;
    let T::Walk { newfid, .. } = message else { panic!("{message:?}") };
    walk.abort();
    let (flush, _) = peer.receive().await;
    peer.send(old, R::Walk { wqids: List::from(&[FILE]) }).await;
    peer.send(flush, R::Flush {}).await;
    let (tag, fid) = peer.next().await.unwrap();
    assert_eq!(fid, newfid);
    peer.send(tag, R::Clunk {}).await;
    drop(client);
}

#[tokio::test]
async fn a_lost_connection_fails_pending_and_later_requests() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let waiting = client.clone();
    let walk = tokio::spawn(async move { waiting.walk("a").await.map(drop) });
    peer.receive().await;
    drop(peer);
    assert!(matches!(walk.await.unwrap(), Err(Error::Lost(_))));
    assert!(matches!(client.stat("b").await, Err(Error::Lost(_))));
}

#[tokio::test]
async fn two_flush_marks_end_a_stream() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let other = client.clone();
    let watching = tokio::spawn(async move { other.watch("events").await });
    peer.answer_walk(1, FILE).await;
    peer.answer_open().await;
    let mut watch = watching.await.unwrap().unwrap();

    // The future is dropped while the read is in flight. The next call continues with that read.
    assert!(tokio::time::timeout(Duration::ZERO, watch.next()).await.is_err());
    let following =
        tokio::spawn(async move { (watch.next().await, watch.next().await, watch.next().await) });
    for (at, text) in [(0, "hel"), (3, "lo"), (5, ""), (5, "again"), (10, ""), (10, "")] {
        peer.answer_read(at, text).await;
    }
    let (first, second, end) = following.await.unwrap();
    assert_eq!(first.unwrap().as_deref(), Some(&b"hello"[..]));
    assert_eq!(second.unwrap().as_deref(), Some(&b"again"[..]));
    assert_eq!(end.unwrap(), None);
}

#[tokio::test]
async fn dropping_a_file_clunks_it_and_frees_its_number() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let other = client.clone();
    let opening = tokio::spawn(async move { other.open("a", OpenMode::READ).await });
    let fid = peer.answer_walk(1, FILE).await;
    peer.answer_open().await;
    drop(opening.await.unwrap().unwrap());
    for name in ["b", "c"] {
        let other = client.clone();
        let walk = tokio::spawn(async move { other.walk(name).await.map(std::mem::forget) });
        let made = peer.answer_walk(1, FILE).await;
        walk.await.unwrap().unwrap();
        // When the walk to `b` returns, the client has already read Rclunk.
        assert_eq!(made == fid, name == "c");
    }
    assert_eq!(peer.clunked, [fid]);
}

#[tokio::test]
async fn write_opens_without_truncation_if_the_server_refuses_it() {
    let (client, mut peer) = connected("9P2000.u", Dialect::Unix).await;
    let other = client.clone();
    let writing = tokio::spawn(async move { other.write("led", b"on").await });
    peer.answer_walk(1, FILE).await;
    let (tag, message) = peer.receive().await;
    assert!(matches!(message, T::Open { mode: 0x11, .. }), "{message:?}");
    peer.send(tag, R::Error { ename: Str(b"Invalid argument"), errno: Errno(22) }).await;
    peer.answer_walk(1, FILE).await;
    let (tag, message) = peer.receive().await;
    assert!(matches!(message, T::Open { mode: 1, .. }), "{message:?}");
    peer.send(tag, R::Open { qid: FILE, iounit: 0 }).await;
    let (tag, message) = peer.receive().await;
    assert!(matches!(message, T::Write { offset: 0, data: Data(b"on"), .. }), "{message:?}");
    peer.send(tag, R::Write { count: 2 }).await;
    let (tag, _) = peer.next().await.unwrap();
    peer.send(tag, R::Clunk {}).await;
    writing.await.unwrap().unwrap();
}

#[tokio::test]
async fn closing_a_stream_flushes_before_it_clunks() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let other = client.clone();
    let watching = tokio::spawn(async move { other.watch("events").await });
    let fid = peer.answer_walk(1, FILE).await;
    peer.answer_open().await;
    let mut watch = watching.await.unwrap().unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(1), watch.next()).await.is_err());
    let (read, ..) = peer.receive_read().await;
    let closing = tokio::spawn(watch.close());
    let (flush, message) = peer.receive().await;
    assert_eq!(message, T::Flush { oldtag: read });
    let (clunk, clunked) = peer.next().await.unwrap();
    assert_eq!(clunked, fid);
    peer.send(flush, R::Flush {}).await;
    peer.send(clunk, R::Clunk {}).await;
    closing.await.unwrap().unwrap();
}

#[tokio::test]
async fn connecting_times_out() {
    let (near, _far) = tokio::io::duplex(1 << 16);
    let error = Client::from_stream(near, Options::default().timeout(Duration::from_millis(1)))
        .await
        .map(drop);
    assert_eq!(error, Err(Error::Lost(Disconnect::TimedOut(Duration::from_millis(1)))));
}

#[tokio::test]
async fn buffered_streams_are_flushed() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let mut peer =
        Peer { stream: far, dialect: Dialect::Legacy, frame: Vec::new(), clunked: Vec::new() };
    let connecting =
        tokio::spawn(Client::from_stream(tokio::io::BufWriter::new(near), Options::default()));
    let (tag, _) = peer.receive().await;
    peer.send(tag, R::Version { msize: 8192, version: Str(b"9P2000") }).await;
    let (tag, _) = peer.receive().await;
    peer.send(tag, R::Attach { qid: DIR }).await;
    connecting.await.unwrap().unwrap();
}

type Walk = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// A waker that owns a request. The wakers of some executors own data in the same way.
struct OwningWaker {
    _request: parking_lot::Mutex<Walk>,
}

impl std::task::Wake for OwningWaker {
    fn wake(self: std::sync::Arc<OwningWaker>) {}
}

#[tokio::test]
async fn wakers_are_dropped_without_the_lock() {
    let (client, _peer) = connected("9P2000", Dialect::Legacy).await;
    let walk = |name: &'static str| -> Walk {
        let client = client.clone();
        Box::pin(async move { drop(client.walk(name).await) })
    };
    let poll = |walk: &mut Walk, waker: &Waker| {
        assert!(walk.as_mut().poll(&mut Context::from_waker(waker)).is_pending())
    };
    let (mut first, mut second) = (walk("a"), walk("b"));
    poll(&mut second, Waker::noop());
    poll(&mut first, &Waker::from(std::sync::Arc::new(OwningWaker { _request: second.into() })));
    // This poll drops the previous waker.
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let pending = first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
        tell.send(pending).unwrap();
    });
    assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(true));
}
