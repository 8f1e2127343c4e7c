//! Tests for the log that a board writes to its serial port. The tests decode the log with the
//! firmware's symbol table.

use std::fs;
use std::path::{Path, PathBuf};

use datakit_core::wire::Dialect;
use datakit_tests::board::{Board, firmware};
use datakit_tests::{TIMEOUT, within};
use defmt_decoder::{DecodeError, Table};

/// Returns the path of a new log file.
fn log_file(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_file(&path);
    path
}

/// Decodes a log. Returns the level and text of each line.
fn read_lines(log: &Path) -> Vec<String> {
    let elf = fs::read(firmware()).unwrap();
    let table = Table::parse(&elf).unwrap().expect("the firmware has the feature `log`");
    let mut decoder = table.new_stream_decoder();
    decoder.received(&fs::read(log).unwrap());
    let mut lines = Vec::new();
    loop {
        match decoder.decode() {
            Ok(frame) => {
                let level = frame.level().map_or("", |level| level.as_str());
                lines.push(format!("{level} {}", frame.display_message()));
            }
            Err(DecodeError::UnexpectedEof) => return lines,
            Err(DecodeError::Malformed) => panic!("{} is malformed after {lines:?}", log.display()),
        }
    }
}

#[test]
fn qemu_log_can_be_decoded_and_filtered() {
    let log = log_file("log");
    let board = Board::boot_with_log(&log);
    drop(board.wire_client(Dialect::Linux));
    let three = ["info listening", "info connected", "info disconnected"];
    within(TIMEOUT, "a log of the connection", || {
        read_lines(&log).starts_with(&three.map(String::from))
    });
    // At the `warning` level, the log contains warnings but no lines about connections.
    let mut client = board.wire_client(Dialect::Linux);
    client.open_path(1, "log/level", 1);
    client.write(1, 0, b"warning").unwrap();
    let before = read_lines(&log).len();
    client.send_raw(255, datakit_core::wire::Tag(1), &[0; 5000]);
    assert!(client.closed());
    within(TIMEOUT, "a warning", || read_lines(&log).len() > before);
    assert_eq!(read_lines(&log)[before..], ["warn message size 5007"]);
}

#[test]
fn qemu_panic_is_logged_and_exits_with_101() {
    let log = log_file("panic");
    let mut board = Board::boot_with_log(&log);
    let _client = board.wire_client(Dialect::Linux);
    board.interrupt();
    assert_eq!(board.wait_for_exit().code(), Some(101));
    let lines = read_lines(&log);
    let last = lines.last().expect("the log has lines");
    assert!(
        last.starts_with("error panicked at src/main.rs") && last.ends_with("has no handler"),
        "{last}"
    );
}

#[test]
fn qemu_fault_is_logged_and_exits_with_101() {
    let log = log_file("fault");
    let mut board = Board::boot_with_log(&log);
    let _client = board.wire_client(Dialect::Linux);
    board.fault();
    assert_eq!(board.wait_for_exit().code(), Some(101));
    let lines = read_lines(&log);
    let last = lines.last().expect("the log has lines");
    assert!(
        last.starts_with("error panicked at src/fault.rs") && last.ends_with("fault at 0x50000000"),
        "{last}"
    );
}
