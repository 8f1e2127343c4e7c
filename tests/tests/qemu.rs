//! The firmware as its clients see it: each test boots a board of its own in QEMU.

#[path = "qemu/log.rs"]
mod log;
#[path = "qemu/seats.rs"]
mod seats;

use std::future::Future;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use datakit_client::{Client, Error, Watch};
use datakit_core::wire::{self, Data, Dialect, Fid, Rmessage, Tag, Tmessage};
use datakit_tests::PATIENCE;
use datakit_tests::board::{Board, PATHS, listing};
use datakit_tests::malformed::{ANSWERED, FATAL, noise};
use datakit_tests::random::Random;
use datakit_tests::wire_client::WireClient;

async fn text(client: &Client, path: &str) -> String {
    String::from_utf8(client.read(path).await.unwrap()).unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("within the time a board may take")
}

#[tokio::test]
async fn qemu_boots_and_lists_its_tree() {
    let board = Board::boot();
    let client = board.client(Dialect::Linux).await;
    assert_eq!(listing(&client).await, PATHS);
    assert_eq!(text(&client, "board/name").await.trim_end(), "lm3s6965evb");
    assert_eq!(text(&client, "net/address").await, "10.0.2.15/24\n");
}

#[tokio::test]
async fn qemu_three_clients_at_once() {
    let board = Board::boot();
    let (a, b, c) = tokio::join!(
        board.client(Dialect::Legacy),
        board.client(Dialect::Unix),
        board.client(Dialect::Linux)
    );
    let reads = |client: Client| async move {
        for _ in 0..100 {
            assert_eq!(text(&client, "sys/connections").await, "3\n");
            assert!(text(&client, "sys/stack").await.ends_with(" bytes\n"));
        }
        client
    };
    // They stay connected until all are done.
    soon(async { tokio::join!(reads(a), reads(b), reads(c)) }).await;
}

/// Milliseconds from one step of the light to the next, by the board's clock. The first delivery
/// may be of before.
async fn step_ms(ticks: &mut Watch) -> u64 {
    let mut at = Vec::new();
    for _ in 0..6 {
        let tick = soon(ticks.next()).await.unwrap().expect("a tick");
        let tick = String::from_utf8(tick).unwrap();
        let mut words = tick.split(' ').map(|word| word.replace('.', "").parse::<u64>());
        let mut number = || words.next().unwrap().unwrap();
        at.push((number(), number()));
    }
    let ((first, from), (last, to)) = (at[2], at[5]);
    (last - first) / (to - from)
}

#[tokio::test]
async fn qemu_parameters_are_read_written_and_take_effect() {
    let board = Board::boot();
    let client = board.client(Dialect::Linux).await;
    assert_eq!(text(&client, "params/blink/period").await, "1000\n");
    let mut ticks = client.watch("ticks").await.unwrap();
    client.write("params/blink/period", b"400\n").await.unwrap();
    assert_eq!(text(&client, "params/blink/period").await, "400\n");
    let slow = step_ms(&mut ticks).await;
    client.write("params/blink/period", b"100").await.unwrap();
    let fast = step_ms(&mut ticks).await;
    // The light is on for half of the period; a busy host makes a board late, never early.
    assert!((195..400).contains(&slow), "{slow} ms");
    assert!((45..slow).contains(&fast), "{fast} ms");
}

#[tokio::test]
async fn qemu_a_refused_value_stays() {
    let board = Board::boot();
    let client = board.client(Dialect::Unix).await;
    for (path, value, allowed, kept) in [
        ("params/blink/period", "5", "from 10 to 60000", "1000\n"),
        ("params/blink/duty", "half", "from 1 to 99", "50\n"),
        ("params/wave/shape", "round", "one of square triangle saw", "triangle\n"),
        ("params/limits/low", "90", "the lower limit must be below the upper one", "-90\n"),
    ] {
        let refused = client.write(path, value.as_bytes()).await;
        let Err(Error::Server { errno: 22, text: why }) = &refused else {
            panic!("{path}: {refused:?}")
        };
        assert!(why.contains(allowed), "{path}: {why}");
        assert_eq!(text(&client, path).await, kept);
    }
}

#[tokio::test]
async fn qemu_streams_deliver() {
    let board = Board::boot();
    let client = board.client(Dialect::Linux).await;
    let mut events = client.watch("events").await.unwrap();
    let mut ticks = client.watch("ticks").await.unwrap();
    // A client that comes and goes is two events.
    drop(board.client(Dialect::Linux).await);
    let mut told = Vec::new();
    while !told.iter().any(|line: &String| line.ends_with(" disconnected\n")) {
        told.push(String::from_utf8(soon(events.next()).await.unwrap().unwrap()).unwrap());
    }
    assert!(told.iter().any(|line| line.ends_with(" connected\n")), "{told:?}");
    for _ in 0..3 {
        let tick = soon(ticks.next()).await.unwrap().unwrap();
        assert!(String::from_utf8(tick).unwrap().contains(" light "));
    }
    // And other files are answered while both wait.
    assert_eq!(text(&client, "sys/connections").await, "1\n");
}

#[test]
fn qemu_a_blocked_read_is_flushed() {
    let board = Board::boot();
    let mut client = board.wire_client(Dialect::Unix);
    client.open_path(1, "events", 0);
    // More often than there are workers: each must come back.
    for _ in 0..20 {
        client.send(Tag(7), &Tmessage::Read { fid: Fid(1), offset: 0, count: 100 });
        client.send(Tag(8), &Tmessage::Flush { oldtag: Tag(7) });
        assert!(matches!(client.reply(), (Tag(8), Ok(_))));
    }
    // The stream goes on where it was.
    client.send(Tag(7), &Tmessage::Read { fid: Fid(1), offset: 0, count: 100 });
    let _other = board.wire_client(Dialect::Unix);
    let frame = client.receive().unwrap();
    let Ok((Tag(7), Rmessage::Read { data: Data(data) })) = Rmessage::decode(&frame, Dialect::Unix)
    else {
        panic!("{frame:?}")
    };
    assert!(data.ends_with(b" connected\n"), "{}", String::from_utf8_lossy(data));
}

/// Fids from 1 on that could be made until the board refused.
fn take_all_fids(client: &mut WireClient) -> u32 {
    for fid in 1..1000 {
        if let Err((why, errno)) = client.walk(0, fid, "") {
            assert!(errno == 24 && why.contains("fids are in use"), "{errno} {why}");
            return fid - 1;
        }
    }
    panic!("a board with a thousand fids");
}

#[test]
fn qemu_fids_run_out_and_the_connection_lives() {
    let board = Board::boot();
    let mut client = board.wire_client(Dialect::Unix);
    let taken = take_all_fids(&mut client);
    assert!(taken >= 8, "{taken} fids");
    client.clunk(taken).unwrap();
    client.walk(0, taken, "help").unwrap();
    client.stat(taken, |stat| assert_eq!(stat.name, "help"));
    // Another client has its own, and so has the next one in the same seat.
    assert_eq!(take_all_fids(&mut board.wire_client(Dialect::Unix)), taken);
    drop(client);
    for _ in 0..3 {
        assert_eq!(take_all_fids(&mut board.wire_client(Dialect::Unix)), taken);
    }
}

#[test]
fn qemu_200_connects() {
    let board = Board::boot();
    for _ in 0..200 {
        let mut client = board.wire_client(Dialect::Linux);
        client.walk(0, 1, "board/name").unwrap();
    }
}

/// The part of one of the host's processors, in percent, that the board takes while nothing happens
/// but its blinking.
fn idle_percent(board: &Board) -> u128 {
    let (start, before) = (Instant::now(), board.worked());
    thread::sleep(Duration::from_secs(3));
    (board.worked() - before).as_millis() * 100 / start.elapsed().as_millis()
}

#[test]
fn qemu_an_idle_board_sleeps() {
    let board = Board::boot();
    let alone = idle_percent(&board);
    assert!(alone < 5, "{alone} percent without a client");
    // As many tasks as there can be, each of which waits for several things.
    let mut clients =
        [Dialect::Legacy, Dialect::Unix, Dialect::Linux].map(|dialect| board.wire_client(dialect));
    for client in &mut clients {
        client.open_path(1, "events", 0);
        for tag in 7..=8 {
            client.send(Tag(tag), &Tmessage::Read { fid: Fid(1), offset: 0, count: 100 });
        }
        client.walk(0, 2, "help").unwrap();
    }
    let watched = idle_percent(&board);
    assert!(watched < 5, "{watched} percent with three clients that wait");
}

/// What the file `polls` of the image `waiting` counts.
fn polls(client: &mut WireClient) -> u32 {
    client.open_path(90, "polls", 0);
    let text = client.read(90, 0, 20).unwrap();
    client.clunk(90).unwrap();
    String::from_utf8(text).unwrap().trim_end().parse().unwrap()
}

#[test]
fn qemu_sixteen_tasks_and_four_streams_that_wait_sleep() {
    let board = Board::boot_image("waiting");
    let mut clients = [Dialect::Unix, Dialect::Linux].map(|dialect| board.wire_client(dialect));
    for client in &mut clients {
        for (fid, stream) in [(1, "live"), (2, "queue")] {
            client.open_path(fid, stream, 0);
        }
        assert_eq!(client.read(1, 0, 100).unwrap(), b"0\n");
        assert_eq!(client.read(1, 2, 100).unwrap(), b"", "the mark");
        for (fid, offset) in [(1, 2), (2, 0)] {
            client.send(Tag(7 + fid), &Tmessage::Read { fid: Fid(fid.into()), offset, count: 100 });
        }
    }
    let mut witness = board.wire_client(Dialect::Unix);
    let before = polls(&mut witness);
    assert!(before <= 64, "16 tasks began to wait in {before} polls");
    let idle = idle_percent(&board);
    assert!(idle <= 1, "{idle} percent with 16 tasks and 4 streams that wait");
    assert_eq!(polls(&mut witness), before, "polls while nothing happens");
    // One change, and all 16 look once or twice.
    witness.open_path(1, "a", 1);
    witness.write(1, 0, b"5\n").unwrap();
    for client in &mut clients {
        let mut told = [client.receive().unwrap(), client.receive().unwrap()];
        told.sort_by_key(|frame| wire::tag(frame).0);
        for (frame, tag) in told.iter().zip([8, 9]) {
            let Ok((Tag(got), Rmessage::Read { data: Data(data) })) =
                Rmessage::decode(frame, client.dialect)
            else {
                panic!("{frame:?}")
            };
            assert_eq!((got, data), (tag, &b"5\n"[..]));
        }
    }
    let woken = polls(&mut witness) - before;
    assert!((16..=64).contains(&woken), "{woken} polls of 16 tasks for one change");
}

/// Whether the board still answers this client.
fn answers(client: &mut WireClient) -> bool {
    client.rpc(&Tmessage::Stat { fid: Fid(0) }).is_ok()
}

#[test]
fn qemu_malformed_frames_leave_it_serving() {
    let board = Board::boot();
    let mut witness = board.wire_client(Dialect::Unix);
    let mut client = board.wire_client(Dialect::Unix);
    for (what, frame) in ANSWERED {
        client.socket.write_all(frame).unwrap();
        assert!(matches!(client.reply(), (Tag(1), Err(_))), "{what}");
        assert!(answers(&mut client), "{what}");
    }
    drop(client);
    for (what, frame) in FATAL {
        let mut client = board.wire_client(Dialect::Unix);
        client.socket.write_all(frame).unwrap();
        assert!(client.closed(), "{what}: the board keeps the connection");
        assert!(answers(&mut witness), "{what}");
    }
    // One that leaves in the middle of a message.
    board.wire_client(Dialect::Unix).socket.write_all(&[100, 0, 0, 0, 118]).unwrap();
    noise(&mut board.wire_client(Dialect::Unix), &mut Random::new(1));
    assert!(answers(&mut witness));
    board.wire_client(Dialect::Unix);
}

#[tokio::test]
async fn qemu_three_dialects() {
    let board = Board::boot();
    for (dialect, value) in
        [(Dialect::Legacy, "300\n"), (Dialect::Unix, "400\n"), (Dialect::Linux, "500\n")]
    {
        let client = board.client(dialect).await;
        assert_eq!(client.dialect(), dialect);
        assert_eq!(listing(&client).await, PATHS);
        client.write("params/blink/period", value.as_bytes()).await.unwrap();
        assert_eq!(text(&client, "params/blink/period").await, value);
        assert!(client.stat("nothing").await.unwrap_err().is_not_found());
        let refused = client.write("help", b"help me").await;
        assert!(matches!(refused, Err(Error::Server { .. })), "{refused:?}");
        let mut ticks = client.watch("ticks").await.unwrap();
        assert!(soon(ticks.next()).await.unwrap().is_some());
    }
}
