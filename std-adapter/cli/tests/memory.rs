//! Tests that `datakit serve` returns memory to the operating system after a burst of activity.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![cfg(target_os = "linux")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{Scratch, Server, TIMEOUT};
use datakit_core::wire::{Dialect, Fid, List, Numeric, Str, Tag, Tmessage as T};

const MIB: usize = 1 << 20;

/// Returns the server's resident set size in bytes.
fn resident(server: &Server) -> usize {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", server.id())).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Checks that a burst of activity uses at least `min` bytes of memory, and that the server then
/// returns this memory to the operating system.
fn check_returned<B>(server: &Server, min: usize, burst: impl FnOnce() -> B, end: impl FnOnce(B)) {
    let before = resident(server);
    let burst = burst();
    let begun = Instant::now();
    let mut peak = resident(server);
    while peak < before + min {
        assert!(begun.elapsed() < TIMEOUT, "{} MiB, {} before", peak / MIB, before / MIB);
        std::thread::sleep(Duration::from_millis(20));
        peak = resident(server);
    }
    end(burst);
    let ended = Instant::now();
    while resident(server) > before + 32 * MIB {
        let (seconds, now) = (ended.elapsed().as_secs(), resident(server));
        assert!(
            seconds < 10,
            "after {seconds} s {} MiB, {} before, {} at the peak",
            now / MIB,
            before / MIB,
            peak / MIB
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn removing_a_large_file_returns_its_memory() {
    let server = Server::scratch();
    let (client, here) = (server.client(), Scratch::new("memory-large"));
    std::fs::write(here.path("large"), vec![1; 300 * MIB]).unwrap();
    let write = || client.run(&["cp", &here.path("large"), ":/large"]);
    check_returned(&server, 290 * MIB, write, |_| assert_eq!(client.run(&["rm", "/large"]), ""));
}

#[test]
fn removing_many_small_files_returns_their_memory() {
    let server = Server::scratch();
    let (client, here) = (server.client(), Scratch::new("memory-small"));
    std::fs::create_dir(here.path("files")).unwrap();
    for n in 0..3000 {
        std::fs::write(here.path(&format!("files/{n}")), vec![1; 30_000]).unwrap();
    }
    let write = || client.run(&["cp", "-r", &here.path("files"), ":/files"]);
    let remove = |_| {
        // Write a small file, so that the end of the heap stays in use.
        client.run(&["write", "/last", "x"]);
        client.run(&["rm", "-r", "/files"]);
    };
    check_returned(&server, 80 * MIB, write, remove);
}

/// Requests 63 MB of data but reads only the first few bytes.
fn request_much(address: &str) -> TcpStream {
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
fn disconnecting_clients_that_do_not_read_returns_their_memory() {
    let server = Server::scratch();
    let (client, here) = (server.client(), Scratch::new("memory-greedy"));
    std::fs::write(here.path("large"), vec![1; MIB]).unwrap();
    client.run(&["cp", &here.path("large"), ":/large"]);
    let connect = || (0..100).map(|_| request_much(server.address())).collect::<Vec<_>>();
    check_returned(&server, 90 * MIB, connect, drop);
}
