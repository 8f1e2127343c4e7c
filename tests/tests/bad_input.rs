//! Tests for malformed messages, misbehaving clients, and clients that disconnect abruptly.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::io::Write;
use std::time::{Duration, Instant};

use datakit_core::vfs::FileStat;
use datakit_core::wire::{Dialect, Extension, Fid, Tag, Tmessage as T};
use datakit_server::Limits;
use datakit_server::scratch::Scratch;
use datakit_server::tree::{BoxFuture, Command, Dir, Entry, Kv, Live, ReadOnlyText, Tree, Value};
use datakit_tests::wire_client::WireClient;
use datakit_tests::{Served, TIMEOUT, serve, serve_tree, within};

fn served() -> (Live<u32>, Served) {
    served_with(Limits::default())
}

fn served_with(limits: Limits) -> (Live<u32>, Served) {
    let (root, live) = (Dir::new(), Live::new(0));
    root.insert(Entry::file("text", ReadOnlyText::new("0123456789".repeat(10_000))));
    root.insert(Entry::file("live", live.file(|n| format!("{n}\n"))));
    let tree = Tree::new(root);
    (live, serve(limits, move |_| tree.clone()))
}

fn assert_still_serves(served: &Served) {
    let mut other = WireClient::attached(served.addr, Dialect::Unix, 8192);
    other.walk(0, 1, "text").unwrap();
}

#[test]
fn a_size_below_the_header_closes_the_connection() {
    let (_, served) = served();
    for size in [0u32, 4, 6] {
        let mut client = WireClient::attached(served.addr, Dialect::Unix, 8192);
        client.socket.write_all(&size.to_le_bytes()).unwrap();
        client.socket.write_all(&[120, 1, 0]).unwrap();
        assert!(client.closed(), "size {size}");
    }
    assert_still_serves(&served);
}

#[test]
fn a_size_above_msize_closes_the_connection() {
    let (_, served) = served();
    for size in [8193u32, 1 << 20, u32::MAX] {
        let mut client = WireClient::attached(served.addr, Dialect::Unix, 8192);
        client.socket.write_all(&size.to_le_bytes()).unwrap();
        client.socket.write_all(&[120, 1, 0]).unwrap();
        assert!(client.closed(), "size {size}");
    }
    assert_still_serves(&served);
    within(TIMEOUT, "all three are counted", || served.stats.refused_frames() == 3);
}

#[test]
fn incomplete_commands_of_one_connection_are_limited() {
    let root = Dir::new();
    root.insert(Entry::file("command", Command::new(|_| Ok(""))));
    let served = serve_tree(Limits::default(), Tree::new(root));
    let mut client = WireClient::attached(served.addr, Dialect::Unix, 128 * 1024);
    let mut open = |fid| {
        client.walk(0, fid, "command").unwrap();
        client.open(fid, 1).unwrap();
        client.write(fid, 0, &[b'x'; 65_536])
    };
    for fid in 1..=64 {
        open(fid).unwrap();
    }
    let refused = open(65).unwrap_err();
    assert_eq!(
        refused.0,
        "the open files may have at most 4194304 bytes of text; close some of them"
    );
    let mut other = WireClient::attached(served.addr, Dialect::Unix, 128 * 1024);
    other.open_path(1, "command", 1);
    other.write(1, 0, &[b'x'; 65_536]).unwrap();
}

#[test]
fn connections_above_the_limit_are_closed_and_counted() {
    let (_, served) = served_with(Limits::default().connections(1));
    let mut first = WireClient::attached(served.addr, Dialect::Unix, 8192);
    assert!(WireClient::connect(served.addr).closed());
    assert_eq!(served.stats.refused_connections(), 1);
    first.walk(0, 1, "text").unwrap();
}

#[test]
fn a_peer_cannot_use_up_the_connections_of_others() {
    let (_, served) = served_with(Limits::default().connections(4).connections_per_peer(2));
    let first = [(); 2].map(|()| WireClient::attached(served.addr, Dialect::Unix, 8192));
    assert!(WireClient::connect(served.addr).closed());
    // A client with a different address counts as a different peer, even on the same machine.
    let mut other = WireClient::connect_from("127.0.0.2", served.addr);
    assert_eq!(other.version(8192, "9P2000.u").1, "9P2000.u");
    assert_eq!(served.stats.refused_connections(), 1);
    drop(first);
    within(TIMEOUT, "the connections ended", || served.stats.connections() == 1);
    WireClient::attached(served.addr, Dialect::Unix, 8192);
}

#[test]
fn only_connections_without_requests_are_idle() {
    // The timeout is longer than any pause that a busy machine could cause between two requests.
    let idle = Duration::from_secs(2);
    let (live, served) = served_with(Limits::default().idle_timeout(Some(idle)));
    let mut waiting = WireClient::attached(served.addr, Dialect::Unix, 8192);
    waiting.open_path(1, "live", 0);
    waiting.send(Tag(7), &T::Read { fid: Fid(1), offset: 0, count: 64 });
    waiting.receive().unwrap();
    waiting.send(Tag(7), &T::Read { fid: Fid(1), offset: 2, count: 64 });
    waiting.receive().unwrap();
    waiting.send(Tag(7), &T::Read { fid: Fid(1), offset: 2, count: 64 });
    let mut active = WireClient::attached(served.addr, Dialect::Unix, 8192);
    let started = Instant::now();
    let mut silent = WireClient::attached(served.addr, Dialect::Unix, 8192);
    let closed = std::thread::spawn(move || silent.closed());
    while started.elapsed() < idle * 3 / 2 || !closed.is_finished() {
        active.walk(0, 2, "text").unwrap();
        active.rpc(&T::Clunk { fid: Fid(2) }).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(closed.join().unwrap());
    live.publish(5);
    waiting.receive().unwrap();
}

#[test]
fn an_unknown_message_type_gets_an_error_with_its_tag() {
    let (_, served) = served();
    for dialect in [Dialect::Legacy, Dialect::Unix, Dialect::Linux] {
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        for (tag, kind) in (7..).zip([0u8, 99, 101, 107, 128, 255]) {
            client.send_raw(kind, Tag(tag), b"");
            let (reply_tag, reply) = client.reply();
            let (text, errno) = reply.unwrap_err();
            assert_eq!(reply_tag, Tag(tag));
            match dialect {
                Dialect::Legacy => assert!(text.contains(&kind.to_string()), "{text}"),
                _ => assert_eq!(errno, 95, "EOPNOTSUPP for {kind}"),
            }
        }
        client.walk(0, 1, "text").unwrap();
    }
}

#[test]
fn a_message_of_another_dialect_is_refused() {
    let (_, served) = served();
    let mut client = WireClient::attached(served.addr, Dialect::Unix, 8192);
    client.send_raw(24, Tag(3), &[0; 12]);
    assert_eq!(client.reply().1.unwrap_err().1, 95);
    let mut client = WireClient::attached(served.addr, Dialect::Linux, 8192);
    client.send_raw(112, Tag(3), &[0; 5]);
    assert_eq!(client.reply().1.unwrap_err().1, 95);
}

#[test]
fn trailing_and_missing_bytes_fail_only_that_request() {
    let (_, served) = served();
    let mut client = WireClient::attached(served.addr, Dialect::Unix, 8192);
    client.walk(0, 1, "text").unwrap();
    for body in [&[1u8, 0, 0, 0, 9][..], &[1, 0, 0], &[]] {
        client.send_raw(120, Tag(5), body);
        let (tag, reply) = client.reply();
        assert_eq!((tag, reply.unwrap_err().1), (Tag(5), 22));
    }
    client.clunk(1).unwrap();
}

#[test]
fn a_frame_may_arrive_byte_by_byte() {
    let (_, served) = served();
    let mut client = WireClient::attached(served.addr, Dialect::Unix, 8192);
    let mut frame = [0; 64];
    let len = T::Stat { fid: Fid(0) }.encode(Tag(4), Dialect::Unix, &mut frame).unwrap();
    for byte in &frame[..len] {
        client.socket.write_all(&[*byte]).unwrap();
    }
    let (tag, reply) = client.reply();
    assert!(tag == Tag(4) && reply.is_ok());
}

#[test]
fn eof_in_the_middle_of_a_frame_frees_the_connection() {
    let (live, served) = served();
    let mut client = WireClient::attached(served.addr, Dialect::Unix, 8192);
    client.open_path(1, "live", 0);
    assert_eq!(live.reader_count(), 1);
    client.socket.write_all(&[23, 0, 0, 0, 116, 1]).unwrap();
    drop(client);
    within(TIMEOUT, "connection and stream freed", || {
        served.stats.connections() == 0 && live.reader_count() == 0
    });
    assert_still_serves(&served);
}

#[test]
fn p20_a_client_that_vanishes_while_it_waits_frees_its_streams() {
    let (live, served) = served();
    let mut client = WireClient::attached(served.addr, Dialect::Linux, 8192);
    for fid in 1..=20 {
        client.open_path(fid, "live", 0);
        assert_eq!(client.read(fid, 0, 100).unwrap(), b"0\n");
        assert_eq!(client.read(fid, 2, 100).unwrap(), b"");
        client.send(Tag(100 + fid as u16), &T::Read { fid: Fid(fid), offset: 2, count: 100 });
    }
    assert_eq!(live.reader_count(), 20);
    drop(client);
    within(TIMEOUT, "connection and streams freed", || {
        served.stats.connections() == 0 && live.reader_count() == 0
    });
}

#[test]
fn a_client_that_never_reads_is_disconnected() {
    let limits = Limits::default().write_timeout(Duration::from_millis(300));
    let (live, served) = served_with(limits);
    let mut client = WireClient::attached(served.addr, Dialect::Unix, 65536);
    client.open_path(1, "live", 0);
    client.open_path(2, "text", 0);
    let mut frame = [0; 64];
    let len = T::Read { fid: Fid(2), offset: 0, count: 60_000 }
        .encode(Tag(4), Dialect::Unix, &mut frame)
        .unwrap();
    client.socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    // The replies total about 60 MB, which exceeds the capacity of the socket buffers.
    for _ in 0..1000 {
        if client.socket.write_all(&frame[..len]).is_err() {
            break;
        }
    }
    assert_still_serves(&served);
    within(Duration::from_secs(5), "the connection is closed", || served.stats.connections() == 0);
    assert_eq!(live.reader_count(), 0);
}

#[test]
fn a_client_that_does_not_attach_is_disconnected() {
    let limits = Limits::default().attach_timeout(Duration::from_millis(200));
    let (_, served) = served_with(limits);
    assert!(WireClient::connect(served.addr).closed());
}

/// A pseudo-random generator with a fixed seed.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a random byte. Small values are more likely because they are often valid fids,
    /// counts or lengths.
    fn byte(&mut self) -> u8 {
        let [byte, small, ..] = self.next().to_le_bytes();
        if small % 4 == 0 { byte } else { byte % 4 }
    }
}

#[test]
fn every_frame_of_random_bytes_is_answered() {
    let tree = Scratch::new();
    let served = serve(Limits::default(), move |_| tree.clone());
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for dialect in [Dialect::Legacy, Dialect::Unix, Dialect::Linux] {
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        for tag in 0..2000 {
            if tag % 20 == 0 {
                // Attach again because a random message may have clunked fid 0. If fid 0 is still
                // in use, the attach fails.
                let _ = client.attach(0);
            }
            let kind = match noise.next() % 128 {
                // A Tversion would change the dialect, so send a Tattach instead.
                100 => 104,
                kind => kind as u8,
            };
            let body: Vec<u8> = (0..noise.next() % 60).map(|_| noise.byte()).collect();
            client.send_raw(kind, Tag(tag), &body);
            assert_eq!(client.reply().0, Tag(tag), "type {kind}, {body:?}");
        }
    }
    let mut client = WireClient::attached(served.addr, Dialect::Unix, 8192);
    client.walk(0, 1, "").unwrap();
}

#[test]
fn orclose_files_are_removed_when_the_client_disconnects() {
    let tree = Scratch::new();
    let served = serve(Limits::default(), move |_| tree.clone());
    let mut client = WireClient::attached(served.addr, Dialect::Legacy, 8192);
    client.walk(0, 1, "").unwrap();
    let extension = Extension(None);
    let create =
        T::Create { fid: Fid(1), name: "temporary".into(), perm: 0o644, mode: 0x42, extension };
    client.rpc(&create).unwrap();
    let mut other = WireClient::attached(served.addr, Dialect::Unix, 8192);
    other.walk(0, 1, "temporary").unwrap();
    drop(client);
    within(TIMEOUT, "the connection ended", || served.stats.connections() == 1);
    assert_eq!(other.walk(0, 2, "temporary").unwrap_err().1, 2);
}

#[test]
fn orclose_files_are_removed_by_tversion() {
    let tree = Scratch::new();
    let served = serve(Limits::default(), move |_| tree.clone());
    let mut client = WireClient::attached(served.addr, Dialect::Unix, 8192);
    client.walk(0, 1, "").unwrap();
    let extension = Extension(None);
    let create =
        T::Create { fid: Fid(1), name: "temporary".into(), perm: 0o644, mode: 0x42, extension };
    client.rpc(&create).unwrap();
    client.version(8192, "9P2000.u");
    client.attach(0).unwrap();
    assert_eq!(client.walk(0, 2, "temporary").unwrap_err().1, 2);
}

/// A value whose reads never complete.
struct Never;

impl Value for Never {
    fn read(&self) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(std::future::pending())
    }

    fn stat(&self) -> BoxFuture<'_, FileStat> {
        Box::pin(async { Ok(FileStat::new(0)) })
    }
}

#[test]
fn waiting_requests_are_limited_by_their_buffered_bytes() {
    let root = Dir::new();
    root.insert(Entry::file("never", Kv::new(Never)));
    root.insert(Entry::file("text", ReadOnlyText::new("abc")));
    let tree = Tree::new(root);
    let served = serve(Limits::default().buffered(500_000), move |_| tree.clone());
    let mut client = WireClient::attached(served.addr, Dialect::Unix, 131_096);
    client.open_path(1, "never", 0);
    client.open_path(2, "text", 0);
    for tag in 10..40 {
        client.send(Tag(tag), &T::Read { fid: Fid(1), offset: 0, count: 100_000 });
    }
    client.send(Tag(99), &T::Read { fid: Fid(2), offset: 0, count: 3 });
    // The server refuses most of the reads, and the others wait. A request that can be answered
    // immediately still succeeds.
    let mut refused = 0;
    loop {
        match client.reply() {
            (Tag(99), reply) => break assert!(reply.is_ok()),
            (_, reply) => assert_eq!(reply.unwrap_err().0, "too many requests are waiting"),
        }
        refused += 1;
    }
    assert!((25..=28).contains(&refused), "{refused} of 30 were refused");
}
