//! The client against a peer that answers what a test tells it to.

use std::time::Duration;

use datakit_core::wire::{Data, Dialect, Errno, Fid, List, Qid, Rmessage as R, Stat, Str, Tag, Tmessage as T};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{Client, Error, Open, Options};

const DIR: Qid = Qid { kind: Qid::DIR, version: 0, path: 1 };
const FILE: Qid = Qid { kind: Qid::FILE, version: 0, path: 2 };

/// The other end of a connection.
struct Peer {
    stream: DuplexStream,
    dialect: Dialect,
    frame: Vec<u8>,
    clunked: Vec<Fid>,
}

impl Peer {
    /// The next request that is no Tclunk; those are answered and noted.
    async fn receive(&mut self) -> (Tag, T<'_>) {
        while let Some((tag, fid)) = self.next().await {
            self.clunked.push(fid);
            self.send(tag, R::Clunk {}).await;
        }
        T::decode(&self.frame, self.dialect).unwrap()
    }

    /// Reads a frame; its tag and fid if it is a Tclunk.
    async fn next(&mut self) -> Option<(Tag, Fid)> {
        let size = tokio::time::timeout(Duration::from_secs(10), self.stream.read_u32_le()).await.unwrap().unwrap();
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

    /// Answers a walk of all names.
    async fn walked(&mut self, names: usize, qid: Qid) -> Fid {
        let (tag, message) = self.receive().await;
        let T::Walk { newfid, wnames, .. } = message else { panic!("{message:?}") };
        assert_eq!(wnames.len(), names);
        let qids = vec![qid; names];
        self.send(tag, R::Walk { wqids: List::from(qids.as_slice()) }).await;
        newfid
    }

    async fn opened(&mut self) {
        let (tag, message) = self.receive().await;
        assert!(matches!(message, T::Open { .. }), "{message:?}");
        self.send(tag, R::Open { qid: FILE, iounit: 0 }).await;
    }

    /// Answers a read at this offset.
    async fn read(&mut self, at: u64, text: &str) {
        let (tag, message) = self.receive().await;
        assert!(matches!(message, T::Read { offset, .. } if offset == at), "{message:?}");
        self.send(tag, R::Read { data: Data(text.as_bytes()) }).await;
    }
}

/// A client and its peer, which has answered this version.
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
    let client = Client::over(near, Options::default()).await.unwrap();
    (client, answering.await.unwrap())
}

#[tokio::test]
async fn the_dialect_is_the_one_the_server_answers() {
    for (version, dialect) in [("9P2000", Dialect::Legacy), ("9P2000.u", Dialect::Unix), ("9P2000.L", Dialect::Linux)] {
        let (client, _peer) = connected(version, dialect).await;
        assert_eq!((client.dialect(), client.msize()), (dialect, 8192));
    }
}

#[tokio::test]
async fn an_error_has_its_number_and_its_text_in_every_dialect() {
    for (version, dialect) in [("9P2000", Dialect::Legacy), ("9P2000.u", Dialect::Unix), ("9P2000.L", Dialect::Linux)] {
        let (client, mut peer) = connected(version, dialect).await;
        let stat = tokio::spawn(async move { client.stat("missing").await });
        let (tag, _) = peer.receive().await;
        let reply = match dialect {
            Dialect::Linux => R::Lerror { ecode: 2 },
            _ => R::Error { ename: Str(b"No such file or directory"), errno: Errno(2) },
        };
        peer.send(tag, reply).await;
        let error = stat.await.unwrap().unwrap_err();
        assert_eq!((error.errno(), error.to_string().as_str()), (Some(2), "No such file or directory"));
    }
}

#[tokio::test]
async fn replies_find_their_requests_in_any_order() {
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
        peer.walked(names, DIR).await;
    }
    walk.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_walk_that_ends_early_says_why() {
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
async fn a_dropped_request_is_flushed_and_its_tag_is_used_again_after_rflush() {
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
        // The first is answered, so that Rflush has been read when the others are made; those wait.
        if name == "c" {
            peer.send(tags[0], R::Walk { wqids: List::from(&[FILE]) }).await;
            walk.await.unwrap().unwrap();
        }
    }
    assert!(tags.contains(&old), "{old} is free again: {tags:?}");
}

#[tokio::test]
async fn a_fid_made_before_rflush_is_clunked() {
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
async fn a_lost_connection_fails_what_waits_and_what_comes_later() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let waiting = client.clone();
    let walk = tokio::spawn(async move { waiting.walk("a").await.map(drop) });
    peer.receive().await;
    drop(peer);
    assert!(matches!(walk.await.unwrap(), Err(Error::Lost(_))));
    assert!(matches!(client.stat("b").await, Err(Error::Lost(_))));
}

#[tokio::test]
async fn a_reply_to_another_request_is_an_error_of_the_protocol() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let other = client.clone();
    let removing = tokio::spawn(async move { other.remove("a").await });
    peer.walked(1, FILE).await;
    let (tag, message) = peer.receive().await;
    assert!(matches!(message, T::Remove { .. }), "{message:?}");
    peer.send(tag, R::Write { count: 1 }).await;
    let error = removing.await.unwrap().unwrap_err();
    assert_eq!(error, Error::Protocol("a reply of type 119 to a request of type 122".into()));
    // The connection goes on.
    let walking = tokio::spawn(async move { client.walk("b").await.map(drop) });
    peer.walked(1, FILE).await;
    walking.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_delivers_at_its_marks_and_ends_with_two() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let other = client.clone();
    let watching = tokio::spawn(async move { other.watch("events").await });
    peer.walked(1, FILE).await;
    peer.opened().await;
    let mut watch = watching.await.unwrap().unwrap();

    // The future is dropped while the read is under way; the next one goes on with it.
    assert!(tokio::time::timeout(Duration::ZERO, watch.next()).await.is_err());
    let following = tokio::spawn(async move { (watch.next().await, watch.next().await, watch.next().await) });
    for (at, text) in [(0, "hel"), (3, "lo"), (5, ""), (5, "again"), (10, ""), (10, "")] {
        peer.read(at, text).await;
    }
    let (first, second, end) = following.await.unwrap();
    assert_eq!(first.unwrap().as_deref(), Some(&b"hello"[..]));
    assert_eq!(second.unwrap().as_deref(), Some(&b"again"[..]));
    assert_eq!(end.unwrap(), None);
}

#[tokio::test]
async fn a_dropped_file_is_clunked_and_its_number_used_again() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let other = client.clone();
    let opening = tokio::spawn(async move { other.open("a", Open::READ).await });
    let fid = peer.walked(1, FILE).await;
    peer.opened().await;
    drop(opening.await.unwrap().unwrap());
    for name in ["b", "c"] {
        let other = client.clone();
        let walk = tokio::spawn(async move { other.walk(name).await.map(std::mem::forget) });
        let made = peer.walked(1, FILE).await;
        walk.await.unwrap().unwrap();
        // Rclunk has been read before the reply to `b`.
        assert_eq!(made == fid, name == "c");
    }
    assert_eq!(peer.clunked, [fid]);
}

#[tokio::test]
async fn writing_falls_back_when_the_tree_does_not_truncate() {
    let (client, mut peer) = connected("9P2000.u", Dialect::Unix).await;
    let other = client.clone();
    let writing = tokio::spawn(async move { other.write("led", b"on").await });
    peer.walked(1, FILE).await;
    let (tag, message) = peer.receive().await;
    assert!(matches!(message, T::Open { mode: 0x11, .. }), "{message:?}");
    peer.send(tag, R::Error { ename: Str(b"Invalid argument"), errno: Errno(22) }).await;
    peer.walked(1, FILE).await;
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

/// What fits one message of the 8192 bytes.
const UNIT: usize = 8168;
const VERSIONED: Qid = Qid { kind: Qid::FILE, version: 1, path: 3 };

impl Peer {
    /// Answers a question for the length.
    async fn length(&mut self, length: usize) {
        let (tag, message) = self.receive().await;
        assert!(matches!(message, T::Stat { .. }), "{message:?}");
        let stat = Stat { qid: VERSIONED, length: length as u64, ..Stat::default() };
        self.send(tag, R::Stat { stat }).await;
    }

    /// The next read: its tag, offset and count.
    async fn asked(&mut self) -> (Tag, usize, usize) {
        let (tag, message) = self.receive().await;
        let T::Read { offset, count, .. } = message else { panic!("{message:?}") };
        (tag, offset as usize, count as usize)
    }

    /// The next write: its tag, offset and data.
    async fn sent(&mut self) -> (Tag, usize, Vec<u8>) {
        let (tag, message) = self.receive().await;
        let T::Write { offset, data, .. } = message else { panic!("{message:?}") };
        (tag, offset as usize, data.0.to_vec())
    }
}

#[tokio::test]
async fn a_long_file_is_read_ahead_up_to_its_length_and_in_order() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let content: Vec<u8> = (0..4 * UNIT).map(|n| (n / 5) as u8).collect();
    let reading = tokio::spawn(async move { client.read("long").await });
    peer.walked(1, FILE).await;
    peer.opened().await;
    let (tag, offset, count) = peer.asked().await;
    assert_eq!((offset, count), (0, UNIT));
    peer.send(tag, R::Read { data: Data(&content[..UNIT]) }).await;
    peer.length(content.len()).await;

    let mut asked = [peer.asked().await, peer.asked().await, peer.asked().await];
    assert_eq!(asked.map(|(_, offset, count)| (offset, count)), [1, 2, 3].map(|n| (n * UNIT, UNIT)));
    asked.reverse();
    for (tag, offset, count) in asked {
        // The one in the middle is cut short.
        let count = if offset == 2 * UNIT { 100 } else { count };
        peer.send(tag, R::Read { data: Data(&content[offset..offset + count]) }).await;
    }
    let (tag, offset, count) = peer.asked().await;
    assert_eq!((offset, count), (2 * UNIT + 100, UNIT - 100));
    peer.send(tag, R::Read { data: Data(&content[offset..offset + count]) }).await;
    let (tag, offset, _) = peer.asked().await;
    assert_eq!(offset, content.len());
    peer.send(tag, R::Read { data: Data(b"") }).await;
    assert!(reading.await.unwrap().unwrap() == content);
}

#[tokio::test]
async fn a_file_without_a_length_is_read_in_order() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let content = [7; UNIT];
    let reading = tokio::spawn(async move { client.read("stream").await });
    peer.walked(1, FILE).await;
    peer.opened().await;
    let (tag, ..) = peer.asked().await;
    peer.send(tag, R::Read { data: Data(&content) }).await;
    peer.length(0).await;
    for data in [&content[..], &b"end"[..], &b""[..]] {
        let (tag, ..) = peer.asked().await;
        // Nothing else comes before the answer.
        assert!(tokio::time::timeout(Duration::from_millis(1), peer.stream.read_u32_le()).await.is_err());
        peer.send(tag, R::Read { data: Data(data) }).await;
    }
    assert_eq!(reading.await.unwrap().unwrap().len(), 2 * UNIT + 3);
}

#[tokio::test]
async fn a_file_that_keeps_what_is_written_is_written_ahead() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let content: Vec<u8> = (0..4 * UNIT).map(|n| (n / 5) as u8).collect();
    let data = content.clone();
    let writing = tokio::spawn(async move { client.write("long", &data).await });
    peer.walked(1, FILE).await;
    peer.opened().await;
    let (tag, _, data) = peer.sent().await;
    assert_eq!(data.len(), UNIT);
    peer.send(tag, R::Write { count: UNIT as u32 }).await;
    peer.length(UNIT).await;

    let mut file = data;
    file.resize(content.len(), 0);
    let mut sent = vec![peer.sent().await, peer.sent().await, peer.sent().await];
    sent.reverse();
    for (tag, offset, data) in sent {
        let count = if offset == 2 * UNIT { 100 } else { data.len() };
        file[offset..offset + count].copy_from_slice(&data[..count]);
        peer.send(tag, R::Write { count: count as u32 }).await;
    }
    let (tag, offset, data) = peer.sent().await;
    assert_eq!((offset, data.len()), (2 * UNIT + 100, UNIT - 100));
    file[offset..offset + data.len()].copy_from_slice(&data);
    peer.send(tag, R::Write { count: data.len() as u32 }).await;
    let (tag, _) = peer.next().await.unwrap();
    peer.send(tag, R::Clunk {}).await;
    writing.await.unwrap().unwrap();
    assert!(file == content);
}

/// A file that the peer has opened.
async fn file(client: &Client, peer: &mut Peer, how: Open) -> super::File {
    let other = client.clone();
    let opening = tokio::spawn(async move { other.open("long", how).await });
    peer.walked(1, FILE).await;
    peer.opened().await;
    opening.await.unwrap().unwrap()
}

#[tokio::test]
async fn what_was_read_is_not_lost_with_a_dropped_future() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let file = file(&client, &mut peer, Open::READ).await;
    let content: Vec<u8> = (0..2 * UNIT).map(|n| (n / 5) as u8).collect();
    let mut chunks = file.chunks();
    let mut read = Vec::new();
    let reading = async {
        // Given up whenever it waits.
        while read.len() < content.len() {
            if let Ok(chunk) = tokio::time::timeout(Duration::from_millis(2), chunks.next()).await {
                read.extend_from_slice(&chunk.unwrap().unwrap());
            }
        }
    };
    let answering = async {
        let (tag, ..) = peer.asked().await;
        peer.send(tag, R::Read { data: Data(&content[..UNIT]) }).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        loop {
            let (tag, message) = peer.receive().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            match message {
                T::Read { offset, count, .. } => {
                    let from = offset as usize;
                    let data = &content[from..(from + count as usize).min(from + 5000).min(content.len())];
                    peer.send(tag, R::Read { data: Data(data) }).await;
                }
                T::Flush { .. } => peer.send(tag, R::Flush {}).await,
                _ => {
                    let stat = Stat { qid: VERSIONED, length: content.len() as u64, ..Stat::default() };
                    peer.send(tag, R::Stat { stat }).await;
                }
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = answering => {}
        () = tokio::time::sleep(Duration::from_secs(10)) => panic!("it does not end"),
    }
    assert!(read == content);
}

#[tokio::test]
async fn a_refused_read_is_tried_again_at_its_place() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let file = file(&client, &mut peer, Open::READ).await;
    let mut chunks = file.chunks();
    let answering = async {
        for (at, text) in [(0, "a"), (1, ""), (1, "b")] {
            let (tag, offset, _) = peer.asked().await;
            assert_eq!(offset, at);
            match text {
                "" => peer.send(tag, R::Error { ename: Str(b"not now"), errno: Errno(0) }).await,
                text => peer.send(tag, R::Read { data: Data(text.as_bytes()) }).await,
            }
        }
    };
    let reading = async { [chunks.next().await, chunks.next().await, chunks.next().await] };
    let (read, ()) = tokio::join!(reading, answering);
    assert!(matches!(&read, [Ok(Some(a)), Err(Error::Server { .. }), Ok(Some(b))] if a == "a" && b == "b"), "{read:?}");
}

#[tokio::test]
async fn a_refused_write_is_not_forgotten() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let file = file(&client, &mut peer, Open::WRITE).await;
    let mut writes = file.writes_at(0);
    writes.write("a".into()).await.unwrap();
    let answering = async {
        let (tag, ..) = peer.sent().await;
        peer.send(tag, R::Error { ename: Str(b"no room"), errno: Errno(0) }).await;
    };
    let (refused, ()) = tokio::join!(writes.write("b".into()), answering);
    let no_room = Err(Error::Server { errno: 0, text: "no room".into() });
    assert_eq!(refused, no_room);
    assert_eq!(writes.finish().await, no_room);
}

#[tokio::test]
async fn a_closed_stream_is_flushed_before_it_is_clunked() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let other = client.clone();
    let watching = tokio::spawn(async move { other.watch("events").await });
    let fid = peer.walked(1, FILE).await;
    peer.opened().await;
    let mut watch = watching.await.unwrap().unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(1), watch.next()).await.is_err());
    let (read, ..) = peer.asked().await;
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
async fn connecting_ends_at_the_timeout() {
    let (near, _far) = tokio::io::duplex(1 << 16);
    let error = Client::over(near, Options { timeout: Duration::from_millis(1), ..Options::default() }).await.map(drop);
    assert_eq!(error, Err(Error::Lost("no answer within 0.001 s".into())));
}

#[tokio::test]
async fn a_server_that_takes_nothing_does_not_hold_up_the_end() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let file = file(&client, &mut peer, Open::WRITE).await;
    // More than there is room for on the way.
    for _ in 0..20 {
        assert!(tokio::time::timeout(Duration::ZERO, file.write_at(0, &[1; UNIT])).await.is_err());
        tokio::task::yield_now().await;
    }
    drop(file);
    tokio::time::timeout(Duration::from_secs(10), client.close()).await.unwrap();
}

#[tokio::test]
async fn what_a_stream_buffers_is_sent_on() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let mut peer = Peer { stream: far, dialect: Dialect::Legacy, frame: Vec::new(), clunked: Vec::new() };
    let connecting = tokio::spawn(Client::over(tokio::io::BufWriter::new(near), Options::default()));
    let (tag, _) = peer.receive().await;
    peer.send(tag, R::Version { msize: 8192, version: Str(b"9P2000") }).await;
    let (tag, _) = peer.receive().await;
    peer.send(tag, R::Attach { qid: DIR }).await;
    connecting.await.unwrap().unwrap();
}
