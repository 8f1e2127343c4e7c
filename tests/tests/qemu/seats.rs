//! Who is let in, and what is left of who went away.

use std::time::Duration;

use datakit::client::Error;
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
        // With answers that nobody reads, its system says that the connection is lost, not that it ends.
        let mut deaf = blocked(&board);
        for tag in 10..13 {
            deaf.send(Tag(tag), &Tmessage::Stat { fid: Fid(0) });
        }
        within(PATIENCE, "both have seats", || content(&mut witness, "sys/connections") == "3\n");
        drop((quiet, deaf));
        within(Duration::from_secs(1), "both are gone", || content(&mut witness, "sys/connections") == "1\n");
    }
}

#[test]
fn qemu_a_seat_is_as_new_for_the_next_client() {
    let board = Board::boot();
    // Whoever leaves with reads that block, three at a time and all with the same tags, was in one of three seats.
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
    assert!(matches!(Rmessage::decode(&frame, Dialect::Legacy), Ok((Tag::NONE, Rmessage::Version { .. }))));
    fourth.attach(0).unwrap();
    assert_eq!(content(&mut fourth, "sys/connections"), "3\n");
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
    // Nobody told the old client; the board that does not know it does.
    let lost = soon(old.read("sys/uptime")).await;
    assert!(matches!(lost, Err(Error::Lost(_))), "{lost:?}");
    assert_eq!(text(&new, "params/wave/shape").await, "triangle\n");
}
