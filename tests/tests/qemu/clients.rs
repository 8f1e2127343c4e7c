//! Tests for client slots, quotas, timeouts and restarts.

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use datakit_client::Error;
use datakit_core::wire::{Dialect, Fid, Rmessage, Tag, Tmessage};
use datakit_tests::board::Board;
use datakit_tests::wire_client::WireClient;
use datakit_tests::{TIMEOUT, within};

use super::{read_text, soon};

/// Reads a short file.
fn content(client: &mut WireClient, path: &str) -> String {
    client.open_path(90, path, 0);
    let data = client.read(90, 0, 100).unwrap();
    client.clunk(90).unwrap();
    String::from_utf8(data).unwrap()
}

/// Returns the number of connections in the board's connection table.
fn connections(client: &mut WireClient) -> usize {
    content(client, "sys/connections").lines().count()
}

/// Connects a client, opens streams, and starts a read that blocks.
fn connect_blocked(board: &Board) -> WireClient {
    let mut client = board.wire_client(Dialect::Unix);
    for fid in 1..=6 {
        client.open_path(fid, if fid % 2 == 0 { "ticks" } else { "params/changes" }, 0);
    }
    client.send(Tag(7), &Tmessage::Read { fid: Fid(1), offset: 0, count: 100 });
    client
}

#[test]
fn qemu_closed_connection_frees_its_slot_within_a_second() {
    let board = Board::boot();
    let mut witness = board.wire_client(Dialect::Unix);
    // In total, the clients open more files than the board can have open at the same time, so the
    // test would detect a leak.
    for _ in 0..6 {
        let closing = connect_blocked(&board);
        // Closing a socket that contains unread data sends RST instead of FIN.
        let mut resetting = connect_blocked(&board);
        for tag in 10..13 {
            resetting.send(Tag(tag), &Tmessage::Stat { fid: Fid(0) });
        }
        within(TIMEOUT, "both have a slot", || connections(&mut witness) == 3);
        drop((closing, resetting));
        within(Duration::from_secs(1), "both slots are free", || connections(&mut witness) == 1);
    }
}

#[test]
fn qemu_slot_keeps_no_state_of_the_last_client() {
    let board = Board::boot();
    // Nine clients, three per slot, disconnect while they have blocked reads. All clients use the
    // same tags.
    for _ in 0..9 {
        let mut client = board.wire_client(Dialect::Unix);
        for fid in 1..=4 {
            client.open_path(fid, "params/changes", 0);
        }
        for fid in [3, 2, 1, 4u16] {
            client.send(Tag(fid), &Tmessage::Read { fid: Fid(fid.into()), offset: 0, count: 100 });
        }
        // The board refuses a fourth blocked read, because one worker must remain free to detect
        // when the connection closes.
        let (tag, reply) = client.reply();
        let (reason, _) = reply.unwrap_err();
        assert!(tag == Tag(4) && reason.contains("wait"), "{tag} {reason}");
    }
}

#[test]
fn qemu_fourth_client_waits_for_a_slot() {
    let board = Board::boot();
    let mut clients: Vec<WireClient> = (0..3).map(|_| board.wire_client(Dialect::Unix)).collect();
    let mut fourth = WireClient::connect(board.addr());
    fourth.send(Tag::NONE, &Tmessage::Version { msize: 4096, version: "9P2000".into() });
    fourth.socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(fourth.receive().is_err(), "there are only three slots");
    assert_eq!(connections(&mut clients[0]), 3);
    fourth.socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    drop(clients.remove(1));
    let frame = fourth.receive().unwrap();
    assert!(matches!(
        Rmessage::decode(&frame, Dialect::Legacy),
        Ok((Tag::NONE, Rmessage::Version { .. }))
    ));
    fourth.attach(0).unwrap();
    assert_eq!(connections(&mut fourth), 3);
}

/// Opens files until the board refuses to open another one. Returns the number of open files and
/// the reason for the refusal.
fn open_until_refused(client: &mut WireClient) -> (u32, String) {
    for fid in 1..100 {
        client.walk(0, fid, "sys/uptime").unwrap();
        if let Err((reason, errno)) = client.open(fid, 0) {
            assert_eq!(errno, 24, "{reason}");
            return (fid - 1, reason);
        }
    }
    panic!("the board accepts a hundred open files");
}

#[test]
fn qemu_one_client_cannot_use_all_open_files() {
    let board = Board::boot();
    let mut greedy = board.wire_client(Dialect::Unix);
    let (count, reason) = open_until_refused(&mut greedy);
    assert!(count >= 8 && reason.contains("this connection has"), "{count}: {reason}");
    // Each of the other two clients can still open the files that the board reserves for it.
    let mut others = [(); 2].map(|()| board.wire_client(Dialect::Unix));
    for other in &mut others {
        let (count, reason) = open_until_refused(other);
        assert!(count >= 4 && reason.contains("this connection has 4"), "{count}: {reason}");
    }
    // After the client closes a file, it can open another file.
    greedy.clunk(1).unwrap();
    greedy.walk(0, 1, "sys/uptime").unwrap();
    greedy.open(1, 0).unwrap();
}

#[test]
fn qemu_client_without_a_slot_is_disconnected_within_a_second() {
    let board = Board::boot();
    let mut clients: Vec<WireClient> = (0..3).map(|_| board.wire_client(Dialect::Unix)).collect();
    for _ in 0..6 {
        let start = Instant::now();
        let mut late = WireClient::connect(board.addr());
        // The write may fail, because the board may already have closed the connection.
        let _ = late.socket.write_all(b"\x13\0\0\0\x64\xff\xff\0\x10\0\0\x06\09P2000");
        assert!(late.closed(), "there is no free slot");
        assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
    }
    assert_eq!(connections(&mut clients[2]), 3);
    // A new client gets the slot of a client that has disconnected.
    drop(clients.remove(0));
    board.wire_client(Dialect::Unix);
}

#[test]
fn qemu_idle_client_is_disconnected_and_a_waiting_one_is_not() {
    let board = Board::boot();
    let mut first = board.wire_client(Dialect::Unix);
    first.open_path(1, "params/net/idle", 1);
    first.write(1, 0, b"3\n").unwrap();
    let mut idle = board.wire_client(Dialect::Unix);
    let mut waiting = board.wire_client(Dialect::Unix);
    waiting.open_path(1, "params/changes", 0);
    waiting.send(Tag(7), &Tmessage::Read { fid: Fid(1), offset: 0, count: 100 });
    let start = Instant::now();
    assert!(idle.closed(), "the board kept an idle client");
    let lifetime = start.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&lifetime), "{lifetime:?}");
    // The waiting client receives a change. It then starts another read and must still be connected
    // after the idle timeout.
    first.open_path(2, "params/blink/period", 1);
    first.write(2, 0, b"500\n").unwrap();
    let frame = waiting.receive().unwrap();
    let Ok((Tag(7), Rmessage::Read { data })) = Rmessage::decode(&frame, Dialect::Unix) else {
        panic!("{frame:?}")
    };
    let offset = data.0.len() as u64;
    // The first read after the change returns no bytes. The next read waits.
    assert_eq!(waiting.read(1, offset, 100).unwrap(), b"");
    waiting.send(Tag(8), &Tmessage::Read { fid: Fid(1), offset, count: 100 });
    waiting.socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let end = waiting.receive().map_err(|error| error.kind());
    assert!(matches!(end, Err(ErrorKind::WouldBlock) | Ok(_)), "{end:?}");
    // The first client connected before the timeout was changed, so it keeps the old timeout.
    assert_eq!(connections(&mut first), 2);
}

#[test]
fn qemu_kick_closes_one_connection() {
    let board = Board::boot();
    let mut clients = [(); 3].map(|()| board.wire_client(Dialect::Unix));
    let [first, kicked, other] = &mut clients;
    let table = content(first, "sys/connections");
    let lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_ascii_whitespace().collect()).collect();
    assert!(lines.iter().all(|line| line.len() == 3), "{table}");
    assert!(lines.iter().all(|line| line[1].starts_with("10.0.2.2:")), "{table}");
    first.open_path(1, "sys/kick", 1);
    let (reason, errno) = first.write(1, 0, b"77\n").unwrap_err();
    assert!(errno == 2 && reason.contains("no connection with the number 77"), "{errno} {reason}");
    first.write(1, 0, lines[1][0].as_bytes()).unwrap();
    first.clunk(1).unwrap();
    assert!(kicked.closed(), "the board kept the connection");
    assert_eq!((connections(first), connections(other)), (2, 2));
}

#[test]
fn qemu_reset_closes_every_connection_at_once() {
    let board = Board::boot();
    let mut waiting = [(); 2].map(|()| board.wire_client(Dialect::Unix));
    for client in &mut waiting {
        client.open_path(1, "sys/reset", 1);
        client.open_path(2, "params/help", 0);
        client.send(Tag(7), &Tmessage::Stat { fid: Fid(0) });
        client.reply().1.unwrap();
    }
    let mut last = board.wire_client(Dialect::Unix);
    last.open_path(1, "params/changes", 0);
    let [one, other] = &mut waiting;
    one.write(1, 0, b"reset\n").unwrap();
    let start = Instant::now();
    for client in [one, other, &mut last] {
        assert!(client.closed(), "the board did not close the connection");
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    board.wire_client(Dialect::Unix);
}

#[test]
fn qemu_panic_resets_a_board_without_semihosting() {
    for fail in [Board::interrupt, Board::fault] {
        let mut board = Board::boot_without_semihosting();
        let mut client = board.wire_client(Dialect::Unix);
        client.open_path(1, "params/blink/period", 1);
        client.write(1, 0, b"77\n").unwrap();
        fail(&mut board);
        // After the restart, the parameters have their initial values again.
        within(TIMEOUT, "the board restarts", || {
            WireClient::try_attached(board.addr(), Dialect::Unix, 4096)
                .is_ok_and(|mut client| content(&mut client, "params/blink/period") == "1000\n")
        });
    }
}

#[tokio::test]
async fn qemu_reset_restarts_the_board() {
    let board = Board::boot();
    let old = board.client(Dialect::Unix).await;
    old.write("params/blink/period", b"77").await.unwrap();
    let refused = old.write("sys/reset", b"now").await;
    assert!(matches!(refused, Err(Error::Server { errno: 22, .. })), "{refused:?}");
    // The board has been running for longer than it needs to restart.
    let before_reset = loop {
        let uptime = read_text(&old, "sys/uptime").await.trim_end().parse::<f64>().unwrap();
        if uptime > 4.0 {
            break uptime;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    old.write("sys/reset", b"reset").await.unwrap();
    // The board replies before it restarts, so a new client may connect before the restart.
    let new = loop {
        let client = board.client(Dialect::Linux).await;
        match soon(client.read("params/blink/period")).await {
            Ok(period) if period == b"1000\n" => break client,
            Ok(period) => assert_eq!(period, b"77\n"),
            Err(error) => assert!(matches!(error, Error::Lost(_)), "{error}"),
        }
    };
    let mut events = new.watch("events").await.unwrap();
    drop(board.client(Dialect::Linux).await);
    while !soon(events.next()).await.unwrap().unwrap().ends_with(b" disconnected\n") {}
    // The restart closed the old client's connection.
    let lost = soon(old.read("sys/uptime")).await;
    assert!(matches!(lost, Err(Error::Lost(_))), "{lost:?}");
    let uptime = read_text(&new, "sys/uptime").await;
    assert!(uptime.trim_end().parse::<f64>().unwrap() < before_reset, "{uptime}");
    assert_eq!(read_text(&new, "params/wave/shape").await, "triangle\n");
}
