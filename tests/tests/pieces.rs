//! Tests for parameters and commands that arrive in multiple writes, and for zero-byte writes. The
//! tests access a board's tree and the database over a socket in every dialect.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicU32, Ordering};

use datakit_core::files::{Command, Param, Value};
use datakit_core::vfs::{Dir, Error, StaticTree, file};
use datakit_core::wire::{DMDIR, Dialect};
use datakit_server::Limits;
use datakit_tests::db::TestDb;
use datakit_tests::serve;
use datakit_tests::wire_client::{Refusal, WireClient};

const ALL: [Dialect; 3] = [Dialect::Legacy, Dialect::Unix, Dialect::Linux];

/// The OWRITE mode byte.
const WRITE: u8 = 1;

static PERIOD: Value<u32> = Value::new(1000);
static COMMANDS: AtomicU32 = AtomicU32::new(0);
static RESET: Command<16> = Command::new(|command, _| {
    COMMANDS.fetch_add(1, Ordering::Relaxed);
    if command == "reset" { Ok(()) } else { Err(Error::Invalid.with_message("write `reset`")) }
});
static ROOT: Dir =
    Dir::new(&[file("period", &Param::new(&PERIOD).range(100, 60_000)), file("reset", &RESET)]);

/// Opens a file, writes each piece, clunks the fid, and returns the first error.
fn written(client: &mut WireClient, path: &str, pieces: &[&str]) -> Result<(), Refusal> {
    client.open_path(9, path, WRITE);
    let mut offset = 0;
    let mut done = Ok(());
    for piece in pieces {
        done = done.and(client.write(9, offset, piece.as_bytes()).map(drop));
        offset += piece.len() as u64;
    }
    let clunked = client.clunk(9);
    done.and(clunked)
}

#[test]
fn a_parameter_in_several_writes_is_set_once() {
    let served = serve(Limits::default(), |_| StaticTree::<8, 96>::new(&ROOT));
    for dialect in ALL {
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        let before = PERIOD.version();
        // Simulate the writes of libixp's `ixpc write`, of stdio with a small buffer, and of
        // unbuffered stdio.
        for (pieces, value) in
            [(&["120\n", ""][..], 120), (&["12", "34"], 1234), (&["2", "5", "0", "\n"], 250)]
        {
            written(&mut client, "period", pieces).unwrap();
            assert_eq!(PERIOD.get(), value, "{dialect:?} {pieces:?}");
        }
        assert_eq!(PERIOD.version() - before, 3, "each value is set once");
        assert!(
            written(&mut client, "period", &["9", "9"]).is_err(),
            "the clunk reports the refusal"
        );
        assert!(written(&mut client, "period", &["later"]).is_err());
        assert_eq!(PERIOD.get(), 250);
        // The failed clunk has freed the fid, so it can be used again.
        written(&mut client, "period", &["1000"]).unwrap();
    }
}

#[test]
fn a_lost_connection_sets_no_partial_value() {
    static V: Value<u32> = Value::new(7);
    static TOP: Dir = Dir::new(&[file("v", &Param::new(&V))]);
    let served = serve(Limits::default(), |_| StaticTree::<8, 96>::new(&TOP));
    let mut client = WireClient::attached(served.addr, Dialect::Unix, 8192);
    client.open_path(1, "v", WRITE);
    client.write(1, 0, b"12").unwrap();
    drop(client);
    datakit_tests::within(datakit_tests::TIMEOUT, "the connection is gone", || {
        served.stats.connections() == 0
    });
    assert_eq!(V.get(), 7);
}

#[test]
fn a_command_in_several_writes_runs_once() {
    let served = serve(Limits::default(), |_| StaticTree::<8, 96>::new(&ROOT));
    for dialect in ALL {
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        let before = COMMANDS.load(Ordering::Relaxed);
        written(&mut client, "reset", &["re", "", "set", ""]).unwrap();
        assert_eq!(COMMANDS.load(Ordering::Relaxed) - before, 1, "{dialect:?}");
        assert!(written(&mut client, "reset", &["re", "start\n"]).is_err());
    }
}

#[test]
fn database_commands_may_arrive_in_several_writes() {
    for (place, dialect) in [(TestDb::memory(), Dialect::Unix), (TestDb::git(), Dialect::Linux)] {
        let connection = place.connect();
        let heads = ["0", "1", "2"].map(|text| connection.master().commit(&[("a", text)]));
        connection.mkdir("branch/dev").unwrap();
        connection.put("branch/dev/fast-forward", &heads[0]).unwrap();
        let mut client = place.raw(dialect);
        let [_, first, second] = &heads;
        let (start, rest) = first.split_at(7);
        written(&mut client, "branch/dev/fast-forward", &[start, "", rest, ""]).unwrap();
        assert_eq!(connection.branch("dev").head(), *first);
        written(&mut client, "branch/dev/fast-forward", &[&second[..39], &second[39..], "\n"])
            .unwrap();
        assert_eq!(connection.branch("dev").head(), *second);
        // If a write contains a complete word, the reply to the write reports any error, so a
        // client sees the error even if it ignores the reply to the clunk.
        client.open_path(3, "branch/dev/fast-forward", WRITE);
        assert!(client.write(3, 0, b"nowhere").is_err());
        // The clunk fails because the hash is too short.
        assert!(written(&mut client, "branch/dev/fast-forward", &[start]).is_err());
    }
}

#[test]
fn a_commit_in_several_writes_waits_for_all_its_words() {
    for place in [TestDb::memory(), TestDb::git()] {
        let connection = place.connect();
        connection.master().commit(&[("a", "0")]);
        let mut client = place.raw(Dialect::Unix);
        client.walk(0, 20, "branch/master/transactions").unwrap();
        client.create(20, "t", DMDIR | 0o755, None).unwrap();
        let head = connection.master().commit(&[("b", "1")]);
        // The command is written twice: first byte by byte, then in three pieces. The first two of
        // these pieces form the shorter command `commit`.
        let bytes: Vec<_> = "commit ff-only\n".split("").collect();
        for pieces in [&bytes[..], &["com", "mit", " ff-only\n"]] {
            assert!(written(&mut client, "branch/master/transactions/t/ctl", pieces).is_err());
            assert_eq!(connection.branch("master").head(), head);
        }
        written(&mut client, "branch/master/transactions/t/ctl", &["comm", "it"]).unwrap();
        assert_ne!(connection.branch("master").head(), head);
    }
}
