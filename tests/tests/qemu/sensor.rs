//! Tests for the I2C sensor's files. Each read or write of such a file takes 20 ms.

use std::io::Write;

use datakit_client::Error;
use datakit_core::wire::{Data, Dialect, Fid, Rmessage, Tag, Tmessage};
use datakit_tests::board::Board;
use datakit_tests::wire_client::{Refusal, WireClient};

use super::{read_text, soon};

const READ: u8 = 0;
const READ_WRITE: u8 = 2;

/// Sends multiple requests in a single segment so that the board receives them at the same time.
fn send_together(client: &mut WireClient, requests: &[(u16, Tmessage<'_>)]) {
    let mut frames = Vec::new();
    for (tag, request) in requests {
        let mut frame = [0; 256];
        let len = request.encode(Tag(*tag), client.dialect, &mut frame).unwrap();
        frames.extend(&frame[..len]);
    }
    client.socket.write_all(&frames).unwrap();
}

fn read(fid: u32) -> Tmessage<'static> {
    Tmessage::Read { fid: Fid(fid), offset: 0, count: 100 }
}

fn write(fid: u32, text: &str) -> Tmessage<'_> {
    Tmessage::Write { fid: Fid(fid), offset: 0, data: Data(text.as_bytes()) }
}

/// Receives a reply. Returns the tag and data of an Rread, or the tag and no data for any other
/// reply.
fn reply(client: &mut WireClient) -> (u16, Result<String, Refusal>) {
    let (tag, reply) = client.reply();
    let text = reply.map(|frame| match Rmessage::decode(&frame, client.dialect).unwrap().1 {
        Rmessage::Read { data } => String::from_utf8(data.0.to_vec()).unwrap(),
        _ => String::new(),
    });
    (tag.0, text)
}

#[tokio::test]
async fn qemu_sensor_is_read_and_written_in_all_dialects() {
    let board = Board::boot();
    for (dialect, high) in
        [(Dialect::Legacy, "90000"), (Dialect::Unix, "-5500"), (Dialect::Linux, "75500")]
    {
        let client = board.client(dialect).await;
        assert_eq!(soon(read_text(&client, "i2c/0x48/temperature")).await, "21500\n");
        soon(client.write("i2c/0x48/high", high.as_bytes())).await.unwrap();
        assert_eq!(soon(read_text(&client, "i2c/0x48/high")).await, format!("{high}\n"));
        let refused = soon(client.write("i2c/0x48/high", b"75600")).await;
        let Err(Error::Server { errno, text }) = refused else { panic!("{refused:?}") };
        if dialect != Dialect::Linux {
            assert_eq!(text, "\"75600\" is not a multiple of 500 from -55000 to 125000 mdegC");
        }
        assert!(errno == 22 || dialect == Dialect::Legacy, "{errno}");
        assert_eq!(soon(read_text(&client, "i2c/0x48/high")).await, format!("{high}\n"));
    }
}

#[test]
fn qemu_transfer_delays_no_other_request() {
    let board = Board::boot();
    let mut client = board.wire_client(Dialect::Unix);
    client.open_path(1, "i2c/0x48/temperature", READ);
    send_together(&mut client, &[(5, read(1)), (6, Tmessage::Stat { fid: Fid(0) })]);
    assert_eq!(reply(&mut client), (6, Ok(String::new())));
    assert_eq!(reply(&mut client), (5, Ok("21500\n".into())));
}

#[test]
fn qemu_clients_share_the_requests_to_the_sensor() {
    let board = Board::boot();
    let mut clients = [(); 3].map(|()| board.wire_client(Dialect::Unix));
    for client in &mut clients {
        client.open_path(1, "i2c/0x48/temperature", READ);
    }
    let text =
        "this connection uses 2 of 4 requests to the task; the rest is reserved for other clients";
    for _ in 0..3 {
        let [first, others @ ..] = &mut clients;
        send_together(first, &[(5, read(1)), (6, read(1)), (7, read(1))]);
        assert_eq!(reply(first), (7, Err((text.into(), 11))));
        // The other clients do not have to wait for the first client's requests to complete.
        for other in &mut *others {
            send_together(other, &[(5, read(1))]);
        }
        for tag in [5, 6] {
            assert_eq!(reply(first), (tag, Ok("21500\n".into())));
        }
        for other in others {
            assert_eq!(reply(other), (5, Ok("21500\n".into())));
        }
    }
}

#[test]
fn qemu_flush_stops_a_transfer() {
    let board = Board::boot();
    let mut client = board.wire_client(Dialect::Unix);
    client.open_path(1, "i2c/0x48/high", READ_WRITE);
    for _ in 0..10 {
        // The task starts the first write immediately. The second write waits.
        send_together(
            &mut client,
            &[
                (5, write(1, "1000\n")),
                (6, write(1, "2000\n")),
                (7, Tmessage::Flush { oldtag: Tag(6) }),
                (8, Tmessage::Flush { oldtag: Tag(5) }),
                (9, read(1)),
            ],
        );
        for expected in [(7, ""), (8, ""), (9, "80000\n")] {
            assert_eq!(reply(&mut client), (expected.0, Ok(expected.1.into())));
        }
    }
}

#[test]
fn qemu_lost_connection_frees_its_requests() {
    let board = Board::boot();
    for _ in 0..10 {
        let mut client = board.wire_client(Dialect::Unix);
        client.open_path(1, "i2c/0x48/high", READ_WRITE);
        send_together(&mut client, &[(5, write(1, "1000\n")), (6, write(1, "2000\n"))]);
    }
    let mut client = board.wire_client(Dialect::Unix);
    client.open_path(1, "i2c/0x48/temperature", READ);
    for _ in 0..3 {
        send_together(&mut client, &[(5, read(1)), (6, read(1))]);
        for tag in [5, 6] {
            assert_eq!(reply(&mut client), (tag, Ok("21500\n".into())));
        }
    }
}
