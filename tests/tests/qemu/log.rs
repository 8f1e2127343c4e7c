//! What the board says on its serial port, decoded by defmt's own decoder with the table in the
//! firmware.

use std::fs;
use std::path::{Path, PathBuf};

use datakit_core::wire::Dialect;
use datakit_tests::board::{Board, firmware};
use datakit_tests::{PATIENCE, within};
use defmt_decoder::{DecodeError, Table};

/// A log of this test's own.
fn file(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_file(&path);
    path
}

/// What is in a log so far: level and text of each line.
fn lines(log: &Path) -> Vec<String> {
    let elf = fs::read(firmware()).unwrap();
    let table = Table::parse(&elf).unwrap().expect("a firmware with the feature `log`");
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
            Err(DecodeError::Malformed) => panic!("{} is no log, after {lines:?}", log.display()),
        }
    }
}

#[test]
fn qemu_the_log_is_decoded() {
    let log = file("log");
    let board = Board::boot_with_log(&log);
    drop(board.wire_client(Dialect::Linux));
    let three = ["info listening", "info connected", "info disconnected"];
    within(PATIENCE, "a log of the connection", || {
        lines(&log).starts_with(&three.map(String::from))
    });
    // At this level it stays silent, but for what is worth a warning.
    let mut client = board.wire_client(Dialect::Linux);
    client.open_path(1, "log/level", 1);
    client.write(1, 0, b"warning").unwrap();
    let before = lines(&log).len();
    client.send_raw(255, datakit_core::wire::Tag(1), &[0; 5000]);
    assert!(client.closed());
    within(PATIENCE, "a warning", || lines(&log).len() > before);
    assert_eq!(lines(&log)[before..], ["warn message size 5007"]);
}

#[test]
fn qemu_a_panic_is_told_and_ends_qemu_with_a_failure() {
    let log = file("panic");
    let mut board = Board::boot_with_log(&log);
    let _client = board.wire_client(Dialect::Linux);
    board.interrupt();
    assert_eq!(board.end().code(), Some(101));
    let lines = lines(&log);
    let last = lines.last().expect("last words");
    assert!(
        last.starts_with("error panicked at src/main.rs") && last.ends_with("has no handler"),
        "{last}"
    );
}

#[test]
fn qemu_a_fault_ends_like_a_panic() {
    let log = file("fault");
    let mut board = Board::boot_with_log(&log);
    let _client = board.wire_client(Dialect::Linux);
    board.fault();
    assert_eq!(board.end().code(), Some(101));
    let lines = lines(&log);
    let last = lines.last().expect("last words");
    assert!(
        last.starts_with("error panicked at src/main.rs") && last.ends_with("fault at 0x50000000"),
        "{last}"
    );
}
