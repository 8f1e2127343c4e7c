//! Tests in which clients access the firmware. Every test boots its own board in QEMU.

#[path = "qemu/clients.rs"]
mod clients;
#[path = "qemu/log.rs"]
mod log;
#[path = "qemu/saving.rs"]
mod saving;
#[path = "qemu/sensor.rs"]
mod sensor;
#[path = "qemu/sys.rs"]
mod sys;
#[path = "qemu/transactions.rs"]
mod transactions;

use std::future::Future;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use datakit_client::{Client, Error, Watch};
use datakit_core::wire::{self, Data, Dialect, Fid, Rmessage, Tag, Tmessage};
use datakit_tests::TIMEOUT;
use datakit_tests::board::{Board, PATHS, list_tree};
use datakit_tests::malformed::{ANSWERED, FATAL, noise};
use datakit_tests::random::Random;
use datakit_tests::wire_client::WireClient;

/// Reads an entire file as text.
async fn read_text(client: &Client, path: &str) -> String {
    String::from_utf8(client.read(path).await.unwrap()).unwrap()
}

/// Awaits a future. Panics if the future does not complete within [`TIMEOUT`].
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, future).await.expect("the board answers in time")
}

#[tokio::test]
async fn qemu_board_boots_and_lists_its_tree() {
    let board = Board::boot();
    let client = board.client(Dialect::Linux).await;
    assert_eq!(list_tree(&client).await, PATHS);
    assert_eq!(read_text(&client, "board/name").await.trim_end(), "lm3s6965evb");
    assert_eq!(read_text(&client, "net/address").await, "10.0.2.15/24\n");
}

#[tokio::test]
async fn qemu_serves_three_clients_at_once() {
    let board = Board::boot();
    let (a, b, c) = tokio::join!(
        board.client(Dialect::Legacy),
        board.client(Dialect::Unix),
        board.client(Dialect::Linux)
    );
    let reads = |client: Client| async move {
        for _ in 0..100 {
            assert_eq!(read_text(&client, "sys/connections").await.lines().count(), 3);
            assert!(read_text(&client, "sys/stack").await.ends_with(" bytes\n"));
        }
        client
    };
    // All clients stay connected until the last one has finished.
    soon(async { tokio::join!(reads(a), reads(b), reads(c)) }).await;
}

/// Returns the time in milliseconds between two changes of the board's light, as measured by the
/// board's clock. Skips the first two ticks, because they may have occurred before the call.
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
async fn qemu_parameters_can_be_changed_and_take_effect() {
    let board = Board::boot();
    let client = board.client(Dialect::Linux).await;
    assert_eq!(read_text(&client, "params/blink/period").await, "1000\n");
    let mut ticks = client.watch("ticks").await.unwrap();
    client.write("params/blink/period", b"400\n").await.unwrap();
    assert_eq!(read_text(&client, "params/blink/period").await, "400\n");
    let slow = step_ms(&mut ticks).await;
    client.write("params/blink/period", b"100").await.unwrap();
    let fast = step_ms(&mut ticks).await;
    // The light changes twice per period. On a busy host, a change may be late but is never early.
    assert!((195..400).contains(&slow), "{slow} ms");
    assert!((45..slow).contains(&fast), "{fast} ms");
}

#[tokio::test]
async fn qemu_refused_value_changes_nothing() {
    let board = Board::boot();
    let client = board.client(Dialect::Unix).await;
    for (path, value, allowed, kept) in [
        ("params/blink/period", "5", "from 10 to 60000", "1000\n"),
        ("params/blink/duty", "half", "from 1 to 99", "50\n"),
        ("params/wave/shape", "round", "one of square triangle saw", "triangle\n"),
        ("params/limits/low", "90", "limits/low must be below limits/high", "-90\n"),
    ] {
        let refused = client.write(path, value.as_bytes()).await;
        let Err(Error::Server { errno: 22, text: reason }) = &refused else {
            panic!("{path}: {refused:?}")
        };
        assert!(reason.contains(allowed), "{path}: {reason}");
        assert_eq!(read_text(&client, path).await, kept);
    }
}

#[tokio::test]
async fn qemu_streams_deliver_events_and_ticks() {
    let board = Board::boot();
    let client = board.client(Dialect::Linux).await;
    let mut events = client.watch("events").await.unwrap();
    let mut ticks = client.watch("ticks").await.unwrap();
    // Connecting and then disconnecting a client causes two events.
    drop(board.client(Dialect::Linux).await);
    let mut lines = Vec::new();
    while !lines.iter().any(|line: &String| line.ends_with(" disconnected\n")) {
        lines.push(String::from_utf8(soon(events.next()).await.unwrap().unwrap()).unwrap());
    }
    assert!(lines.iter().any(|line| line.ends_with(" connected\n")), "{lines:?}");
    for _ in 0..3 {
        let tick = soon(ticks.next()).await.unwrap().unwrap();
        assert!(String::from_utf8(tick).unwrap().contains(" light "));
    }
    // Other files can be read while reads of both streams are blocked.
    assert_eq!(read_text(&client, "sys/connections").await.lines().count(), 1);
}

#[test]
fn qemu_flush_cancels_a_blocked_read() {
    let board = Board::boot();
    let mut client = board.wire_client(Dialect::Unix);
    client.open_path(1, "params/changes", 0);
    // There are more rounds than workers, so the test would fail if flushes did not release
    // workers.
    for _ in 0..20 {
        client.send(Tag(7), &Tmessage::Read { fid: Fid(1), offset: 0, count: 100 });
        client.send(Tag(8), &Tmessage::Flush { oldtag: Tag(7) });
        assert!(matches!(client.reply(), (Tag(8), Ok(_))));
    }
    // After the flushes, a read at the same offset returns the next change.
    client.send(Tag(7), &Tmessage::Read { fid: Fid(1), offset: 0, count: 100 });
    let mut other = board.wire_client(Dialect::Unix);
    other.open_path(1, "params/blink/period", 1);
    other.write(1, 0, b"500\n").unwrap();
    let frame = client.receive().unwrap();
    let Ok((Tag(7), Rmessage::Read { data: Data(data) })) = Rmessage::decode(&frame, Dialect::Unix)
    else {
        panic!("{frame:?}")
    };
    assert!(data.ends_with(b" blink/period 500\n"), "{}", String::from_utf8_lossy(data));
}

/// Creates fids, starting with fid 1, until the board refuses to create another one. Returns the
/// number of fids created.
fn use_all_fids(client: &mut WireClient) -> u32 {
    for fid in 1..1000 {
        if let Err((reason, errno)) = client.walk(0, fid, "") {
            assert!(errno == 24 && reason.contains("fids are in use"), "{errno} {reason}");
            return fid - 1;
        }
    }
    panic!("the board accepts a thousand fids");
}

#[test]
fn qemu_connection_survives_running_out_of_fids() {
    let board = Board::boot();
    let mut client = board.wire_client(Dialect::Unix);
    let count = use_all_fids(&mut client);
    assert!(count >= 8, "{count} fids");
    client.clunk(count).unwrap();
    client.walk(0, count, "help").unwrap();
    client.stat(count, |stat| assert_eq!(stat.name, "help"));
    // Each of the other clients can create the same number of fids, even in a slot that was
    // previously in use.
    assert_eq!(use_all_fids(&mut board.wire_client(Dialect::Unix)), count);
    drop(client);
    for _ in 0..3 {
        assert_eq!(use_all_fids(&mut board.wire_client(Dialect::Unix)), count);
    }
}

#[test]
fn qemu_accepts_200_connections_in_sequence() {
    let board = Board::boot();
    for _ in 0..200 {
        let mut client = board.wire_client(Dialect::Linux);
        client.walk(0, 1, "board/name").unwrap();
    }
}

/// Returns the CPU usage of an idle board, as a percentage of one host CPU.
fn idle_load(board: &Board) -> u128 {
    let (start, before) = (Instant::now(), board.cpu_time());
    thread::sleep(Duration::from_secs(3));
    (board.cpu_time() - before).as_millis() * 100 / start.elapsed().as_millis()
}

#[test]
fn qemu_idle_board_wakes_only_to_blink() {
    const SECONDS: usize = 5;
    const ALARM: u32 = 16 + 19;
    let mut board = Board::boot();
    // The board might still be starting its tasks. The first save has to wait for two seconds, during
    // which its task wakes up once per second.
    board.exceptions_during(Duration::from_secs(3));
    let taken = board.exceptions_during(Duration::from_secs(SECONDS as u64));
    let count = |wanted| taken.iter().filter(|number| **number == wanted).count();
    // The light changes twice per second. On a busy host, a change may be late but is never early.
    let alarms = count(ALARM);
    assert!((1..=2 * SECONDS + 1).contains(&alarms), "{alarms} alarms in {SECONDS} s");
    assert_eq!(taken.len(), alarms, "nothing else interrupts the processor: {taken:?}");
}

#[test]
fn qemu_idle_board_sleeps() {
    let board = Board::boot();
    let alone = idle_load(&board);
    assert!(alone < 5, "{alone} % load without clients");
    // Occupy all client slots, and make each slot's task wait for multiple events.
    let mut clients =
        [Dialect::Legacy, Dialect::Unix, Dialect::Linux].map(|dialect| board.wire_client(dialect));
    for client in &mut clients {
        client.open_path(1, "params/changes", 0);
        for tag in 7..=8 {
            client.send(Tag(tag), &Tmessage::Read { fid: Fid(1), offset: 0, count: 100 });
        }
        client.walk(0, 2, "help").unwrap();
    }
    let waiting = idle_load(&board);
    assert!(waiting < 5, "{waiting} % load with three waiting clients");
}

/// Returns the count in the `polls` file of the `waiting` image.
fn polls(client: &mut WireClient) -> u32 {
    client.open_path(90, "polls", 0);
    let text = client.read(90, 0, 20).unwrap();
    client.clunk(90).unwrap();
    String::from_utf8(text).unwrap().trim_end().parse().unwrap()
}

#[test]
fn qemu_sleeps_while_16_tasks_and_4_streams_wait() {
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
    assert!(before <= 64, "{before} polls until 16 tasks waited");
    let idle = idle_load(&board);
    assert!(idle <= 1, "{idle} % load with 16 waiting tasks and 4 waiting streams");
    assert_eq!(polls(&mut witness), before, "the tasks are not polled without an event");
    // A single change wakes each of the 16 tasks once or twice.
    witness.open_path(1, "a", 1);
    witness.write(1, 0, b"5\n").unwrap();
    for client in &mut clients {
        let mut frames = [client.receive().unwrap(), client.receive().unwrap()];
        frames.sort_by_key(|frame| wire::tag(frame).0);
        for (frame, tag) in frames.iter().zip([8, 9]) {
            let Ok((Tag(got), Rmessage::Read { data: Data(data) })) =
                Rmessage::decode(frame, client.dialect)
            else {
                panic!("{frame:?}")
            };
            assert_eq!((got, data), (tag, &b"5\n"[..]));
        }
    }
    let woken = polls(&mut witness) - before;
    assert!((16..=64).contains(&woken), "{woken} polls of 16 tasks after one change");
}

/// Returns whether the board still answers requests from `client`.
fn answers(client: &mut WireClient) -> bool {
    client.rpc(&Tmessage::Stat { fid: Fid(0) }).is_ok()
}

#[test]
fn qemu_keeps_serving_after_malformed_frames() {
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
        assert!(client.closed(), "{what}: the board kept the connection");
        assert!(answers(&mut witness), "{what}");
    }
    // A client disconnects in the middle of a message.
    board.wire_client(Dialect::Unix).socket.write_all(&[100, 0, 0, 0, 118]).unwrap();
    noise(&mut board.wire_client(Dialect::Unix), &mut Random::new(1));
    assert!(answers(&mut witness));
    board.wire_client(Dialect::Unix);
}

#[tokio::test]
async fn qemu_speaks_three_dialects() {
    let board = Board::boot();
    for (dialect, value) in
        [(Dialect::Legacy, "300\n"), (Dialect::Unix, "400\n"), (Dialect::Linux, "500\n")]
    {
        let client = board.client(dialect).await;
        assert_eq!(client.dialect(), dialect);
        assert_eq!(list_tree(&client).await, PATHS);
        client.write("params/blink/period", value.as_bytes()).await.unwrap();
        assert_eq!(read_text(&client, "params/blink/period").await, value);
        assert!(client.stat("nothing").await.unwrap_err().is_not_found());
        let refused = client.write("help", b"help me").await;
        assert!(matches!(refused, Err(Error::Server { .. })), "{refused:?}");
        let mut ticks = client.watch("ticks").await.unwrap();
        assert!(soon(ticks.next()).await.unwrap().is_some());
    }
}
