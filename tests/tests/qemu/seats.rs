//! Who is let in, and what is left of who went away.

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use datakit_client::Error;
use datakit_core::wire::{Dialect, Fid, Rmessage, Tag, Tmessage};
use datakit_tests::board::Board;
use datakit_tests::wire_client::WireClient;
use datakit_tests::{PATIENCE, within};

use super::{soon, text};

/// What a short file says.
fn content(client: &mut WireClient, path: &str) -> String {
    client.open_path(90, path, 0);
    let data = client.read(90, 0, 100).unwrap();
    client.clunk(90).unwrap();
    String::from_utf8(data).unwrap()
}

/// A client with open streams, in one of which a read blocks.
fn blocked(board: &Board) -> WireClient {
    let mut client = board.wire_client(Dialect::Unix);
    for fid in 1..=6 {
        client.open_path(fid, if fid % 2 == 0 { "ticks" } else { "events" }, 0);
    }
    client.send(Tag(7), &Tmessage::Read { fid: Fid(1), offset: 0, count: 100 });
    client
}

#[test]
fn qemu_a_client_that_vanishes_is_gone_within_a_second() {
    let board = Board::boot();
    let mut witness = board.wire_client(Dialect::Unix);
    // More often than the board has open files, which all clients share.
    for _ in 0..6 {
        let quiet = blocked(&board);
        // With answers that nobody reads, its system says that the connection is lost, not that it
        // ends.
        let mut deaf = blocked(&board);
        for tag in 10..13 {
            deaf.send(Tag(tag), &Tmessage::Stat { fid: Fid(0) });
        }
        within(PATIENCE, "both have seats", || content(&mut witness, "sys/connections") == "3\n");
        drop((quiet, deaf));
        within(Duration::from_secs(1), "both are gone", || {
            content(&mut witness, "sys/connections") == "1\n"
        });
    }
}

#[test]
fn qemu_a_seat_is_as_new_for_the_next_client() {
    let board = Board::boot();
    // Whoever leaves with reads that block, three at a time and all with the same tags, was in one
    // of three seats.
    for _ in 0..9 {
        let mut client = board.wire_client(Dialect::Unix);
        for fid in 1..=4 {
            client.open_path(fid, "events", 0);
        }
        for fid in [3, 2, 1, 4u16] {
            client.send(Tag(fid), &Tmessage::Read { fid: Fid(fid.into()), offset: 0, count: 100 });
        }
        // The fourth would leave nobody to hear of the end.
        let (tag, reply) = client.reply();
        let (why, _) = reply.unwrap_err();
        assert!(tag == Tag(4) && why.contains("wait"), "{tag} {why}");
    }
}

#[test]
fn qemu_a_fourth_client_waits_for_a_seat() {
    let board = Board::boot();
    let mut seated: Vec<WireClient> = (0..3).map(|_| board.wire_client(Dialect::Unix)).collect();
    let mut fourth = WireClient::connect(board.addr());
    fourth.send(Tag::NONE, &Tmessage::Version { msize: 4096, version: "9P2000".into() });
    fourth.socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(fourth.receive().is_err(), "there are three seats");
    assert_eq!(content(&mut seated[0], "sys/connections"), "3\n");
    fourth.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    drop(seated.remove(1));
    let frame = fourth.receive().unwrap();
    assert!(matches!(
        Rmessage::decode(&frame, Dialect::Legacy),
        Ok((Tag::NONE, Rmessage::Version { .. }))
    ));
    fourth.attach(0).unwrap();
    assert_eq!(content(&mut fourth, "sys/connections"), "3\n");
}

/// Files that a client could open until the board refused, and how it did.
fn take_all_opens(client: &mut WireClient) -> (u32, String) {
    for fid in 1..100 {
        client.walk(0, fid, "sys/uptime").unwrap();
        if let Err((why, errno)) = client.open(fid, 0) {
            assert_eq!(errno, 24, "{why}");
            return (fid - 1, why);
        }
    }
    panic!("a board with a hundred open files");
}

#[test]
fn qemu_one_client_cannot_take_all_open_files() {
    let board = Board::boot();
    let mut greedy = board.wire_client(Dialect::Unix);
    let (taken, why) = take_all_opens(&mut greedy);
    assert!(taken >= 8 && why.contains("this connection has"), "{taken}: {why}");
    // Both others have their share, whoever comes first.
    let mut others = [(); 2].map(|()| board.wire_client(Dialect::Unix));
    for other in &mut others {
        let (taken, why) = take_all_opens(other);
        assert!(taken >= 4 && why.contains("this connection has 4"), "{taken}: {why}");
    }
    // What is given back can be had again.
    greedy.clunk(1).unwrap();
    greedy.walk(0, 1, "sys/uptime").unwrap();
    greedy.open(1, 0).unwrap();
}

#[test]
fn qemu_a_client_without_a_seat_is_told_within_a_second() {
    let board = Board::boot();
    let mut seated: Vec<WireClient> = (0..3).map(|_| board.wire_client(Dialect::Unix)).collect();
    for _ in 0..6 {
        let start = Instant::now();
        let mut late = WireClient::connect(board.addr());
        // The connection may be closed before.
        let _ = late.socket.write_all(b"\x13\0\0\0\x64\xff\xff\0\x10\0\0\x06\09P2000");
        assert!(late.closed(), "there is no seat");
        assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
    }
    assert_eq!(content(&mut seated[2], "sys/connections"), "3\n");
    // As soon as there is a seat, somebody new has it.
    drop(seated.remove(0));
    board.wire_client(Dialect::Unix);
}

#[test]
fn qemu_a_silent_client_loses_its_seat_and_one_that_waits_does_not() {
    let board = Board::boot();
    let mut first = board.wire_client(Dialect::Unix);
    first.open_path(1, "params/net/idle", 1);
    first.write(1, 0, b"3\n").unwrap();
    let mut silent = board.wire_client(Dialect::Unix);
    let mut waiting = board.wire_client(Dialect::Unix);
    waiting.open_path(1, "events", 0);
    waiting.send(Tag(7), &Tmessage::Read { fid: Fid(1), offset: 0, count: 100 });
    let start = Instant::now();
    assert!(silent.closed(), "the board keeps a silent client");
    let kept = start.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&kept), "{kept:?}");
    // The event of that is what the other one waited for; a limit's time later it is still there,
    // as it waits again.
    let frame = waiting.receive().unwrap();
    let Ok((Tag(7), Rmessage::Read { data })) = Rmessage::decode(&frame, Dialect::Unix) else {
        panic!("{frame:?}")
    };
    let offset = data.0.len() as u64;
    // The mark of that one, and the next wait.
    assert_eq!(waiting.read(1, offset, 100).unwrap(), b"");
    waiting.send(Tag(8), &Tmessage::Read { fid: Fid(1), offset, count: 100 });
    waiting.socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let end = waiting.receive().map_err(|error| error.kind());
    assert!(matches!(end, Err(ErrorKind::WouldBlock) | Ok(_)), "{end:?}");
    // The limit of the first one is that of before.
    assert_eq!(content(&mut first, "sys/connections"), "2\n");
}

#[test]
fn qemu_a_reset_ends_every_connection_at_once() {
    let board = Board::boot();
    let mut waiting = [(); 2].map(|()| board.wire_client(Dialect::Unix));
    for client in &mut waiting {
        client.open_path(1, "sys/reset", 1);
        client.open_path(2, "params/help", 0);
        client.send(Tag(7), &Tmessage::Stat { fid: Fid(0) });
        client.reply().1.unwrap();
    }
    let mut last = board.wire_client(Dialect::Unix);
    last.open_path(1, "events", 0);
    let [one, other] = &mut waiting;
    one.write(1, 0, b"reset\n").unwrap();
    let start = Instant::now();
    for client in [one, other, &mut last] {
        assert!(client.closed(), "it is not told");
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    board.wire_client(Dialect::Unix);
}

#[test]
fn qemu_a_panic_resets_a_board_that_is_alone() {
    for end in [Board::interrupt, Board::fault] {
        let mut board = Board::boot_alone();
        let mut client = board.wire_client(Dialect::Unix);
        client.open_path(1, "params/blink/period", 1);
        client.write(1, 0, b"77\n").unwrap();
        end(&mut board);
        // It boots again, and serves with the values of a new board.
        within(PATIENCE, "the board starts anew", || {
            WireClient::try_attached(board.addr(), Dialect::Unix, 4096)
                .is_ok_and(|mut client| content(&mut client, "params/blink/period") == "1000\n")
        });
    }
}

#[tokio::test]
async fn qemu_reset_starts_the_board_anew() {
    let board = Board::boot();
    let old = board.client(Dialect::Unix).await;
    old.write("params/blink/period", b"77").await.unwrap();
    let refused = old.write("sys/reset", b"now").await;
    assert!(matches!(refused, Err(Error::Server { errno: 22, .. })), "{refused:?}");
    old.write("sys/reset", b"reset").await.unwrap();
    // Until the reply is out, the board still is the old one.
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
    assert!(soon(events.next()).await.unwrap().unwrap().ends_with(b" connected\n"));
    // The old client was told.
    let lost = soon(old.read("sys/uptime")).await;
    assert!(matches!(lost, Err(Error::Lost(_))), "{lost:?}");
    assert_eq!(text(&new, "params/wave/shape").await, "triangle\n");
}
