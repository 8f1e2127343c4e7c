//! After a burst the memory of `datakit serve` is what it was before.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![cfg(target_os = "linux")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{Scratch, Server};
use datakit_core::wire::{Dialect, Fid, List, Numeric, Str, Tag, Tmessage as T};

const MIB: usize = 1 << 20;

/// Bytes that a process has in memory.
fn resident(server: &Server) -> usize {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", server.id())).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Has a burst take at least `much`, and its end give that back.
fn comes_back<B>(server: &Server, much: usize, burst: impl FnOnce() -> B, end: impl FnOnce(B)) {
    let before = resident(server);
    let burst = burst();
    let most = resident(server);
    assert!(most >= before + much, "{} MiB, {} before", most / MIB, before / MIB);
    end(burst);
    let ended = Instant::now();
    while resident(server) > before + 32 * MIB {
        let (seconds, now) = (ended.elapsed().as_secs(), resident(server));
        assert!(
            seconds < 10,
            "after {seconds} s {} MiB, {} before, {} at most",
            now / MIB,
            before / MIB,
            most / MIB
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_removed_large_file_gives_its_memory_back() {
    let server = Server::scratch();
    let (client, here) = (server.client(), Scratch::new("memory-large"));
    std::fs::write(here.path("large"), vec![1; 300 * MIB]).unwrap();
    let write = || client.run(&["cp", &here.path("large"), ":/large"]);
    comes_back(&server, 290 * MIB, write, |_| assert_eq!(client.run(&["rm", "/large"]), ""));
}

#[test]
fn many_removed_small_files_give_their_memory_back() {
    let server = Server::scratch();
    let (client, here) = (server.client(), Scratch::new("memory-small"));
    std::fs::create_dir(here.path("files")).unwrap();
    for n in 0..3000 {
        std::fs::write(here.path(&format!("files/{n}")), vec![1; 30_000]).unwrap();
    }
    let write = || client.run(&["cp", "-r", &here.path("files"), ":/files"]);
    let remove = |_| {
        // What comes last is at the end of the heap.
        client.run(&["write", "/last", "x"]);
        client.run(&["rm", "-r", "/files"]);
    };
    comes_back(&server, 80 * MIB, write, remove);
}

/// Asks for much, and reads none of it but the beginning.
fn greedy(address: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address.strip_prefix("tcp://").unwrap()).unwrap();
    let mut requests = Vec::new();
    let mut send = |tag, request: &T<'_>| {
        let mut frame = [0; 256];
        let len = request.encode(tag, Dialect::Linux, &mut frame).unwrap();
        requests.extend_from_slice(&frame[..len]);
    };
    let (root, file) = (Fid(0), Fid(1));
    send(Tag::NONE, &T::Version { msize: 1 << 20, version: Dialect::Linux.version().into() });
    let (uname, aname) = ("u".into(), "".into());
    send(Tag(0), &T::Attach { fid: root, afid: Fid::NONE, uname, aname, n_uname: Numeric(0) });
    send(Tag(0), &T::Walk { fid: root, newfid: file, wnames: List::Slice(&[Str(b"large")]) });
    send(Tag(0), &T::Lopen { fid: file, flags: 0 });
    for tag in 1..64 {
        send(Tag(tag), &T::Read { fid: file, offset: 0, count: 1_000_000 });
    }
    socket.write_all(&requests).unwrap();
    socket.read_exact(&mut [0; 21]).unwrap();
    socket
}

#[test]
fn clients_that_read_nothing_give_their_memory_back_when_they_go() {
    let server = Server::scratch();
    let (client, here) = (server.client(), Scratch::new("memory-greedy"));
    std::fs::write(here.path("large"), vec![1; MIB]).unwrap();
    client.run(&["cp", &here.path("large"), ":/large"]);
    let connect = || {
        let sockets: Vec<_> = (0..100).map(|_| greedy(server.address())).collect();
        std::thread::sleep(Duration::from_millis(500));
        sockets
    };
    comes_back(&server, 90 * MIB, connect, drop);
}
