//! Tests for fairness between connections that share a thread. The tests measure how much work the
//! server does for busy clients while another client waits for a reply. They do not measure time,
//! because timing depends on the machine.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::thread::JoinHandle;

use datakit_core::wire::{Dialect, Fid, List, Str, Tag, Tmessage as T};
use datakit_db::store::MemoryStore;
use datakit_db::{Database, file_tree};
use datakit_server::scratch::Scratch;
use datakit_server::tree::{Dir, Empty, Entry, Status, Tree};
use datakit_server::{Limits, Stats};
use datakit_tests::wire_client::WireClient;
use datakit_tests::{Served, serve};

const MSIZE: u32 = 1 << 18;

/// The number of replies measured.
const ROUNDS: usize = 101;

/// Clients that continuously send the same requests and ignore the replies. The clients stop when
/// the `Flood` is dropped.
struct Flood {
    clients: Vec<WireClient>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    /// Starts clients that each call `prepare` and then send `requests` in a loop.
    fn start(
        served: &Served,
        clients: usize,
        prepare: impl Fn(&mut WireClient),
        requests: &[T<'_>],
    ) -> Flood {
        let mut frame = [0; 256];
        let mut bytes = Vec::new();
        for (tag, request) in (0..).zip(requests) {
            let len = request.encode(Tag(tag), Dialect::Linux, &mut frame).unwrap();
            bytes.extend_from_slice(&frame[..len]);
        }
        let mut flood = Flood { clients: Vec::new(), threads: Vec::new() };
        for _ in 0..clients {
            let mut client = WireClient::attached(served.addr, Dialect::Linux, MSIZE);
            prepare(&mut client);
            let (mut input, mut output) =
                (client.socket.try_clone().unwrap(), client.socket.try_clone().unwrap());
            let bytes = bytes.clone();
            flood
                .threads
                .push(std::thread::spawn(move || while output.write_all(&bytes).is_ok() {}));
            flood.threads.push(std::thread::spawn(move || {
                let mut sink = vec![0; 1 << 20];
                while input.read(&mut sink).is_ok_and(|n| n > 0) {}
            }));
            flood.clients.push(client);
        }
        flood
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.clients
            .iter()
            .for_each(|client| client.socket.shutdown(Shutdown::Both).unwrap_or_default());
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

/// Returns the median increase in `work` while a client waits for a reply.
fn work_per_reply(served: &Served, work: impl Fn(&Stats) -> u64) -> u64 {
    let mut client = WireClient::attached(served.addr, Dialect::Linux, 8192);
    let mut measure = || {
        let before = work(&served.stats);
        client.rpc(&T::Getattr { fid: Fid(0), mask: 0x7ff }).unwrap();
        work(&served.stats) - before
    };
    // Wait until the flood has started.
    while measure() == 0 {}
    let mut grown: Vec<u64> = (0..ROUNDS).map(|_| measure()).collect();
    grown.sort_unstable();
    grown[ROUNDS / 2]
}

fn answered(stats: &Stats) -> u64 {
    stats.requests().map(|(_, answered, _)| answered).sum()
}

fn scratch() -> Served {
    let tree = Scratch::new();
    let served = serve(Limits::default(), move |_| tree.clone());
    let mut client = WireClient::attached(served.addr, Dialect::Linux, MSIZE);
    client
        .rpc(&T::Lcreate { fid: Fid(0), name: "file".into(), flags: 2, mode: 0o644, gid: 0 })
        .unwrap();
    let data = vec![1; 128 * 1024];
    client.write(0, 0, &data).unwrap();
    served
}

fn open(client: &mut WireClient) {
    client.walk(0, 1, "file").unwrap();
    client.rpc(&T::Lopen { fid: Fid(1), flags: 0 }).unwrap();
}

#[test]
fn short_reads_yield_to_other_clients() {
    let served = scratch();
    let _flood =
        Flood::start(&served, 1, open, &[T::Read { fid: Fid(1), offset: 0, count: 1 }; 4000]);
    let work = work_per_reply(&served, answered);
    assert!(work <= 4 * 512, "{work} requests were answered before one of another client");
}

#[test]
fn bulk_reads_yield_to_other_clients() {
    let served = scratch();
    let _flood = Flood::start(
        &served,
        4,
        open,
        &[T::Read { fid: Fid(1), offset: 0, count: 128 * 1024 }; 32],
    );
    let work = work_per_reply(&served, Stats::sent_bytes);
    assert!(
        work <= 4 * 4 * 128 * 1024,
        "{work} bytes were sent before the reply to another client"
    );
}

#[test]
fn walks_yield_to_other_clients() {
    let served = scratch();
    let walk = T::Walk { fid: Fid(0), newfid: Fid(1), wnames: List::Slice(&[Str(b"file")]) };
    let requests: Vec<_> =
        [walk, T::Clunk { fid: Fid(1) }].into_iter().cycle().take(4000).collect();
    let _flood = Flood::start(&served, 1, |_| {}, &requests);
    let work = work_per_reply(&served, answered);
    assert!(work <= 4 * 128, "{work} requests were answered before one of another client");
}

#[test]
fn reads_of_a_dynamic_tree_yield_to_other_clients() {
    let root: Dir = [Entry::file("file", Status::new(|| Ok("x\n")))].into_iter().collect();
    let tree = Tree::new(root);
    let served = serve(Limits::default(), move |_| tree.clone());
    let _flood =
        Flood::start(&served, 1, open, &[T::Read { fid: Fid(1), offset: 0, count: 1 }; 4000]);
    let work = work_per_reply(&served, answered);
    assert!(work <= 4 * 512, "{work} requests were answered before one of another client");
}

#[test]
fn walks_of_a_database_yield_to_other_clients() {
    let database = Database::new(Arc::new(MemoryStore::new())).unwrap();
    let served =
        serve(Limits::default(), move |_| file_tree(&database, Entry::dir("debug", Empty)));
    let names = [Str(b"branch"), Str(b"master"), Str(b"head")];
    let walk = T::Walk { fid: Fid(0), newfid: Fid(1), wnames: List::Slice(&names) };
    let requests: Vec<_> =
        [walk, T::Clunk { fid: Fid(1) }].into_iter().cycle().take(4000).collect();
    let make = |client: &mut WireClient| {
        client.walk(0, 1, "branch").unwrap();
        client.rpc(&T::Mkdir { dfid: Fid(1), name: "master".into(), mode: 0o755, gid: 0 }).unwrap();
        client.rpc(&T::Clunk { fid: Fid(1) }).unwrap();
    };
    let _flood = Flood::start(&served, 1, make, &requests);
    let work = work_per_reply(&served, answered);
    assert!(work <= 4 * 128, "{work} requests were answered before one of another client");
}
