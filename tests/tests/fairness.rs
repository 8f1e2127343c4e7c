//! What a client that sends without pause leaves to the others on its thread, in work done between
//! two replies to them, not in time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::thread::JoinHandle;

use datakit_core::wire::{Dialect, Fid, List, Str, Tag, Tmessage as T};
use datakit_db::store::Memory;
use datakit_db::{Database, file_tree};
use datakit_server::scratch::Scratch;
use datakit_server::tree::{Dir, Empty, Entry, Status, Tree};
use datakit_server::{Limits, Stats};
use datakit_tests::wire_client::WireClient;
use datakit_tests::{Served, serve};

const MSIZE: u32 = 1 << 18;

/// Replies that the light client waits for, one after the other.
const ROUNDS: usize = 101;

/// Clients that send the same requests again and again, whatever comes back. Dropping it ends them.
struct Flood {
    clients: Vec<WireClient>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    /// `prepare` opens fid 1; `requests` are all in flight at a time, over and over.
    fn of(
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

/// The median of how much `work` grows while a light client waits for one reply.
fn between(served: &Served, work: impl Fn(&Stats) -> u64) -> u64 {
    let mut light = WireClient::attached(served.addr, Dialect::Linux, 8192);
    let mut once = || {
        let before = work(&served.stats);
        light.rpc(&T::Getattr { fid: Fid(0), mask: 0x7ff }).unwrap();
        work(&served.stats) - before
    };
    // The flood has begun.
    while once() == 0 {}
    let mut grown: Vec<u64> = (0..ROUNDS).map(|_| once()).collect();
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
fn short_reads_without_pause_leave_room_for_others() {
    let served = scratch();
    let _flood = Flood::of(&served, 1, open, &[T::Read { fid: Fid(1), offset: 0, count: 1 }; 4000]);
    let most = between(&served, answered);
    assert!(most <= 4 * 512, "{most} requests were answered before one of another client");
}

#[test]
fn bulk_reads_leave_room_for_others() {
    let served = scratch();
    let _flood =
        Flood::of(&served, 4, open, &[T::Read { fid: Fid(1), offset: 0, count: 128 * 1024 }; 32]);
    let most = between(&served, Stats::sent_bytes);
    assert!(
        most <= 4 * 4 * 128 * 1024,
        "{most} bytes were sent before the reply to another client"
    );
}

#[test]
fn requests_about_names_leave_room_for_others() {
    let served = scratch();
    let walk = T::Walk { fid: Fid(0), newfid: Fid(1), wnames: List::Slice(&[Str(b"file")]) };
    let requests: Vec<_> =
        [walk, T::Clunk { fid: Fid(1) }].into_iter().cycle().take(4000).collect();
    let _flood = Flood::of(&served, 1, |_| {}, &requests);
    let most = between(&served, answered);
    assert!(most <= 4 * 128, "{most} requests were answered before one of another client");
}

#[test]
fn a_dynamic_tree_leaves_room_for_others() {
    let root: Dir = [Entry::file("file", Status::new(|| Ok("x\n")))].into_iter().collect();
    let tree = Tree::new(root);
    let served = serve(Limits::default(), move |_| tree.clone());
    let _flood = Flood::of(&served, 1, open, &[T::Read { fid: Fid(1), offset: 0, count: 1 }; 4000]);
    let most = between(&served, answered);
    assert!(most <= 4 * 512, "{most} requests were answered before one of another client");
}

#[test]
fn a_database_leaves_room_for_others() {
    let database = Database::new(Arc::new(Memory::new())).unwrap();
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
    let _flood = Flood::of(&served, 1, make, &requests);
    let most = between(&served, answered);
    assert!(most <= 4 * 128, "{most} requests were answered before one of another client");
}
