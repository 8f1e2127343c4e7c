//! Tests for the parameter files and the files in `sys/`.

use datakit_client::Watch;
use datakit_core::wire::Dialect;
use datakit_tests::board::{Board, FIRST_INTERRUPT};
use datakit_tests::wire_client::WireClient;
use datakit_tests::{TIMEOUT, within};

use super::{read_text, soon};

async fn next_line(watch: &mut Watch) -> String {
    String::from_utf8(soon(watch.next()).await.unwrap().unwrap()).unwrap()
}

#[tokio::test]
async fn qemu_changes_name_the_client_that_made_them() {
    let board = Board::boot();
    let client = board.client(Dialect::Linux).await;
    let mut changes = client.watch("params/changes").await.unwrap();
    let mut duty = client.watch("params/blink/duty").await.unwrap();
    assert_eq!(next_line(&mut duty).await, "50\n");
    client.write("params/blink/duty", b"60\n").await.unwrap();
    let line = next_line(&mut changes).await;
    // QEMU's user network gives clients the address 10.0.2.2.
    assert!(line.starts_with("0 10.0.2.2:") && line.ends_with(" blink/duty 60\n"), "{line}");
    assert_eq!(next_line(&mut duty).await, "60\n");
    assert_eq!(read_text(&client, "params/modified").await, "blink/duty 60\n");

    // Error replies in 9P2000.L contain only numbers, so the client reads the reason for the
    // refusal separately.
    client.write("params/blink/duty", b"200\n").await.unwrap_err();
    let refusal = "\"200\" is not a whole number from 1 to 99 %\n";
    assert_eq!(read_text(&client, "params/ctl").await, refusal);
    client.write("params/ctl", b"reset blink\n").await.unwrap();
    assert_eq!(read_text(&client, "params/ctl").await, "reset 1 value\n");
    assert_eq!(read_text(&client, "params/modified").await, "");
    assert_eq!(next_line(&mut duty).await, "50\n");

    let schema = read_text(&client, "params/schema").await;
    let params = datakit_tests::schema::check(&schema);
    assert!(params > 10, "{schema}");
    let hash = schema
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    assert_eq!(read_text(&client, "params/schema-id").await, format!("{hash:08x}\n"));
}

#[tokio::test]
async fn qemu_sys_describes_the_board() {
    let board = Board::boot();
    let client = board.client(Dialect::Unix).await;
    let memory = read_text(&client, "sys/memory").await;
    let sizes: Vec<(&str, usize)> = memory
        .lines()
        .map(|line| {
            let (name, size) = line.split_once(' ').unwrap();
            (name, size.parse().unwrap())
        })
        .collect();
    let [("statics", statics), ("stack", stack), ("free", free)] = sizes[..] else {
        panic!("{memory}")
    };
    assert_eq!(statics + stack + free, 64 * 1024, "{memory}");
    assert!(statics > 1024 && free > 0, "{memory}");
    assert_eq!(read_text(&client, "sys/last-panic").await, "none\n");
    assert!(!read_text(&client, "sys/build-id").await.trim_end().is_empty());
    let mut tail = client.watch("log/tail").await.unwrap();
    assert!(next_line(&mut tail).await.ends_with(" info listening\n"));
    assert!(next_line(&mut tail).await.ends_with(" info connected\n"));
}

/// Reads a short file.
fn content(client: &mut WireClient, path: &str) -> String {
    client.open_path(90, path, 0);
    let data = client.read(90, 0, 100).unwrap();
    client.clunk(90).unwrap();
    String::from_utf8(data).unwrap()
}

/// Waits until the board has restarted after a panic. Returns the content of `sys/last-panic`.
fn last_panic(board: &Board) -> String {
    let mut shown = String::new();
    within(TIMEOUT, "the board restarts after the panic", || {
        WireClient::try_attached(board.addr(), Dialect::Unix, 4096).is_ok_and(|mut client| {
            shown = content(&mut client, "sys/last-panic");
            content(&mut client, "sys/reset-cause") == "panic\n"
        })
    });
    shown
}

#[test]
fn qemu_last_panic_is_shown_after_the_restart() {
    let mut board = Board::boot_without_semihosting();
    let mut client = board.wire_client(Dialect::Unix);
    assert_eq!(content(&mut client, "sys/last-panic"), "none\n");
    board.fault();
    let shown = last_panic(&board);
    assert!(
        shown.starts_with("src/fault.rs:") && shown.ends_with(": fault at 0x50000000\n"),
        "{shown}"
    );
}

/// Firmware without a log shows code addresses instead of the message and the location.
#[test]
fn qemu_last_panic_shows_the_calls_that_led_to_it() {
    let calls = |cause: &str, stop: fn(&mut Board)| {
        let mut board = Board::boot_without_log();
        let handler = board.handler(FIRST_INTERRUPT);
        stop(&mut board);
        let shown = last_panic(&board);
        let calls = shown.trim_end().strip_prefix(cause).unwrap_or_else(|| panic!("{shown}"));
        let calls = calls.split(' ').map(|call| call.strip_prefix("0x").unwrap());
        let calls: Vec<_> = calls.map(|call| u32::from_str_radix(call, 16).unwrap()).collect();
        assert!(calls.len() > 1 && calls.iter().all(|call| *call < 0x40000), "{shown}");
        (handler, calls)
    };
    calls("fault at 0x50000000 ", Board::fault);
    let (handler, calls) = calls("panic at ", Board::interrupt);
    // The handler is at most 256 bytes long.
    let handler = handler..handler + 0x100;
    assert!(calls.iter().any(|call| handler.contains(call)), "{handler:x?} {calls:x?}");
}

#[tokio::test]
async fn qemu_reset_command_is_the_reset_cause() {
    let board = Board::boot();
    let client = board.client(Dialect::Unix).await;
    assert_ne!(read_text(&client, "sys/reset-cause").await, "reset command\n");
    client.write("sys/reset", b"reset").await.unwrap();
    // The board replies before it restarts, so a new client may connect before the restart.
    loop {
        let client = board.client(Dialect::Linux).await;
        match soon(client.read("sys/reset-cause")).await {
            Ok(cause) if cause == b"reset command\n" => break,
            Ok(_) | Err(datakit_client::Error::Lost(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
