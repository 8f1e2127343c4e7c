//! Tests for the memory limits on uncommitted changes, and for slow requests, which must not block
//! other connections.

use std::time::Duration;

use datakit_core::wire::{Dialect, Fid, Tmessage as T};
use datakit_tests::db::{Connection, TestDb, refused};
use datakit_tests::wire_client::WireClient;
use datakit_tests::{on_both, within};

on_both! {
    a_byte_far_beyond_the_end_costs_one_page,
    content_above_the_budget_is_refused_and_its_memory_is_freed,
    names_count_against_the_budget,
    a_changed_large_directory_counts_against_the_budget,
    committing_a_large_hole_is_refused_without_allocating_it,
    content_within_the_budget_can_be_committed,
    texts_are_at_most_64_kib,
    transactions_remotes_and_streams_of_a_connection_are_limited,
    other_clients_are_served_during_a_large_commit,
    other_clients_are_served_during_the_first_write_to_a_large_file,
}

const MIB: u64 = 1 << 20;
const ENOSPC: &str = "out of memory for uncommitted changes";

/// Starts the transaction `t` on `master` and walks fid 1 to the transaction's `rw` directory.
fn begin(db: &TestDb) -> WireClient {
    db.connect().master();
    let mut raw = db.raw(Dialect::Unix);
    raw.walk(0, 1, "branch").unwrap();
    raw.create(1, "master", 0x8000_01ed, None).unwrap();
    raw.clunk(1).unwrap();
    raw.walk(0, 1, "branch/master/transactions").unwrap();
    raw.create(1, "t", 0x8000_01ed, None).unwrap();
    raw.clunk(1).unwrap();
    raw.walk(0, 1, "branch/master/transactions/t/rw").unwrap();
    raw
}

fn create(raw: &mut WireClient, fid: u32, name: &str) {
    raw.walk(1, fid, "").unwrap();
    raw.create(fid, name, 0o644, None).unwrap();
}

/// Writes until a write fails or `most` bytes have been written. Returns the number of bytes
/// written and the error, if any.
fn fill(raw: &mut WireClient, fid: u32, most: u64) -> (u64, Option<String>) {
    let (mut at, data) = (0, vec![7; 8000]);
    while at < most {
        match raw.write(fid, at, &data) {
            Ok(count) => at += u64::from(count),
            Err((error, _)) => return (at, Some(error)),
        }
    }
    (at, None)
}

fn word(raw: &mut WireClient, text: &str) -> Result<u32, String> {
    raw.open_path(90, "branch/master/transactions/t/ctl", 1);
    let done = raw.write(90, 0, text.as_bytes()).map_err(|(error, _)| error);
    raw.clunk(90).unwrap();
    done
}

fn a_byte_far_beyond_the_end_costs_one_page(db: &TestDb) {
    const LAST: u64 = (1 << 30) - 1;
    let mut raw = begin(db);
    for fid in 10..20 {
        create(&mut raw, fid, &format!("f{fid}"));
        raw.write(fid, LAST, b"x").unwrap();
        assert_eq!(raw.stat(fid, |stat| stat.length), LAST + 1);
        assert_eq!(raw.read(fid, LAST - 2, 10).unwrap(), b"\0\0x");
        assert_eq!(raw.write(fid, LAST, b"xy").unwrap_err().0, "File too large");
    }
}

fn content_above_the_budget_is_refused_and_its_memory_is_freed(db: &TestDb) {
    let db = db.new_like().limited(16 * MIB);
    let (mut raw, mut other) = (begin(&db), begin(&db));
    create(&mut raw, 10, "f");
    let (taken, error) = fill(&mut raw, 10, 8 * MIB);
    assert_eq!(error.as_deref(), Some(ENOSPC));
    assert!((3 * MIB..=4 * MIB).contains(&taken), "{taken}");
    // After the failed write, all transactions remain usable.
    assert_eq!(raw.read(10, taken - 1, 10).unwrap(), [7]);
    create(&mut other, 10, "f");
    assert_eq!(fill(&mut other, 10, 2 * MIB).1, None);
    // The memory used by a removed file is not freed until the file is closed.
    raw.walk(1, 11, "f").unwrap();
    raw.rpc(&T::Remove { fid: Fid(11) }).unwrap();
    create(&mut raw, 12, "g");
    assert!(fill(&mut raw, 12, 2 * MIB).1.is_some());
    raw.clunk(10).unwrap();
    assert_eq!(fill(&mut raw, 12, 2 * MIB).1, None);
    // Closing or committing a transaction frees all of its memory, even if some of its files are
    // still open.
    for end in ["close", "commit", "close"] {
        word(&mut raw, end).unwrap();
        raw.walk(0, 20, "branch/master/transactions").unwrap();
        raw.create(20, "t", 0x8000_01ed, None).unwrap();
        raw.clunk(20).unwrap();
        raw.clunk(1).unwrap();
        raw.walk(0, 1, "branch/master/transactions/t/rw").unwrap();
        raw.clunk(12).unwrap();
        create(&mut raw, 12, "h");
        assert_eq!(fill(&mut raw, 12, 3 * MIB).1, None, "{end}");
    }
    // When a connection closes, the server frees the memory used by the connection's transactions.
    drop(raw);
    drop(other);
    for _ in 0..4 {
        within(Duration::from_secs(10), "memory comes back", || {
            let mut raw = begin(&db);
            create(&mut raw, 10, "f");
            fill(&mut raw, 10, 3 * MIB).1.is_none()
        });
    }
}

fn names_count_against_the_budget(db: &TestDb) {
    let db = db.new_like().limited(4 * MIB);
    let mut raw = begin(&db);
    for (kind, perm, extension) in [
        ("dir", 0x8000_01ed, None),
        ("file", 0o644, None),
        ("link", 0x0200_01ed, Some("somewhere")),
    ] {
        let mut made = Vec::new();
        let error = loop {
            let name = format!("{kind}{}", made.len());
            raw.walk(1, 10, "").unwrap();
            match raw.create(10, &name, perm, extension) {
                Ok(()) => made.push(name),
                Err((error, _)) => break error,
            }
            raw.clunk(10).unwrap();
            assert!(made.len() < 8000, "{kind}");
        };
        raw.clunk(10).unwrap();
        assert_eq!(error, ENOSPC);
        for name in &made {
            raw.walk(1, 10, name).unwrap();
            raw.rpc(&T::Remove { fid: Fid(10) }).unwrap();
        }
        assert!(made.len() > 1000, "{kind} {}", made.len());
    }
}

fn a_changed_large_directory_counts_against_the_budget(db: &TestDb) {
    let files: Vec<_> = (0..5000).map(|number| format!("d/file{number}")).collect();
    let files: Vec<_> = files.iter().map(|name| (name.as_str(), "")).collect();
    let large = db.new_like();
    large.connect().master().commit(&files);
    let db = large.limited(MIB / 2);
    let mut raw = begin(&db);
    raw.walk(1, 10, "d/file17").unwrap();
    raw.open(10, 1).unwrap();
    assert_eq!(raw.write(10, 0, b"x").unwrap_err().0, ENOSPC);
    raw.clunk(10).unwrap();
    create(&mut raw, 10, "beside");
    raw.write(10, 0, b"x").unwrap();
    word(&mut raw, "commit").unwrap();
}

fn committing_a_large_hole_is_refused_without_allocating_it(db: &TestDb) {
    let db = db.new_like().limited(64 * MIB);
    let connection = db.connect();
    let mut raw = begin(&db);
    create(&mut raw, 10, "hole");
    raw.write(10, (1 << 30) - 1, b"x").unwrap();
    assert_eq!(word(&mut raw, "commit").unwrap_err(), ENOSPC);
    // The transaction remains usable after the failed commit.
    connection.master();
    raw.open_path(11, "branch/master/transactions/t/rw/hole", 0x11);
    word(&mut raw, "commit").unwrap();
    assert_eq!(connection.read("branch/master/ro/hole"), "");
}

fn content_within_the_budget_can_be_committed(db: &TestDb) {
    let db = db.new_like().limited(16 * MIB);
    let mut raw = begin(&db);
    create(&mut raw, 10, "f");
    assert_eq!(fill(&mut raw, 10, 3 * MIB), (3 * MIB / 8000 * 8000 + 8000, None));
    word(&mut raw, "commit").unwrap();
    assert!(db.connect().stat("branch/master/ro/f").unwrap().len >= 3 * MIB);
}

fn texts_are_at_most_64_kib(db: &TestDb) {
    let connection = db.connect();
    let transaction = connection.master().transaction();
    connection.mkdir("remotes/r").unwrap();
    for path in [transaction.path("msg"), transaction.path("parents"), "remotes/r/url".to_owned()] {
        connection.put(&path, "text").unwrap();
        connection.truncate(&path, 64 << 10).unwrap();
        for length in [(64 << 10) + 1, 64 << 20, 1 << 40] {
            assert_eq!(refused(connection.truncate(&path, length)), "File too large");
        }
        let mut raw = db.raw(Dialect::Unix);
        raw.walk(0, 1, "remotes").unwrap();
        raw.create(1, "x", 0x8000_01ed, None).unwrap();
        raw.open_path(2, "remotes/x/url", 1);
        assert_eq!(raw.write(2, 64 << 10, b"x").unwrap_err().0, "File too large");
        raw.write(2, (64 << 10) - 1, b"x").unwrap();
    }
}

fn transactions_remotes_and_streams_of_a_connection_are_limited(db: &TestDb) {
    fn until_refused(most: usize, mut one: impl FnMut(usize) -> Result<(), String>) -> String {
        (0..most).find_map(|number| one(number).err()).expect("a limit")
    }
    let connection = db.connect();
    let master = connection.master();
    master.commit(&[("f", "1")]);
    let mkdir = |path: String| connection.mkdir(&path).map_err(|error| refused::<()>(Err(error)));
    let error = until_refused(2000, |number| mkdir(format!("branch/master/transactions/{number}")));
    assert_eq!(error, "a connection has at most 1024 open transactions");
    connection.put("branch/master/transactions/7/ctl", "close").unwrap();
    mkdir("branch/master/transactions/again".to_owned()).unwrap();
    assert_eq!(
        until_refused(2000, |number| mkdir(format!("remotes/{number}"))),
        "a connection has at most 256 remotes"
    );
    connection.remove("remotes/7").unwrap();
    mkdir("remotes/again".to_owned()).unwrap();
    let mut raw = db.raw(Dialect::Unix);
    let error = until_refused(10000, |number| {
        let fid = u32::try_from(number).unwrap() + 1;
        raw.walk(0, fid, "branch/master/head.live").unwrap();
        raw.open(fid, 0).map_err(|(error, _)| error)
    });
    assert_eq!(error, "a connection has at most 4096 open streams");
    raw.clunk(1).unwrap();
    raw.open_path(1, "branch/master/reflog", 0);
    // Other connections have their own limits.
    mkdir("branch/other".to_owned()).unwrap();
    Connection::to(&db.url()).follow("branch/master/head.live").line();
}

/// Runs `work` and returns the number of requests that the server answers on another connection in
/// the meantime.
fn served_meanwhile(db: &TestDb, work: impl FnOnce() + Send) -> usize {
    let mut other = db.raw(Dialect::Unix);
    let mut served = 0;
    std::thread::scope(|scope| {
        let work = scope.spawn(work);
        while !work.is_finished() {
            other.stat(0, |_| ());
            served += 1;
        }
    });
    served
}

/// The minimum number of replies expected during work that does not block the server's thread. If
/// the work blocks the thread, the server can send only one or two replies. Otherwise, it usually
/// sends dozens of replies.
const MANY: usize = 3;

/// Asserts that at least one of several attempts yields more than [`MANY`] replies. A single
/// attempt is not enough, because other programs may delay the client.
fn assert_many(mut attempt: impl FnMut() -> usize) {
    let counts: Vec<_> = (0..10).map(|_| attempt()).take_while(|served| *served <= MANY).collect();
    assert!(counts.len() < 10, "{counts:?}");
}

fn other_clients_are_served_during_a_large_commit(db: &TestDb) {
    let mut names = (0..).map(|number: u32| format!("f{number}"));
    assert_many(|| {
        let mut raw = begin(db);
        create(&mut raw, 10, &names.next().unwrap());
        fill(&mut raw, 10, 8 * MIB);
        served_meanwhile(db, move || {
            word(&mut raw, "commit").unwrap();
        })
    });
}

#[test]
fn other_clients_are_served_while_a_large_file_is_unpacked() {
    let db = TestDb::git();
    let mut raw = begin(&db);
    create(&mut raw, 10, "f");
    fill(&mut raw, 10, 16 * MIB);
    word(&mut raw, "commit").unwrap();
    let mut begun = begin(&db);
    for path in ["branch/master/ro/f", "branch/master/transactions/t/rw/f"] {
        assert_many(|| {
            served_meanwhile(&db, || {
                begun.walk(0, 10, path).unwrap();
                begun.open(10, 0).unwrap();
                assert_eq!(begun.read(10, MIB, 2).unwrap(), [7, 7]);
                begun.clunk(10).unwrap();
            })
        });
    }
}

fn other_clients_are_served_during_the_first_write_to_a_large_file(db: &TestDb) {
    let mut raw = begin(db);
    create(&mut raw, 10, "f");
    fill(&mut raw, 10, 16 * MIB);
    word(&mut raw, "commit").unwrap();
    drop(raw);
    assert_many(|| {
        let mut raw = begin(db);
        raw.walk(1, 10, "f").unwrap();
        raw.open(10, 2).unwrap();
        let served = served_meanwhile(db, || {
            raw.write(10, 5, b"x").unwrap();
        });
        assert_eq!(raw.read(10, 4, 3).unwrap(), [7, b'x', 7]);
        served
    });
}
