//! Tests for overlapping requests: flushes, clunks and version negotiation while other requests are
//! blocked.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::io::Write;

use datakit_core::vfs::{Create, FileStat, Name, OpenMode};
use datakit_core::wire::{
    Dialect, Extension, Fid, List, Numeric, Rmessage as R, Str, Tag, Tmessage as T,
};
use datakit_server::Limits;
use datakit_server::scratch::Scratch;
use datakit_server::tree::{
    BoxFuture, Dir, Directory, Entry, Leaf, Live, OpenLeaf, ReadOnlyText, Status, Tree, ready,
};
use datakit_tests::wire_client::WireClient;
use datakit_tests::{Served, TIMEOUT, serve, within};
use tokio::sync::watch;

/// A gate at which futures wait until it is opened.
#[derive(Clone)]
struct Gate {
    open: watch::Sender<bool>,
}

impl Gate {
    fn new() -> Gate {
        Gate { open: watch::Sender::new(false) }
    }

    fn open(&self) {
        self.open.send_replace(true);
    }

    fn waiting(&self) -> usize {
        self.open.receiver_count()
    }

    async fn pass(&self) {
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}

/// A stream whose `open` waits at a gate.
struct GatedFile {
    gate: Gate,
    live: Live<u32>,
}

impl Leaf for GatedFile {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(Ok(FileStat::new(0)))
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        Box::pin(async move {
            self.gate.pass().await;
            self.live.file(|n| format!("{n}\n")).open(mode).await
        })
    }
}

/// A directory whose lookups wait at a gate.
struct GatedDir {
    gate: Gate,
    dir: Dir,
}

impl Directory for GatedDir {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        self.dir.list()
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        Box::pin(async move {
            self.gate.pass().await;
            self.dir.lookup(name).await
        })
    }
}

/// A directory that creates streams whose `open` waits at a gate.
struct GatedCreateDir {
    gate: Gate,
    live: Live<u32>,
}

impl Directory for GatedCreateDir {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(Ok(Vec::new()))
    }

    fn create<'a>(&'a self, name: Name<'a>, _: Create<'a>) -> BoxFuture<'a, Entry> {
        let name = String::from_utf8_lossy(name.as_bytes());
        ready(Ok(Entry::file(
            &*name,
            GatedFile { gate: self.gate.clone(), live: self.live.clone() },
        )))
    }
}

struct World {
    live: Live<u32>,
    gate: Gate,
    served: Served,
}

/// Serves a tree with the entries `text`, `live`, `long` (a stream of long values), `state`,
/// `gated`, `behind/text` and `making`.
fn world(limits: Limits) -> World {
    let (live, gate) = (Live::new(0), Gate::new());
    let dir: Dir = [Entry::file("text", ReadOnlyText::new("abc"))].into_iter().collect();
    let value = live.clone();
    let root: Dir = [
        Entry::file("text", ReadOnlyText::new("abc")),
        Entry::file("live", live.file(|n| format!("{n}\n"))),
        Entry::file("long", live.file(|n| format!("{n}").repeat(1000))),
        Entry::file("state", Status::new(move || Ok(value.with(|n| format!("{n}").repeat(1000))))),
        Entry::file("gated", GatedFile { gate: gate.clone(), live: live.clone() }),
        Entry::dir("behind", GatedDir { gate: gate.clone(), dir }),
        Entry::dir("making", GatedCreateDir { gate: gate.clone(), live: live.clone() }),
    ]
    .into_iter()
    .collect();
    let tree = Tree::new(root);
    World { live, gate, served: serve(limits, move |_| tree.clone()) }
}

fn client(world: &World) -> WireClient {
    WireClient::attached(world.served.addr, Dialect::Unix, 8192)
}

/// Opens the `live` stream as `fid` and reads until the next read would block.
fn open_live(client: &mut WireClient, fid: u32) {
    client.open_path(fid, "live", 0);
    assert_eq!(client.read(fid, 0, 100).unwrap(), b"0\n");
    assert_eq!(client.read(fid, 2, 100).unwrap(), b"");
}

fn read(fid: u32) -> T<'static> {
    T::Read { fid: Fid(fid), offset: 2, count: 100 }
}

#[test]
fn a_fid_clunked_while_its_open_waits_stays_clunked() {
    let world = world(Limits::default());
    let mut client = client(&world);
    client.walk(0, 5, "gated").unwrap();
    client.send(Tag(10), &T::Open { fid: Fid(5), mode: 0 });
    within(TIMEOUT, "the open waits", || world.gate.waiting() == 1);
    client.clunk(5).unwrap();
    world.gate.open();
    let (tag, reply) = client.reply();
    assert_eq!((tag, reply.unwrap_err().0.as_str()), (Tag(10), "Unknown fid 5"));
    assert_eq!(world.live.reader_count(), 0, "the late open is closed");
    assert_eq!(client.clunk(5).unwrap_err().0, "Unknown fid 5");
}

#[test]
fn a_fid_number_reused_while_an_open_waits_is_a_new_fid() {
    let world = world(Limits::default());
    let mut client = client(&world);
    client.walk(0, 5, "gated").unwrap();
    client.send(Tag(10), &T::Open { fid: Fid(5), mode: 0 });
    within(TIMEOUT, "the open waits", || world.gate.waiting() == 1);
    client.clunk(5).unwrap();
    client.walk(0, 5, "text").unwrap();
    world.gate.open();
    assert_eq!(client.reply().1.unwrap_err().0, "Unknown fid 5");
    client.open(5, 0).unwrap();
    assert_eq!(client.read(5, 0, 100).unwrap(), b"abc");
    assert_eq!(world.live.reader_count(), 0);
}

#[test]
fn newfid_is_reserved_before_the_walk_waits() {
    let world = world(Limits::default());
    let mut client = client(&world);
    client.walk(0, 1, "behind").unwrap();
    let names = [Str::from("text")];
    let walk = T::Walk { fid: Fid(1), newfid: Fid(5), wnames: List::from(&names[..]) };
    client.send(Tag(10), &walk);
    within(TIMEOUT, "the walk waits", || world.gate.waiting() == 1);
    assert_eq!(client.walk(0, 5, "text").unwrap_err().0, "Fid 5 already in use");
    assert_eq!(client.clunk(5).unwrap_err().0, "Unknown fid 5");
    // Flushing a walk frees its newfid.
    client.rpc(&T::Flush { oldtag: Tag(10) }).unwrap();
    client.walk(0, 5, "text").unwrap();
}

#[test]
fn a_flushed_open_leaves_nothing_open() {
    let world = world(Limits::default());
    let mut client = client(&world);
    client.walk(0, 5, "gated").unwrap();
    client.send(Tag(10), &T::Open { fid: Fid(5), mode: 0 });
    within(TIMEOUT, "the open waits", || world.gate.waiting() == 1);
    client.rpc(&T::Flush { oldtag: Tag(10) }).unwrap();
    assert_eq!((world.gate.waiting(), world.live.reader_count()), (0, 0));
    world.gate.open();
    client.open(5, 0).unwrap();
    assert_eq!(client.read(5, 0, 10).unwrap(), b"0\n");
}

#[test]
fn no_reply_follows_its_rflush_and_no_value_is_lost() {
    let world = world(Limits::default());
    let mut client = client(&world);
    open_live(&mut client, 1);
    let (mut offset, mut answered) = (2, 0);
    for n in 1..300 {
        let text = format!("{n}\n");
        client.send(Tag(20), &T::Read { fid: Fid(1), offset, count: 100 });
        if n % 3 == 0 {
            world.live.publish(n);
        }
        client.send(Tag(21), &T::Flush { oldtag: Tag(20) });
        if n % 3 != 0 {
            world.live.publish(n);
        }
        let (mut tag, mut reply) = client.reply();
        if tag == Tag(20) {
            assert_eq!(&reply.unwrap()[11..], text.as_bytes());
            answered += 1;
            (tag, reply) = client.reply();
        } else {
            assert_eq!(client.read(1, offset, 100).unwrap(), text.as_bytes());
        }
        assert!(tag == Tag(21) && reply.is_ok());
        offset += text.len() as u64;
        assert_eq!(client.read(1, offset, 100).unwrap(), b"");
    }
    assert!(answered < 300);
}

#[test]
fn the_last_worker_refuses_a_request_that_would_wait() {
    let world = world(Limits::default().requests(4));
    let mut client = client(&world);
    (1..=5).for_each(|fid| open_live(&mut client, fid));
    for fid in 1..=3u16 {
        client.send(Tag(20 + fid), &read(fid.into()));
    }
    for _ in 0..10 {
        assert_eq!(client.rpc(&read(4)).unwrap_err().1, 11);
    }
    client.walk(0, 9, "text").unwrap();
    client.clunk(5).unwrap();
    client.rpc(&T::Flush { oldtag: Tag(22) }).unwrap();
    // After the flush, one more request can wait.
    client.send(Tag(30), &read(4));
    client.stat(9, |stat| assert_eq!(stat.length, 3));
    world.live.publish(8);
    let mut tags: Vec<Tag> =
        (0..3).map(|_| client.reply()).map(|(tag, reply)| reply.map(|_| tag).unwrap()).collect();
    tags.sort_by_key(|tag| tag.0);
    assert_eq!(tags, [Tag(21), Tag(23), Tag(30)]);
}

#[test]
fn tversion_aborts_all_requests_and_frees_all_fids() {
    let world = world(Limits::default());
    let mut client = client(&world);
    for fid in 1..=10u16 {
        open_live(&mut client, fid.into());
        client.send(Tag(20 + fid), &read(fid.into()));
    }
    assert_eq!(world.live.reader_count(), 10);
    // The server's next message must be Rversion, not a late reply to an earlier request.
    assert_eq!(client.version(4096, "9P2000.u"), (4096, "9P2000.u".to_owned()));
    assert_eq!(world.live.reader_count(), 0);
    world.live.publish(5);
    assert_eq!(client.clunk(0).unwrap_err().0, "Unknown fid 0");
    client.attach(0).unwrap();
    client.open_path(1, "live", 0);
    assert_eq!(client.read(1, 0, 100).unwrap(), b"5\n");
}

#[test]
fn tversion_while_an_open_waits_leaves_nothing_open() {
    let world = world(Limits::default());
    let mut client = client(&world);
    client.walk(0, 5, "gated").unwrap();
    client.send(Tag(10), &T::Open { fid: Fid(5), mode: 0 });
    within(TIMEOUT, "the open waits", || world.gate.waiting() == 1);
    client.version(8192, "9P2000.u");
    assert_eq!(world.gate.waiting(), 0);
    world.gate.open();
    client.attach(0).unwrap();
    client.walk(0, 5, "text").unwrap();
    assert_eq!(world.live.reader_count(), 0);
}

#[test]
fn a_request_with_a_tag_in_flight_is_refused() {
    let world = world(Limits::default());
    let mut client = client(&world);
    open_live(&mut client, 1);
    client.send(Tag(20), &read(1));
    client.send(Tag(20), &T::Stat { fid: Fid(0) });
    let (tag, reply) = client.reply();
    assert_eq!((tag, reply.unwrap_err().1), (Tag(20), 22));
    // The first request is still blocked.
    client.walk(0, 2, "text").unwrap();
    world.live.publish(3);
    let (tag, reply) = client.reply();
    assert_eq!((tag, &reply.unwrap()[11..]), (Tag(20), &b"3\n"[..]));
}

#[test]
fn reads_never_mix_two_values() {
    let world = world(Limits::default());
    world.live.publish(1);
    for path in ["state", "long"] {
        world.live.publish(1);
        let mut client = client(&world);
        client.open_path(1, path, 0);
        let (mut text, mut empty_reads) = (client.read(1, 0, 300).unwrap(), 0);
        world.live.publish(2);
        while text.len() < 1000 {
            let more = client.read(1, text.len() as u64, 300).unwrap();
            empty_reads = if more.is_empty() { empty_reads + 1 } else { 0 };
            assert!(empty_reads < 2, "{path} ends after {} bytes", text.len());
            text.extend(more);
        }
        assert!(text.iter().all(|byte| *byte == b'1'), "{path}");
    }
}

#[test]
fn every_pipelined_request_is_answered() {
    let world = world(Limits::default().requests(4));
    let mut client = client(&world);
    client.open_path(1, "text", 0);
    for tag in 0..500 {
        let request = if tag % 2 == 0 {
            T::Stat { fid: Fid(1) }
        } else {
            T::Read { fid: Fid(1), offset: 0, count: 2 }
        };
        client.send(Tag(tag), &request);
    }
    let mut tags: Vec<u16> = (0..500)
        .map(|_| client.reply())
        .map(|(tag, reply)| reply.map(|_| tag.0).unwrap())
        .collect();
    tags.sort_unstable();
    assert!(tags.into_iter().eq(0..500));
}

#[test]
fn clunking_a_fid_fails_its_waiting_read() {
    let world = world(Limits::default());
    let mut client = client(&world);
    open_live(&mut client, 1);
    client.send(Tag(20), &read(1));
    client.clunk(1).unwrap();
    let (tag, refused) = client.reply();
    assert_eq!((tag, refused.unwrap_err().0.as_str()), (Tag(20), "Unknown fid 1"));
    assert_eq!(client.clunk(1).unwrap_err().0, "Unknown fid 1");
    client.rpc(&T::Flush { oldtag: Tag(20) }).unwrap();
    assert_eq!(world.live.reader_count(), 0);
    world.live.publish(1);
    client.walk(0, 1, "text").unwrap();
}

/// Sends multiple messages with a single write.
fn send_at_once(client: &mut WireClient, requests: &[(Tag, T<'_>)]) {
    let (mut bytes, mut frame) = (Vec::new(), [0; 256]);
    for (tag, request) in requests {
        let len = request.encode(*tag, client.dialect, &mut frame).unwrap();
        bytes.extend_from_slice(&frame[..len]);
    }
    client.socket.write_all(&bytes).unwrap();
}

#[test]
fn requests_after_a_waiting_tversion_are_answered_after_it() {
    let world = world(Limits::default());
    let mut client = client(&world);
    open_live(&mut client, 1);
    client.send(Tag(20), &read(1));
    client.rpc(&T::Stat { fid: Fid(0) }).unwrap();
    let version = || T::Version { msize: 8192, version: "9P2000.u".into() };
    let attach = T::Attach {
        fid: Fid(7),
        afid: Fid::NONE,
        uname: "u".into(),
        aname: "".into(),
        n_uname: Numeric::NONE,
    };
    send_at_once(&mut client, &[(Tag::NONE, version()), (Tag::NONE, version()), (Tag(2), attach)]);
    let tags: Vec<Tag> =
        (0..3).map(|_| client.reply()).map(|(tag, reply)| reply.map(|_| tag).unwrap()).collect();
    assert_eq!(tags, [Tag::NONE, Tag::NONE, Tag(2)]);
    client.rpc(&T::Stat { fid: Fid(7) }).unwrap();
    assert_eq!(world.live.reader_count(), 0);
}

#[test]
fn a_flush_of_a_flush_is_answered_after_it() {
    let world = world(Limits::default());
    let mut client = client(&world);
    open_live(&mut client, 1);
    client.send(Tag(20), &read(1));
    client.rpc(&T::Stat { fid: Fid(0) }).unwrap();
    let flush = |oldtag| T::Flush { oldtag: Tag(oldtag) };
    send_at_once(&mut client, &[(Tag(21), flush(20)), (Tag(22), flush(21)), (Tag(23), flush(20))]);
    let mut tags: Vec<Tag> =
        (0..3).map(|_| client.reply()).map(|(tag, reply)| reply.map(|_| tag).unwrap()).collect();
    let position = |tags: &[Tag], tag| tags.iter().position(|found| *found == Tag(tag));
    assert!(position(&tags, 21) < position(&tags, 22), "{tags:?}");
    tags.sort_by_key(|tag| tag.0);
    assert_eq!(tags, [Tag(21), Tag(22), Tag(23)]);
}

#[test]
fn a_fid_walked_onto_itself_while_its_open_waits_is_a_new_fid() {
    let world = world(Limits::default());
    let mut client = client(&world);
    client.walk(0, 5, "").unwrap();
    let names = [Str::from("gated")];
    client.rpc(&T::Walk { fid: Fid(5), newfid: Fid(5), wnames: List::from(&names[..]) }).unwrap();
    client.send(Tag(10), &T::Open { fid: Fid(5), mode: 0 });
    within(TIMEOUT, "the open waits", || world.gate.waiting() == 1);
    client.walk(5, 5, "").unwrap();
    world.gate.open();
    let (tag, reply) = client.reply();
    assert_eq!((tag, reply.unwrap_err().0.as_str()), (Tag(10), "Unknown fid 5"));
    assert_eq!(world.live.reader_count(), 0, "the late open is closed");
    client.open(5, 0).unwrap();
}

#[test]
fn a_flushed_create_leaves_the_fid_a_directory() {
    let world = world(Limits::default());
    let mut client = client(&world);
    client.walk(0, 5, "making").unwrap();
    let create = T::Create {
        fid: Fid(5),
        name: "new".into(),
        perm: 0o644,
        mode: 0,
        extension: Extension(None),
    };
    client.send(Tag(10), &create);
    within(TIMEOUT, "the open of the new file waits", || world.gate.waiting() == 1);
    client.rpc(&T::Flush { oldtag: Tag(10) }).unwrap();
    client.stat(5, |stat| assert_eq!(stat.name, "making"));
    world.gate.open();
    client.rpc(&create).unwrap();
    client.stat(5, |stat| assert_eq!(stat.name, "new"));
    assert_eq!(client.read(5, 0, 10).unwrap(), b"0\n");
}

#[test]
fn a_read_answered_in_place_with_a_tag_in_flight_is_refused() {
    let world = world(Limits::default());
    let mut client = client(&world);
    client.open_path(2, "text", 0);
    open_live(&mut client, 1);
    client.send(Tag(20), &read(1));
    client.send(Tag(20), &T::Read { fid: Fid(2), offset: 0, count: 3 });
    let (tag, reply) = client.reply();
    assert_eq!((tag, reply.unwrap_err().1), (Tag(20), 22));
}

#[test]
fn a_refused_wait_is_counted_as_an_error() {
    let world = world(Limits::default().requests(2));
    let mut client = client(&world);
    open_live(&mut client, 1);
    client.send(Tag(20), &read(1));
    client.rpc(&T::Stat { fid: Fid(0) }).unwrap();
    let reads = || {
        world
            .served
            .stats
            .requests()
            .find(|(kind, ..)| *kind == 116)
            .map(|(_, all, errors)| (all, errors))
    };
    let (all, errors) = reads().unwrap();
    assert_eq!(client.rpc(&read(1)).unwrap_err().1, 11);
    assert_eq!(reads().unwrap(), (all + 1, errors + 1));
}

#[test]
fn the_longest_lock_owner_fits_in_rgetlock() {
    let tree = Scratch::new();
    let served = serve(Limits::default(), move |_| tree.clone());
    let mut client = WireClient::attached(served.addr, Dialect::Linux, 8192);
    client.walk(0, 1, "").unwrap();
    client
        .rpc(&T::Lcreate { fid: Fid(1), name: "f".into(), flags: 2, mode: 0o644, gid: 0 })
        .unwrap();
    let owner = "o".repeat(255);
    let (fid, kind, start, length) = (Fid(1), 1, 0, 0);
    let client_id = Str::from(owner.as_str());
    client.rpc(&T::Lock { fid, kind, flags: 0, start, length, proc_id: 1, client_id }).unwrap();
    let client_id = Str::from("x");
    let reply =
        client.rpc(&T::Getlock { fid, kind, start, length, proc_id: 2, client_id }).unwrap();
    let (_, R::Getlock { client_id, .. }) = R::decode(&reply, Dialect::Linux).unwrap() else {
        panic!("expected Rgetlock")
    };
    assert_eq!(client_id, owner.as_str());
}

#[test]
fn the_root_of_an_attach_can_be_neither_renamed_nor_removed() {
    let tree = Scratch::new();
    let served = serve(Limits::default(), move |_| tree.clone());
    let mut client = WireClient::attached(served.addr, Dialect::Linux, 8192);
    client.rpc(&T::Mkdir { dfid: Fid(0), name: "a".into(), mode: 0o755, gid: 0 }).unwrap();
    client.rpc(&T::Mkdir { dfid: Fid(0), name: "b".into(), mode: 0o755, gid: 0 }).unwrap();
    client.walk(0, 1, "b").unwrap();
    let (uname, n_uname) = ("u".into(), Numeric::NONE);
    client
        .rpc(&T::Attach { fid: Fid(2), afid: Fid::NONE, uname, aname: "a".into(), n_uname })
        .unwrap();
    assert_eq!(
        client.rpc(&T::Rename { fid: Fid(2), dfid: Fid(1), name: "c".into() }).unwrap_err().1,
        22
    );
    assert_eq!(client.rpc(&T::Remove { fid: Fid(2) }).unwrap_err().1, 16);
    client.walk(0, 3, "a").unwrap();
}
